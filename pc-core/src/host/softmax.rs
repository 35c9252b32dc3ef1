//! Softmax.

use crate::{
    Error, Result,
    host::{
        Element, HostTensor,
        parts::{single, sum_pairs},
    },
    structure::Structure,
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu_k = exp(v_k) / sum_j exp(v_j)` over the last axis. No parameters; the shape stays.
///
/// Causal, for the scores of attention `[..., queries, keys]`: query `i` of `m` sees the first `n -
/// m + i + 1` of the `n` keys, and the rest get 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softmax {
    causal: bool,
}

/// The slot of the softmax at the current point.
const CURRENT: usize = 0;

/// The growth of a class, against the largest, beyond which a difference has nothing left to
/// cancel.
const FAR: f64 = 30.0;

impl Softmax {
    /// Over the whole last axis.
    pub fn new() -> Self {
        Self::default()
    }

    /// Over the part of the last axis that lies before each query.
    pub fn causal() -> Self {
        Self { causal: true }
    }

    /// The rows of a tensor of these dimensions: their length, and how many are a period, for
    /// [`Softmax::seen`].
    fn rows(self, dims: &[usize]) -> (usize, usize) {
        let period = if dims.len() > 2 { dims[dims.len() - 2] } else { 1 };
        (dims.last().copied().unwrap_or(1).max(1), period.max(1))
    }

    /// How many elements of row `row` count.
    fn seen(self, row: usize, length: usize, period: usize) -> usize {
        if self.causal { (length + 1 + row % period).saturating_sub(period) } else { length }
    }
}

/// `y <- softmax(x)`.
fn evaluate<F: Element>(x: impl Iterator<Item = F> + Clone, y: &mut [F]) {
    let largest = x.clone().fold(F::neg_infinity(), F::max);
    let mut sum = F::zero();
    for (y, x) in y.iter_mut().zip(x) {
        *y = (x - largest).exp();
        sum += *y;
    }
    let inverse = sum.recip();
    y.iter_mut().for_each(|y| *y *= inverse);
}

/// `output <- softmax(a + d) - s` and `current <- softmax(a + d)`, with `s = softmax(a)`.
///
/// Softmax does not change when all elements move together, so `d` counts from the displacement of
/// the largest class: with `g_i = s_i (exp(d_i) - 1)` and `m = sum g`, the difference is `(g_i -
/// s_i m) / (1 + m)`, and near saturation, where `s` is close to 1 for one class, that class's `g`
/// is exactly 0 and all its digits are in `m`. What a class has grown to counts from the largest,
/// too, by logarithms, since `s` itself may have underflowed, and since the logarithm of the
/// normaliser is as far from 0 as `a` is.
fn difference<F: Element>(a: &[F], d: &[F], s: &[F], current: &mut [F], output: &mut [F]) {
    let top = s.iter().enumerate().fold(0, |top, (k, x)| if *x > s[top] { k } else { top });
    let (shift, highest, share) = (d[top], a[top], s[top].ln());
    let logarithm = |a: F, d: F| (a - highest) + share + (d - shift);
    let grown = a.iter().zip(d).fold(F::neg_infinity(), |m, (a, d)| m.max(logarithm(*a, *d)));
    if grown > F::of(FAR) {
        // Another class has taken over by a factor exp(30): the old share and the new have nothing
        // in common.
        evaluate(a.iter().zip(d).map(|(a, d)| logarithm(*a, *d)), current);
        output.iter_mut().zip(current.iter().zip(s)).for_each(|(y, (new, old))| *y = *new - *old);
        return;
    }
    let one = F::one();
    // 1 + m is the sum of what shares have grown to, which cannot cancel.
    let (mut m, mut sum) = (F::zero(), F::zero());
    for (k, (g, w)) in output.iter_mut().zip(current.iter_mut()).enumerate() {
        let step = d[k] - shift;
        if step.abs() <= one {
            *g = s[k] * step.exp_m1();
            *w = s[k] + *g;
        } else {
            *w = logarithm(a[k], d[k]).exp();
            *g = *w - s[k];
        }
        m += *g;
        sum += *w;
    }
    let inverse = sum.recip();
    for (y, (w, s)) in output.iter_mut().zip(current.iter_mut().zip(s)) {
        *y = (*y - *s * m) * inverse;
        *w *= inverse;
    }
}

impl<F: Element> Vertex<HostTensor<F>> for Softmax {
    fn kind(&self) -> &str {
        "softmax"
    }

    fn structure(&self) -> Structure {
        Structure::Softmax { causal: self.causal }
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let parent = single("softmax", parents)?;
        match parent {
            [] => {
                Err(Error::shape("a softmax vertex takes a parent with a last axis, not a scalar"))
            }
            [.., queries, keys] if self.causal && queries <= keys => Ok(parent.to_vec()),
            _ if self.causal => Err(Error::shape(format!(
                "a causal softmax vertex takes a parent [..., queries, keys] with no more queries \
                 than keys, not {parent:?}"
            ))),
            _ => Ok(parent.to_vec()),
        }
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let x = at.value(0);
        let (length, period) = self.rows(x.dims());
        let pairs = output.data_mut().chunks_exact_mut(length).zip(x.data().chunks_exact(length));
        for (row, (y, x)) in pairs.enumerate() {
            let (y, hidden) = y.split_at_mut(self.seen(row, length, period));
            evaluate(x[..y.len()].iter().copied(), y);
            hidden.fill(F::zero());
        }
        cache.slot(CURRENT, x.dims(), x).copy_from(output);
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let a = at.reference(0);
        let (length, period) = self.rows(a.dims());
        let mut current = cache.take(CURRENT, a.dims(), a);
        if let Some(d) = at.displacement(0) {
            let written = output
                .data_mut()
                .chunks_exact_mut(length)
                .zip(current.data_mut().chunks_exact_mut(length));
            let read = a
                .data()
                .chunks_exact(length)
                .zip(d.data().chunks_exact(length))
                .zip(predicted.data().chunks_exact(length));
            for (row, ((y, w), ((a, d), s))) in written.zip(read).enumerate() {
                let seen = self.seen(row, length, period);
                let (y, hidden) = y.split_at_mut(seen);
                difference(&a[..seen], &d[..seen], &s[..seen], &mut w[..seen], y);
                hidden.fill(F::zero());
            }
        } else {
            current.copy_from(predicted);
            output.fill(0.0);
        }
        cache.put(CURRENT, current);
        Ok(())
    }

    fn pull(
        &self,
        _at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        let Some(force) = pulled.force(0) else { return Ok(()) };
        let (length, _) = self.rows(cotangent.dims());
        let rows = cotangent
            .data()
            .chunks_exact(length)
            .zip(cache.get(CURRENT)?.data().chunks_exact(length));
        for (force, (u, s)) in force.data_mut().chunks_exact_mut(length).zip(rows) {
            let mean = sum_pairs(u, s, |u, s| u * s);
            force.iter_mut().zip(u.iter().zip(s)).for_each(|(f, (u, s))| *f = *s * (*u - mean));
        }
        Ok(())
    }
}
