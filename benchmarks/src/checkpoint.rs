//! Checkpoints: named tensors and a few words about them, in one safetensors file.
//!
//! Any safetensors reader can open them. A file appears whole or not at all, carries a check sum of
//! every byte of it, and is refused with a message that says what is wrong where it is truncated,
//! damaged, of another kind or of another version.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::ops::Range;
use std::path::Path;

use pc_core::host::{Element, HostTensor};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{error::CommandError, places::write_whole};

/// What the metadata entry `format` of a checkpoint says.
pub const FORMAT: &str = "pc-bench checkpoint";

/// The version of the format, in the metadata entry `version`.
pub const VERSION: &str = "2";

const SUM: &str = "crc32";

/// How the check sum begins in the header. Its eight digits follow. No other key or word of the
/// header reads like this: quotes inside of words are escaped, and tensors are objects.
const SUM_BEGINS: &[u8] = b"\"crc32\":\"";

/// The digits that stand for the check sum while it is computed.
const NO_SUM: &str = "00000000";

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
        metadata.insert(SUM.into(), NO_SUM.into());
        let mut file = safetensors::serialize(views, Some(metadata))
            .map_err(|error| malformed(path, error.to_string()))?;
        let place = sum_place(&file)
            .ok_or_else(|| malformed(path, "there is no room for its check sum"))?;
        let sum = check_sum(&file, &place);
        file[place].copy_from_slice(sum.as_bytes());
        write_whole(path, &file)
    }

    /// Reads a checkpoint, and checks it.
    ///
    /// # Errors
    /// A file that cannot be read, is truncated or damaged, is no checkpoint of this program, or
    /// holds numbers of another precision.
    pub fn read(path: &Path) -> Result<Self, CommandError> {
        let bytes = read_file(path)?;
        Self::from_bytes(path, &bytes)
    }

    /// Reads a checkpoint from the bytes of a file; messages name `path`.
    ///
    /// # Errors
    /// As [`Checkpoint::read`].
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Self, CommandError> {
        let (metadata, file) = parse(path, bytes)?;
        let mut views: BTreeMap<String, TensorView<'_>> = BTreeMap::new();
        views.extend(file.tensors());
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

/// Reads what a checkpoint says of itself, without its tensors. All of the file is checked.
///
/// # Errors
/// As [`Checkpoint::read`], but for the precision.
pub fn read_metadata(path: &Path) -> Result<BTreeMap<String, String>, CommandError> {
    let bytes = read_file(path)?;
    let (metadata, _) = parse(path, &bytes)?;
    Ok(metadata)
}

/// What the file says of itself, and its tensors; every byte is as it was written.
fn parse<'a>(
    path: &Path,
    bytes: &'a [u8],
) -> Result<(BTreeMap<String, String>, SafeTensors<'a>), CommandError> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| unreadable(path, &error))?;
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
    let version = metadata.get("version").map_or("unknown", String::as_str);
    if version != VERSION {
        let what = format!(
            "it is a checkpoint of version {version}, and this program reads version {VERSION}"
        );
        return Err(malformed(path, what));
    }
    let sum = sum_place(bytes).map(|place| check_sum(bytes, &place));
    if sum.is_none() || sum.as_ref() != metadata.get(SUM) {
        return Err(malformed(
            path,
            "its contents do not match their check sum: the file is damaged",
        ));
    }
    Ok((metadata, file))
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

/// Where the digits of the check sum stand in a file.
fn sum_place(file: &[u8]) -> Option<Range<usize>> {
    let length = usize::try_from(u64::from_le_bytes(*file.first_chunk()?)).ok()?;
    let header = file.get(8..)?.get(..length)?;
    let found = header.windows(SUM_BEGINS.len()).position(|part| part == SUM_BEGINS)?;
    let start = 8 + found + SUM_BEGINS.len();
    let place = start..start + NO_SUM.len();
    file.get(place.clone()).map(|_| place)
}

/// The CRC-32 of a file whose check sum stands at `place`: of every byte, with zeros for its
/// digits. So whatever single byte changes, the sum no longer fits.
fn check_sum(file: &[u8], place: &Range<usize>) -> String {
    let mut sum = flate2::Crc::new();
    sum.update(&file[..place.start]);
    sum.update(NO_SUM.as_bytes());
    sum.update(&file[place.end..]);
    format!("{:08x}", sum.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> Checkpoint<f32> {
        let tensor = |dims: &[usize]| {
            let count = dims.iter().product::<usize>();
            HostTensor::new(dims, (0..count).map(|k| k as f32 / 7.0).collect()).unwrap()
        };
        let words = [("seed", "0"), ("samples", "320"), ("crc", "\"crc32\":\"12345678")];
        Checkpoint {
            metadata: words.map(|(key, word)| (key.to_owned(), word.to_owned())).into(),
            tensors: [("a.weight".into(), tensor(&[8, 5])), ("a.bias".into(), tensor(&[8]))].into(),
        }
    }

    fn bytes(saved: &Checkpoint<f32>) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.safetensors");
        saved.write(&path).unwrap();
        fs::read(&path).unwrap()
    }

    /// Ten thousand and more: every bit of several files, whose headers differ in their order.
    #[test]
    fn a_flipped_bit_anywhere_is_refused() {
        let (saved, path) = (saved(), Path::new("run.safetensors"));
        let mut tried = 0;
        while tried < 10_000 {
            let good = bytes(&saved);
            assert_eq!(Checkpoint::from_bytes(path, &good).unwrap(), saved);
            for bit in 0..8 * good.len() {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let found = Checkpoint::<f32>::from_bytes(path, &bad);
                assert!(found.is_err(), "bit {bit} is not missed");
                tried += 1;
            }
        }
    }

    #[test]
    fn a_flipped_seed_is_damage_and_not_another_run() {
        let good = bytes(&saved());
        let seed = b"\"seed\":\"0\"";
        let at = good.windows(seed.len()).position(|part| part == seed).unwrap();
        let mut bad = good.clone();
        bad[at + seed.len() - 2] = b'8';
        let error = Checkpoint::<f32>::from_bytes(Path::new("run"), &bad).unwrap_err();
        assert!(error.to_string().contains("check sum"), "{error}");
    }

    #[test]
    fn a_checkpoint_without_tensors_can_be_read() {
        let saved = Checkpoint::<f32> { tensors: BTreeMap::new(), ..saved() };
        let found = Checkpoint::from_bytes(Path::new("run"), &bytes(&saved));
        assert_eq!(found.unwrap(), saved);
    }
}
