//! Burn's tensor as the engine sees it: any rank, any device, no autodiff.

pub(crate) mod failure;
mod fused;
mod graph;
pub(crate) mod slices;

use burn::{
    backend::{
        AutodiffBackend, Dispatch, DispatchAutodiffContext, DispatchDevice, DispatchTensor,
        TensorMetadata,
        ops::{FloatTensorOps, IntTensorOps},
    },
    tensor::{DType, Device, Shape, Tensor, TensorData},
};
use pc_core::{Error, ErrorKind, Result, backend::StateStep, host::HostTensor};

/// A float tensor of Burn without its rank in the type and without autodiff: what relaxations move.
///
/// It converts from and to `Tensor<D>`. Clones share storage until one of them is written, as
/// Burn's tensors do. On Flex the numbers are written in place; elsewhere every operation is one of
/// Burn's.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use pc_burn::BurnTensor;
/// use pc_core::Tensor as _;
///
/// let device = Device::flex();
/// let mut x = BurnTensor::new(Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device))?;
/// x.scale(2.0);
/// assert_eq!(x.shape(), [2, 2]);
/// assert_eq!(x.to_tensor::<2>()?.sum().into_scalar::<f32>(), 20.0);
/// assert!(x.to_tensor::<3>().is_err());
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BurnTensor {
    inner: DispatchTensor,
}

impl BurnTensor {
    /// The numbers of a tensor; its autodiff graph, where it has one, is left behind.
    ///
    /// # Errors
    /// A quantised tensor.
    pub fn new<const D: usize>(tensor: Tensor<D>) -> Result<Self> {
        Self::from_dispatch(tensor.into_dispatch())
    }

    /// The numbers of a tensor without a rank in its type; its autodiff graph, where it has one, is
    /// left behind.
    ///
    /// # Errors
    /// A tensor that does not hold floats: integers, booleans, quantised numbers.
    pub fn from_dispatch(tensor: DispatchTensor) -> Result<Self> {
        if !tensor.dtype().is_float() {
            return Err(Error::new(
                ErrorKind::Backend,
                format!("a tensor of floats is needed, not one of {:?}", tensor.dtype()),
            ));
        }
        Ok(Self::wrap(tensor))
    }

    /// A float tensor that one of Burn's operations returned.
    pub(crate) fn wrap(tensor: DispatchTensor) -> Self {
        let inner = match tensor.autodiff {
            DispatchAutodiffContext::Disabled => tensor,
            DispatchAutodiffContext::Enabled(_) => Dispatch::inner(tensor),
        };
        Self { inner }
    }

    /// A tensor of these numbers, in row-major order, on `device` and in the precision `dtype`.
    ///
    /// # Errors
    /// Where their number is not the product of the dimensions, or `dtype` is no float.
    pub fn from_values(
        shape: &[usize],
        values: &[f64],
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        if values.len() != shape.iter().product::<usize>() {
            return Err(Error::new(
                ErrorKind::Shape,
                format!("{} numbers do not fill the shape {shape:?}", values.len()),
            ));
        }
        if !dtype.is_float() {
            return Err(Error::new(
                ErrorKind::Backend,
                format!("a tensor of floats is needed, not one of {dtype:?}"),
            ));
        }
        Ok(Self::of_numbers(values.to_vec(), shape, &plain(device.as_dispatch()), dtype))
    }

    fn of_numbers(
        values: Vec<f64>,
        shape: &[usize],
        device: &DispatchDevice,
        dtype: DType,
    ) -> Self {
        let data = TensorData::new(values, shape.to_vec()).convert_dtype(dtype);
        Self { inner: Dispatch::float_from_data(data, device) }
    }

    /// The tensor with its rank in the type, without autodiff; storage is shared.
    ///
    /// # Errors
    /// Where the rank is another.
    pub fn to_tensor<const D: usize>(&self) -> Result<Tensor<D>> {
        self.clone().into_tensor()
    }

