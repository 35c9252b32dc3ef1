//! Weights as safetensors.

use std::collections::HashMap;

use pc_core::{ErrorKind, Result, Tensor};
use safetensors::{Dtype, SafeTensors, serialize, tensor::TensorView};

use crate::net::{FusedNet, error};

impl FusedNet {
    /// The parameters as a safetensors file in memory, by their names, `f32`.
    ///
    /// # Errors
    /// What the device reports.
    pub fn to_safetensors(&self) -> Result<Vec<u8>> {
        let mut held = Vec::with_capacity(self.parameters.len());
        for parameter in &self.parameters {
            let bytes: Vec<u8> =
                parameter.numbers()?.into_iter().flat_map(f32::to_le_bytes).collect();
            held.push((parameter.shape(), bytes));
        }
        let mut views = Vec::with_capacity(held.len());
        for (name, (shape, bytes)) in self.topology.parameter_names().iter().zip(&held) {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes)
                .map_err(|e| error(ErrorKind::Backend, e.to_string()))?;
            views.push((name.as_str(), view));
        }
        serialize(views, None).map_err(|e| error(ErrorKind::Backend, e.to_string()))
    }

    /// Sets the parameters from a safetensors file in memory (`f32` or `f64`), by their names;
    /// further tensors in it are left alone. Nothing is set where any does not fit.
    ///
    /// # Errors
    /// Bytes that are no such file; a parameter that is missing, of another shape or type, or not
    /// finite; what the device reports.
    pub fn load_safetensors(&mut self, bytes: &[u8]) -> Result<()> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|e| error(ErrorKind::Backend, format!("not a safetensors file: {e}")))?;
        let found: HashMap<String, TensorView<'_>> = file.tensors().into_iter().collect();
        let mut numbers = Vec::with_capacity(self.parameters.len());
        for (name, parameter) in self.topology.parameter_names().iter().zip(&self.parameters) {
            let wrong =
                |kind, what: String| Err(error(kind, format!("parameter `{name}`: {what}")));
            let Some(view) = found.get(name) else {
                return wrong(ErrorKind::Shape, "the file does not have it".to_owned());
            };
            if view.shape() != parameter.dims() {
                return wrong(
                    ErrorKind::Shape,
                    format!("the file has shape {:?}, not {:?}", view.shape(), parameter.dims()),
                );
            }
            let own: Vec<f32> = match view.dtype() {
                Dtype::F32 => view
                    .data()
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|word| f32::from_le_bytes(*word))
                    .collect(),
                Dtype::F64 => view
                    .data()
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .map(|word| f64::from_le_bytes(*word) as f32)
                    .collect(),
                other => {
                    return wrong(
                        ErrorKind::Unsupported,
                        format!("the file has {other:?}, not F32 or F64"),
                    );
                }
            };
            if own.iter().any(|x| !x.is_finite()) {
                return wrong(
                    ErrorKind::NotFinite,
                    "a number in the file is not finite".to_owned(),
                );
            }
            numbers.push(own);
        }
        for (parameter, own) in self.parameters.iter_mut().zip(numbers) {
            parameter.set_numbers(&own)?;
        }
        Ok(())
    }
}
