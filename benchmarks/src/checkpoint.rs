//! Checkpoints: named tensors and a few words about them, in one safetensors file.
//!
//! Any safetensors reader can open them. A file appears whole or not at all, carries a check sum of
//! its numbers, and is refused with a message that says what is wrong where it is truncated,
//! damaged, of another kind or of another version.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use pc_core::host::{Element, HostTensor};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{error::CommandError, output::write_whole};

/// What the metadata entry `format` of a checkpoint says.
pub const FORMAT: &str = "pc-bench checkpoint";

/// The version of the format, in the metadata entry `version`.
pub const VERSION: &str = "1";

const SUM: &str = "crc32";

/// A checkpoint in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint<F> {
    /// What the tensors are of: entries as words. `format`, `version` and `crc32` are the file's
    /// own.
    pub metadata: BTreeMap<String, String>,
    /// The tensors, by name.
    pub tensors: BTreeMap<String, HostTensor<F>>,
}

/// `path` holds something wrong.
fn malformed(path: &Path, what: impl std::fmt::Display) -> CommandError {
    CommandError::input(format!("{}: {what}", path.display()))
}

/// The scalar's type in a file.
fn dtype<F: Element>() -> Dtype {
    if size_of::<F>() == 4 { Dtype::F32 } else { Dtype::F64 }
}

/// The numbers' exact bits, in little-endian order.
fn to_bytes<F: Element>(values: &[F]) -> Vec<u8> {
    match dtype::<F>() {
        // The way through f64 loses nothing.
        Dtype::F32 => values.iter().flat_map(|x| (x.value() as f32).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|x| x.value().to_le_bytes()).collect(),
    }
}

fn from_bytes<F: Element>(bytes: &[u8]) -> Vec<F> {
    match dtype::<F>() {
        Dtype::F32 => {
            bytes.as_chunks().0.iter().map(|b| F::of(f64::from(f32::from_le_bytes(*b)))).collect()
        }
        _ => bytes.as_chunks().0.iter().map(|b| F::of(f64::from_le_bytes(*b))).collect(),
    }
}

impl<F: Element> Checkpoint<F> {
    /// Writes the checkpoint to `path`, in place of what is there.
    ///
    /// # Errors
    /// Where the file cannot be written; what was there before is then still there.
    ///
    /// # Example
    /// ```
    /// use pc_bench::checkpoint::Checkpoint;
    /// use pc_core::host::HostTensor;
    /// let path = std::env::temp_dir().join(format!("doc-{}.safetensors", std::process::id()));
    /// let weight = HostTensor::new(&[1, 2], vec![0.1_f32, 0.2])?;
    /// let saved = Checkpoint {
    ///     metadata: [("seed".into(), "7".into())].into(),
    ///     tensors: [("weight".into(), weight)].into(),
    /// };
    /// saved.write(&path)?;
    /// assert_eq!(Checkpoint::<f32>::read(&path)?, saved);
    /// assert!(Checkpoint::<f64>::read(&path).is_err());
    /// # std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn write(&self, path: &Path) -> Result<(), CommandError> {
        let bytes: BTreeMap<&str, (Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, tensor)| {
                (name.as_str(), (tensor.dims().to_vec(), to_bytes(tensor.data())))
            })
            .collect();
        let mut views = Vec::with_capacity(bytes.len());
        for (name, (shape, data)) in &bytes {
            let view = TensorView::new(dtype::<F>(), shape.clone(), data);
            views.push((
                *name,
                view.map_err(|error| malformed(path, format!("tensor `{name}`: {error}")))?,
            ));
        }
        let mut metadata: HashMap<String, String> = self.metadata.clone().into_iter().collect();
        metadata.insert("format".into(), FORMAT.into());
        metadata.insert("version".into(), VERSION.into());
        metadata.insert(
            SUM.into(),
            check_sum(bytes.iter().map(|(name, (_, data))| (*name, data.as_slice()))),
        );
        let file = safetensors::serialize(views, Some(metadata))
            .map_err(|error| malformed(path, error.to_string()))?;
        write_whole(path, &file)
    }

    /// Reads a checkpoint, and checks it.
    ///
    /// # Errors
    /// A file that cannot be read, is truncated or damaged, is no checkpoint of this program, or
    /// holds numbers of another precision.
    pub fn read(path: &Path) -> Result<Self, CommandError> {
        let bytes = read_file(path)?;
        let metadata = parse_metadata(path, &bytes)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| unreadable(path, &error))?;
        let mut views: BTreeMap<String, TensorView<'_>> = BTreeMap::new();
        views.extend(file.tensors());
        let sum = check_sum(views.iter().map(|(name, view)| (name.as_str(), view.data())));
        if metadata.get(SUM) != Some(&sum) {
            return Err(malformed(
                path,
                "the numbers do not match their check sum: the file is damaged",
            ));
        }
        let mut tensors = BTreeMap::new();
        for (name, view) in views {
            if view.dtype() != dtype::<F>() {
                let what = format!(
                    "tensor `{name}` holds {:?}, not {:?}: give the precision it was saved with",
                    view.dtype(),
                    dtype::<F>()
                );
                return Err(malformed(path, what));
            }
            let tensor = HostTensor::new(view.shape(), from_bytes(view.data()));
            let tensor =
                tensor.map_err(|error| malformed(path, format!("tensor `{name}`: {error}")))?;
            tensors.insert(name, tensor);
        }
        let metadata = metadata
            .into_iter()
            .filter(|(key, _)| !matches!(key.as_str(), "format" | "version" | SUM))
            .collect();
        Ok(Self { metadata, tensors })
    }
}

/// Reads what a checkpoint says of itself, without its tensors.
///
/// # Errors
/// A file that cannot be read, is truncated, or is no checkpoint of this program.
pub fn read_metadata(path: &Path) -> Result<BTreeMap<String, String>, CommandError> {
    let bytes = read_file(path)?;
    // The tensors' places are checked too, so that a truncated file is found out here.
    SafeTensors::deserialize(&bytes).map_err(|error| unreadable(path, &error))?;
    parse_metadata(path, &bytes)
}

fn parse_metadata(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, String>, CommandError> {
    let (_, header) =
        SafeTensors::read_metadata(bytes).map_err(|error| unreadable(path, &error))?;
    let metadata: BTreeMap<String, String> =
        header.metadata().clone().unwrap_or_default().into_iter().collect();
    if metadata.get("format").map(String::as_str) != Some(FORMAT) {
        return Err(malformed(
            path,
            "it is a safetensors file, but no checkpoint: give a file that --save wrote",
        ));
    }
    match metadata.get("version").map(String::as_str) {
        Some(VERSION) => Ok(metadata),
        other => {
            let what = format!(
                "it is a checkpoint of version {}, and this program reads version {VERSION}",
                other.unwrap_or("unknown")
            );
            Err(malformed(path, what))
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, CommandError> {
    fs::read(path).map_err(|error| CommandError::io("read", path, &error))
}

fn unreadable(path: &Path, error: &safetensors::SafeTensorError) -> CommandError {
    malformed(
        path,
        format!(
            "it is no whole safetensors file ({error}): it is damaged, truncated, or of another \
             kind"
        ),
    )
}

/// The CRC-32 of names and numbers, in order of the names.
fn check_sum<'a>(tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut sum = flate2::Crc::new();
    for (name, data) in tensors {
        sum.update(name.as_bytes());
        sum.update(data);
    }
    format!("{:08x}", sum.sum())
}