    /// The tensor with its rank in the type, without autodiff.
    ///
    /// # Errors
    /// Where the rank is another.
    pub fn into_tensor<const D: usize>(self) -> Result<Tensor<D>> {
        if self.rank() != D {
            let shape = self.inner.shape();
            let message = format!(
                "a tensor of rank {D} is asked for, but this one has the shape {:?}, of rank {}",
                &shape[..],
                shape.len()
            );
            return Err(Error::new(ErrorKind::Shape, message));
        }
        Ok(Tensor::from_dispatch(self.inner))
    }

    /// The tensor as Burn's backend operations take it.
    pub fn as_dispatch(&self) -> &DispatchTensor {
        &self.inner
    }

    /// The tensor as Burn's backend operations take it.
    pub fn into_dispatch(self) -> DispatchTensor {
        self.inner
    }

    /// The number of dimensions, the batch among them.
    pub fn rank(&self) -> usize {
        self.inner.shape().len()
    }

    /// The precision of its numbers.
    pub fn dtype(&self) -> DType {
        self.inner.dtype()
    }

    /// Where it lies.
    pub fn device(&self) -> Device {
        Device::new(self.inner.device())
    }

    /// The one number of a tensor that holds one; NaN where it cannot be read.
    fn number(tensor: DispatchTensor) -> f64 {
        failure::read(tensor).and_then(|data| data.iter::<f64>().next()).unwrap_or(f64::NAN)
    }
}

/// The device without autodiff.
fn plain(device: &DispatchDevice) -> DispatchDevice {
    match device {
        DispatchDevice::Autodiff(device) => device.clone().inner(),
        device => device.clone(),
    }
}

impl<const D: usize> TryFrom<Tensor<D>> for BurnTensor {
    type Error = Error;

    fn try_from(tensor: Tensor<D>) -> Result<Self> {
        Self::new(tensor)
    }
}

impl<const D: usize> TryFrom<BurnTensor> for Tensor<D> {
    type Error = Error;

    fn try_from(tensor: BurnTensor) -> Result<Self> {
        tensor.into_tensor()
    }
}

impl pc_core::Tensor for BurnTensor {
    fn shape(&self) -> Vec<usize> {
        self.inner.shape().to_vec()
    }

    fn has_shape(&self, shape: &[usize]) -> bool {
        self.inner.shape()[..] == *shape
    }

    fn has_batch_shape(&self, batch: usize, shape: &[usize]) -> bool {
        self.inner
            .shape()
            .split_first()
            .is_some_and(|(first, rest)| *first == batch && rest == shape)
    }

    fn batch(&self) -> usize {
        self.inner.shape().first().copied().unwrap_or(0)
    }

    fn check_like(&self, other: &Self) -> Result<()> {
        let (own, theirs) = (self.dtype(), other.dtype());
        if own != theirs {
            return Err(Error::new(
                ErrorKind::Backend,
                format!("a tensor of {theirs:?} meets one of {own:?}"),
            ));
        }
        let (own, theirs) = (self.inner.device(), other.inner.device());
        if own != theirs {
            return Err(Error::new(
                ErrorKind::Backend,
                format!("a tensor on {theirs:?} meets one on {own:?}"),
            ));
        }
        Ok(())
    }

    fn zeros(&self, shape: &[usize]) -> Self {
        let inner = Dispatch::float_zeros(
            Shape::from(shape.to_vec()),
            &self.inner.device(),
            self.dtype().into(),
        );
        Self { inner }
    }

    fn fill(&mut self, value: f64) {
        if fused::fill(self, value) {
            return;
        }
        self.inner = Dispatch::float_full(
            self.inner.shape(),
            value.into(),
            &self.inner.device(),
            self.dtype().into(),
        );
    }

    fn copy_from(&mut self, source: &Self) {
        if !fused::copy(self, source) {
            self.inner = source.inner.clone();
        }
    }

