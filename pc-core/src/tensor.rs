//! What the engine asks of a framework's tensor: the few operations that move states, and no more.

use crate::{Error, Result};

/// What [`Tensor::by_rows`] calls: with one sample's numbers of each input, and of each output.
pub type RowJob<'a> = dyn FnMut(&[&[f64]], &mut [&mut [f64]]) + 'a;

/// A dense array of numbers, batch first, as some framework holds it.
///
/// The engine calls these on tensors of equal shape only: shapes are checked when a graph is built
/// and when clamps are set, so that nothing here needs to fail. `Clone` copies the numbers (a
/// handle that shares storage must copy them here). Scalars cross the interface as `f64`, whatever
/// the tensor holds.
///
/// The types of its calls, and the rest of what a backend needs, are in [`crate::backend`].
///
/// There are no `Send` or `Sync` bounds: some frameworks' tensors are not shareable. What explicit
/// graphs ask for besides is [`crate::backend::GraphTensor`].
pub trait Tensor: Clone + Sized {
    /// The shape, batch first.
    fn shape(&self) -> Vec<usize>;

    /// Whether the shape is this one.
    fn has_shape(&self, shape: &[usize]) -> bool {
        self.shape() == shape
    }

    /// Whether the shape is `[batch, shape...]`.
    fn has_batch_shape(&self, batch: usize, shape: &[usize]) -> bool {
        let own = self.shape();
        own.split_first().is_some_and(|(first, rest)| *first == batch && rest == shape)
    }

    /// Whether the shape is that of `other`.
    fn is_like(&self, other: &Self) -> bool {
        self.has_shape(&other.shape())
    }

    /// The first dimension.
    fn batch(&self) -> usize {
        self.shape().first().copied().unwrap_or(0)
    }

    /// Whether the two can meet in one operation: whether they have one precision and lie on one
    /// device, if the backend has several.
    ///
    /// # Errors
    /// If they cannot; it says what differs.
    fn check_like(&self, _other: &Self) -> Result<()> {
        Ok(())
    }

    /// Zeros of the given shape, on the device of `self`.
    fn zeros(&self, shape: &[usize]) -> Self;

    /// Sets every element.
    fn fill(&mut self, value: f64);

    /// Copies the elements of `source`.
    fn copy_from(&mut self, source: &Self);

    /// `self <- self + a x`.
    fn axpy(&mut self, a: f64, x: &Self);

    /// `self <- a self`.
    fn scale(&mut self, a: f64);

    /// `self <- self * x`, element by element.
    fn multiply(&mut self, x: &Self);

    /// `sum self * x`, accumulated in `f64` where the backend can.
    fn dot(&self, x: &Self) -> f64;

    /// Adds independent normal draws of standard deviation `deviation`; `stream` seeds them.
    fn add_normal(&mut self, deviation: f64, stream: u64);

    /// Whether every element is finite.
    fn is_finite(&self) -> bool;

    /// The elements in row-major order, for reports and tests.
    fn to_vec(&self) -> Vec<f64>;

    /// Overwrites the elements, in row-major order, by these numbers, each rounded to what the
    /// tensor holds. A list of another length makes every element NaN.
    fn assign(&mut self, numbers: &[f64]);

    /// Calls `job` once for every sample, with that sample's numbers of each input and of each
    /// output, which `job` may read and overwrite. All tensors are of one batch.
    ///
    /// This is how what is written once for all backends (energies, projections, state rules) gets
    /// at numbers. By default they are copied out, and back in.
    fn by_rows(inputs: &[&Self], outputs: &mut [&mut Self], job: &mut RowJob<'_>) {
        copied(inputs, outputs, job);
    }

    /// `sum self^2`.
    fn norm_squared(&self) -> f64 {
        self.dot(self)
    }

