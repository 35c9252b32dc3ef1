//! The host tensor.

#[cfg(feature = "ndarray")]
use ndarray::{ArrayD, ArrayViewD, IxDyn};
use rand::{SeedableRng, rngs::ChaCha8Rng};
use rand_distr::{Distribution, Normal};

use crate::{
    Error, Result,
    host::{Element, parts::sum_by},
    rows,
    tensor::{self, RowJob, StateStep, Tensor, elements},
    vertex::Vertex,
};

/// How the host backend owns a vertex.
pub type HostVertex<F> = Box<dyn Vertex<HostTensor<F>> + Send + Sync>;

/// A dense array in row-major order.
///
/// # Example
/// ```
/// use pc_core::host::HostTensor;
/// let t = HostTensor::<f32>::new(&[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
/// assert_eq!(t.data().iter().sum::<f32>(), 21.0);
/// assert!(HostTensor::<f32>::new(&[2, 3], vec![1.0]).is_err());
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor<F> {
    shape: Vec<usize>,
    data: Vec<F>,
}

/// No numbers, in the shape `[0]`.
impl<F> Default for HostTensor<F> {
    fn default() -> Self {
        Self { shape: vec![0], data: Vec::new() }
    }
}

impl<F: Element> HostTensor<F> {
    /// A tensor of this shape with these elements.
    ///
    /// # Errors
    /// The number of elements is not the product of the dimensions.
    pub fn new(shape: &[usize], data: Vec<F>) -> Result<Self> {
        if data.len() != elements(shape)? {
            return Err(Error::shape(format!(
                "{} numbers do not fill the shape {shape:?}",
                data.len()
            )));
        }
        Ok(Self { shape: shape.to_vec(), data })
    }

    /// Zeros.
    ///
    /// # Errors
    /// There is not enough memory for them.
    pub fn zeroed(shape: &[usize]) -> Result<Self> {
        let count = elements(shape)?;
        // A size that no one meant is refused here, where it would abort the program else. Memory
        // that can be had is asked for again, as zeros, which costs nothing until it is used.
        let mut probe: Vec<F> = Vec::new();
        probe.try_reserve_exact(count).map_err(|_| {
            Error::shape(format!("there is no memory for the {count} numbers of shape {shape:?}"))
        })?;
        drop(probe);
        Ok(Self::blank(shape))
    }

    /// One row for each label, 1 at the label and 0 elsewhere: the target of a classifier.
    ///
    /// # Errors
    /// A label that is no class, with its place; not enough memory.
    ///
    /// # Example
    /// ```
    /// use pc_core::host::HostTensor;
    /// let target = HostTensor::<f32>::one_hot(&[2, 0], 3)?;
    /// assert_eq!(target, HostTensor::new(&[2, 3], vec![0.0, 0.0, 1.0, 1.0, 0.0, 0.0])?);
    /// let error = HostTensor::<f32>::one_hot(&[0, 3], 3).unwrap_err();
    /// assert_eq!(error.to_string(), "sample 1 has label 3, but there are 3 classes");
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn one_hot(labels: &[usize], classes: usize) -> Result<Self> {
        let mut target = Self::zeroed(&[labels.len(), classes])?;
        for (sample, &label) in labels.iter().enumerate() {
            if label >= classes {
                return Err(Error::clamp(format!(
                    "sample {sample} has label {label}, but there are {classes} classes"
                )));
            }
            target.data[sample * classes + label] = F::one();
        }
        Ok(target)
    }

    /// Zeros of a shape that was checked before, or that other tensors have.
    pub(crate) fn blank(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), data: vec![F::zero(); shape.iter().product()] }
    }

    /// The shape.
    pub fn dims(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row by row.
    pub fn data(&self) -> &[F] {
        &self.data
    }

    /// The elements, row by row.
    pub fn data_mut(&mut self) -> &mut [F] {
        &mut self.data
    }

    /// The elements to be changed, beside the shape.
    pub(crate) fn parts_mut(&mut self) -> (&mut [F], &[usize]) {
        (&mut self.data, &self.shape)
    }

    /// A view as an `ndarray`.
    ///
    /// # Errors
    /// None that a well-formed tensor can meet; `ndarray` checks the shape against the length.
    ///
    /// # Example
    /// ```
    /// use pc_core::host::HostTensor;
    /// let t = HostTensor::<f32>::new(&[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
    /// assert_eq!(t.view()?.sum(), 21.0);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    #[cfg(feature = "ndarray")]
    pub fn view(&self) -> Result<ArrayViewD<'_, F>> {
        ArrayViewD::from_shape(IxDyn(&self.shape), &self.data)
            .map_err(|error| Error::shape(error.to_string()))
    }
}

