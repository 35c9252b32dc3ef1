//! Files that appear whole or not at all.

use std::fs;
use std::path::Path;

use super::error::ReportError;
use crate::places;

/// Creates a folder and the folders above it.
pub(super) fn create_folder(dir: &Path) -> Result<(), ReportError> {
    fs::create_dir_all(dir).map_err(|source| ReportError::Io {
        action: "create folder",
        path: dir.to_path_buf(),
        source,
    })
}

/// Writes a file so that it is there whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    places::replace(path, bytes).map_err(|source| ReportError::Io {
        action: "write",
        path: path.to_path_buf(),
        source,
    })
}

/// Whether these files can be written into a folder, which need not be there yet.
pub(super) fn try_places(dir: &Path, names: &[&str]) -> Result<(), ReportError> {
    let cannot = |path: &Path, source| ReportError::Io {
        action: "write to",
        path: path.to_path_buf(),
        source,
    };
    places::try_folder(dir).map_err(|source| cannot(dir, source))?;
    for path in names.iter().map(|name| dir.join(name)) {
        places::regular(&path).map_err(|source| cannot(&path, source))?;
    }
    Ok(())
}
