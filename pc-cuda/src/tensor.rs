//! Tensors in device memory.

use std::rc::Rc;

use pc_core::{Error, ErrorKind, Result, Tensor, backend::StateStep, host::HostTensor};
use rand::{SeedableRng, rngs::ChaCha8Rng};
use rand_distr::{Distribution, Normal};

use crate::{
    device::{Address, Device, Family, Launch, Memory, bytes_of},
    optimiser::launch_parts,
    params::{CHUNK, Map, Optimise, Part, Reduce, Step},
};

/// A dense array of `f32` in row-major order, in the memory of a [`Device`].
///
/// The operations of [`Tensor`] cannot report failures, so a failing one leaves its numbers as they
/// are, and the next call that can report (a network's, an optimiser's, [`DeviceTensor::numbers`])
/// returns the error.
///
/// # Example
/// ```
/// # #[cfg(feature = "simulation")] {
/// use pc_core::Tensor;
/// use pc_cuda::{Device, Simulation};
/// let device = Device::simulated(&Simulation::new(0))?;
/// let mut a = device.tensor(&[1, 3], &[1.0, 2.0, 3.0])?;
/// let b = a.clone();
/// a.axpy(2.0, &b);
/// assert_eq!(a.numbers()?, [3.0, 6.0, 9.0]);
/// # }
/// # Ok::<(), pc_core::Error>(())
/// ```
pub struct DeviceTensor {
    device: Device,
    shape: Vec<usize>,
    memory: Option<Rc<Memory>>,
}

impl std::fmt::Debug for DeviceTensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceTensor({:?})", self.shape)
    }
}

const THREADS: usize = 256;
/// The shared memory of kernels that add up: a number a warp.
const SUMS: usize = 8 * THREADS / 32;

/// What [`Map`] does, numbered as in `tensor.cu`.
#[derive(Clone, Copy)]
pub(crate) enum Operation {
    Fill,
    Axpy,
    Scale,
    Multiply,
    Sum,
    Error,
    Product,
    AddProduct,
}

pub(crate) fn elements(launch: &'static str, family: Family, count: usize) -> Launch {
    Launch {
        family,
        kernel: launch,
        grid: count.div_ceil(CHUNK),
        block: THREADS,
        cluster: 1,
        shared: 0,
    }
}

