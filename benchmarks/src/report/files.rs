//! Files that appear whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::ReportError;

static COUNT: AtomicU64 = AtomicU64::new(0);

/// Creates a folder and the folders above it.
pub(super) fn create_folder(dir: &Path) -> Result<(), ReportError> {
    fs::create_dir_all(dir).map_err(|source| ReportError::Io { action: "create folder", path: dir.to_path_buf(), source })
}

/// Writes `bytes` to a new file beside `path`, then renames it to `path`.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let beside = beside(path);
    let done = fill(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    done.map_err(|source| {
        // The first error is the one to report; there may be nothing to remove.
        let _ = fs::remove_file(&beside);
        ReportError::Io { action: "write", path: path.to_path_buf(), source }
    })
}

fn beside(path: &Path) -> PathBuf {
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{count}.tmp", std::process::id()));
    path.with_file_name(name)
}

fn fill(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