#[cfg(feature = "ndarray")]
impl<F: Element> From<ArrayD<F>> for HostTensor<F> {
    fn from(array: ArrayD<F>) -> Self {
        Self { shape: array.shape().to_vec(), data: array.iter().copied().collect() }
    }
}

/// Sums a slice in `f64`, in eight lanes so that it vectorises, in an order that does not depend on
/// threads.
fn sum_of<F: Element>(a: &[F], b: &[F], term: impl Fn(F, F) -> F) -> f64 {
    const LANES: usize = 16;
    // Short blocks in the tensor's own precision, each block then added in f64.
    const BLOCK: usize = 256;
    let mut total = 0.0;
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        let mut lanes = [F::zero(); LANES];
        let (a_lanes, b_lanes) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
        let tail: f64 = a_lanes
            .remainder()
            .iter()
            .zip(b_lanes.remainder())
            .map(|(x, y)| term(*x, *y).value())
            .sum();
        for (x, y) in a_lanes.zip(b_lanes) {
            for (lane, (x, y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
                *lane += term(*x, *y);
            }
        }
        total += tail + lanes.iter().map(|lane| lane.value()).sum::<f64>();
    }
    total
}

/// Whether all are finite. `0 x` is 0 for finite `x` and NaN else, and sums of those vectorise,
/// where a search would not. A block of them is small enough that a number that is not finite is
/// found soon.
pub(crate) fn all_finite<F: Element>(numbers: &[F]) -> bool {
    const BLOCK: usize = 4096;
    numbers.chunks(BLOCK).all(|block| sum_by(block, |x| x * F::zero()) == F::zero())
}

impl<F: Element> Tensor for HostTensor<F> {
    fn shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn has_shape(&self, shape: &[usize]) -> bool {
        self.shape == shape
    }

    fn has_batch_shape(&self, batch: usize, shape: &[usize]) -> bool {
        self.shape.split_first().is_some_and(|(first, rest)| *first == batch && rest == shape)
    }

    fn is_like(&self, other: &Self) -> bool {
        self.shape == other.shape
    }