/// An `i32` for a kernel; what is larger than that was refused when it was allocated.
pub(crate) fn int(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl DeviceTensor {
    pub(crate) fn new(device: &Device, shape: &[usize], numbers: &[f32]) -> Result<Self> {
        if numbers.len() != shape.iter().product::<usize>() {
            return Err(Error::new(
                ErrorKind::Shape,
                format!("{} numbers do not fill the shape {shape:?}", numbers.len()),
            ));
        }
        let mut tensor = Self::unset(device, shape)?;
        tensor.set_numbers(numbers)?;
        Ok(tensor)
    }

    /// Memory whose contents do not matter.
    pub(crate) fn unset(device: &Device, shape: &[usize]) -> Result<Self> {
        let count: usize = shape.iter().product();
        if i32::try_from(count).is_err() {
            return Err(Error::new(
                ErrorKind::Shape,
                format!("a device tensor holds fewer than 2^31 numbers, so not {shape:?}"),
            ));
        }
        let memory = Rc::new(Memory::new(device, 4 * count)?);
        Ok(Self { device: device.clone(), shape: shape.to_vec(), memory: Some(memory) })
    }

    /// Zeros.
    pub(crate) fn zeroed(device: &Device, shape: &[usize]) -> Result<Self> {
        let mut tensor = Self::unset(device, shape)?;
        tensor.fill(0.0);
        Ok(tensor)
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The dimensions.
    pub fn dims(&self) -> &[usize] {
        &self.shape
    }

    /// How many numbers there are.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The numbers, brought to the host.
    ///
    /// # Errors
    /// What the device reports, of this or of earlier work.
    pub fn numbers(&self) -> Result<Vec<f32>> {
        self.device.check()?;
        let mut bytes = vec![0u8; 4 * self.count()];
        self.device.machine().download(self.address(), &mut bytes)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|word| f32::from_ne_bytes(*word)).collect())
    }

    /// Replaces the numbers.
    ///
    /// # Errors
    /// Another count; what the device reports.
    pub fn set_numbers(&mut self, numbers: &[f32]) -> Result<()> {
        if numbers.len() != self.count() {
            return Err(Error::new(
                ErrorKind::Shape,
                format!("{} numbers do not fill the shape {:?}", numbers.len(), self.shape),
            ));
        }
        self.device.machine().upload(self.address(), bytes_of(numbers))
    }

    /// The numbers as a host tensor.
    ///
    /// # Errors
    /// As [`DeviceTensor::numbers`].
    pub fn to_host(&self) -> Result<HostTensor<f32>> {
        HostTensor::new(&self.shape, self.numbers()?)
    }

    /// Another handle of the same memory.
    pub(crate) fn same(&self) -> Self {
        Self { device: self.device.clone(), shape: self.shape.clone(), memory: self.memory.clone() }
    }

    pub(crate) fn address(&self) -> Address {
        self.memory.as_ref().map_or(0, |memory| memory.address())
    }

    /// Runs an element-by-element operation, noting a failure.
    pub(crate) fn map(
        &mut self,
        operation: Operation,
        a: Option<&Self>,
        b: Option<&Self>,
        c: Option<&Self>,
        x: f64,
        y: f64,
    ) {
        let address = |tensor: Option<&Self>| tensor.map_or(0, Self::address);
        if let Some(stranger) =
            [a, b, c].into_iter().flatten().find(|tensor| !tensor.device.is(&self.device))
        {
            self.device.note(self.check_like(stranger));
            return;
        }
        let params = Map {
            out: self.address(),
            a: address(a),
            b: address(b),
            c: address(c),
            x: x as f32,
            y: y as f32,
            count: int(self.count()),
            operation: operation as i32,
        };
        self.device.attempt(|| {
            self.device.launch(&elements("pc_map", Family::Tensor, self.count()), &params)
        });
    }

    /// `self . other` in f64: one partial sum a block, added in their order.
    fn product(&self, other: &Self) -> Result<f64> {
        self.device.check()?;
        self.check_like(other)?;
        let blocks = self.count().div_ceil(CHUNK);
        let partial = self.device.doubles(blocks, |out| {
            let params = Reduce {
                a: self.address(),
                b: other.address(),
                out,
                count: int(self.count()),
                unused: 0,
            };
            let launch = elements("pc_dot", Family::Tensor, self.count());
            self.device.launch(&Launch { shared: SUMS, ..launch }, &params)
        })?;
        Ok(partial.into_iter().sum())
    }

    /// `sum w |t|^2`: few launches as may be, and one copy to the host.
    fn norms(device: &Device, terms: Vec<(f64, &Self)>) -> Result<f64> {
        device.check()?;
        let blocks = |tensor: &Self| tensor.count().div_ceil(CHUNK);
        let all = terms.iter().map(|(_, tensor)| blocks(tensor)).sum();
        let sums = device.doubles(all, |mut next| {
            let part = |(_, tensor): &(f64, &Self)| {
                let v = next;
                next += 8 * blocks(tensor) as u64;
                Part { theta: tensor.address(), v, count: int(tensor.count()), ..Part::default() }
            };
            let parts: Vec<Part> = terms.iter().map(part).collect();
            launch_parts(device, Family::Tensor, "pc_norms", SUMS, Optimise::default(), &parts)
        })?;
        let mut sums = sums.iter();
        Ok(terms
            .iter()
            .map(|(weight, tensor)| weight * sums.by_ref().take(blocks(tensor)).sum::<f64>())
            .sum())
    }
}

impl Clone for DeviceTensor {
    fn clone(&self) -> Self {
        match self.device.note(Self::unset(&self.device, &self.shape)) {
            Some(mut copy) => {
                copy.copy_from(self);
                copy
            }
            // The failure is noted. Sharing the memory keeps later work within bounds until it is
            // reported.
            None => self.same(),
        }
    }
}

impl Tensor for DeviceTensor {
    fn shape(&self) -> Vec<usize> {
        self.shape.clone()
    }

    fn has_shape(&self, shape: &[usize]) -> bool {
        self.shape == shape
    }

    fn check_like(&self, other: &Self) -> Result<()> {
        if self.device.is(&other.device) {
            return Ok(());
        }
        // Another device's memory, or another stream's, which may not be ready yet.
        Err(Error::new(
            ErrorKind::Shape,
            format!("{self:?} and {other:?} lie on different devices, or different streams of one"),
        ))
    }

    fn zeros(&self, shape: &[usize]) -> Self {
        match self.device.note(Self::zeroed(&self.device, shape)) {
            Some(zeros) => zeros,
            // Without memory: every operation on it fails or does nothing, and the failure is
            // noted.
            None => Self { device: self.device.clone(), shape: vec![0; shape.len()], memory: None },
        }
    }

    fn fill(&mut self, value: f64) {
        self.map(Operation::Fill, None, None, None, value, 0.0);
    }

    fn copy_from(&mut self, source: &Self) {
        let bytes = 4 * self.count().min(source.count());
        if bytes > 0 {
            self.device.attempt(|| {
                self.check_like(source).and_then(|()| {
                    self.device.machine().copy(self.address(), source.address(), bytes)
                })
            });
        }
    }

