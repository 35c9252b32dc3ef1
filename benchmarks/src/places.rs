//! Places on disk: what may be written there, files that appear whole or not at all, and places
//! that one run has to itself.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::error::CommandError;

/// Symbolic links that are followed from one name.
const LINKS: usize = 40;

/// What is written to a place to try it. An empty file can be made on a disk that is full.
const TRIAL: &[u8] = b"Written to try this place. It can be removed.\n";

/// The file that is written where `path` is given: the end of its symbolic links, be it there or
/// not.
///
/// # Errors
/// What is there and is no regular file, such as a folder, a FIFO or a device; links in a circle.
fn target(path: &Path) -> io::Result<PathBuf> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            let what = format!("it is {}, and a regular file is needed", kind(&found));
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        _ => {}
    }
    let mut path = path.to_path_buf();
    for _ in 0..LINKS {
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => {
                let link = fs::read_link(&path)?;
                path = path.parent().map_or(link.clone(), |folder| folder.join(&link));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(path),
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "its symbolic links have no end"))
}

/// What something that is no regular file is.
fn kind(found: &fs::Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = found.file_type();
        if kind.is_fifo() {
            return "a FIFO";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
        if kind.is_socket() {
            return "a socket";
        }
    }
    if found.is_dir() { "a folder" } else { "something else" }
}

/// Whether a file can be put there, as far as can be known without writing. `flag` is what the
/// place was given by.
///
/// # Errors
/// A place without a folder, or where something is that is no regular file.
pub fn check(flag: &str, path: &Path) -> Result<(), CommandError> {
    if path.is_dir() || path.file_name().is_none() {
        return Err(CommandError::input(format!(
            "{flag} {} names a folder, and a file is needed",
            path.display()
        )));
    }
    let cannot = |why: String| {
        CommandError::input(format!("{flag} {} cannot be written: {why}", path.display()))
    };
    let target = target(path).map_err(|error| cannot(error.to_string()))?;
    match folder(&target) {
        there if there.is_dir() => Ok(()),
        missing => Err(cannot(format!("there is no folder {}", missing.display()))),
    }
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether files can be written into a folder, which need not be there yet. Leaves nothing behind.
///
/// # Errors
/// A folder that cannot be written to, or made.
pub fn try_folder(dir: &Path) -> io::Result<()> {
    let there = dir.ancestors().find(|place| place.exists());
    // The empty path is the folder that the program runs in.
    try_beside(&there.unwrap_or(Path::new(".")).join("trial"))
}

/// Whether a file could be written over an existing one, or at a new place: no folder, no device.
///
/// # Errors
/// What is there.
pub fn regular(path: &Path) -> io::Result<()> {
    target(path).map(drop)
}

/// Writes a small file beside `path`, and removes it.
fn try_beside(path: &Path) -> io::Result<()> {
    let beside = beside(path);
    let tried = fill(&beside, TRIAL);
    // The first error is the one to report; there may be nothing to remove.
    let removed = fs::remove_file(&beside);
    tried.and(removed)
}

/// Writes a file so that it is there whole or not at all: beside its place first, then renamed into
/// it. Where the place is a symbolic link, the file that it leads to is written.
///
/// # Errors
/// Where the folder cannot be written to, or something else than a file is there; the message names
/// the file.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    if path.file_name().is_none() {
        return Err(CommandError::input(format!(
            "cannot write {}: it names no file",
            path.display()
        )));
    }
    replace(path, bytes).map_err(|error| CommandError::io("write", path, &error))
}

/// Whether two names are of one file, through links too; of files that are not there yet, whether
/// they are the same words.
pub(crate) fn same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), Err(_)) => one == other,
        _ => false,
    }
}

/// As [`write_whole`], with the system's own error.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = target(path)?;
    let beside = beside(&path);
    let written = fill(&beside, bytes).and_then(|()| {
        if let Ok(there) = fs::metadata(&path) {
            fs::set_permissions(&beside, there.permissions())?;
        }
        fs::rename(&beside, &path)
    });
    if written.is_err() {
        // The first error is the one to report; there may be nothing to remove.
        let _ = fs::remove_file(&beside);
    } else if let Ok(folder) = File::open(folder(&path)) {
        // So that the new name outlives a loss of power. Not every system lets folders be synced.
        let _ = folder.sync_all();
    }
    written
}

fn fill(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The name of a file beside `path` that no other writer uses: `.NAME.PROCESS-COUNT.tmp`.
fn beside(path: &Path) -> PathBuf {
    // Two writers of one process must not share the file beside.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    hidden(path, &format!("{}-{count}.tmp", std::process::id()))
}

/// `.NAME.MORE` in the folder of `path`.
fn hidden(path: &Path, more: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".");
    name.push(more);
    path.with_file_name(name)
}

/// Whether a file in the folder of `path` is one that [`beside`] named for it.
fn is_beside(path: &Path, name: &str) -> bool {
    let own = path.file_name().and_then(|own| own.to_str());
    let rest = own.and_then(|own| name.strip_prefix('.')?.strip_prefix(own)?.strip_prefix('.'));
    let numbers = rest.and_then(|rest| rest.strip_suffix(".tmp")?.split_once('-'));
    let number = |word: &str| !word.is_empty() && word.bytes().all(|c| c.is_ascii_digit());
    numbers.is_some_and(|(process, count)| number(process) && number(count))
}

/// A file that one run alone writes to for as long as it lives.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    /// Where the system has no locks, there is none.
    lock: Option<(PathBuf, File)>,
}

