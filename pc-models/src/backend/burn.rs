//! Burn's tensors.

use burn::tensor::{DType, Device};
use pc_burn::{
    BurnTensor,
    explicit::{Activate, BurnVertex, Linear},
};
use pc_core::{Activation, Chain, Error, ErrorKind, Result, SumOf, backend::GraphTensor};

use super::Backend;
use crate::Dense;

/// Burn's tensors on one of its devices.
///
/// # Example
/// ```
/// use burn::tensor::{DType, Device};
/// use pc_core::Tensor;
/// use pc_models::{Backend, Burn};
/// let burn = Burn::new(&Device::default(), DType::F32);
/// assert_eq!(burn.tensor(&[2, 1], &[0.5, 2.0])?.to_vec(), [0.5, 2.0]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Burn {
    device: Device,
    dtype: DType,
}

impl Burn {
    /// On this device, in this precision.
    pub fn new(device: &Device, dtype: DType) -> Self {
        Self { device: device.clone(), dtype }
    }
}

fn joined(links: Vec<BurnVertex>) -> Result<BurnVertex> {
    Ok(BurnTensor::chained(Chain::new(links)?))
}

impl Backend for Burn {
    type Tensor = BurnTensor;

    fn tensor(&self, shape: &[usize], numbers: &[f64]) -> Result<BurnTensor> {
        BurnTensor::from_values(shape, numbers, &self.device, self.dtype)
    }

    fn dense(&self, layer: &Dense, parents: usize) -> Result<BurnVertex> {
        if parents == 0 {
            return Err(Error::new(ErrorKind::Graph, "a dense layer needs a parent"));
        }
        let map = |k: usize| {
            let bias = layer.bias && k + 1 == parents;
            let own = if bias { Linear::new() } else { Linear::without_bias() };
            let mut links: Vec<BurnVertex> = Vec::new();
            if layer.before != Activation::Identity {
                links.push(Box::new(Activate(layer.before)));
            }
            links.push(Box::new(own.transposed()));
            joined(links)
        };
        let mut maps = (0..parents).map(map).collect::<Result<Vec<_>>>()?;
        let sum = if parents == 1 { maps.remove(0) } else { self.sum_of(maps) };
        if layer.after == Activation::Identity {
            return Ok(sum);
        }
        joined(vec![sum, Box::new(Activate(layer.after))])
    }

    fn sum_of(&self, parts: Vec<BurnVertex>) -> BurnVertex {
        Box::new(SumOf::new(parts))
    }
}
