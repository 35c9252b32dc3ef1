//! Parameter gradients, and how two sets of them agree.

use crate::{tensor::Tensor, topology::ParamId, vertex::GradientSlot};

/// The gradients of a network's parameters, `g = -sum (d mu / d theta)^T pi e`: the sign an
/// optimiser expects, so that at the fixed-prediction equilibrium they are `dL/dtheta`. A parameter
/// that no error reached has no gradient, and an optimiser leaves it alone.
#[derive(Clone, Debug)]
pub struct Gradients<T> {
    pub(crate) slots: Vec<GradientSlot<T>>,
}

impl<T: Tensor> Gradients<T> {
    /// No gradients yet, for parameters shaped like these.
    pub fn like<'a>(parameters: impl IntoIterator<Item = &'a T>) -> Self
    where
        T: 'a,
    {
        let slots = parameters
            .into_iter()
            .map(|p| GradientSlot { tensor: Some(p.zeros(&p.shape())), defined: false })
            .collect();
        Self { slots }
    }

    /// No gradients yet, for `count` parameters whose tensors [`Gradients::set`] will bring.
    pub fn empty(count: usize) -> Self {
        Self { slots: (0..count).map(|_| GradientSlot { tensor: None, defined: false }).collect() }
    }

    /// The number of parameters.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are no parameters at all.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The gradient of one parameter. Returns `None` if no error reached it, or if there is no such
    /// parameter.
    pub fn get(&self, parameter: ParamId) -> Option<&T> {
        self.slots.get(parameter.index()).filter(|slot| slot.defined)?.tensor.as_ref()
    }

    /// Sets one gradient. Does nothing if there is no such parameter.
    pub fn set(&mut self, parameter: ParamId, gradient: T) {
        if let Some(slot) = self.slots.get_mut(parameter.index()) {
            *slot = GradientSlot { tensor: Some(gradient), defined: true };
        }
    }

    /// Takes one gradient out, and leaves none in its place.
    pub fn take(&mut self, parameter: ParamId) -> Option<T> {
        let slot = self.slots.get_mut(parameter.index()).filter(|slot| slot.defined)?;
        slot.defined = false;
        slot.tensor.take()
    }

    /// The memory of one gradient, which counts as set from here on. If the flag is true, its
    /// contents are stale and must be **overwritten**; if it is false, they must be added to.
    /// Returns `None` if there is no such parameter, or if it has no memory yet (see
    /// [`Gradients::set`]).
    pub fn slot(&mut self, parameter: ParamId) -> Option<(&mut T, bool)> {
        let slot = self.slots.get_mut(parameter.index())?;
        let tensor = slot.tensor.as_mut()?;
        Some((tensor, !std::mem::replace(&mut slot.defined, true)))
    }

    /// The gradients by parameter, in order.
    pub fn iter(&self) -> impl Iterator<Item = (ParamId, Option<&T>)> {
        (0..self.len()).map(|index| (ParamId::new(index), self.get(ParamId::new(index))))
    }

    /// Forgets them all, keeping the memory.
    pub fn clear(&mut self) {
        for slot in &mut self.slots {
            slot.defined = false;
        }
    }

    /// One gradient, to be changed in place.
    pub(crate) fn defined(&mut self, parameter: ParamId) -> Option<&mut T> {
        self.slots.get_mut(parameter.index()).filter(|slot| slot.defined)?.tensor.as_mut()
    }

    /// Gives up the memory of one gradient, which nothing will be written to.
    pub(crate) fn forgo(&mut self, parameter: ParamId) {
        if let Some(slot) = self.slots.get_mut(parameter.index()) {
            slot.tensor = None;
        }
    }

    /// Forgets those that `keeps` does not select.
    pub(crate) fn keep(&mut self, keeps: impl Fn(ParamId) -> bool) {
        for (index, slot) in self.slots.iter_mut().enumerate() {
            slot.defined &= keeps(ParamId::new(index));
        }
    }

    /// Takes over those of `other` that `takes` selects, which are absent there afterwards. True
    /// where there are any.
    pub(crate) fn take_from(&mut self, other: &mut Self, takes: impl Fn(ParamId) -> bool) -> bool {
        let mut any = false;
        for (index, (own, theirs)) in self.slots.iter_mut().zip(&mut other.slots).enumerate() {
            if theirs.defined && takes(ParamId::new(index)) {
                std::mem::swap(own, theirs);
                theirs.defined = false;
                any = true;
            }
        }
        any
    }

    /// Those that are defined.
    pub(crate) fn defined_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let defined = self.slots.iter_mut().filter(|slot| slot.defined);
        defined.filter_map(|slot| slot.tensor.as_mut())
    }

    /// Multiplies them all.
    pub fn scale(&mut self, factor: f64) {
        if factor != 1.0 {
            self.defined_mut().for_each(|tensor| tensor.scale(factor));
        }
    }

    /// Whether all that are defined are finite.
    pub fn is_finite(&self) -> bool {
        T::all_finite(self.iter().filter_map(|(_, gradient)| gradient))
    }

    /// How each gradient agrees with the same parameter's in `reference`, in order of the
    /// parameters.
    pub fn agreement(&self, reference: &Self) -> Vec<Agreement> {
        self.iter()
            .zip(reference.iter())
            .map(|((_, ours), (_, theirs))| Agreement::between(ours, theirs))
            .collect()
    }
}

