//! Products of two parents as matrices.

use rayon::prelude::*;

use crate::{
    Error, Result,
    host::{
        Element, HostTensor,
        gemm::{Matrix, Threads, gemm},
        parts::threads_pay,
    },
    structure::Structure,
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu = scale A B` with parents `A [..., m, k]` and `B [..., k, n]`, or `mu = scale A B^T` with `B
/// [..., n, k]`, for every sample and every index of the leading axes, on which the parents agree.
/// No parameters; the result is `[..., m, n]`.
///
/// Attention's scores are `MatMul { transpose_b: true, scale: 1 / sqrt(k) }` of queries and keys,
/// its mix `MatMul::default()` of weights and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatMul {
    /// Whether the second parent is transposed.
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

/// `[m, k, n]` of every product.
type Sizes = [usize; 3];

impl MatMul {
    fn sizes(&self, a: &[usize], b: &[usize]) -> Option<Sizes> {
        let ([a_lead @ .., m, k], [b_lead @ .., p, q]) = (a, b) else { return None };
        let (inner, n) = if self.transpose_b { (*q, *p) } else { (*p, *q) };
        (a_lead == b_lead && inner == *k).then_some([*m, *k, n])
    }

    fn sizes_at<F: Element>(&self, at: &Inputs<'_, HostTensor<F>>) -> Result<Sizes> {
        let sizes = self.sizes(at.value(0).dims(), at.value(1).dims());
        sizes.ok_or_else(|| Error::shape("the parents of a matmul vertex do not fit one another"))
    }

    /// The second parent's matrix, as the product takes it.
    fn second<'a, F>(&self, b: &'a [F], [_, k, n]: Sizes) -> Matrix<'a, F> {
        if self.transpose_b { Matrix::new(b, n, k).t() } else { Matrix::new(b, k, n) }
    }

    /// `output <- scale a b + beta output`, for every pair of matrices.
    fn product<F: Element>(
        &self,
        sizes: Sizes,
        a: &HostTensor<F>,
        b: &HostTensor<F>,
        beta: F,
        output: &mut HostTensor<F>,
    ) {
        let [m, k, n] = sizes;
        let one = |a: &[F], b: &[F], y: &mut [F], threads| {
            gemm(F::of(self.scale), Matrix::new(a, m, k), self.second(b, sizes), beta, y, threads)
        };
        each(sizes, [(a, m * k), (b, k * n)], (output, m * n), one);
    }
}

/// Runs `one(x, y, to, threads)` for every pair of matrices of `x` and `y`, of so many elements
/// each, and its result's place in `to`.
fn each<F: Element>(
    sizes: Sizes,
    [(x, x_len), (y, y_len)]: [(&HostTensor<F>, usize); 2],
    (to, to_len): (&mut HostTensor<F>, usize),
    one: impl Fn(&[F], &[F], &mut [F], Threads) + Sync,
) {
    let jobs = to.data().len() / to_len;
    if threads_pay(jobs, jobs * sizes.iter().product::<usize>()) {
        let read = x.data().par_chunks_exact(x_len).zip(y.data().par_chunks_exact(y_len));
        to.data_mut()
            .par_chunks_exact_mut(to_len)
            .zip(read)
            .for_each(|(to, (x, y))| one(x, y, to, Threads::One));
    } else {
        let read = x.data().chunks_exact(x_len).zip(y.data().chunks_exact(y_len));
        to.data_mut()
            .chunks_exact_mut(to_len)
            .zip(read)
            .for_each(|(to, (x, y))| one(x, y, to, Threads::All));
    }
}

impl<F: Element> Vertex<HostTensor<F>> for MatMul {
    fn kind(&self) -> &str {
        "matmul"
    }

    fn structure(&self) -> Structure {
        Structure::MatMul { transpose_b: self.transpose_b, scale: self.scale }
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let &[a, b] = parents else {
            return Err(Error::graph(format!(
                "a matmul vertex takes two parents, not {}",
                parents.len()
            )));
        };
        if !self.scale.is_finite() {
            return Err(Error::graph(format!(
                "the scale of a matmul vertex must be finite, not {}",
                self.scale
            )));
        }
        let second = if self.transpose_b { "[..., n, k]" } else { "[..., k, n]" };
        let fits = self.sizes(a, b).filter(|sizes| !sizes.contains(&0));
        let [m, _, n] = fits.ok_or_else(|| {
            Error::shape(format!(
                "a matmul vertex takes parents [..., m, k] and {second}, not {a:?} and {b:?}"
            ))
        })?;
        Ok(a[..a.len() - 2].iter().copied().chain([m, n]).collect())
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        self.product(self.sizes_at(at)?, at.value(0), at.value(1), F::zero(), output);
        Ok(())
    }

    /// `(A + dA) (B + dB) - A B = dA (B + dB) + A dB`.
    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let sizes = self.sizes_at(at)?;
        let mut beta = F::zero();
        if let Some(d) = at.displacement(0) {
            self.product(sizes, d, at.value(1), beta, output);
            beta = F::one();
        }
        if let Some(d) = at.displacement(1) {
            self.product(sizes, at.reference(0), d, beta, output);
        } else if beta == F::zero() {
            output.fill(0.0);
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        let sizes = self.sizes_at(at)?;
        let ([m, k, n], scale, zero) = (sizes, F::of(self.scale), F::zero());
        let (a, b) = (at.value(0), at.value(1));
        if let Some(force) = pulled.force(0) {
            let one = |u: &[F], b: &[F], force: &mut [F], threads| {
                gemm(scale, Matrix::new(u, m, n), self.second(b, sizes).t(), zero, force, threads)
            };
            each(sizes, [(cotangent, m * n), (b, k * n)], (force, m * k), one);
        }
        if let Some(force) = pulled.force(1) {
            let one = |u: &[F], a: &[F], force: &mut [F], threads| {
                let (u, a) = (Matrix::new(u, m, n), Matrix::new(a, m, k));
                if self.transpose_b {
                    gemm(scale, u.t(), a, zero, force, threads);
                } else {
                    gemm(scale, a.t(), u, zero, force, threads);
                }
            };
            each(sizes, [(cotangent, m * n), (a, m * k)], (force, k * n), one);
        }
        Ok(())
    }
}
