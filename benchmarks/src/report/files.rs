//! Files that appear whole or not at all.

use std::fs;
use std::path::Path;

use super::error::ReportError;
use crate::output;

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
    output::replace(path, bytes).map_err(|source| ReportError::Io {
        action: "write",
        path: path.to_path_buf(),
        source,
    })
}
