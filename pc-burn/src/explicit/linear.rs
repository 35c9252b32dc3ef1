//! Linear maps.

use burn::backend::{Dispatch, ops::ModuleOps};
use pc_core::{Result, Tensor, backend::Vertex};

use super::{
    At, Kept, Pulls,
    ops::{accumulate, weighed},
    parts::{graph, shape},
};
use crate::BurnTensor;

/// `mu = v_0 W_0 + b_0 + v_1 W_1 + b_1 + ...` over the last axes, a map for each parent, with or
/// without a bias. Parameters: `W_0`, `b_0` where there is one, `W_1`, ... Parents agree on the
/// axes before the last, which count as batch. A gate of a recurrent cell is one of these and an
/// activation.
///
/// Weights are `[in, out]`, as Burn's `Linear` has them, or `[out, in]` after
/// [`Linear::transposed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linear {
    biases: Vec<bool>,
    transposed: bool,
}

// Slots of the cache: for moving parameters the old ones, from 0 on; after them, by parent, the
// transposed weight.
const OLD: usize = 0;

impl Linear {
    /// One parent, with a bias.
    pub fn new() -> Self {
        Self::of(&[true])
    }

    /// One parent, without a bias.
    pub fn without_bias() -> Self {
        Self::of(&[false])
    }

    /// A map for each parent, with a bias where it says so.
    pub fn of(biases: &[bool]) -> Self {
        Self { biases: biases.to_vec(), transposed: false }
    }

    /// Weights are `[out, in]`.
    #[must_use]
    pub fn transposed(mut self) -> Self {
        self.transposed = true;
        self
    }

    /// Where the parameters of parent `k` begin.
    fn first(&self, k: usize) -> usize {
        k + self.biases[..k].iter().filter(|bias| **bias).count()
    }

    fn map(&self, x: &BurnTensor, weight: &BurnTensor, bias: Option<&BurnTensor>) -> BurnTensor {
        if self.transposed { x.linear(&weight.transposed(), bias) } else { x.linear(weight, bias) }
    }

    /// `x W^T` with the weight of parent `k` as it lies. Products with a transposed view pack it
    /// anew each time, which costs more than the product of a small batch; so from the second on
    /// the transpose is made once and kept, unless weights move.
    fn times_transposed(
        &self,
        x: &BurnTensor,
        weight: &BurnTensor,
        (k, plastic): (usize, bool),
        cache: &mut Kept,
    ) -> BurnTensor {
        // The list of indices of a parent says whether this was asked for since the prediction.
        let asked = cache.indices(k);
        let again = !plastic && !asked.is_empty();
        if asked.is_empty() {
            asked.push(1);
        }
        if !again {
            return x.linear(&weight.transposed(), None);
        }
        let slot = OLD + self.first(self.biases.len()) + k;
        match cache.get(slot) {
            Ok(turned) if turned.rank() == 2 => x.linear(turned, None),
            _ => {
                let turned = weight.swapped(0, 1);
                let product = x.linear(&turned, None);
                cache.put(slot, turned);
                product
            }
        }
    }
}

impl Default for Linear {
    fn default() -> Self {
        Self::new()
    }
}

/// `output <- term` at first, `output <- output + term` then.
fn add(output: &mut BurnTensor, first: &mut bool, term: BurnTensor) {
    if std::mem::replace(first, false) { output.set(term) } else { output.axpy(1.0, &term) }
}

