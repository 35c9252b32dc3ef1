//! Vertices that only move numbers, and linear combinations.

use pc_core::{Result, Tensor, backend::Vertex};

use super::{
    At, Kept, Pulls,
    ops::agree,
    parts::{common, graph, shape, single, with_batch},
    pool::linear_in_parent,
};
use crate::BurnTensor;

/// The parent's numbers, in the same order, as another shape. No parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reshape {
    /// None for one axis.
    shape: Option<Vec<usize>>,
}

impl Reshape {
    /// As this shape (without the batch), of as many elements.
    pub fn to(shape: &[usize]) -> Self {
        Self { shape: Some(shape.to_vec()) }
    }

    /// As one axis.
    pub fn flatten() -> Self {
        Self { shape: None }
    }

    fn result(&self, parent: &[usize]) -> Result<Vec<usize>> {
        let elements: usize = parent.iter().product();
        match &self.shape {
            None => Ok(vec![elements]),
            Some(to) if to.iter().product::<usize>() == elements => Ok(to.clone()),
            Some(to) => Err(shape(format!(
                "a reshape vertex makes {to:?}, which its parent {parent:?} does not fill"
            ))),
        }
    }

    fn map(&self, x: &BurnTensor) -> BurnTensor {
        let inner = x.inner_shape();
        let to = self.shape.clone().unwrap_or_else(|| vec![inner.iter().product()]);
        x.shaped(&with_batch(x.batch(), &to))
    }
}

linear_in_parent!(
    Reshape,
    "reshape",
    |own, parents| own.result(single("reshape", parents)?),
    |x| own.map(x),
    |like, u| u.shaped(&like.shape())
);

/// Exchanges the first two axes (the batch not counted): `[a, b, ...]` becomes `[b, a, ...]`. No
/// parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwapAxes;

linear_in_parent!(
    SwapAxes,
    "swap_axes",
    |own, parents| {
        let _ = own;
        let [a, b, inner @ ..] = single("swap_axes", parents)? else {
            return Err(shape(format!(
                "a swap_axes vertex takes a parent with two axes or more, not {:?}",
                parents[0]
            )));
        };
        Ok([*b, *a].iter().chain(inner).copied().collect())
    },
    |x| x.swapped(1, 2),
    |like, u| u.swapped(1, 2)
);

/// The elements `start .. start + length` of its parent along `axis` (counted without the batch).
/// No parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// The axis that is cut.
    pub axis: usize,
    /// The first element that is kept.
    pub start: usize,
    /// How many are kept.
    pub length: usize,
}

impl Split {
    fn result(&self, parent: &[usize]) -> Result<Vec<usize>> {
        let Self { axis, start, length } = *self;
        let fits =
            |long: &usize| length > 0 && start.checked_add(length).is_some_and(|end| end <= *long);
        if !parent.get(axis).is_some_and(fits) {
            return Err(shape(format!(
                "a split vertex keeps {length} elements from {start} on along axis {axis}, which \
                 its parent {parent:?} has not"
            )));
        }
        let mut result = parent.to_vec();
        result[axis] = length;
        Ok(result)
    }

    /// Zeros around the part, so that it has the parent's shape again.
    fn back(&self, like: &BurnTensor, u: &BurnTensor) -> BurnTensor {
        let mut around = like.shape();
        let (whole, axis) = (around[self.axis + 1], self.axis + 1);
        let mut pieces = Vec::with_capacity(3);
        for (length, part) in
            [(self.start, false), (self.length, true), (whole - self.start - self.length, false)]
        {
            if part {
                pieces.push(u.clone());
            } else if length > 0 {
                around[axis] = length;
                pieces.push(u.zeros(&around));
            }
        }
        BurnTensor::joined(&pieces, axis)
    }
}

linear_in_parent!(
    Split,
    "split",
    |own, parents| own.result(single("split", parents)?),
    |x| x.cut(own.axis + 1, own.start, own.length),
    |like, u| own.back(like, u)
);

/// `mu = c v` with a constant `c`. No parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale(
    /// The constant.
    pub f64,
);

linear_in_parent!(
    Scale,
    "scale",
    |own, parents| {
        if !own.0.is_finite() {
            return Err(graph(format!(
                "the factor of a scale vertex must be finite, not {}",
                own.0
            )));
        }
        Ok(single("scale", parents)?.to_vec())
    },
    |x| x.scaled(own.0),
    |like, u| u.scaled(own.0)
);

