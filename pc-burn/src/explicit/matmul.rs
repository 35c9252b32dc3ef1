//! Products of matrices.

use pc_core::{Result, Tensor, backend::Vertex};

use super::{
    At, Kept, Pulls,
    parts::{graph, shape},
};
use crate::BurnTensor;

/// `mu = scale A B`, or `scale A B^T`, for two parents whose last two axes are matrices and whose
/// axes before agree. No parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatMul {
    /// Whether the second parent enters transposed.
    pub transpose_b: bool,
    /// A constant factor.
    pub scale: f64,
}

impl Default for MatMul {
    /// `A B`.
    fn default() -> Self {
        Self { transpose_b: false, scale: 1.0 }
    }
}

impl MatMul {
    fn product(&self, a: &BurnTensor, b: &BurnTensor) -> BurnTensor {
        let mut product =
            if self.transpose_b { a.matrix_product(&b.transposed()) } else { a.matrix_product(b) };
        if self.scale != 1.0 {
            product.scale(self.scale);
        }
        product
    }
}

impl Vertex<BurnTensor> for MatMul {
    fn kind(&self) -> &str {
        "matmul"
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let [a, b] = parents else {
            return Err(graph(format!("a matmul vertex takes two parents, not {}", parents.len())));
        };
        if !self.scale.is_finite() {
            return Err(graph(format!(
                "the factor of a matmul vertex must be finite, not {}",
                self.scale
            )));
        }
        let (([a_outer @ .., m, k], [b_outer @ .., p, q]), transpose) = ((a, b), self.transpose_b)
        else {
            return Err(shape(format!(
                "a matmul vertex takes parents with two axes or more, not {a:?} and {b:?}"
            )));
        };
        let (inner, n) = if transpose { (q, p) } else { (p, q) };
        if a_outer != b_outer || k != inner {
            let form = if transpose { "A B^T" } else { "A B" };
            return Err(shape(format!(
                "the parents {a:?} and {b:?} of a matmul vertex have no product {form}"
            )));
        }
        Ok(a_outer.iter().copied().chain([*m, *n]).collect())
    }

    fn predict(&self, at: &At<'_>, _cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        at.agree()?;
        output.set(self.product(at.value(0), at.value(1)));
        Ok(())
    }

    /// `(A + dA) (B + dB) - A B = dA (B + dB) + A dB`.
    fn change(
        &self,
        at: &At<'_>,
        _cache: &mut Kept,
        _predicted: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        match (
            at.displacement(0).map(|d| self.product(d, at.value(1))),
            at.displacement(1).map(|d| self.product(at.reference(0), d)),
        ) {
            (Some(mut a), Some(b)) => {
                a.axpy(1.0, &b);
                output.set(a);
            }
            (Some(only), None) | (None, Some(only)) => output.set(only),
            (None, None) => output.fill(0.0),
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &At<'_>,
        _cache: &mut Kept,
        cotangent: &BurnTensor,
        pulled: &mut Pulls<'_>,
    ) -> Result<()> {
        let (a, b) = (at.value(0), at.value(1));
        if let Some(force) = pulled.force(0) {
            force.set(if self.transpose_b {
                cotangent.matrix_product(b)
            } else {
                cotangent.matrix_product(&b.transposed())
            });
            force.scale(self.scale);
        }
        if let Some(force) = pulled.force(1) {
            force.set(if self.transpose_b {
                cotangent.transposed().matrix_product(a)
            } else {
                a.transposed().matrix_product(cotangent)
            });
            force.scale(self.scale);
        }
        Ok(())
    }
}