    fn axpy(&mut self, a: f64, x: &Self) {
        self.map(Operation::Axpy, Some(x), None, None, a, 0.0);
    }

    fn scale(&mut self, a: f64) {
        self.map(Operation::Scale, None, None, None, a, 0.0);
    }

    fn multiply(&mut self, x: &Self) {
        self.map(Operation::Multiply, Some(x), None, None, 0.0, 0.0);
    }

    fn dot(&self, x: &Self) -> f64 {
        self.device.note(self.product(x)).unwrap_or(f64::NAN)
    }

    fn add_normal(&mut self, deviation: f64, stream: u64) {
        let device = self.device.clone();
        let drawn = (|| {
            let normal = Normal::new(0.0, deviation)
                .map_err(|error| crate::device::failed(error.to_string()))?;
            let mut random = ChaCha8Rng::seed_from_u64(stream);
            let numbers: Vec<f32> =
                (0..self.count()).map(|_| normal.sample(&mut random) as f32).collect();
            Self::new(&device, &self.shape, &numbers)
        })();
        if let Some(noise) = device.note(drawn) {
            self.axpy(1.0, &noise);
        }
    }

    fn is_finite(&self) -> bool {
        Self::all_finite(std::iter::once(self))
    }

    fn weighted_norms<'a>(terms: impl Iterator<Item = (f64, &'a Self)>) -> f64 {
        let mut left: Vec<(f64, &Self)> = terms.collect();
        let mut sum = 0.0;
        // One device after the other, where there are several.
        while let Some(device) = left.first().map(|(_, tensor)| tensor.device.clone()) {
            let (own, others) = left.into_iter().partition(|(_, tensor)| tensor.device.is(&device));
            sum += device.note(Self::norms(&device, own)).unwrap_or(f64::NAN);
            left = others;
        }
        sum
    }

    fn all_finite<'a>(tensors: impl Iterator<Item = &'a Self>) -> bool {
        Self::weighted_norms(tensors.map(|tensor| (1.0, tensor))).is_finite()
    }

    fn to_vec(&self) -> Vec<f64> {
        match self.device.note(self.numbers()) {
            Some(numbers) => numbers.into_iter().map(f64::from).collect(),
            None => vec![f64::NAN; self.count()],
        }
    }

    fn assign(&mut self, numbers: &[f64]) {
        if numbers.len() != self.count() {
            self.fill(f64::NAN);
            return;
        }
        let numbers: Vec<f32> = numbers.iter().map(|x| *x as f32).collect();
        let device = self.device.clone();
        if let Some(copy) = device.note(Self::new(&device, &self.shape, &numbers)) {
            self.copy_from(&copy);
        }
    }

    fn set_difference(&mut self, a: &Self, b: &Self) {
        self.map(Operation::Sum, Some(a), Some(b), None, 1.0, -1.0);
    }

    fn set_sum(&mut self, a: &Self, b: &Self) {
        self.map(Operation::Sum, Some(a), Some(b), None, 1.0, 1.0);
    }

    fn set_error(
        &mut self,
        residual: Option<&Self>,
        displacement: Option<&Self>,
        change: Option<&Self>,
    ) {
        self.map(Operation::Error, residual, displacement, change, 0.0, 0.0);
    }

    fn step_state(step: StateStep<'_, Self>) {
        let StateStep { displacement, value, reference, error, precision, force, rate, velocity } =
            step;
        let (velocity, momentum) =
            velocity.map_or((0, 0.0), |(velocity, momentum)| (velocity.address(), momentum));
        let params = Step {
            d: displacement.address(),
            v: value.address(),
            reference: reference.address(),
            e: error.map_or(0, Self::address),
            force: force.map_or(0, Self::address),
            velocity,
            rate: rate as f32,
            precision: precision as f32,
            momentum: momentum as f32,
            count: int(displacement.count()),
        };
        let device = &displacement.device;
        device.attempt(|| {
            device.launch(&elements("pc_step", Family::Tensor, displacement.count()), &params)
        });
    }

    fn step_error(
        error: &mut Self,
        precision: f64,
        force: Option<&Self>,
        rate: f64,
        velocity: Option<(&mut Self, f64)>,
    ) {
        let (velocity, momentum) =
            velocity.map_or((0, 0.0), |(velocity, momentum)| (velocity.address(), momentum));
        let params = Step {
            d: error.address(),
            v: 0,
            reference: 0,
            e: error.address(),
            force: force.map_or(0, Self::address),
            velocity,
            rate: rate as f32,
            precision: precision as f32,
            momentum: momentum as f32,
            count: int(error.count()),
        };
        error.device.attempt(|| {
            error.device.launch(&elements("pc_step", Family::Tensor, error.count()), &params)
        });
    }
}