    fn axpy(&mut self, a: f64, x: &Self) {
        if fused::axpy(self, a, x) {
            return;
        }
        let term = if a == 1.0 {
            x.inner.clone()
        } else {
            Dispatch::float_mul_scalar(x.inner.clone(), a.into())
        };
        self.update(|own| Dispatch::float_add(own, term));
    }

    fn scale(&mut self, a: f64) {
        if !fused::scale(self, a) {
            self.update(|own| Dispatch::float_mul_scalar(own, a.into()));
        }
    }

    fn multiply(&mut self, x: &Self) {
        if !fused::multiply(self, x) {
            self.update(|own| Dispatch::float_mul(own, x.inner.clone()));
        }
    }

    fn dot(&self, x: &Self) -> f64 {
        fused::dot(self, x).unwrap_or_else(|| {
            let products = Dispatch::float_mul(self.inner.clone(), x.inner.clone());
            Self::number(Dispatch::float_sum(products))
        })
    }

    fn add_normal(&mut self, deviation: f64, stream: u64) {
        // Drawn here and not on the device, so that a seed gives the same numbers on every backend.
        let shape = self.shape();
        // The shape of a tensor that exists, of which any host tensor makes zeros.
        let drawn = if self.dtype() == DType::F64 {
            let mut noise = HostTensor::<f64>::default().zeros(&shape);
            noise.add_normal(deviation, stream);
            noise.to_vec()
        } else {
            let mut noise = HostTensor::<f32>::default().zeros(&shape);
            noise.add_normal(deviation, stream);
            noise.to_vec()
        };
        self.axpy(1.0, &Self::of_numbers(drawn, &shape, &self.inner.device(), self.dtype()));
    }

    fn is_finite(&self) -> bool {
        fused::is_finite(self).unwrap_or_else(|| {
            // 0 x is 0 for finite x and NaN else.
            let zeros = Dispatch::float_mul_scalar(self.inner.clone(), 0.0.into());
            Self::number(Dispatch::float_sum(zeros)) == 0.0
        })
    }

    fn assign(&mut self, numbers: &[f64]) {
        let shape = self.shape();
        if numbers.len() != shape.iter().product::<usize>() {
            self.fill(f64::NAN);
            return;
        }
        let numbers = numbers.to_vec();
        *self = Self::of_numbers(numbers, &shape, &self.inner.device(), self.dtype());
    }

    /// The elements in row-major order; NaNs where the device cannot be read.
    fn to_vec(&self) -> Vec<f64> {
        match failure::read(self.inner.clone()) {
            Some(data) => data.iter::<f64>().collect(),
            None => vec![f64::NAN; self.inner.shape().num_elements()],
        }
    }

    fn set_difference(&mut self, a: &Self, b: &Self) {
        if !fused::set_error(self, Some(a), None, Some(b)) {
            self.inner = Dispatch::float_sub(a.inner.clone(), b.inner.clone());
        }
    }

    fn set_sum(&mut self, a: &Self, b: &Self) {
        if !fused::set_error(self, Some(a), Some(b), None) {
            self.inner = Dispatch::float_add(a.inner.clone(), b.inner.clone());
        }
    }

    fn set_error(
        &mut self,
        residual: Option<&Self>,
        displacement: Option<&Self>,
        change: Option<&Self>,
    ) {
        if fused::set_error(self, residual, displacement, change) {
            return;
        }
        let minus_change = match (displacement, change) {
            (Some(d), Some(c)) => Some(Dispatch::float_sub(d.inner.clone(), c.inner.clone())),
            (Some(d), None) => Some(d.inner.clone()),
            (None, Some(c)) => Some(Dispatch::float_neg(c.inner.clone())),
            (None, None) => None,
        };
        match (residual, minus_change) {
            (Some(r), Some(other)) => self.inner = Dispatch::float_add(r.inner.clone(), other),
            (Some(r), None) => self.copy_from(r),
            (None, Some(other)) => self.inner = other,
            (None, None) => self.fill(0.0),
        }
    }

