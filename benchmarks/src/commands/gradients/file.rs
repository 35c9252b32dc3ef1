//! The file that a net comes in: which tensors it must hold, and what is refused.

use std::{collections::BTreeSet, fs, path::Path};

use pc_core::{Tensor, host::HostTensor};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{
    contract::gradients::{LayerChain, Number},
    error::CommandError,
};

/// A file that has been read, with its header checked.
#[derive(Debug)]
pub(super) struct NetFile<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
}

/// Reads all bytes of a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    fs::read(path).map_err(|error| CommandError::io("read", path, &error))
}

impl<'a> NetFile<'a> {
    /// Checks the header of a file's bytes.
    pub(super) fn open(path: &'a Path, bytes: &'a [u8]) -> Result<Self, CommandError> {
        match SafeTensors::deserialize(bytes) {
            Ok(tensors) => Ok(Self { path, tensors }),
            Err(error) => Err(CommandError::input(format!(
                "{}: not a whole safetensors file ({error}); was it cut short?",
                path.display()
            ))),
        }
    }

    /// The type that all tensors share.
    pub(super) fn dtype(&self) -> Result<Dtype, CommandError> {
        let first = self.tensor("x")?.dtype();
        if matches!(first, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16) {
            Ok(first)
        } else {
            Err(self
                .wrong(format!("`x` holds {first:?} numbers; they must be F32, F64, F16 or BF16")))
        }
    }

    /// Whether a layer has a bias. A layer without one has none, and a gradient of none.
    pub(super) fn has_bias(&self, layer: usize) -> bool {
        self.tensors.tensor(&format!("layers.{layer}.bias")).is_ok()
    }

    /// Reads and checks the whole net.
    pub(super) fn net<F: Number>(&self) -> Result<LayerChain<F>, CommandError> {
        let (count, ignored) = self.layer_count()?;
        let x = self.matrix::<F>("x", "[batch, in]")?;
        let y = self.matrix::<F>("y", "[batch, out]")?;
        let (batch, mut width) = (x.dims()[0], x.dims()[1]);
        if y.dims()[0] != batch {
            return Err(
                self.wrong(format!("`x` holds a batch of {batch}, `y` one of {}", y.dims()[0]))
            );
        }
        let mut layers = Vec::with_capacity(count);
        let mut below = "x".to_owned();
        for l in 0..count {
            let name = format!("layers.{l}.weight");
            let weight = self.matrix::<F>(&name, "[out, in]")?;
            let (out, inputs) = (weight.dims()[0], weight.dims()[1]);
            if inputs != width {
                return Err(self.wrong(format!(
                    "`{name}` has shape {:?} and so takes {inputs} inputs, but \
                        {below} gives {width}",
                    [out, inputs]
                )));
            }
            let bias_name = format!("layers.{l}.bias");
            let bias = match self.has_bias(l) {
                true => self.numbers::<F>(&bias_name)?,
                false => HostTensor::zeroed(&[out])?,
            };
            if bias.dims() != [out] {
                return Err(self.wrong(format!(
                    "`{bias_name}` has shape {:?}; beside its weight it must be [{out}]",
                    bias.dims()
                )));
            }
            layers.push((weight, bias));
            (width, below) = (out, format!("layer {l}"));
        }
        if y.dims()[1] != width {
            return Err(self.wrong(format!(
                "`y` has shape {:?}, but {below} gives {width} outputs",
                y.dims()
            )));
        }
        Ok(LayerChain { layers, x, y, ignored })
    }

    /// How many layers the names speak of, and which names speak of none.
    fn layer_count(&self) -> Result<(usize, Vec<String>), CommandError> {
        let mut layers = BTreeSet::new();
        let mut ignored = Vec::new();
        for name in self.tensors.names() {
            if let Some(rest) = name.strip_prefix("layers.") {
                let number = rest.strip_suffix(".weight").or_else(|| rest.strip_suffix(".bias"));
                let number = number.and_then(|number| {
                    number.parse::<usize>().ok().filter(|parsed| parsed.to_string() == number)
                });
                let Some(l) = number else {
                    return Err(self.wrong(format!(
                        "`{name}` is neither `layers.{{l}}.weight` nor \
                        `layers.{{l}}.bias`, with l from 0"
                    )));
                };
                layers.insert(l);
            } else if name != "x" && name != "y" {
                ignored.push(name.to_owned());
            }
        }
        ignored.sort();
        let Some(last) = layers.last() else {
            return Err(self.wrong(
                "it has no layers; it must hold `layers.0.weight`, `layers.0.bias` and so on",
            ));
        };
        if let Some(gap) = (0..*last).find(|l| !layers.contains(l)) {
            return Err(self.wrong(format!(
                "layer {gap} is missing (there is a layer {last}); l counts from 0 without gaps"
            )));
        }
        Ok((layers.len(), ignored))
    }

