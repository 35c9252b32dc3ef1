//! Vertices that only move numbers: concatenation, splitting, other shapes.

use crate::{
    Error, Result,
    host::{Element, HostTensor, parts::single},
    tensor::{Tensor, elements},
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// The blocks that tensors of shape `[outer..., along the axis, inner...]` consist of: how many,
/// and how long each is.
fn blocks(dims: &[usize], axis: usize) -> (usize, usize) {
    // The batch is dimension 0.
    (dims[..=axis].iter().product(), dims[axis + 1..].iter().product())
}

/// Any number of parents one after the other along `axis` (counted without the batch): their shapes
/// agree on the other axes. No parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Concat {
    /// The axis along which the parents follow one another.
    pub axis: usize,
}

impl Concat {
    /// Copies what `source` gives for each parent, or zeros, to its place.
    fn lay<'a, F: Element>(
        &self,
        at: &Inputs<'a, HostTensor<F>>,
        output: &mut HostTensor<F>,
        source: impl Fn(usize) -> Option<&'a HostTensor<F>>,
    ) {
        let (_, whole) = blocks(output.dims(), self.axis);
        let mut offset = 0;
        for k in 0..at.len() {
            let (_, length) = blocks(at.value(k).dims(), self.axis);
            let places = output
                .data_mut()
                .chunks_exact_mut(whole)
                .map(|block| &mut block[offset..offset + length]);
            match source(k) {
                Some(source) => places
                    .zip(source.data().chunks_exact(length))
                    .for_each(|(to, from)| to.copy_from_slice(from)),
                None => places.for_each(|to| to.fill(F::zero())),
            }
            offset += length;
        }
    }
}

impl<F: Element> Vertex<HostTensor<F>> for Concat {
    fn kind(&self) -> &str {
        "concat"
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

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        self.lay(at, output, |k| Some(at.value(k)));
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        self.lay(at, output, |k| at.displacement(k));
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        let (_, whole) = blocks(cotangent.dims(), self.axis);
        let mut offset = 0;
        for k in 0..at.len() {
            let (_, length) = blocks(at.value(k).dims(), self.axis);
            if let Some(force) = pulled.force(k) {
                let places = force
                    .data_mut()
                    .chunks_exact_mut(length)
                    .zip(cotangent.data().chunks_exact(whole));
                places.for_each(|(to, from)| to.copy_from_slice(&from[offset..offset + length]));
            }
            offset += length;
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
    /// The lengths of a block of the parent and of the result, and where in the first the second
    /// begins.
    fn lengths(&self, dims: &[usize]) -> (usize, usize, usize) {
        let inner: usize = dims[self.axis + 2..].iter().product();
        (dims[self.axis + 1] * inner, self.length * inner, self.start * inner)
    }

    fn cut<F: Element>(&self, x: &HostTensor<F>, output: &mut HostTensor<F>) {
        let (whole, part, start) = self.lengths(x.dims());
        let blocks = output.data_mut().chunks_exact_mut(part).zip(x.data().chunks_exact(whole));
        blocks.for_each(|(to, from)| to.copy_from_slice(&from[start..start + part]));
    }
}

impl<F: Element> Vertex<HostTensor<F>> for Split {
    fn kind(&self) -> &str {
        "split"
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let parent = single("split", parents)?;
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

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        self.cut(at.value(0), output);
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        match at.displacement(0) {
            Some(displacement) => self.cut(displacement, output),
            None => output.fill(0.0),
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
        if let Some(force) = pulled.force(0) {
            let (whole, part, start) = self.lengths(at.value(0).dims());
            force.fill(0.0);
            let blocks =
                force.data_mut().chunks_exact_mut(whole).zip(cotangent.data().chunks_exact(part));
            blocks.for_each(|(to, from)| to[start..start + part].copy_from_slice(from));
        }
        Ok(())
    }
}

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
}

/// Exchanges the first two axes (the batch not counted): `[a, b, ...]` becomes `[b, a, ...]`. No
/// parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwapAxes;

impl SwapAxes {
    /// From blocks `[a, b]`, each of `inner` elements, to `[b, a]`, sample by sample.
    fn swap<F: Element>(from: &HostTensor<F>, to: &mut HostTensor<F>) {
        let (a, b) = (from.dims()[1], from.dims()[2]);
        let inner: usize = from.dims()[3..].iter().product();
        for (to, from) in to
            .data_mut()
            .chunks_exact_mut(a * b * inner)
            .zip(from.data().chunks_exact(a * b * inner))
        {
            for (j, to) in to.chunks_exact_mut(a * inner).enumerate() {
                for (i, to) in to.chunks_exact_mut(inner).enumerate() {
                    to.copy_from_slice(&from[(i * b + j) * inner..][..inner]);
                }
            }
        }
    }
}

/// The vertex of a rearrangement with one parent: its shape by `$shape`, its numbers by `$lay(from,
/// to)`, which is its own transpose.
macro_rules! rearrangement {
    ($name:ident, $kind:literal, $shape:expr, $lay:expr) => {
        impl<F: Element> Vertex<HostTensor<F>> for $name {
            fn kind(&self) -> &str {
                $kind
            }
            fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
                $shape(self, single($kind, parents)?)
            }
            fn reads_values(&self) -> bool {
                false
            }
            fn predict(
                &self,
                at: &Inputs<'_, HostTensor<F>>,
                _cache: &mut Cache<HostTensor<F>>,
                output: &mut HostTensor<F>,
            ) -> Result<()> {
                $lay(at.value(0), output);
                Ok(())
            }
            fn change(
                &self,
                at: &Inputs<'_, HostTensor<F>>,
                _cache: &mut Cache<HostTensor<F>>,
                _predicted: &HostTensor<F>,
                output: &mut HostTensor<F>,
            ) -> Result<()> {
                match at.displacement(0) {
                    Some(displacement) => $lay(displacement, output),
                    None => output.fill(0.0),
                }
                Ok(())
            }
            fn pull(
                &self,
                _at: &Inputs<'_, HostTensor<F>>,
                _cache: &mut Cache<HostTensor<F>>,
                cotangent: &HostTensor<F>,
                pulled: &mut Pulled<'_, HostTensor<F>>,
            ) -> Result<()> {
                if let Some(force) = pulled.force(0) {
                    $lay(cotangent, force);
                }
                Ok(())
            }
        }
    };
}

fn reshaped(reshape: &Reshape, parent: &[usize]) -> Result<Vec<usize>> {
    let count = elements(parent)?;
    match &reshape.shape {
        None => Ok(vec![count]),
        Some(shape) if elements(shape)? == count => Ok(shape.clone()),
        Some(shape) => Err(Error::shape(format!(
            "a reshape vertex makes {shape:?}, which its parent {parent:?} does not fill"
        ))),
    }
}

fn swapped(_: &SwapAxes, parent: &[usize]) -> Result<Vec<usize>> {
    let [a, b, inner @ ..] = parent else {
        return Err(Error::shape(format!(
            "a swap_axes vertex takes a parent with two axes or more, not {parent:?}"
        )));
    };
    Ok([*b, *a].iter().chain(inner).copied().collect())
}

fn copy_data<F: Element>(from: &HostTensor<F>, to: &mut HostTensor<F>) {
    to.data_mut().copy_from_slice(from.data());
}

rearrangement!(Reshape, "reshape", reshaped, copy_data);
rearrangement!(SwapAxes, "swap_axes", swapped, SwapAxes::swap);
