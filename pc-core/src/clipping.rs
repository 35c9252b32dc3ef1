//! Bounds on gradients.

use crate::{Error, Result, gradients::Gradients, tensor::Tensor};

/// A bound on the gradients of one step, against steps that go too far.
///
/// # Example
/// ```
/// use pc_core::{Clipping, Gradients, ParamId, Tensor, host::{Adam, HostTensor}};
/// let mut gradients = Gradients::empty(1);
/// gradients.set(ParamId::new(0), HostTensor::new(&[2], vec![3.0_f64, -4.0])?);
/// assert_eq!(gradients.clip(Clipping::norm(1.0)?)?, 5.0);
/// let numbers = gradients.get(ParamId::new(0)).map(Tensor::to_vec).unwrap_or_default();
/// assert!((numbers[0] - 0.6).abs() < 1e-15 && (numbers[1] + 0.8).abs() < 1e-15);
/// // The host's optimisers clip by themselves.
/// let adam = Adam::<f64>::new(1e-3)?.with_clipping(Clipping::value(0.1)?);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clipping {
    by: By,
    most: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Norm,
    Value,
}

impl Clipping {
    /// By the norm of all gradients together: where it is above `most`, all are multiplied by
    /// `most / norm` (Pascanu et al. 2013). Directions stay as they are.
    ///
    /// # Errors
    /// A bound that is not a positive number.
    pub fn norm(most: f64) -> Result<Self> {
        Self::new(By::Norm, most)
    }

    /// Number by number: each is moved into `[-most, most]`.
    ///
    /// # Errors
    /// A bound that is not a positive number.
    pub fn value(most: f64) -> Result<Self> {
        Self::new(By::Value, most)
    }

    fn new(by: By, most: f64) -> Result<Self> {
        if most > 0.0 && most.is_finite() {
            Ok(Self { by, most })
        } else {
            Err(Error::schedule(format!(
                "the bound on gradients must be a positive number, not {most}"
            )))
        }
    }
}

impl<T: Tensor> Gradients<T> {
    /// The Euclidean norm of all that are defined, together.
    pub fn norm(&self) -> f64 {
        T::weighted_norms(self.iter().filter_map(|(_, g)| Some((1.0, g?)))).sqrt()
    }

    /// Bounds them, and returns the norm they had before.
    ///
    /// # Errors
    /// A number that is not finite, or so large that the norm is not; nothing has changed then.
    pub fn clip(&mut self, clipping: Clipping) -> Result<f64> {
        let norm = self.norm();
        if !norm.is_finite() {
            return Err(Error::not_finite(
                "the norm of the gradients is not finite, so they cannot be clipped",
            ));
        }
        let most = clipping.most;
        match clipping.by {
            By::Norm if norm > most => self.scale(most / norm),
            By::Norm => {}
            By::Value => {
                for tensor in self.defined_mut() {
                    let mut numbers = tensor.to_vec();
                    numbers.iter_mut().for_each(|number| *number = number.clamp(-most, most));
                    tensor.assign(&numbers);
                }
            }
        }
        Ok(norm)
    }

    /// `self <- self + a other`, parameter by parameter: the gradients of a batch in parts, or of
    /// two rules in a mixture. Where only `other` has a gradient, it is taken `a` times.
    ///
    /// # Errors
    /// A factor that is not finite; another number of parameters; a gradient of another shape.
    /// Nothing has changed then.
    ///
    /// # Example
    /// ```
    /// use pc_core::{Gradients, ParamId, Tensor, host::HostTensor};
    /// let mut sum = Gradients::empty(2);
    /// let mut part = Gradients::empty(2);
    /// part.set(ParamId::new(0), HostTensor::new(&[1], vec![2.0_f64])?);
    /// sum.axpy(0.5, &part)?;
    /// sum.axpy(3.0, &part)?;
    /// assert_eq!(sum.get(ParamId::new(0)).map(Tensor::to_vec), Some(vec![7.0]));
    /// assert!(sum.get(ParamId::new(1)).is_none());
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn axpy(&mut self, a: f64, other: &Self) -> Result<()> {
        if !a.is_finite() {
            return Err(Error::not_finite(format!("gradients cannot be added {a} times")));
        }
        if self.len() != other.len() {
            return Err(Error::shape(format!(
                "gradients of {} and of {} parameters cannot be added",
                self.len(),
                other.len()
            )));
        }
        for (id, theirs) in other.iter() {
            let Some(theirs) = theirs else { continue };
            if let Some(own) = self.get(id) {
                if !own.is_like(theirs) {
                    return Err(Error::shape(format!(
                        "the gradients of parameter {} have shapes {:?} and {:?}",
                        id.index(),
                        own.shape(),
                        theirs.shape()
                    )));
                }
                own.check_like(theirs)?;
            }
        }
        for (id, theirs) in other.iter() {
            let Some(theirs) = theirs else { continue };
            match self.slot(id) {
                Some((own, false)) => own.axpy(a, theirs),
                Some((own, true)) if own.is_like(theirs) => {
                    own.copy_from(theirs);
                    own.scale(a);
                }
                _ => {
                    let mut first = theirs.clone();
                    first.scale(a);
                    self.set(id, first);
                }
            }
        }
        Ok(())
    }
}
