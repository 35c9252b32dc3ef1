//! libtorch's tensors, as the engine moves them.

use pc_core::{Error, ErrorKind, Result, host::HostTensor};
use tch::{Device, Kind, TchError, Tensor};

use crate::sys;

/// A tensor for explicit graphs ([`pc_core::Graph`]): batch first, of any kind and on any device
/// that libtorch computes with.
///
/// Copies share memory until one of them is written. The engine's arithmetic cannot fail, so where
/// libtorch refuses an operation (out of memory, a wrong device) the result is NaN, which ends the
/// relaxation as diverged.
///
/// # Example
/// ```
/// use pc_tch::TchTensor;
/// use pc_core::Tensor as _;
/// let mut x = TchTensor::new(&tch::Tensor::from_slice(&[1.0, 2.0]).view([1, 2]));
/// let y = x.clone();
/// x.axpy(2.0, &y);
/// assert_eq!((x.to_vec(), y.to_vec()), (vec![3.0, 6.0], vec![1.0, 2.0]));
/// ```
#[derive(Debug)]
pub struct TchTensor(Tensor);

impl Clone for TchTensor {
    fn clone(&self) -> Self {
        Self(self.0.shallow_clone())
    }
}

pub(crate) fn reported(error: TchError) -> Error {
    Error::new(ErrorKind::Backend, error.to_string())
}

/// A shape as libtorch takes it.
pub(crate) fn sizes(shape: &[usize]) -> Vec<i64> {
    shape.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect()
}

impl TchTensor {
    /// The numbers of a tensor, cut off from its autograd graph. The memory is shared: the tensor
    /// must not be changed in place afterwards.
    pub fn new(tensor: &Tensor) -> Self {
        Self(tensor.detach())
    }

    /// The tensor. It shares this one's memory, so it must not be changed in place.
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }

    /// The same tensor with its graph, for a cache.
    pub(crate) fn with_graph(tensor: Tensor) -> Self {
        Self(tensor)
    }

    /// The tensor, moved out.
    pub(crate) fn into_tensor(self) -> Tensor {
        self.0
    }

    pub(crate) fn put(&mut self, result: std::result::Result<Tensor, TchError>) {
        match result {
            Ok(tensor) => self.0 = tensor,
            Err(_) => self.spoil(),
        }
    }

    fn spoil(&mut self) {
        let spoilt = self.0.f_full_like(f64::NAN);
        if let Ok(spoilt) = spoilt {
            self.0 = spoilt;
        }
    }

    /// `self <- a self + b x`.
    fn combine(&mut self, a: f64, x: Option<&Self>, b: f64) {
        if a == 0.0 && x.is_none() {
            self.put(self.0.f_zeros_like());
            return;
        }
        let mut own = Some(std::mem::replace(&mut self.0, Tensor::new()));
        let done = sys::axpby(&mut own, a, x.map(|x| &x.0), b);
        if let Some(own) = own {
            self.0 = own;
        }
        if done.is_err() {
            self.spoil();
        }
    }

    fn number(&self, work: impl FnOnce(&Tensor) -> std::result::Result<Tensor, TchError>) -> f64 {
        work(&self.0).and_then(|number| number.f_double_value(&[])).unwrap_or(f64::NAN)
    }
}

impl pc_core::Tensor for TchTensor {
    fn shape(&self) -> Vec<usize> {
        self.0.size().into_iter().map(|size| usize::try_from(size).unwrap_or(0)).collect()
    }

    fn zeros(&self, shape: &[usize]) -> Self {
        // Where there is no memory for them, an undefined tensor: whatever is done with it comes to
        // NaN.
        Self(Tensor::f_zeros(sizes(shape), (self.0.kind(), self.0.device())).unwrap_or_default())
    }

    fn fill(&mut self, value: f64) {
        self.put(self.0.f_full_like(value));
    }

    fn copy_from(&mut self, source: &Self) {
        self.clone_from(source);
    }

    fn axpy(&mut self, a: f64, x: &Self) {
        self.combine(1.0, Some(x), a);
    }

    fn scale(&mut self, a: f64) {
        self.combine(a, None, 0.0);
    }

    fn multiply(&mut self, x: &Self) {
        self.put(self.0.f_mul(&x.0));
    }

    fn dot(&self, x: &Self) -> f64 {
        self.number(|own| {
            own.f_to_kind(Kind::Double)?.f_mul(&x.0.f_to_kind(Kind::Double)?)?.f_sum(Kind::Double)
        })
    }

    fn norm_squared(&self) -> f64 {
        sys::norm_squared(&self.0).unwrap_or(f64::NAN)
    }

    fn add_normal(&mut self, deviation: f64, stream: u64) {
        // Drawn on the host, so that a seed gives the same numbers on every backend, and since
        // libtorch's own generator belongs to the user: drawing from it would change what their
        // dropout draws.
        let mut draws = HostTensor::<f64>::default().zeros(&self.shape());
        draws.add_normal(deviation, stream);
        let mut noise = self.clone();
        noise.assign(draws.data());
        self.axpy(1.0, &noise);
    }

    fn is_finite(&self) -> bool {
        self.number(|own| own.f_isfinite()?.f_all()) == 1.0
    }

    fn to_vec(&self) -> Vec<f64> {
        let numbers = self
            .0
            .f_to_kind(Kind::Double)
            .and_then(|x| x.f_to_device(Device::Cpu)?.f_reshape([-1]))
            .and_then(|x| Vec::try_from(&x));
        numbers.unwrap_or_else(|_| vec![f64::NAN; self.0.numel()])
    }

    fn assign(&mut self, numbers: &[f64]) {
        if numbers.len() != self.0.numel() {
            self.spoil();
            return;
        }
        let numbers = Tensor::f_from_slice(numbers).and_then(|numbers| {
            let numbers = numbers.f_to_device(self.0.device())?.f_to_kind(self.0.kind())?;
            numbers.f_reshape(self.0.size())
        });
        self.put(numbers);
    }

    fn set_difference(&mut self, a: &Self, b: &Self) {
        self.put(a.0.f_sub(&b.0));
    }

    fn set_sum(&mut self, a: &Self, b: &Self) {
        self.put(a.0.f_add(&b.0));
    }

    fn step_error(
        error: &mut Self,
        precision: f64,
        force: Option<&Self>,
        rate: f64,
        velocity: Option<(&mut Self, f64)>,
    ) {
        step_error(Self::combine, error, precision, force, rate, velocity);
    }
}

/// [`pc_core::Tensor::step_error`], of what has `combine(y, a, x, b)`: `y <- a y + b x`.
pub(crate) fn step_error<T>(
    combine: fn(&mut T, f64, Option<&T>, f64),
    error: &mut T,
    precision: f64,
    force: Option<&T>,
    rate: f64,
    velocity: Option<(&mut T, f64)>,
) {
    match velocity {
        None => combine(error, 1.0 - rate * precision, force, rate),
        Some((velocity, momentum)) => {
            combine(velocity, momentum, force, 1.0);
            combine(velocity, 1.0, Some(error), -precision);
            combine(error, 1.0, Some(velocity), rate);
        }
    }
}

/// Checks that a result belongs where it is wanted.
pub(crate) fn checked(result: std::result::Result<Tensor, TchError>, kind: &str) -> Result<Tensor> {
    result.map_err(|error| reported(error).at(kind))
}
