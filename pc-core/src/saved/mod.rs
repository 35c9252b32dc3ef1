//! Named tensors in a safetensors file.

mod whole;

use std::{collections::HashMap, fs, io::Write, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{
    Error, Result,
    numbers::{Named, Numbers},
};

/// The one entry of a file's metadata. There is one alone, so that the same contents give the same
/// bytes: further ones would be written in any order.
const ENTRY: &str = "pc-core";

/// What the entry says of a file without an optimiser; with one, its kind follows.
const VERSION: &str = "1";

/// The name that the format keeps for itself.
const RESERVED: &str = "__metadata__";

/// What a file holds.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Saved {
    /// The optimiser whose state is there too.
    pub(crate) optimiser: Option<String>,
    pub(crate) tensors: Named,
}

fn about(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::file(format!("{}: {what}", path.display()))
}

impl Saved {
    /// Adds a tensor.
    ///
    /// # Errors
    /// A name that is taken or that the format keeps for itself; a number that is not finite.
    pub(crate) fn put(&mut self, name: &str, shape: Vec<usize>, numbers: Vec<f64>) -> Result<()> {
        if name == RESERVED {
            return Err(Error::file(format!("no tensor of a file can be called `{RESERVED}`")));
        }
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err(Error::not_finite(format!(
                "a number of `{name}` is not finite, so nothing is saved"
            )));
        }
        match self.tensors.insert(name.to_owned(), Numbers { shape, numbers }) {
            None => Ok(()),
            Some(_) => Err(Error::file(format!("two tensors would be saved as `{name}`"))),
        }
    }

    /// Writes the file, whole or not at all: in f32 where that loses nothing, else in f64.
    ///
    /// # Errors
    /// The file cannot be written; what was there before is still there.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut all = self.tensors.values().flat_map(|tensor| &tensor.numbers);
        let short = all.all(|number| f64::from(*number as f32).to_bits() == number.to_bits());
        let dtype = if short { Dtype::F32 } else { Dtype::F64 };
        let bytes = |numbers: &[f64]| -> Vec<u8> {
            if short {
                numbers.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect()
            } else {
                numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
            }
        };
        let data: Vec<Vec<u8>> = self.tensors.values().map(|held| bytes(&held.numbers)).collect();
        let mut views = Vec::with_capacity(data.len());
        for ((name, held), data) in self.tensors.iter().zip(&data) {
            let view = TensorView::new(dtype, held.shape.clone(), data);
            views.push((name, view.map_err(|error| about(path, error))?));
        }
        let entry = match &self.optimiser {
            None => VERSION.to_owned(),
            Some(kind) => format!("{VERSION} {kind}"),
        };
        let metadata = HashMap::from([(ENTRY.to_owned(), entry)]);
        let file =
            safetensors::serialize(views, Some(metadata)).map_err(|error| about(path, error))?;
        whole::write_whole(path, |to| to.write_all(&file))
            .map_err(|error| about(path, format!("it cannot be written: {error}")))
    }

    /// Reads a file. One that another program has written will do, if its tensors are of f32 or
    /// f64.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged or of another kind or version, or holds numbers of
    /// another type or that are not finite.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes =
            fs::read(path).map_err(|error| about(path, format!("it cannot be read: {error}")))?;
        let damaged = |error| about(path, format!("it is no whole safetensors file ({error})"));
        let file = SafeTensors::deserialize(&bytes).map_err(damaged)?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(damaged)?;
        let entry = header.metadata().as_ref().and_then(|metadata| metadata.get(ENTRY));
        let mut words = entry.map_or(VERSION, String::as_str).splitn(2, ' ');
        let version = words.next().unwrap_or_default();
        if version != VERSION {
            let what = format!("it is of version {version}, and version {VERSION} is read here");
            return Err(about(path, what));
        }
        let mut saved = Self { optimiser: words.next().map(str::to_owned), ..Self::default() };
        for (name, view) in file.iter() {
            let numbers: Vec<f64> = match view.dtype() {
                Dtype::F32 => {
                    let each = view.data().as_chunks().0.iter();
                    each.map(|number| f64::from(f32::from_le_bytes(*number))).collect()
                }
                Dtype::F64 => {
                    let each = view.data().as_chunks().0.iter();
                    each.map(|number| f64::from_le_bytes(*number)).collect()
                }
                other => {
                    let what = format!("`{name}` is of {other:?}, and F32 and F64 are read here");
                    return Err(about(path, what));
                }
            };
            if numbers.iter().any(|number| !number.is_finite()) {
                return Err(Error::not_finite(format!(
                    "{}: a number of `{name}` is not finite",
                    path.display()
                )));
            }
            saved
                .tensors
                .insert(name.to_owned(), Numbers { shape: view.shape().to_vec(), numbers });
        }
        Ok(saved)
    }
}
