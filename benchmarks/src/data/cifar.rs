//! CIFAR-10 and CIFAR-100, from their standard binary files.
//!
//! A file is records without any header: for CIFAR-10 a label byte, for CIFAR-100 a coarse and a
//! fine label byte, then 3072 bytes of pixels, 32x32 red, then green, then blue. So a record has
//! 3073 or 3074 bytes. Pixels are divided by 255; the shape is `[3, 32, 32]`. Any number of whole
//! records is taken: the format does not say how many there should be (the full sets have 50,000
//! and 10,000). A file may be packed with gzip, which is told by its content.
//!
//! A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.

use std::path::{Path, PathBuf};

use super::{
    error::{Error, Place, Result},
    file::{Layout, REFETCH, locate, read},
    images::Images,
    kind::Kind,
    names_of_classes::{CIFAR_10, CIFAR_100},
    split::Split,
};

/// One picture's shape.
const SHAPE: [usize; 3] = [3, 32, 32];

/// How many bytes one picture's pixels are.
const PIXELS: usize = 3 * 32 * 32;

/// What the sets come in too.
const PICKLES: &str = "Python's pickles";

/// How a record begins.
struct Format {
    title: &'static str,
    /// How many values each label byte may have; the last is the one that is used.
    labels: &'static [usize],
    class_names: &'static [&'static str],
}

const FORMAT_10: Format = Format { title: "CIFAR-10", labels: &[10], class_names: &CIFAR_10 };

const FORMAT_100: Format =
    Format { title: "CIFAR-100", labels: &[20, 100], class_names: &CIFAR_100 };

/// Loads CIFAR-10 from `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, each perhaps
/// `.gz`.
///
/// They are looked for in `cifar-10-batches-bin`, `cifar10/cifar-10-batches-bin`, `cifar10` and
/// `cifar-10` in `dir`, then in `dir` itself.
///
/// # Errors
/// [`ErrorKind::NotFound`](super::ErrorKind::NotFound) if a file is missing, saying where it was
/// looked for; as of [`read_10`].
pub fn load_10(dir: &Path) -> Result<Split<Images>> {
    let layout = Layout {
        title: FORMAT_10.title,
        folders: &[
            "cifar-10-batches-bin",
            "cifar10/cifar-10-batches-bin",
            "cifar10",
            "cifar-10",
            "",
        ],
        files: &[
            &["data_batch_1.bin"],
            &["data_batch_2.bin"],
            &["data_batch_3.bin"],
            &["data_batch_4.bin"],
            &["data_batch_5.bin"],
            &["test_batch.bin"],
        ],
        elsewise: (&["cifar-10-batches-py", "cifar-10-python.tar.gz", "data_batch_1"], PICKLES),
    };
    load(dir, &layout, Kind::Cifar10, &FORMAT_10)
}

/// Loads CIFAR-100, by its 100 fine labels, from `train.bin` and `test.bin`, each perhaps `.gz`.
///
/// They are looked for in `cifar-100-binary`, `cifar100/cifar-100-binary`, `cifar100` and
/// `cifar-100` in `dir`, then in `dir` itself.
///
/// # Errors
/// [`ErrorKind::NotFound`](super::ErrorKind::NotFound) if a file is missing, saying where it was
/// looked for; as of [`read_100`].
pub fn load_100(dir: &Path) -> Result<Split<Images>> {
    let layout = Layout {
        title: FORMAT_100.title,
        folders: &["cifar-100-binary", "cifar100/cifar-100-binary", "cifar100", "cifar-100", ""],
        files: &[&["train.bin"], &["test.bin"]],
        elsewise: (&["cifar-100-python", "cifar-100-python.tar.gz"], PICKLES),
    };
    load(dir, &layout, Kind::Cifar100, &FORMAT_100)
}

/// Reads CIFAR-10 files, one after another.
///
/// # Errors
/// [`ErrorKind::Io`](super::ErrorKind::Io) if one cannot be read;
/// [`ErrorKind::Malformed`](super::ErrorKind::Malformed) if one is empty, ends inside a record, or
/// has a label out of range.
pub fn read_10(paths: &[PathBuf]) -> Result<Images> {
    read_files(paths, &FORMAT_10)
}

/// Reads CIFAR-100 files, one after another.
///
/// # Errors
/// As of [`read_10`].
pub fn read_100(paths: &[PathBuf]) -> Result<Images> {
    read_files(paths, &FORMAT_100)
}

/// Loads a set whose last file is the test set.
fn load(dir: &Path, layout: &Layout<'_>, kind: Kind, format: &Format) -> Result<Split<Images>> {
    let advice = kind.advice(Some(dir));
    let paths = locate(dir, layout, &advice)?;
    let Some((test, train)) = paths.split_last() else {
        return Err(Error::not_found(dir, advice));
    };
    Ok(Split {
        train: read_files(train, format)?,
        test: read_files(std::slice::from_ref(test), format)?,
    })
}

/// Reads files one after another.
fn read_files(paths: &[PathBuf], format: &Format) -> Result<Images> {
    let record_len = format.labels.len() + PIXELS;
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let bytes = read(path)?;
        check_file(&bytes, path, format)?;
        files.push(bytes);
    }
    let count = files.iter().map(Vec::len).sum::<usize>() / record_len;
    let mut pixels = Vec::with_capacity(count * PIXELS);
    let mut labels = Vec::with_capacity(count);
    for bytes in files {
        for record in bytes.chunks_exact(record_len) {
            let (head, picture) = record.split_at(format.labels.len());
            labels.extend(head.last().copied().map(usize::from));
            pixels.extend(picture.iter().map(|&pixel| f32::from(pixel) / 255.0));
        }
    }
    let names = format.class_names.iter().copied().map(String::from);
    Images::new(pixels, SHAPE, labels, names.collect())
}

/// Checks a file's length and labels.
fn check_file(bytes: &[u8], path: &Path, format: &Format) -> Result<()> {
    let record_len = format.labels.len() + PIXELS;
    if bytes.is_empty() {
        return Err(Error::malformed(path, Place::Whole, "the file is empty", REFETCH));
    }
    if !bytes.len().is_multiple_of(record_len) {
        let place = Place::Record { record: bytes.len() / record_len, byte: bytes.len() };
        let what =
            format!("the file ends inside a record of {record_len} bytes ({})", format.title);
        let other = [&FORMAT_10, &FORMAT_100].into_iter().find(|other| {
            other.labels.len() != format.labels.len()
                && bytes.len().is_multiple_of(other.labels.len() + PIXELS)
        });
        let remedy = match other {
            Some(other) => format!("its length is right for {}: check the name", other.title),
            None => REFETCH.to_owned(),
        };
        return Err(Error::malformed(path, place, what, remedy));
    }
    for (record, content) in bytes.chunks_exact(record_len).enumerate() {
        for (i, (&label, &limit)) in content.iter().zip(format.labels).enumerate() {
            if usize::from(label) >= limit {
                let place = Place::Record { record, byte: record * record_len + i };
                let what = format!(
                    "label {label} is out of range: {} has {limit} classes there, counted from 0",
                    format.title
                );
                return Err(Error::malformed(path, place, what, REFETCH));
            }
        }
    }
    Ok(())
}