/// `mu = sum over k of w_k v_k`, over any number of parents of one shape; the weights are
/// constants, 1 unless given. No parameters. A residual connection is one of these.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sum {
    weights: Vec<f64>,
}

impl Sum {
    /// Every parent with weight 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// One weight for each parent.
    pub fn weighted(weights: &[f64]) -> Self {
        Self { weights: weights.to_vec() }
    }

    fn weight(&self, k: usize) -> f64 {
        self.weights.get(k).copied().unwrap_or(1.0)
    }

    fn add<'a>(
        &self,
        output: &mut BurnTensor,
        terms: impl Iterator<Item = (usize, &'a BurnTensor)>,
    ) {
        output.fill(0.0);
        for (k, term) in terms {
            output.axpy(self.weight(k), term);
        }
    }
}

impl Vertex<BurnTensor> for Sum {
    fn kind(&self) -> &str {
        "sum"
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let shape = common("sum", parents)?;
        if !self.weights.is_empty() && self.weights.len() != parents.len() {
            return Err(graph(format!(
                "a sum vertex has {} weights for {} parents",
                self.weights.len(),
                parents.len()
            )));
        }
        match self.weights.iter().find(|weight| !weight.is_finite()) {
            Some(weight) => {
                Err(graph(format!("a weight of a sum vertex must be finite, not {weight}")))
            }
            None => Ok(shape),
        }
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(&self, at: &At<'_>, _cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        agree(at)?;
        self.add(output, (0..at.len()).map(|k| (k, at.value(k))));
        Ok(())
    }

    fn change(
        &self,
        at: &At<'_>,
        _cache: &mut Kept,
        _predicted: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        self.add(output, (0..at.len()).filter_map(|k| Some((k, at.displacement(k)?))));
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
                if self.weight(k) != 1.0 {
                    force.scale(self.weight(k));
                }
            }
        }
        Ok(())
    }
}

/// Any number of parents one after the other along `axis` (counted without the batch): their shapes
/// agree on the other axes. No parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Concat {
    /// The axis along which the parents follow one another.
    pub axis: usize,
}

impl Vertex<BurnTensor> for Concat {
    fn kind(&self) -> &str {
        "concat"
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let axis = self.axis;
        let Some((first, others)) = parents.split_first() else {
            return Err(graph("a concat vertex takes at least one parent"));
        };
        if axis >= first.len() {
            return Err(shape(format!(
                "a concat vertex along axis {axis} takes parents with that axis, not {first:?}"
            )));
        }
        let mut result = first.to_vec();
        for (k, other) in others.iter().enumerate() {
            if other.len() != first.len()
                || (0..first.len()).any(|n| n != axis && other[n] != first[n])
            {
                return Err(shape(format!(
                    "parents of a concat vertex agree but for axis {axis}, and parent {} is \
                     {other:?}, parent 0 {first:?}",
                    k + 1
                )));
            }
            result[axis] += other[axis];
        }
        Ok(result)
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(&self, at: &At<'_>, _cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        agree(at)?;
        let parts: Vec<BurnTensor> = (0..at.len()).map(|k| at.value(k).clone()).collect();
        output.set(BurnTensor::joined(&parts, self.axis + 1));
        Ok(())
    }

    fn change(
        &self,
        at: &At<'_>,
        _cache: &mut Kept,
        _predicted: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        let part = |k: usize| {
            at.displacement(k).cloned().unwrap_or_else(|| at.value(k).zeros(&at.value(k).shape()))
        };
        let parts: Vec<BurnTensor> = (0..at.len()).map(part).collect();
        output.set(BurnTensor::joined(&parts, self.axis + 1));
        Ok(())
    }

    fn pull(
        &self,
        at: &At<'_>,
        _cache: &mut Kept,
        cotangent: &BurnTensor,
        pulled: &mut Pulls<'_>,
    ) -> Result<()> {
        let mut start = 0;
        for k in 0..at.len() {
            let length = at.value(k).shape()[self.axis + 1];
            if let Some(force) = pulled.force(k) {
                force.set(cotangent.cut(self.axis + 1, start, length));
            }
            start += length;
        }
        Ok(())
    }
}