impl Vertex<BurnTensor> for Linear {
    fn kind(&self) -> &str {
        "linear"
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        if parents.is_empty() || parents.len() != self.biases.len() {
            return Err(graph(format!(
                "a linear vertex for {} parents has {}",
                self.biases.len(),
                parents.len()
            )));
        }
        let mut common: Option<Vec<usize>> = None;
        for (k, parent) in parents.iter().enumerate() {
            let first = self.first(k);
            let (Some(last), Some(&[rows, columns])) =
                (parent.last(), parameters.get(first).copied())
            else {
                return Err(shape(format!(
                    "a linear vertex takes a weight with two axes and a parent with a last axis, \
                     not {:?} and {parent:?} (parent {k})",
                    parameters.get(first)
                )));
            };
            let (inputs, out) = if self.transposed { (columns, rows) } else { (rows, columns) };
            if inputs != *last {
                return Err(shape(format!(
                    "its weight takes {inputs} inputs, but its parent {k} has {last} (shape \
                     {parent:?})"
                )));
            }
            if self.biases[k] && parameters.get(first + 1).copied() != Some(&[out][..]) {
                return Err(shape(format!(
                    "its bias has shape {:?}, not [{out}]",
                    parameters.get(first + 1)
                )));
            }
            let mut own = parent.to_vec();
            own.pop();
            own.push(out);
            match &common {
                Some(common) if *common != own => {
                    return Err(shape(format!(
                        "the map of its parent {k} has the shape {own:?}, that of parent 0 \
                         {common:?}"
                    )));
                }
                _ => common = Some(own),
            }
        }
        Ok(common.unwrap_or_default())
    }

    fn parameters(&self) -> usize {
        self.first(self.biases.len())
    }

    fn inputs_first(&self, k: usize) -> bool {
        !self.transposed && (0..self.biases.len()).any(|parent| self.first(parent) == k)
    }

    fn predict(&self, at: &At<'_>, cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        at.agree()?;
        let mut first = true;
        for k in 0..at.len() {
            let p = self.first(k);
            let bias = self.biases[k].then(|| at.parameter(p + 1));
            add(output, &mut first, self.map(at.value(k), at.parameter(p), bias));
        }
        let count = at.parameter_count();
        for k in 0..at.len() {
            cache.indices(k).clear();
            // The weight may be another than at the last prediction; what is kept of it goes, as a
            // tensor of rank 1.
            if cache.has(OLD + count + k) {
                let empty = output.zeros(&[1]);
                cache.put(OLD + count + k, empty);
            }
        }
        if at.plastic() {
            for k in 0..count {
                cache.put(OLD + k, at.parameter(k).clone());
            }
        }
        Ok(())
    }

    fn change(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        _predicted: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        let mut first = true;
        for k in 0..at.len() {
            let p = self.first(k);
            if at.plastic() {
                // v_ref (W - W_old) + (b - b_old): the change that moving weights make at the
                // reference, without large numbers.
                let weight = at.parameter(p).minus(cache.get(OLD + p)?);
                let bias = if self.biases[k] {
                    Some(at.parameter(p + 1).minus(cache.get(OLD + p + 1)?))
                } else {
                    None
                };
                add(output, &mut first, self.map(at.reference(k), &weight, bias.as_ref()));
            }
            if let Some(displacement) = at.displacement(k) {
                let weight = at.parameter(p);
                let term = if self.transposed {
                    self.times_transposed(displacement, weight, (k, at.plastic()), cache)
                } else {
                    displacement.linear(weight, None)
                };
                add(output, &mut first, term);
            }
        }
        if first {
            output.fill(0.0);
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
        let u = weighed(cotangent, pulled);
        for k in 0..at.len() {
            let p = self.first(k);
            if let Some(force) = pulled.force(k) {
                let weight = at.parameter(p);
                force.set(if self.transposed {
                    cotangent.linear(weight, None)
                } else {
                    self.times_transposed(cotangent, weight, (k, at.plastic()), cache)
                });
            }
            accumulate(pulled.gradient_or_fresh(p), || {
                let (left, right) =
                    if self.transposed { (&u, at.value(k)) } else { (at.value(k), &u) };
                BurnTensor::wrap(Dispatch::linear_weight_backward(left.raw(), right.raw()))
            });
            if self.biases[k] {
                accumulate(pulled.gradient_or_fresh(p + 1), || {
                    BurnTensor::wrap(Dispatch::linear_bias_backward(u.raw()))
                });
            }
        }
        Ok(())
    }
}
