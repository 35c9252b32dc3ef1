//! The host's tensors.

use std::marker::PhantomData;

use pc_core::{
    Result, SumOf,
    host::{self, Element, HostTensor, HostVertex, Layer},
};

use super::Backend;
use crate::Dense;

/// Plain Rust on the CPU, in `f32` or `f64`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host<F>(PhantomData<F>);

impl<F: Element> Host<F> {
    /// In this precision.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<F: Element> Backend for Host<F> {
    type Tensor = HostTensor<F>;

    fn tensor(&self, shape: &[usize], numbers: &[f64]) -> Result<HostTensor<F>> {
        HostTensor::new(shape, numbers.iter().map(|x| F::of(*x)).collect())
    }

    fn dense(&self, layer: &Dense, parents: usize) -> Result<HostVertex<F>> {
        let own =
            host::Dense::new(layer.outputs).activation_before(layer.before).activation(layer.after);
        let own = if layer.bias { own } else { own.without_bias() };
        Layer::<F>::vertex(&own, parents)
    }

    fn sum_of(&self, parts: Vec<HostVertex<F>>) -> HostVertex<F> {
        Box::new(SumOf::new(parts))
    }
}
