//! Finding and reading files.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::error::{Error, Place, Result};

/// The first bytes of gzip data.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What to do about a file that is cut short or damaged.
pub(super) const REFETCH: &str = "the file is incomplete or damaged: fetch it again";

/// Reads a file whole, unpacking it if its content (whatever its name) is gzip data.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    read_at_most(path, 0, |_| u64::MAX)
}

/// As [`read`], but of gzip data no more is unpacked than `most` says of the first `head` bytes: a
/// small file may hold more than any memory. A longer one gives that many bytes.
pub(super) fn read_at_most(
    path: &Path,
    head: u64,
    most: impl FnOnce(&[u8]) -> u64,
) -> Result<Vec<u8>> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, "read the file", e))?;
    if !bytes.starts_with(&GZIP_MAGIC) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    let mut packed = MultiGzDecoder::new(bytes.as_slice());
    let unpacked = packed.by_ref().take(head).read_to_end(&mut plain).and_then(|_| {
        let rest = most(&plain).saturating_sub(plain.len() as u64);
        packed.take(rest).read_to_end(&mut plain)
    });
    match unpacked {
        Ok(_) => Ok(plain),
        Err(e) => {
            let what = match e.kind() {
                io::ErrorKind::UnexpectedEof => {
                    format!("the gzip data end early, {} bytes in", bytes.len())
                }
                _ => format!("the gzip data are damaged ({e})"),
            };
            Err(Error::malformed(path, Place::Whole, what, REFETCH))
        }
    }
}

/// Reads a file as UTF-8 text, without a byte-order mark.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let text = String::from_utf8(read(path)?).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        let before = e.as_bytes().get(..valid).unwrap_or_default();
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Error::malformed(
            path,
            Place::Line(line),
            format!("not UTF-8 text (byte {valid} of the file)"),
            "save the file as UTF-8",
        )
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// The files right inside `folder` whose names end in one of these, sorted by name; hidden files
/// are left out.
///
/// A folder that does not exist has none.
pub(super) fn visible_files(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(folder, "list the folder", e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io(folder, "list the folder", e))?.path();
        let wanted = path
            .extension()
            .is_some_and(|own| endings.iter().any(|ending| own.eq_ignore_ascii_case(ending)));
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if wanted && !hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A data set of several files that lie together in one folder.
pub(super) struct Layout<'a> {
    /// What the data set is called in messages.
    pub(super) title: &'a str,
    /// The sub-folders of the data folder to look in, best first; `""` is the data folder itself.
    pub(super) folders: &'a [&'a str],
    /// The files, each under one or more names; each may also end in `.gz`.
    pub(super) files: &'a [&'a [&'a str]],
    /// Files and folders of the same data in a format that is not read, and what that is called.
    pub(super) elsewise: (&'a [&'a str], &'a str),
}

/// Finds the first folder that has all of a data set's files; gives their paths in order.
///
/// `advice` ends the message where they are not there.
pub(super) fn locate(dir: &Path, layout: &Layout<'_>, advice: &str) -> Result<Vec<PathBuf>> {
    check_folder(dir, layout.title, advice)?;
    let mut partial = None;
    for folder in layout.folders {
        let folder = join(dir, folder);
        let found: Vec<Option<PathBuf>> =
            layout.files.iter().map(|names| find_one(&folder, names)).collect();
        let have = found.iter().flatten().count();
        if have == layout.files.len() {
            return Ok(found.into_iter().flatten().collect());
        }
        if have > 0 && partial.is_none() {
            let lacks: Vec<&str> = found
                .iter()
                .zip(layout.files)
                .filter(|(path, _)| path.is_none())
                .filter_map(|(_, names)| names.first().copied())
                .collect();
            partial = Some((folder, lacks));
        }
    }
    if let Some((folder, lacks)) = partial {
        let message = format!(
            "{} is incomplete here: {} missing (also looked for with .gz); {advice}",
            layout.title,
            lacks.join(", ")
        );
        return Err(Error::not_found(&folder, message));
    }
    let (others, format) = layout.elsewise;
    let mut places = layout.folders.iter().flat_map(|folder| {
        let folder = join(dir, folder);
        others.iter().map(move |name| folder.join(name))
    });
    if let Some(other) = places.find(|place| place.exists()) {
        let message = format!(
            "this is {} as {format}, and another format is read here; {advice}",
            layout.title
        );
        return Err(Error::not_found(&other, message));
    }
    let names: Vec<&str> = layout.files.iter().flat_map(|names| names.iter().copied()).collect();
    let message = format!(
        "{} is not here: looked in {} for {} (each also with .gz); {advice}",
        layout.title,
        folder_list(layout.folders),
        names.join(", ")
    );
    Err(Error::not_found(dir, message))
}

/// An error unless `dir` is a folder.
pub(super) fn check_folder(dir: &Path, title: &str, advice: &str) -> Result<()> {
    match fs::metadata(dir) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Error::not_found(
            dir,
            format!("the data folder for {title} is not a folder; {advice}"),
        )),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::not_found(
            dir,
            format!("the data folder for {title} does not exist; {advice}"),
        )),
        Err(e) => Err(Error::io(dir, "look into the data folder", e)),
    }
}

/// The folders, for a message.
pub(super) fn folder_list(folders: &[&str]) -> String {
    let shown: Vec<&str> = folders
        .iter()
        .map(|folder| match *folder {
            "" => "the folder itself",
            folder => folder,
        })
        .collect();
    shown.join(", ")
}

/// `dir` itself for `""`, else the sub-folder.
pub(super) fn join(dir: &Path, folder: &str) -> PathBuf {
    if folder.is_empty() { dir.to_owned() } else { dir.join(folder) }
}

/// The file under the first of its names that is there, plain before `.gz`.
fn find_one(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    let plain = names.iter().map(|name| folder.join(name));
    let packed = names.iter().map(|name| folder.join(format!("{name}.gz")));
    plain.chain(packed).find(|path| path.is_file())
}

/// A path as one word of a shell command.
pub(super) fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
