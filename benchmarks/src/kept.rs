//! Files in which commands keep what they have done: JSON under a line with its check sum, so that
//! what is damaged is not taken for what was done.

use std::{fs, path::Path};

use flate2::Crc;
use serde::{Serialize, de::DeserializeOwned};

use crate::{error::CommandError, places};

/// Reads what a command kept; `place` is the flag that names the file, and the command.
///
/// # Errors
/// It cannot be read, is damaged, or is no such file.
pub fn read<T: DeserializeOwned>(path: &Path, place: [&str; 2]) -> Result<T, CommandError> {
    let text = fs::read_to_string(path).map_err(|error| CommandError::io("read", path, &error))?;
    let (sum, body) = text.split_once('\n').unwrap_or_default();
    if sum != check_sum(body) {
        return Err(wrong(path, place, "its check sum is of other contents"));
    }
    serde_json::from_str(body).map_err(|error| wrong(path, place, &error.to_string()))
}

/// That the file is not what the command kept.
pub(crate) fn wrong(path: &Path, [flag, command]: [&str; 2], why: &str) -> CommandError {
    CommandError::input(format!(
        "{flag} {}: it is damaged, or no file of `pc-bench {command} --save`: {why}",
        path.display()
    ))
}

/// Writes what is to be kept. The file is there as a whole, or as it was.
///
/// # Errors
/// It cannot be written.
pub fn write(path: &Path, what: &impl Serialize) -> Result<(), CommandError> {
    let mut body = serde_json::to_string(what)
        .map_err(|error| CommandError::input(format!("cannot save: {error}")))?;
    body.push('\n');
    places::write_whole(path, format!("{}\n{body}", check_sum(&body)).as_bytes())
}

/// The first line of such a file: the check sum of all that follows.
pub(crate) fn check_sum(body: &str) -> String {
    let mut sum = Crc::new();
    sum.update(body.as_bytes());
    format!("{{\"crc32\":\"{:08x}\"}}", sum.sum())
}
