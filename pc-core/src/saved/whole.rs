//! Files that appear whole or not at all.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Writes a file by `fill`: beside its place first, then renamed into it. Whatever fails, what was
/// at the place before is still there. Where the place is a symbolic link, the file that it leads
/// to is written.
pub(super) fn write_whole(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let path = match fs::canonicalize(path) {
        Ok(there) if !there.is_file() => {
            let message = "something that is no regular file is there";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(there) => there,
        // Nothing is there yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => {
            path.to_path_buf()
        }
        Err(error) => return Err(error),
    };
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it names no file"));
    };
    let beside = beside(&path, name);
    let written = write_beside(&beside, fill).and_then(|()| {
        if let Ok(there) = fs::metadata(&path) {
            fs::set_permissions(&beside, there.permissions())?;
        }
        fs::rename(&beside, &path)
    });
    if written.is_err() {
        // The first error is the one to report; there may be nothing to remove.
        let _ = fs::remove_file(&beside);
        return written;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = File::open(folder.unwrap_or(Path::new("."))) {
        // So that the new name outlives a loss of power. Not every system lets folders be synced.
        let _ = folder.sync_all();
    }
    written
}

fn write_beside(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    fill(&mut file)?;
    file.sync_all()
}

/// `.NAME.PROCESS-COUNT.tmp`, which no other writer uses, in the same folder.
fn beside(path: &Path, name: &std::ffi::OsStr) -> PathBuf {
    // Two writers of one process must not share it.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}-{count}.tmp", std::process::id()));
    path.with_file_name(hidden)
}

#[cfg(test)]
mod tests {
    // In a test a panic is the report.
    #![allow(clippy::unwrap_used)]

    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("net");
        let half = |file: &mut File| {
            file.write_all(b"half of the ne")?;
            Err(io::Error::other("the disk is full"))
        };
        // Where there was none, there is none.
        assert_eq!(write_whole(&path, half).unwrap_err().to_string(), "the disk is full");
        assert!(names(folder.path()).is_empty());
        write_whole(&path, |file| file.write_all(b"old")).unwrap();
        assert_eq!(write_whole(&path, half).unwrap_err().to_string(), "the disk is full");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write_whole(&path, |file| file.write_all(b"new, and longer")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new, and longer");
        assert_eq!(names(folder.path()), ["net"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_folders_refused() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("net"), folder.path().join("link"));
        fs::write(&path, b"old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        symlink("net", &link).unwrap();
        write_whole(&link, |file| file.write_all(b"new")).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_whole(folder.path(), |file| file.write_all(b"new")).is_err());
        fs::remove_file(&path).unwrap();
        // A link that leads nowhere is not replaced by a file.
        assert!(write_whole(&link, |file| file.write_all(b"new")).is_err());
        assert!(link.is_symlink());
    }
}
