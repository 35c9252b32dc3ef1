//! libtorch's tensors in explicit graphs: the operations of the vertices that pc-core has written
//! once. Each makes a new tensor, or another view of one that nothing writes to.

use pc_core::{
    Chain, Tensor as _,
    backend::{GraphTensor, Vertex},
};
use tch::{Kind, Tensor};

use crate::tensor::{TchTensor, sizes};

/// libtorch counts the batch among the axes.
fn with_batch(axis: usize) -> i64 {
    i64::try_from(axis).map_or(i64::MAX, |axis| axis.saturating_add(1))
}

fn size(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

impl GraphTensor for TchTensor {
    type Vertex = Box<dyn Vertex<Self>>;

    fn boxed(vertex: impl Vertex<Self> + Send + Sync + 'static) -> Self::Vertex {
        Box::new(vertex)
    }

    fn chained(chain: Chain<Self>) -> Self::Vertex {
        Box::new(chain)
    }

    fn set_product(&mut self, a: &Self, b: &Self) {
        self.put(a.tensor().f_mul(b.tensor()));
    }

    fn add_product(&mut self, a: &Self, b: &Self) {
        self.put(self.tensor().f_addcmul(a.tensor(), b.tensor()));
    }

    fn add_to_samples(&mut self, a: f64, x: &Self) {
        let term =
            if a == 1.0 { Ok(x.tensor().shallow_clone()) } else { x.tensor().f_mul_scalar(a) };
        self.put(term.and_then(|term| self.tensor().f_add(&term)));
    }

    fn add_samples(&mut self, a: f64, x: &Self) {
        let sum = x.tensor().f_sum_dim_intlist(0, false, None::<Kind>);
        self.put(sum.and_then(|sum| self.tensor().f_add(&sum.f_mul_scalar(a)?)));
    }

    fn set_slice(&mut self, source: &Self, axis: usize, start: usize) {
        let length = size(self.length(axis));
        self.put(source.tensor().f_narrow(with_batch(axis), size(start), length));
    }

    fn set_joined<'a>(
        &mut self,
        axis: usize,
        parts: impl Iterator<Item = (usize, Option<&'a Self>)>,
    ) {
        let mut shape = self.shape();
        let parts: Vec<Tensor> = parts
            .map(|(length, part)| {
                if let (Some(own), None) = (shape.get_mut(axis + 1), part) {
                    *own = length;
                }
                part.map_or_else(|| self.zeros(&shape), Self::clone).tensor().shallow_clone()
            })
            .collect();
        self.put(Tensor::f_cat(&parts, with_batch(axis)));
    }

    fn set_reshaped(&mut self, source: &Self) {
        self.put(source.tensor().f_reshape(sizes(&self.shape())));
    }

    fn set_swapped(&mut self, source: &Self) {
        self.put(source.tensor().f_transpose(1, 2));
    }
}