    fn matrix<F: Number>(&self, name: &str, form: &str) -> Result<HostTensor<F>, CommandError> {
        let tensor = self.numbers(name)?;
        match *tensor.dims() {
            [0, _] if form.starts_with("[batch") => {
                Err(self
                    .wrong(format!("`{name}` has shape {:?}: the batch is empty", tensor.dims())))
            }
            [rows, columns] if rows > 0 && columns > 0 => Ok(tensor),
            _ => Err(self.wrong(format!(
                "`{name}` has shape {:?}; it must be {form}, neither of them 0",
                tensor.dims()
            ))),
        }
    }

    fn numbers<F: Number>(&self, name: &str) -> Result<HostTensor<F>, CommandError> {
        let (view, dtype) = (self.tensor(name)?, self.dtype()?);
        if view.dtype() != dtype {
            return Err(self.wrong(format!(
                "`{name}` holds {:?} numbers and `x` {dtype:?}; all must be of one type, F32, F64, \
                 F16 or BF16",
                view.dtype(),
            )));
        }
        let halves = || view.data().as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
        let data: Vec<F> = match dtype {
            Dtype::F16 => halves().map(|bits| F::of(half(bits))).collect(),
            Dtype::BF16 => {
                halves().map(|bits| F::of(f32::from_bits(u32::from(bits) << 16).into())).collect()
            }
            _ => view.data().chunks_exact(size_of::<F>()).map(F::from_bytes).collect(),
        };
        if let Some(index) = data.iter().position(|number| !number.is_finite()) {
            let number = data[index];
            return Err(self.wrong(format!(
                "`{name}` holds {number}, at position {index}; all numbers must be finite"
            )));
        }
        Ok(HostTensor::new(view.shape(), data)?)
    }

    fn tensor(&self, name: &str) -> Result<TensorView<'a>, CommandError> {
        self.tensors.tensor(name).map_err(|_| self.wrong(format!("`{name}` is missing")))
    }

    fn wrong(&self, what: impl std::fmt::Display) -> CommandError {
        CommandError::input(format!("{}: {what}", self.path.display()))
    }
}

/// The number with these bits of IEEE 754's half precision.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2_f64.powi(exponent - 15),
    }
}

/// The bytes of a file with these tensors, in their order of names, and one line about them.
pub(super) fn bytes<F: Number>(
    tensors: &[(String, HostTensor<F>)],
    about: &str,
) -> Result<Vec<u8>, CommandError> {
    let cannot = |error| {
        CommandError::input(format!("cannot put the gradients into a safetensors file: {error}"))
    };
    let raw: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, tensor)| tensor.data().iter().flat_map(|number| number.to_bytes()).collect())
        .collect();
    let mut views = Vec::with_capacity(tensors.len());
    for ((name, tensor), raw) in tensors.iter().zip(&raw) {
        views.push((name, TensorView::new(F::DTYPE, tensor.shape(), raw).map_err(cannot)?));
    }
    safetensors::serialize(views, Some([("pc-bench".to_owned(), about.to_owned())].into()))
        .map_err(cannot)
}

#[cfg(test)]
mod tests {
    use super::half;

    #[test]
    fn halves_are_those_of_the_standard() {
        for (bits, number) in [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x3555, 0.333_251_953_125),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_477_539_063e-8),
            (0x0400, 6.103_515_625e-5),
            (0x8000, 0.0),
            (0xfc00, f64::NEG_INFINITY),
        ] {
            assert_eq!(half(bits), number, "{bits:#06x}");
        }
        assert!(half(0x7e00).is_nan());
    }
}
