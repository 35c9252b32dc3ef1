//! Vertices that only move numbers: concatenation, splitting, other shapes.

use crate::{
    Error, Result,
    composites::{linear::linear_in_parent, single},
    graph::GraphTensor,
    structure::Structure,
    tensor::elements,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// Any number of parents one after the other along `axis` (counted without the batch): their shapes
/// agree on the other axes. No parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Concat {
    /// The axis along which the parents follow one another.
    pub axis: usize,
}

impl<T: GraphTensor> Vertex<T> for Concat {
    fn kind(&self) -> &str {
        "concat"
    }

    fn structure(&self) -> Structure {
        Structure::Concat { axis: self.axis }
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let Some((first, others)) = parents.split_first() else {
            return Err(Error::graph("a concat vertex takes at least one parent"));
        };
        if self.axis >= first.len() {
            return Err(Error::shape(format!(
                "a concat vertex along axis {} takes parents with that axis, not {first:?}",
                self.axis
            )));
        }
        let mut shape = first.to_vec();
        for (k, other) in others.iter().enumerate() {
            let agrees = other.len() == first.len()
                && (0..first.len()).all(|axis| axis == self.axis || other[axis] == first[axis]);
            if !agrees {
                let axis = self.axis;
                return Err(Error::shape(format!(
                    "parents of a concat vertex agree but for axis {axis}, and parent {} is \
                     {other:?}, parent 0 {first:?}",
                    k + 1
                )));
            }
            shape[self.axis] = shape[self.axis].saturating_add(other[self.axis]);
        }
        elements(&shape)?;
        Ok(shape)
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(&self, at: &Inputs<'_, T>, _cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        at.agree()?;
        let part = |k: usize| (at.value(k).length(self.axis), Some(at.value(k)));
        output.set_joined(self.axis, (0..at.len()).map(part));
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        _predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        let part = |k: usize| (at.value(k).length(self.axis), at.displacement(k));
        output.set_joined(self.axis, (0..at.len()).map(part));
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        let mut start = 0;
        for k in 0..at.len() {
            if let Some(force) = pulled.force(k) {
                force.set_slice(cotangent, self.axis, start);
            }
            start += at.value(k).length(self.axis);
        }
        Ok(())
    }
}

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
    fn shape_of(&self, parent: &[usize]) -> Result<Vec<usize>> {
        let fits = |long: &usize| {
            self.length > 0 && self.start.checked_add(self.length).is_some_and(|end| end <= *long)
        };
        if !parent.get(self.axis).is_some_and(fits) {
            let Self { axis, start, length } = self;
            return Err(Error::shape(format!(
                "a split vertex keeps {length} elements from {start} on along axis {axis}, which \
                 its parent {parent:?} has not"
            )));
        }
        let mut shape = parent.to_vec();
        shape[self.axis] = self.length;
        Ok(shape)
    }

    fn map<T: GraphTensor>(&self, from: &T, to: &mut T) {
        to.set_slice(from, self.axis, self.start);
    }

    /// Zeros around the part.
    fn back<T: GraphTensor>(&self, from: &T, to: &mut T) {
        let after = to.length(self.axis).saturating_sub(self.start + self.length);
        let parts = [(self.start, None), (self.length, Some(from)), (after, None)];
        to.set_joined(self.axis, parts.into_iter());
    }
}

linear_in_parent!(
    Split,
    "split",
    |split: &Self| {
        let Self { axis, start, length } = *split;
        Structure::Split { axis, start, length }
    },
    Self::shape_of,
    Self::map,
    Self::back
);

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

    fn shape_of(&self, parent: &[usize]) -> Result<Vec<usize>> {
        let count = elements(parent)?;
        match &self.shape {
            None => Ok(vec![count]),
            Some(shape) if elements(shape)? == count => Ok(shape.clone()),
            Some(shape) => Err(Error::shape(format!(
                "a reshape vertex makes {shape:?}, which its parent {parent:?} does not fill"
            ))),
        }
    }

    fn map<T: GraphTensor>(&self, from: &T, to: &mut T) {
        to.set_reshaped(from);
    }
}

linear_in_parent!(
    Reshape,
    "reshape",
    |reshape: &Self| Structure::Reshape { shape: reshape.shape.clone() },
    Self::shape_of,
    Self::map,
    Self::map
);

/// Exchanges the first two axes (the batch not counted): `[a, b, ...]` becomes `[b, a, ...]`. No
/// parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwapAxes;

impl SwapAxes {
    fn shape_of(&self, parent: &[usize]) -> Result<Vec<usize>> {
        let [a, b, inner @ ..] = parent else {
            return Err(Error::shape(format!(
                "a swap_axes vertex takes a parent with two axes or more, not {parent:?}"
            )));
        };
        Ok([*b, *a].iter().chain(inner).copied().collect())
    }

    fn map<T: GraphTensor>(&self, from: &T, to: &mut T) {
        to.set_swapped(from);
    }
}

linear_in_parent!(
    SwapAxes,
    "swap_axes",
    |_: &Self| Structure::SwapAxes,
    Self::shape_of,
    Self::map,
    Self::map
);
