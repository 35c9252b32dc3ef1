//! What belongs to one operation of an autograd graph: a tensor for each of its outputs.

use pc_core::{Error, ErrorKind, Result};
use tch::Tensor;

use crate::{
    sys,
    tensor::{reported, step_error},
};

/// One tensor for each output of an operation, absent where it is zero: an output that no error has
/// reached stays undefined, as in backprop.
///
/// Tensors are shared until they are written: `sys` writes in place only where nothing else can see
/// a tensor, and makes a new one elsewhere. The engine's arithmetic cannot fail, so what libtorch
/// refuses is kept here and reported by the next pull.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    parts: Vec<Option<Tensor>>,
    failed: Option<Error>,
}

impl Clone for Slots {
    fn clone(&self) -> Self {
        Self { parts: self.parts.iter().map(share).collect(), failed: self.failed.clone() }
    }
}

fn share(part: &Option<Tensor>) -> Option<Tensor> {
    part.as_ref().map(Tensor::shallow_clone)
}

impl Slots {
    /// As many zeros as there are outputs.
    pub(crate) fn zero(count: usize) -> Self {
        Self { parts: (0..count).map(|_| None).collect(), failed: None }
    }

    /// These tensors.
    pub(crate) fn new(parts: Vec<Option<Tensor>>) -> Self {
        Self { parts, failed: None }
    }

    /// The tensors, or why there are none.
    pub(crate) fn parts(&self) -> Result<&[Option<Tensor>]> {
        match &self.failed {
            None => Ok(&self.parts),
            Some(error) => Err(error.clone()),
        }
    }

    /// The first tensor, moved out.
    pub(crate) fn into_first(self) -> Option<Tensor> {
        self.parts.into_iter().next().flatten()
    }

    /// Adds to one of them.
    pub(crate) fn add(&mut self, slot: usize, x: &Tensor) -> Result<()> {
        match self.parts.get_mut(slot) {
            Some(part) => sys::add(part, x),
            None => Err(Error::new(ErrorKind::Misuse, format!("there is no slot {slot}"))),
        }
    }

    /// Adds `weight x` to one of them.
    pub(crate) fn add_scaled(&mut self, slot: usize, x: &Tensor, weight: f64) -> Result<()> {
        if weight == 1.0 {
            return self.add(slot, x);
        }
        match self.parts.get_mut(slot) {
            Some(part) => sys::axpby(part, 1.0, Some(x), weight),
            None => Err(Error::new(ErrorKind::Misuse, format!("there is no slot {slot}"))),
        }
    }

    fn note(&mut self, result: Result<()>) {
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }

    /// `self <- a self + b x`.
    fn combine(&mut self, a: f64, x: Option<&Self>, b: f64) {
        for index in 0..self.parts.len() {
            let other = x.and_then(|x| x.parts.get(index)).and_then(Option::as_ref);
            let result = sys::axpby(&mut self.parts[index], a, other, b);
            self.note(result);
        }
        if let Some(error) = x.and_then(|x| x.failed.clone()) {
            self.note(Err(error));
        }
    }

    fn measure(&self, work: impl Fn(&Tensor) -> Result<f64>) -> f64 {
        // What cannot be measured must not pass for a number.
        self.parts.iter().flatten().map(|part| work(part).unwrap_or(f64::NAN)).sum()
    }
}

impl pc_core::Tensor for Slots {
    fn shape(&self) -> Vec<usize> {
        vec![1, self.parts.len()]
    }

    fn zeros(&self, shape: &[usize]) -> Self {
        Self::zero(shape.last().copied().unwrap_or(0))
    }

    fn fill(&mut self, value: f64) {
        if value == 0.0 {
            self.parts.fill_with(|| None);
            self.failed = None;
            return;
        }
        for index in 0..self.parts.len() {
            let filled =
                self.parts[index].as_ref().map(|part| part.f_full_like(value).map_err(reported));
            match filled {
                Some(Ok(filled)) => self.parts[index] = Some(filled),
                Some(Err(error)) => self.note(Err(error)),
                None => self.note(Err(Error::new(
                    ErrorKind::Unsupported,
                    "an absent error has no shape to fill",
                ))),
            }
        }
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
        for index in 0..self.parts.len() {
            let other = x.parts.get(index).and_then(Option::as_ref);
            match self.parts[index].as_ref().zip(other).map(|(part, other)| part.f_mul(other)) {
                None => self.parts[index] = None,
                Some(Ok(product)) => self.parts[index] = Some(product),
                Some(Err(error)) => self.note(Err(reported(error))),
            }
        }
    }

    fn dot(&self, x: &Self) -> f64 {
        let product = |a: &Tensor, b: &Tensor| -> Result<f64, tch::TchError> {
            a.f_mul(b)?.f_sum(tch::Kind::Double)?.f_double_value(&[])
        };
        let pairs = self.parts.iter().zip(&x.parts).filter_map(|(a, b)| a.as_ref().zip(b.as_ref()));
        pairs.map(|(a, b)| product(a, b).unwrap_or(f64::NAN)).sum()
    }

    fn norm_squared(&self) -> f64 {
        self.measure(sys::norm_squared)
    }

    fn add_normal(&mut self, _deviation: f64, _stream: u64) {
        self.note(Err(Error::new(
            ErrorKind::Unsupported,
            "an autograd graph takes no noise: it cannot predict at other values",
        )));
    }

    fn is_finite(&self) -> bool {
        // A sum of finite squares may overflow; a sum of products with zero is NaN where something
        // is not finite, else zero.
        let vanishing = |part: &Tensor| {
            part.f_mul_scalar(0.0)
                .and_then(|zeros| zeros.f_sum(tch::Kind::Double)?.f_double_value(&[]))
        };
        self.failed.is_none() && self.measure(|part| vanishing(part).map_err(reported)) == 0.0
    }

    fn to_vec(&self) -> Vec<f64> {
        let numbers = |part: &Tensor| {
            let dense = if part.is_sparse() {
                part.f_to_dense(None::<tch::Kind>, false)?
            } else {
                part.shallow_clone()
            };
            let flat = dense.f_to_kind(tch::Kind::Double)?.f_reshape([-1])?;
            Vec::<f64>::try_from(flat)
        };
        self.parts
            .iter()
            .flatten()
            .flat_map(|part| numbers(part).unwrap_or_else(|_| vec![f64::NAN]))
            .collect()
    }

    fn assign(&mut self, _numbers: &[f64]) {
        self.note(Err(Error::new(
            ErrorKind::Unsupported,
            "the errors of an autograd graph are not written number by number",
        )));
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