    fn batch(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    fn zeros(&self, shape: &[usize]) -> Self {
        Self::blank(shape)
    }

    fn fill(&mut self, value: f64) {
        self.data.fill(F::of(value));
    }

    fn copy_from(&mut self, source: &Self) {
        self.data.copy_from_slice(&source.data);
    }

    fn axpy(&mut self, a: f64, x: &Self) {
        let a = F::of(a);
        for (y, x) in self.data.iter_mut().zip(&x.data) {
            *y += a * *x;
        }
    }

    fn scale(&mut self, a: f64) {
        let a = F::of(a);
        for y in &mut self.data {
            *y *= a;
        }
    }

    fn multiply(&mut self, x: &Self) {
        for (y, x) in self.data.iter_mut().zip(&x.data) {
            *y *= *x;
        }
    }

    fn dot(&self, x: &Self) -> f64 {
        sum_of(&self.data, &x.data, |x, y| x * y)
    }

    fn add_normal(&mut self, deviation: f64, stream: u64) {
        if let Ok(normal) = Normal::new(0.0, deviation) {
            let mut rng = ChaCha8Rng::seed_from_u64(stream);
            for y in &mut self.data {
                *y += F::of(normal.sample(&mut rng));
            }
        }
    }

    fn is_finite(&self) -> bool {
        all_finite(&self.data)
    }

    fn to_vec(&self) -> Vec<f64> {
        self.data.iter().map(|x| x.value()).collect()
    }

    fn assign(&mut self, numbers: &[f64]) {
        if numbers.len() != self.data.len() {
            self.fill(f64::NAN);
            return;
        }
        for (y, x) in self.data.iter_mut().zip(numbers) {
            *y = F::of(*x);
        }
    }

    fn by_rows(inputs: &[&Self], outputs: &mut [&mut Self], job: &mut RowJob<'_>) {
        if inputs.len() > rows::FEW || outputs.len() > rows::FEW {
            return tensor::copied(inputs, outputs, job);
        }
        let first = inputs.first().copied().or(outputs.first().map(|output| &**output));
        let Some(batch) = first.map(Self::batch) else { return };
        let length = |tensor: &Self| tensor.data.len() / batch.max(1);
        let (mut from, mut to) = ([0; rows::FEW], [0; rows::FEW]);
        inputs.iter().zip(&mut from).for_each(|(input, own)| *own = length(input));
        outputs.iter().zip(&mut to).for_each(|(output, own)| *own = length(output));
        let part = |row: usize, length: usize| row * length..(row + 1) * length;
        rows::in_place(
            batch,
            &from[..inputs.len()],
            &to[..outputs.len()],
            &mut |k, row, numbers| {
                let own = &inputs[k].data[part(row, numbers.len())];
                numbers.iter_mut().zip(own).for_each(|(y, x)| *y = x.value());
            },
            &mut |k, row, numbers, back| {
                let own = &mut outputs[k].data[part(row, numbers.len())];
                if back {
                    own.iter_mut().zip(numbers).for_each(|(y, x)| *y = F::of(*x));
                } else {
                    numbers.iter_mut().zip(own).for_each(|(y, x)| *y = x.value());
                }
            },
            job,
        );
    }

    fn set_difference(&mut self, a: &Self, b: &Self) {
        for (y, (a, b)) in self.data.iter_mut().zip(a.data.iter().zip(&b.data)) {
            *y = *a - *b;
        }
    }

    fn set_sum(&mut self, a: &Self, b: &Self) {
        for (y, (a, b)) in self.data.iter_mut().zip(a.data.iter().zip(&b.data)) {
            *y = *a + *b;
        }
    }

    fn set_error(
        &mut self,
        residual: Option<&Self>,
        displacement: Option<&Self>,
        change: Option<&Self>,
    ) {
        match (residual, displacement, change) {
            (None, Some(displacement), Some(change)) => self.set_difference(displacement, change),
            (Some(residual), None, Some(change)) => self.set_difference(residual, change),
            (Some(residual), Some(displacement), None) => self.set_sum(residual, displacement),
            (Some(only), None, None) | (None, Some(only), None) => self.copy_from(only),
            (None, None, Some(change)) => {
                for (y, change) in self.data.iter_mut().zip(&change.data) {
                    *y = -*change;
                }
            }
            (Some(residual), Some(displacement), Some(change)) => {
                let terms = residual.data.iter().zip(&displacement.data).zip(&change.data);
                for (y, ((r, d), c)) in self.data.iter_mut().zip(terms) {
                    *y = *r + (*d - *c);
                }
            }
            (None, None, None) => self.data.fill(F::zero()),
        }
    }

    fn step_state(step: StateStep<'_, Self>) {
        let StateStep { displacement, value, reference, error, precision, force, rate, velocity } =
            step;
        let (rate, precision) = (F::of(rate), F::of(precision));
        let states = displacement.data.iter_mut().zip(&mut value.data).zip(&reference.data);
        match (velocity, error, force) {
            (None, Some(error), Some(force)) => {
                for (((d, v), r), (e, f)) in states.zip(error.data.iter().zip(&force.data)) {
                    *d += rate * (*f - precision * *e);
                    *v = *r + *d;
                }
            }
            (None, None, Some(force)) => {
                for (((d, v), r), f) in states.zip(&force.data) {
                    *d += rate * *f;
                    *v = *r + *d;
                }
            }
            (None, Some(error), None) => {
                for (((d, v), r), e) in states.zip(&error.data) {
                    *d -= rate * precision * *e;
                    *v = *r + *d;
                }
            }
            (None, None, None) => {}
            (Some((velocity, momentum)), error, force) => {
                let momentum = F::of(momentum);
                for (index, (((d, v), r), u)) in states.zip(&mut velocity.data).enumerate() {
                    let force = force.map_or(F::zero(), |force| force.data[index]);
                    let error = error.map_or(F::zero(), |error| error.data[index]);
                    *u = momentum * *u + (force - precision * error);
                    *d += rate * *u;
                    *v = *r + *d;
                }
            }
        }
    }

    fn step_error(
        error: &mut Self,
        precision: f64,
        force: Option<&Self>,
        rate: f64,
        velocity: Option<(&mut Self, f64)>,
    ) {
        let (rate, precision) = (F::of(rate), F::of(precision));
        match (velocity, force) {
            (None, Some(force)) => {
                for (e, f) in error.data.iter_mut().zip(&force.data) {
                    *e += rate * (*f - precision * *e);
                }
            }
            (None, None) => {
                for e in &mut error.data {
                    *e -= rate * precision * *e;
                }
            }
            (Some((velocity, momentum)), force) => {
                let momentum = F::of(momentum);
                for (index, (e, u)) in error.data.iter_mut().zip(&mut velocity.data).enumerate() {
                    let force = force.map_or(F::zero(), |force| force.data[index]);
                    *u = momentum * *u + (force - precision * *e);
                    *e += rate * *u;
                }
            }
        }
    }

    fn gap_squared(error: Option<&Self>, precision: f64, force: Option<&Self>) -> f64 {
        match (error, force) {
            (None, None) => 0.0,
            (Some(error), None) => precision * precision * error.norm_squared(),
            (None, Some(force)) => force.norm_squared(),
            (Some(error), Some(force)) => {
                let precision = F::of(precision);
                sum_of(&force.data, &error.data, |f, e| (f - precision * e) * (f - precision * e))
            }
        }
    }
}