    /// `sum w |t|^2` over weighted tensors: an energy. A device that is far away does it in one go.
    fn weighted_norms<'a>(terms: impl Iterator<Item = (f64, &'a Self)>) -> f64
    where
        Self: 'a,
    {
        terms.map(|(weight, tensor)| weight * tensor.norm_squared()).sum()
    }

    /// Whether every element of all these tensors is finite. A device that is far away does it in
    /// one go.
    fn all_finite<'a>(mut tensors: impl Iterator<Item = &'a Self>) -> bool
    where
        Self: 'a,
    {
        tensors.all(Self::is_finite)
    }

    /// `self <- a - b`.
    fn set_difference(&mut self, a: &Self, b: &Self) {
        self.copy_from(a);
        self.axpy(-1.0, b);
    }

    /// `self <- a + b`.
    fn set_sum(&mut self, a: &Self, b: &Self) {
        self.copy_from(a);
        self.axpy(1.0, b);
    }

    /// `self <- residual + displacement - change`, each zero where absent: the error of a
    /// prediction in the form that does not cancel.
    fn set_error(
        &mut self,
        residual: Option<&Self>,
        displacement: Option<&Self>,
        change: Option<&Self>,
    ) {
        match residual {
            Some(residual) => self.copy_from(residual),
            None => self.fill(0.0),
        }
        if let Some(displacement) = displacement {
            self.axpy(1.0, displacement);
        }
        if let Some(change) = change {
            self.axpy(-1.0, change);
        }
    }

    /// One step of one vertex's state; see [`StateStep`]. Backends fuse it into one pass.
    fn step_state(step: StateStep<'_, Self>) {
        let StateStep { displacement, value, reference, error, precision, force, rate, velocity } =
            step;
        match velocity {
            None => {
                if let Some(error) = error {
                    displacement.axpy(-rate * precision, error);
                }
                if let Some(force) = force {
                    displacement.axpy(rate, force);
                }
            }
            Some((velocity, momentum)) => {
                velocity.scale(momentum);
                if let Some(error) = error {
                    velocity.axpy(-precision, error);
                }
                if let Some(force) = force {
                    velocity.axpy(1.0, force);
                }
                displacement.axpy(rate, velocity);
            }
        }
        value.set_sum(reference, displacement);
    }

    /// One frozen step of one error, `error <- error + rate * (force - precision * error)`, or with
    /// momentum by `velocity <- momentum * velocity + (force - precision * error)`. Backends fuse
    /// it into one pass.
    fn step_error(
        error: &mut Self,
        precision: f64,
        force: Option<&Self>,
        rate: f64,
        velocity: Option<(&mut Self, f64)>,
    ) {
        match velocity {
            None => {
                error.scale(1.0 - rate * precision);
                if let Some(force) = force {
                    error.axpy(rate, force);
                }
            }
            Some((velocity, momentum)) => {
                velocity.scale(momentum);
                velocity.axpy(-precision, error);
                if let Some(force) = force {
                    velocity.axpy(1.0, force);
                }
                error.axpy(rate, velocity);
            }
        }
    }

    /// `|force - precision * error|^2`, the squared norm of the energy's gradient in one vertex's
    /// state.
    fn gap_squared(error: Option<&Self>, precision: f64, force: Option<&Self>) -> f64 {
        match (error, force) {
            (None, None) => 0.0,
            (Some(error), None) => precision * precision * error.norm_squared(),
            (None, Some(force)) => force.norm_squared(),
            (Some(error), Some(force)) => {
                let mut gap = force.clone();
                gap.axpy(-precision, error);
                gap.norm_squared()
            }
        }
    }
}

/// [`Tensor::by_rows`] over copies of whole tensors.
pub(crate) fn copied<T: Tensor>(inputs: &[&T], outputs: &mut [&mut T], job: &mut RowJob<'_>) {
    let Some(batch) = inputs.first().copied().or(outputs.first().map(|o| &**o)).map(T::batch)
    else {
        return;
    };
    let read: Vec<Vec<f64>> = inputs.iter().map(|input| input.to_vec()).collect();
    let mut written: Vec<Vec<f64>> = outputs.iter().map(|output| output.to_vec()).collect();
    let length = |numbers: &Vec<f64>| numbers.len() / batch.max(1);
    for row in 0..batch {
        let part = |numbers: &Vec<f64>| row * length(numbers)..(row + 1) * length(numbers);
        let rows: Vec<&[f64]> = read.iter().map(|numbers| &numbers[part(numbers)]).collect();
        let mut own: Vec<&mut [f64]> = Vec::with_capacity(written.len());
        for numbers in &mut written {
            let part = part(numbers);
            own.push(&mut numbers[part]);
        }
        job(&rows, &mut own);
    }
    for (output, numbers) in outputs.iter_mut().zip(&written) {
        output.assign(numbers);
    }
}

/// The number of elements of a shape.
///
/// # Errors
/// No memory could hold so many numbers of eight bytes each.
pub(crate) fn elements(shape: &[usize]) -> Result<usize> {
    let count = shape.iter().try_fold(1_usize, |count, length| count.checked_mul(*length));
    count.filter(|count| *count <= isize::MAX as usize / 8).ok_or_else(|| {
        Error::shape(format!("the shape {shape:?} has more numbers than any memory holds"))
    })
}

/// The arguments of [`Tensor::step_state`]: with `g = force - precision * error`,
/// `velocity <- momentum * velocity + g` (or `g` alone without momentum),
/// `displacement <- displacement + rate * velocity`, `value <- reference + displacement`.
#[derive(Debug)]
pub struct StateStep<'a, T> {
    /// `d = v - v_ref`, moved in place.
    pub displacement: &'a mut T,
    /// `v`, written.
    pub value: &'a mut T,
    /// `v_ref`.
    pub reference: &'a T,
    /// `e`, the vertex's own error. It is `None` if nothing predicts the vertex.
    pub error: Option<&'a T>,
    /// `pi`, the weight of the error.
    pub precision: f64,
    /// `sum over children of J^T pi e`. It is `None` if no child's error has arrived.
    pub force: Option<&'a T>,
    /// `gamma`.
    pub rate: f64,
    /// The running step and its momentum. It is `None` if the rule has no momentum.
    pub velocity: Option<(&'a mut T, f64)>,
}