    fn step_state(step: StateStep<'_, Self>) {
        let Err(StateStep {
            displacement,
            value,
            reference,
            error,
            precision,
            force,
            rate,
            velocity,
        }) = fused::step_state(step)
        else {
            return;
        };
        let gap = gap(error, precision, force);
        let step = match (velocity, gap) {
            (Some((velocity, momentum)), gap) => {
                velocity.scale(momentum);
                if let Some(gap) = gap {
                    velocity.update(|own| Dispatch::float_add(own, gap));
                }
                Some(velocity.inner.clone())
            }
            (None, gap) => gap,
        };
        if let Some(step) = step {
            let step = Dispatch::float_mul_scalar(step, rate.into());
            displacement.update(|own| Dispatch::float_add(own, step));
        }
        value.set_sum(reference, displacement);
    }

    fn step_error(
        error: &mut Self,
        precision: f64,
        force: Option<&Self>,
        rate: f64,
        velocity: Option<(&mut Self, f64)>,
    ) {
        let Err(velocity) = fused::step_error(error, precision, force, rate, velocity) else {
            return;
        };
        let Some(gap) = gap(Some(error), precision, force) else { return };
        let step = match velocity {
            Some((velocity, momentum)) => {
                velocity.scale(momentum);
                velocity.update(|own| Dispatch::float_add(own, gap));
                velocity.inner.clone()
            }
            None => gap,
        };
        let step = Dispatch::float_mul_scalar(step, rate.into());
        error.update(|own| Dispatch::float_add(own, step));
    }

    fn gap_squared(error: Option<&Self>, precision: f64, force: Option<&Self>) -> f64 {
        match (error, force) {
            (None, None) => 0.0,
            (Some(error), None) => precision * precision * error.norm_squared(),
            (None, Some(force)) => force.norm_squared(),
            (Some(error), Some(force)) => fused::gap_squared(error, precision, force)
                .or_else(|| {
                    gap(Some(error), precision, Some(force))
                        .map(|inner| Self { inner }.norm_squared())
                })
                .unwrap_or(f64::NAN),
        }
    }
}

/// `force - precision * error`; none where both are absent.
fn gap(
    error: Option<&BurnTensor>,
    precision: f64,
    force: Option<&BurnTensor>,
) -> Option<DispatchTensor> {
    let weighed =
        error.map(|error| Dispatch::float_mul_scalar(error.inner.clone(), (-precision).into()));
    match (weighed, force) {
        (Some(weighed), Some(force)) => Some(Dispatch::float_add(force.inner.clone(), weighed)),
        (Some(weighed), None) => Some(weighed),
        (None, force) => force.map(|force| force.inner.clone()),
    }
}

impl BurnTensor {
    /// Replaces the tensor by what an operation makes of it.
    fn update(&mut self, operation: impl FnOnce(DispatchTensor) -> DispatchTensor) {
        self.inner = operation(self.inner.clone());
    }

    /// A tensor of integers in the same wrapper, for a vertex's own cache: the engine never sees
    /// it.
    pub(crate) fn integers(tensor: DispatchTensor) -> Self {
        Self { inner: tensor }
    }

    /// A tensor of integers in another shape.
    pub(crate) fn integers_shaped(&self, shape: &[usize]) -> Self {
        Self { inner: Dispatch::int_reshape(self.inner.clone(), Shape::from(shape.to_vec())) }
    }

    /// The same numbers row by row, where the backend holds a view in this process's memory.
    pub(crate) fn laid_out(self) -> Self {
        slices::laid_out(self)
    }
}

/// Runs `work` as on a device whose numbers do not lie in this process's memory: by Burn's
/// operations alone. For tests and measurements.
#[doc(hidden)]
pub fn with_operations_only<R>(work: impl FnOnce() -> R) -> R {
    slices::hidden_during(work)
}