/// How one gradient agrees with another, its reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// `max |difference| / max |reference|`; 0 if both gradients are absent or zero.
    pub max_difference: f64,
    /// `|difference| / |reference|` in the Euclidean norm.
    pub relative_norm: f64,
    /// The cosine of the angle between the two; 1 if both are zero, 0 if one is.
    pub cosine: f64,
    /// `|gradient| / |reference|`.
    pub norm_ratio: f64,
}

impl Agreement {
    /// Compares two gradients; an absent one counts as zeros.
    pub fn between<T: Tensor>(gradient: Option<&T>, reference: Option<&T>) -> Self {
        let gradient = gradient.map(Tensor::to_vec);
        let reference = reference.map(Tensor::to_vec);
        let zeros = |other: &Option<Vec<f64>>| vec![0.0; other.as_ref().map_or(0, Vec::len)];
        let a = gradient.clone().unwrap_or_else(|| zeros(&reference));
        let b = reference.unwrap_or_else(|| zeros(&gradient));
        Self::of_slices(&a, &b)
    }

    /// Compares two lists of numbers of equal length. A NaN on either side makes every figure NaN.
    pub fn of_slices(gradient: &[f64], reference: &[f64]) -> Self {
        let norm =
            |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        // `f64::max` would drop a NaN; this keeps it.
        let largest = |values: &mut dyn Iterator<Item = f64>| {
            values.fold(0.0_f64, |m, x| if x.abs() > m || x.is_nan() { x.abs() } else { m })
        };
        let difference = || gradient.iter().zip(reference).map(|(a, b)| a - b);
        let (ours, theirs) =
            (norm(&mut gradient.iter().copied()), norm(&mut reference.iter().copied()));
        let dot: f64 = gradient.iter().zip(reference).map(|(a, b)| a * b).sum();
        let over = |x: f64, y: f64| if x == 0.0 && y == 0.0 { 0.0 } else { x / y };
        Self {
            max_difference: over(
                largest(&mut difference()),
                largest(&mut reference.iter().copied()),
            ),
            relative_norm: over(norm(&mut difference()), theirs),
            cosine: if ours == 0.0 && theirs == 0.0 {
                1.0
            } else if ours == 0.0 || theirs == 0.0 {
                0.0
            } else {
                dot / (ours * theirs)
            },
            norm_ratio: if ours == 0.0 && theirs == 0.0 { 1.0 } else { ours / theirs },
        }
    }
}