impl Place {
    /// Takes the place: no other run can until this is dropped, or its process has ended in
    /// whatever way. Files that earlier runs have left half-written beside it are removed, and a
    /// trial is written. `flag` is what the place was given by.
    ///
    /// # Errors
    /// As [`check`]; a place that another run has, or that cannot be written to.
    pub fn take(flag: &str, path: &Path) -> Result<Self, CommandError> {
        check(flag, path)?;
        let cannot = |why: String| {
            CommandError::input(format!("{flag} {} cannot be written: {why}", path.display()))
        };
        let target = target(path).map_err(|error| cannot(error.to_string()))?;
        let lock = hidden(&target, "lock");
        let lock = match lock_file(&lock) {
            Ok(file) => Some((lock, file)),
            Err(Lock::Taken(by)) => {
                return Err(CommandError::input(format!(
                    "{flag} {}: another run, process {by}, saves there and is not over; give \
                     another name, or wait for its end",
                    path.display()
                )));
            }
            Err(Lock::Unknown) => None,
            Err(Lock::Failed(error)) => return Err(cannot(error.to_string())),
        };
        let place = Self { path: target, lock };
        if place.lock.is_some() {
            place.clean();
        }
        try_beside(&place.path).map_err(|error| cannot(error.to_string()))?;
        Ok(place)
    }

    /// The file itself, at the end of all links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what runs that were killed in the middle of writing have left here. Whoever holds
    /// the lock is the only one who writes here, so no file of a living run is removed.
    fn clean(&self) {
        for entry in fs::read_dir(folder(&self.path)).into_iter().flatten().flatten() {
            if is_beside(&self.path, &entry.file_name().to_string_lossy()) {
                // What cannot be removed takes room, and does no other harm.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.lock {
            // It is still locked, and so it is ours. One that is left behind locks nobody out.
            let _ = fs::remove_file(path);
        }
    }
}

/// Why there is no lock.
enum Lock {
    /// Another process has it.
    Taken(String),
    /// There are no locks here.
    Unknown,
    /// The file cannot be made.
    Failed(io::Error),
}

/// Locks a file, which is made where it is missing and holds this process's number.
fn lock_file(path: &Path) -> Result<File, Lock> {
    loop {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(Lock::Failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut by = String::new();
                // A number that cannot be read is not told.
                let _ = file.read_to_string(&mut by);
                return Err(Lock::Taken(by.trim().to_owned()));
            }
            Err(TryLockError::Error(_)) => return Err(Lock::Unknown),
        }
        // The run before may have removed the file after it was opened here: then the lock is on
        // a file that nobody else will find.
        if same_file(&file, path) {
            // For the message alone.
            let number = std::process::id().to_string();
            let _ = file.set_len(0).and_then(|()| file.write_all(number.as_bytes()));
            return Ok(file);
        }
    }
}

#[cfg(unix)]
fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let place = |found: fs::Metadata| (found.dev(), found.ino());
    matches!(
        (file.metadata().map(place), fs::metadata(path).map(place)),
        (Ok(own), Ok(there)) if own == there
    )
}

// Elsewhere a file that is open cannot be removed.
#[cfg(not(unix))]
fn same_file(_: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_whole_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.bin");
        write_whole(&path, b"first").unwrap();
        write_whole(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(names(folder.path()), ["out.bin"]);
        let error = write_whole(&folder.path().join("none/out.bin"), b"x").unwrap_err();
        assert!(error.to_string().contains("none/out.bin") && error.status() == 2);
    }

    #[cfg(unix)]
    #[test]
    fn the_end_of_a_link_is_written_and_what_is_no_file_is_refused() {
        use std::os::unix::fs::{FileTypeExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("far")).unwrap();
        for (link, end) in [("there", "far/file"), ("twice", "there"), ("dangling", "far/new")] {
            symlink(end, at(link)).unwrap();
        }
        fs::write(at("far/file"), "old").unwrap();
        write_whole(&at("twice"), b"new").unwrap();
        write_whole(&at("dangling"), b"new").unwrap();
        for name in ["far/file", "far/new"] {
            assert_eq!(fs::read(at(name)).unwrap(), b"new", "{name}");
        }
        assert!(["there", "twice", "dangling"].iter().all(|link| at(link).is_symlink()));
        assert_eq!(names(&at("far")), ["file", "new"]);

        let made = std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap();
        assert!(made.success());
        symlink("round", at("round")).unwrap();
        symlink("/dev/null", at("null")).unwrap();
        for (name, what) in [("fifo", "a FIFO"), ("null", "a device"), ("far", "a folder")] {
            let error = write_whole(&at(name), b"x").unwrap_err().to_string();
            assert!(error.contains(what) && error.contains(name), "{error}");
        }
        assert!(write_whole(&at("round"), b"x").is_err());
        assert!(fs::metadata(at("fifo")).unwrap().file_type().is_fifo());
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
    }

    #[test]
    fn a_place_is_one_runs_alone_and_leftovers_of_dead_runs_go() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let others = [".b.12-0.tmp", ".a.b.12-0.tmp", ".a.12-0.tmp.gz", ".a.x-0.tmp", "a.12-0.tmp"];
        for name in others.iter().chain(&[".a.12-0.tmp", ".a.7-13.tmp"]) {
            fs::write(at(name), "half").unwrap();
        }
        let place = Place::take("--save", &at("a")).unwrap();
        let error = Place::take("--save", &at("a")).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        Place::take("--save", &at("b")).unwrap();
        drop(place);
        let mut left = others.to_vec();
        left.retain(|name| *name != ".b.12-0.tmp");
        left.sort_unstable();
        assert_eq!(names(folder.path()), left);
        Place::take("--save", &at("a")).unwrap();
    }

    #[test]
    fn places_are_tried_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        try_folder(&folder.path().join("to/be/made")).unwrap();
        assert_eq!(names(folder.path()), [""; 0]);
        #[cfg(target_os = "linux")]
        assert!(try_folder(Path::new("/proc/self/none")).is_err());
    }
}
