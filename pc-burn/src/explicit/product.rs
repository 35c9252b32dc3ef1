//! Products: element by element for gates, and of matrices.

use pc_core::{Error, ErrorKind, Result, Tensor, backend::Vertex, host::Activation};

use super::{
    At, Kept, Pulls,
    activation::{evaluate, on_numbers},
    ops::agree,
    parts::{common, graph, shape},
};
use crate::BurnTensor;

/// `mu = v_0 v_1 + v_2 v_3 + ...`, element by element, over pairs of parents of one shape: a gate,
/// or the new cell state of an LSTM, `f c + i g`. No parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SumOfProducts;

impl Vertex<BurnTensor> for SumOfProducts {
    fn kind(&self) -> &str {
        "sum_of_products"
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        if parents.len() % 2 == 1 {
            return Err(graph(format!(
                "a sum_of_products vertex takes pairs of parents, not {} parents",
                parents.len()
            )));
        }
        common("sum_of_products", parents)
    }

    fn predict(&self, at: &At<'_>, _cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        agree(at)?;
        output.set_product(at.value(0), at.value(1));
        for k in (2..at.len()).step_by(2) {
            output.axpy(1.0, &at.value(k).times(at.value(k + 1)));
        }
        Ok(())
    }

    /// `(a + da) (b + db) - a b = da (b + db) + a db`.
    fn change(
        &self,
        at: &At<'_>,
        _cache: &mut Kept,
        _predicted: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        output.fill(0.0);
        for k in (0..at.len()).step_by(2) {
            if let Some(d) = at.displacement(k) {
                output.axpy(1.0, &d.times(at.value(k + 1)));
            }
            if let Some(d) = at.displacement(k + 1) {
                output.axpy(1.0, &at.reference(k).times(d));
            }
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
        for k in 0..at.len() {
            if let Some(force) = pulled.force(k) {
                // The other of the pair.
                force.set_product(cotangent, at.value(k ^ 1));
            }
        }
        Ok(())
    }
}

/// `mu = v_0 f(v_1)`, element by element, with two parents of one shape: the new hidden state of an
/// LSTM, `o tanh(c)`. No parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gated(
    /// The nonlinearity of the second parent.
    pub Activation,
);

// Slots of the cache: f at the reference, its change, and f' at the current point.
const SHAPED: usize = 0;
const CHANGE: usize = 1;
const DERIVATIVE: usize = 2;

impl Gated {
    fn run(self, a: &BurnTensor, d: Option<&BurnTensor>) -> Result<(BurnTensor, BurnTensor)> {
        let (mut derivative, mut output) = (a.zeros(&a.shape()), a.zeros(&a.shape()));
        if on_numbers(self.0, a, d, &mut derivative, &mut output) {
            return Ok((output, derivative));
        }
        evaluate(self.0, a, d).ok_or_else(|| {
            Error::new(
                ErrorKind::Unsupported,
                format!("{:?} is not among this backend's activations", self.0),
            )
        })
    }
}

impl Vertex<BurnTensor> for Gated {
    fn kind(&self) -> &str {
        "gated"
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        if parents.len() != 2 {
            return Err(graph(format!("a gated vertex takes two parents, not {}", parents.len())));
        }
        common("gated", parents)
    }

    fn predict(&self, at: &At<'_>, cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        agree(at)?;
        let (shaped, derivative) = self.run(at.value(1), None)?;
        output.set_product(at.value(0), &shaped);
        cache.put(CHANGE, shaped.zeros(&shaped.shape()));
        cache.put(SHAPED, shaped);
        cache.put(DERIVATIVE, derivative);
        Ok(())
    }

    /// `d_0 (f + df) + v_0 df`.
    fn change(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        _predicted: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        if let Some(d) = at.displacement(1) {
            let (change, derivative) = self.run(at.reference(1), Some(d))?;
            cache.put(CHANGE, change);
            cache.put(DERIVATIVE, derivative);
        }
        let (shaped, moved) = (cache.get(SHAPED)?, cache.get(CHANGE)?);
        output.set_product(at.reference(0), moved);
        if let Some(d) = at.displacement(0) {
            output.axpy(1.0, &d.times(&shaped.plus(moved)));
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        cotangent: &BurnTensor,
        pulled: &mut Pulls<'_>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            force.set_product(cotangent, &cache.get(SHAPED)?.plus(cache.get(CHANGE)?));
        }
        if let Some(force) = pulled.force(1) {
            force.set_product(cotangent, at.value(0));
            force.multiply(cache.get(DERIVATIVE)?);
        }
        Ok(())
    }
}

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
        agree(at)?;
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

/// `mu = v_0 v_1 ... v_n`, element by element, over any number of parents of one shape. No
/// parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Product;

impl Vertex<BurnTensor> for Product {
    fn kind(&self) -> &str {
        "product"
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        common("product", parents)
    }

    fn predict(&self, at: &At<'_>, _cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        agree(at)?;
        output.copy_from(at.value(0));
        (1..at.len()).for_each(|k| output.multiply(at.value(k)));
        Ok(())
    }

    /// With `P` the product so far at the reference and `D` its change: `D <- D (v + d) + P d`, `P
    /// <- P v`.
    fn change(
        &self,
        at: &At<'_>,
        _cache: &mut Kept,
        _predicted: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        match at.displacement(0) {
            Some(displacement) => output.copy_from(displacement),
            None => output.fill(0.0),
        }
        let mut so_far = at.reference(0).clone();
        for k in 1..at.len() {
            output.multiply(at.value(k));
            if let Some(d) = at.displacement(k) {
                output.axpy(1.0, &so_far.times(d));
            }
            so_far.multiply(at.reference(k));
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
        for k in 0..at.len() {
            if let Some(force) = pulled.force(k) {
                force.copy_from(cotangent);
                (0..at.len())
                    .filter(|other| *other != k)
                    .for_each(|other| force.multiply(at.value(other)));
            }
        }
        Ok(())
    }
}
