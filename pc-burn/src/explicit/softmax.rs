//! Softmax.

use burn::backend::{
    Dispatch, TensorMetadata,
    ops::{BoolTensorOps, FloatTensorOps},
};
use pc_core::{Result, Tensor, backend::Vertex};

use super::{
    At, Kept, Pulls,
    parts::{shape, single},
};
use crate::BurnTensor;

/// `mu_k = exp(v_k) / sum_j exp(v_j)` over the last axis. No parameters; the shape stays.
///
/// Causal, for the scores of attention `[..., queries, keys]`: query `i` of `m` sees the first `n -
/// m + i + 1` of the `n` keys, and the rest get 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Softmax {
    causal: bool,
}

// Slots of the cache: the softmax at the current point, and the logarithm of the normaliser at the
// reference.
const CURRENT: usize = 0;
const NORMALISER: usize = 1;

/// What is added to scores that a query does not see: its exponential is 0 in every precision.
const HIDDEN: f64 = -3e4;

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

    /// The scores with those that are not seen far below the others.
    fn seen(self, x: &BurnTensor) -> Result<BurnTensor> {
        if !self.causal {
            return Ok(x.clone());
        }
        let shape = x.shape();
        let (queries, keys) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        let hidden = |q: usize, k: usize| if k > keys - queries + q { HIDDEN } else { 0.0 };
        let mask: Vec<f64> = (0..queries * keys).map(|n| hidden(n / keys, n % keys)).collect();
        let mut broadcast = vec![1; shape.len() - 2];
        broadcast.extend([queries, keys]);
        Ok(x.plus(&BurnTensor::from_values(&broadcast, &mask, &x.device(), x.dtype())?))
    }
}

/// Softmax, and the logarithm of its normaliser.
fn evaluate(x: &BurnTensor) -> (BurnTensor, BurnTensor) {
    let last = x.rank() - 1;
    let largest = x.largest();
    let exponentials = x.minus(&largest).exponential();
    let sum = exponentials.sum_over(&[last]);
    let normaliser = largest.plus(&BurnTensor::wrap(Dispatch::float_log(sum.raw())));
    (exponentials.over(&sum), normaliser)
}

/// The displacement of the largest class, which all may be counted from.
fn of_largest(s: &BurnTensor, d: &BurnTensor) -> BurnTensor {
    let last = s.rank() - 1;
    let top = Dispatch::float_argmax(s.raw(), last, s.places());
    d.gathered(last, &BurnTensor::integers(top))
}

impl Vertex<BurnTensor> for Softmax {
    fn kind(&self) -> &str {
        "softmax"
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let parent = single("softmax", parents)?;
        match parent {
            [] => Err(shape("a softmax vertex takes a parent with a last axis, not a scalar")),
            [.., queries, keys] if self.causal && queries <= keys => Ok(parent.to_vec()),
            _ if self.causal => Err(shape(format!(
                "a causal softmax vertex takes a parent [..., queries, keys] with no more queries \
                 than keys, not {parent:?}"
            ))),
            _ => Ok(parent.to_vec()),
        }
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(&self, at: &At<'_>, cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        let (result, normaliser) = evaluate(&self.seen(at.value(0))?);
        cache.put(NORMALISER, normaliser);
        cache.put(CURRENT, result.clone());
        output.set(result);
        Ok(())
    }

    /// Softmax does not change when all elements move together, so `d` counts from the displacement
    /// of the largest class: with `g_i = s_i (exp(d_i) - 1)` and `m = sum g`, the difference is
    /// `(g_i - s_i m) / (1 + m)`, and near saturation all digits are in `m`.
    fn change(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        s: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        let Some(d) = at.displacement(0) else {
            cache.put(CURRENT, s.clone());
            output.fill(0.0);
            return Ok(());
        };
        let last = s.rank() - 1;
        let log_share = self.seen(at.reference(0))?.minus(cache.get(NORMALISER)?);
        let step = d.minus(&of_largest(s, d));
        let grown = log_share.plus(&step);
        // Through the logarithm where it grows: s itself may have underflowed.
        let far = grown.exponential();
        let near = s.times(&super::activation::exp_m1(&step));
        let g = near.choose(step.absolute().above(1.0), &far.minus(s));
        let m = g.sum_over(&[last]);
        let one_and_m = m.shifted(1.0);
        let change = g.minus(&s.times(&m)).over(&one_and_m);
        let current = s.plus(&g).over(&one_and_m);
        // Where another class has taken over by a factor exp(30) the old share and the new have
        // nothing in common.
        let (fresh, _) = evaluate(&self.seen(&at.reference(0).plus(d))?);
        let taken_over = grown.largest().above(FAR);
        let taken_over = Dispatch::bool_expand(taken_over, s.as_dispatch().shape());
        output.set(change.choose(taken_over.clone(), &fresh.minus(s)));
        cache.put(CURRENT, current.choose(taken_over, &fresh));
        Ok(())
    }

    fn pull(
        &self,
        _at: &At<'_>,
        cache: &mut Kept,
        cotangent: &BurnTensor,
        pulled: &mut Pulls<'_>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            let s = cache.get(CURRENT)?;
            let weighed = s.times(cotangent);
            let mean = weighed.sum_over(&[s.rank() - 1]);
            force.set(weighed.minus(&s.times(&mean)));
        }
        Ok(())
    }
}
