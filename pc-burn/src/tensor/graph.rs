//! Burn's tensors in explicit graphs: the operations of the vertices that pc-core has written once.

use burn::backend::{Dispatch, TensorMetadata, ops::FloatTensorOps};
use pc_core::{
    Activation, Chain, Error, ErrorKind, Result, Tensor,
    backend::{GraphTensor, Vertex},
};

use super::{failure, fused};
use crate::{
    BurnTensor,
    explicit::activation::{evaluate, on_numbers},
};

impl GraphTensor for BurnTensor {
    type Vertex = Box<dyn Vertex<Self> + Send>;

    fn boxed(vertex: impl Vertex<Self> + Send + Sync + 'static) -> Self::Vertex {
        Box::new(vertex)
    }

    fn chained(chain: Chain<Self>) -> Self::Vertex {
        Box::new(chain)
    }

    fn failure() -> Result<()> {
        failure::take()
    }

    fn length(&self, axis: usize) -> usize {
        self.inner.shape().get(axis + 1).copied().unwrap_or(1)
    }

    fn set_product(&mut self, a: &Self, b: &Self) {
        if !fused::set_product(self, a, b) {
            self.set(a.times(b));
        }
    }

    fn add_product(&mut self, a: &Self, b: &Self) {
        if !fused::add_product(self, a, b) {
            self.axpy(1.0, &a.times(b));
        }
    }

    fn set_activation(
        &mut self,
        derivative: &mut Self,
        f: Activation,
        a: &Self,
        d: Option<&Self>,
    ) -> Result<()> {
        if on_numbers(f, a, d, derivative, self) {
            return Ok(());
        }
        let (result, slope) = evaluate(f, a, d).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("{f:?} is not among this backend's activations"),
            )
        })?;
        derivative.set(slope);
        self.set(result);
        Ok(())
    }

    fn add_to_samples(&mut self, a: f64, x: &Self) {
        if fused::add_to_samples(self, a, x) {
            return;
        }
        let one: Vec<usize> = std::iter::once(1).chain(x.shape()).collect();
        let x = if a == 1.0 { x.shaped(&one) } else { x.scaled(a).shaped(&one) };
        self.update(|own| Dispatch::float_add(own, x.raw()));
    }

    fn add_samples(&mut self, a: f64, x: &Self) {
        if !fused::add_samples(self, a, x) {
            self.axpy(a, &x.sum_over(&[0]).shaped(&self.shape()));
        }
    }

    fn set_slice(&mut self, source: &Self, axis: usize, start: usize) {
        self.set(source.cut(axis + 1, start, self.length(axis)));
    }

    fn set_joined<'a>(
        &mut self,
        axis: usize,
        parts: impl Iterator<Item = (usize, Option<&'a Self>)>,
    ) {
        let mut shape = self.shape();
        let parts: Vec<BurnTensor> = parts
            .filter(|(length, _)| *length > 0)
            .map(|(length, part)| {
                shape[axis + 1] = length;
                part.cloned().unwrap_or_else(|| self.zeros(&shape))
            })
            .collect();
        self.set(Self::joined(&parts, axis + 1));
    }

    fn set_reshaped(&mut self, source: &Self) {
        self.set(source.shaped(&self.shape()));
    }

    fn set_swapped(&mut self, source: &Self) {
        self.set(source.swapped(1, 2));
    }
}
