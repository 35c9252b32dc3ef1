//! libtorch's tensors.

use pc_core::{Activation, Error, ErrorKind, Result, SumOf, backend::Vertex};
use pc_tch::{Function, TchTensor};
use tch::{Device, Kind, TchError, Tensor};

use super::Backend;
use crate::Dense;

/// libtorch's tensors of one kind, on one device.
///
/// # Example
/// ```
/// use pc_core::Tensor;
/// use pc_models::{Backend, Tch};
/// let tch = Tch::new(tch::Kind::Double, tch::Device::Cpu);
/// assert_eq!(tch.tensor(&[2, 1], &[0.5, 2.0])?.to_vec(), [0.5, 2.0]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Tch {
    options: (Kind, Device),
}

impl Tch {
    /// Of this kind, on this device.
    pub fn new(kind: Kind, device: Device) -> Self {
        Self { options: (kind, device) }
    }
}

fn reported(error: TchError) -> Error {
    Error::new(ErrorKind::Backend, error.to_string())
}

type Made = std::result::Result<Tensor, TchError>;

fn activated(f: Activation, x: &Tensor) -> Made {
    match f {
        Activation::Identity => Ok(x.shallow_clone()),
        Activation::Relu => x.f_relu(),
        Activation::LeakyRelu(slope) => {
            x.f_relu()?.f_add(&x.f_clamp_max(0.0)?.f_multiply_scalar(slope)?)
        }
        Activation::HardTanh => x.f_hardtanh(),
        Activation::Tanh => x.f_tanh(),
        Activation::Sigmoid => x.f_sigmoid(),
        Activation::Gelu => x.f_gelu("none"),
        Activation::Silu => x.f_silu(),
        Activation::Softplus => x.f_softplus(),
        other => Err(TchError::Kind(format!("the activation {other:?} is not known here"))),
    }
}

impl Backend for Tch {
    type Tensor = TchTensor;

    fn tensor(&self, shape: &[usize], numbers: &[f64]) -> Result<TchTensor> {
        if numbers.len() != shape.iter().product::<usize>() {
            let count = numbers.len();
            return Err(Error::new(
                ErrorKind::Shape,
                format!("{count} numbers do not fill the shape {shape:?}"),
            ));
        }
        let sizes: Vec<i64> = shape.iter().map(|n| *n as i64).collect();
        let made = Tensor::f_from_slice(numbers)
            .and_then(|flat| flat.f_reshape(&sizes))
            .and_then(|wide| wide.f_to_kind(self.options.0))
            .and_then(|own| own.f_to_device(self.options.1));
        Ok(TchTensor::new(&made.map_err(reported)?))
    }

    fn dense(&self, layer: &Dense, parents: usize) -> Result<Box<dyn Vertex<TchTensor>>> {
        if parents == 0 {
            return Err(Error::new(ErrorKind::Graph, "a dense layer needs a parent"));
        }
        let (before, after, bias) = (layer.before, layer.after, layer.bias);
        let compute = move |x: &[Tensor], p: &[Tensor]| -> Made {
            let mut sum: Option<Tensor> = None;
            for (x, weight) in x.iter().zip(p) {
                let part = activated(before, x)?.f_matmul(&weight.f_transpose(0, 1)?)?;
                sum = Some(match sum {
                    Some(sum) => sum.f_add(&part)?,
                    None => part,
                });
            }
            let sum = sum.ok_or_else(|| TchError::Kind("no parent".to_owned()))?;
            match p.last() {
                Some(shift) if bias => activated(after, &sum.f_add(shift)?),
                _ => activated(after, &sum),
            }
        };
        let parameters = parents + usize::from(bias);
        Ok(Box::new(Function::new("dense", self.options, parameters, compute)))
    }

    fn sum_of(&self, parts: Vec<Box<dyn Vertex<TchTensor>>>) -> Box<dyn Vertex<TchTensor>> {
        Box::new(SumOf::new(parts))
    }
}
