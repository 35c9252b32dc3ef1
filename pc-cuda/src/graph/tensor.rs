//! Device tensors in explicit graphs.

use pc_core::{
    Activation, Chain, Result, Tensor,
    backend::{GraphTensor, Vertex},
};

use crate::{
    device::{self, Family},
    graph::{activation::activate, moves},
    params::Lay,
    tensor::{DeviceTensor, Operation, int},
};

/// The length of a tensor's blocks from `axis` on (counted without the batch), as the number of
/// blocks, their elements along the axis, and the numbers of each.
fn blocks(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    let (before, rest) = shape.split_at((axis + 1).min(shape.len()));
    let (length, inner) =
        rest.split_first().map_or((1, &[][..]), |(length, inner)| (*length, inner));
    (before.iter().product(), length, inner.iter().product())
}

impl DeviceTensor {
    /// Copies elements along an axis: so many, from there in the source (zeros where there is
    /// none) to here.
    fn lay(&mut self, source: Option<(&Self, usize)>, axis: usize, start: usize, length: usize) {
        let (outer, whole, inner) = blocks(self.dims(), axis);
        let launch = || {
            let (input, in_whole, in_start) = match source {
                Some((source, from)) => {
                    self.check_like(source)?;
                    (moves::place(source)?, blocks(source.dims(), axis).1, from)
                }
                None => (0, 0, 0),
            };
            let params = Lay {
                input,
                out: moves::place(self)?,
                outer: int(outer),
                length: int(length),
                inner: int(inner),
                out_whole: int(whole),
                out_start: int(start),
                in_whole: int(in_whole),
                in_start: int(in_start),
                unused: 0,
            };
            let count = outer * length * inner;
            moves::each(self.device(), Family::Layers, "pc_layer_copy", count, &params)
        };
        self.device().attempt(launch);
    }
}

impl GraphTensor for DeviceTensor {
    type Vertex = Box<dyn Vertex<Self>>;

    fn boxed(vertex: impl Vertex<Self> + Send + Sync + 'static) -> Self::Vertex {
        Box::new(vertex)
    }

    fn chained(chain: Chain<Self>) -> Self::Vertex {
        Box::new(chain)
    }

    fn failure() -> Result<()> {
        device::failure()
    }

    fn step_ends(&self) -> Result<()> {
        self.device().flush()
    }

    fn length(&self, axis: usize) -> usize {
        self.dims().get(axis + 1).copied().unwrap_or(1)
    }

    fn set_product(&mut self, a: &Self, b: &Self) {
        self.map(Operation::Product, Some(a), Some(b), None, 0.0, 0.0);
    }

    fn add_product(&mut self, a: &Self, b: &Self) {
        self.map(Operation::AddProduct, Some(a), Some(b), None, 0.0, 0.0);
    }

    fn set_activation(
        &mut self,
        derivative: &mut Self,
        f: Activation,
        a: &Self,
        d: Option<&Self>,
    ) -> Result<()> {
        activate(f, a, d, derivative, self)
    }

    fn add_to_samples(&mut self, a: f64, x: &Self) {
        self.device().attempt(|| self.check_like(x).and_then(|()| moves::tile(self, x, 1, a)));
    }

    fn add_samples(&mut self, a: f64, x: &Self) {
        self.device()
            .attempt(|| self.check_like(x).and_then(|()| moves::sums(self, x, None, 1, a)));
    }

    fn set_slice(&mut self, source: &Self, axis: usize, start: usize) {
        let length = self.length(axis);
        self.lay(Some((source, start)), axis, 0, length);
    }

    fn set_joined<'a>(
        &mut self,
        axis: usize,
        parts: impl Iterator<Item = (usize, Option<&'a Self>)>,
    ) where
        Self: 'a,
    {
        let mut start = 0;
        for (length, part) in parts {
            self.lay(part.map(|part| (part, 0)), axis, start, length);
            start += length;
        }
    }

    fn set_reshaped(&mut self, source: &Self) {
        self.copy_from(source);
    }

    fn set_swapped(&mut self, source: &Self) {
        let &[batch, a, b, ref inner @ ..] = source.dims() else {
            // The vertex has checked that there are two axes.
            self.fill(f64::NAN);
            return;
        };
        self.device().attempt(|| {
            self.check_like(source)?;
            let places = [moves::place(source)?, moves::place(self)?];
            let sizes = [batch, a, b, inner.iter().product()];
            moves::swap(self.device(), places, sizes)
        });
    }
}
