//! The report as files.

use std::path::{Path, PathBuf};

use super::{contents::Report, error::ReportError, files, html, panels::svg_curves};

const NAMES: [&str; 3] = ["report.html", "curves.svg", "report.json"];

/// Tries whether [`write()`] could write into `dir` now, and leaves nothing there.
///
/// # Errors
///
/// As of [`write()`].
pub fn try_place(dir: &Path) -> Result<(), ReportError> {
    files::try_places(dir, &NAMES)
}

/// Writes `report.html`, `curves.svg` and `report.json` into `dir`, which is created if needed.
///
/// Each file appears whole or not at all: it is written beside its place and then renamed.
/// Returns the paths written, in the order above.
///
/// # Errors
///
/// When the folder or a file cannot be written; the error names the path.
pub fn write(dir: &Path, report: &Report) -> Result<Vec<PathBuf>, ReportError> {
    let page = html::page(report)?;
    let picture = svg_curves(report)?;
    let mut json = serde_json::to_string_pretty(report)?;
    json.push('\n');
    files::create_folder(dir)?;
    let mut written = Vec::new();
    for (name, text) in NAMES.into_iter().zip([page, picture, json]) {
        let path = dir.join(name);
        files::replace(&path, text.as_bytes())?;
        written.push(path);
    }
    Ok(written)
}
