//! Where errors start, where they are what moves.

use crate::{Error, Result, Schedule};

/// Where the errors of free vertices start, where errors are what relaxation moves: while
/// predictions are frozen, and in error-based PC. Their vertices' predictions are the feed-forward
/// ones in any case.
///
/// A vertex whose clamp gives it a start of its own ([`crate::Clamps::free`]) starts there; of a
/// partly held one, this is the free part.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum ErrorStart {
    /// At zero.
    #[default]
    Zero,
    /// At their vertices' feed-forward values. With frozen predictions that is Activation
    /// Relaxation: `x_l <- x_l + gamma (-x_l + J^T x_{l+1})` from the activations (Millidge,
    /// Tschantz, Seth and Buckley 2020), whose limit is backprop's errors.
    Activations,
    /// At normal draws of this standard deviation.
    Noise {
        /// The standard deviation.
        deviation: f64,
        /// The seed.
        seed: u64,
    },
    /// At the tensors of [`crate::Clamps::free`], which are then errors and not values; at zero
    /// where there is none. Clamps that give none at all are refused.
    Given,
}

impl Schedule {
    /// Starts errors elsewhere than at zero. Live states refuse it, whose errors follow from where
    /// the states start ([`Schedule::starting`]); the states have to start at their predictions.
    ///
    /// # Errors
    /// A deviation that is negative, or not finite.
    ///
    /// # Example
    /// ```
    /// use pc_core::{ErrorStart, Schedule};
    /// let activation_relaxation =
    ///     Schedule::fixed_prediction(0.2, 100)?.errors_from(ErrorStart::Activations)?;
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn errors_from(mut self, start: ErrorStart) -> Result<Self> {
        if let ErrorStart::Noise { deviation, .. } = start
            && !(deviation >= 0.0 && deviation.is_finite())
        {
            return Err(Error::schedule(format!(
                "{}: the deviation of its errors' start must be a number that is not negative, \
                 not {deviation}",
                self.name
            )));
        }
        self.errors = start;
        Ok(self)
    }
}
