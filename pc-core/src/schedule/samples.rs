//! Learning from samples.

use crate::{Error, Learning, Result, Schedule};

impl Schedule {
    /// With noise, lets weights learn from samples: from the errors after steps `burn_in + every`,
    /// `burn_in + 2 every`, and so on. Each of them is a learning event, as in iPC, so it needs
    /// [`crate::Relaxation::train`] (or `advance`) with an optimiser; states go on from where they
    /// are. With states that sample `exp(-F / temperature)`, the gradients average to that of the
    /// free energy in the weights, which is a step of (Monte Carlo) expectation maximisation.
    ///
    /// # Errors
    /// `every` is 0.
    ///
    /// # Example
    /// ```
    /// use pc_core::Schedule;
    /// // Learns 4 times: after 60, 70, 80, 90 of the 95 steps.
    /// let schedule =
    ///     Schedule::standard(0.05, 95)?.with_noise(1.0, 7)?.learning_from_samples(50, 10)?;
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn learning_from_samples(mut self, burn_in: usize, every: usize) -> Result<Self> {
        if every == 0 {
            let message = format!("{}: it cannot learn from every 0th sample", self.name);
            return Err(Error::schedule(message));
        }
        self.samples = Some((burn_in, every));
        Ok(self)
    }
}

impl Learning {
    /// Whether weights learn while states still move, so that an optimiser is needed meanwhile.
    pub fn moves_weights(self) -> bool {
        matches!(self, Self::EveryStep | Self::FromSamples { .. })
    }

    /// Whether weights learn from the errors after so many steps of at most `most`.
    pub(crate) fn is_due(self, step: usize, most: usize) -> bool {
        match self {
            Self::AtEnd | Self::AtLevel => false,
            Self::EveryStep => step < most,
            Self::FromSamples { burn_in, every } => {
                step > burn_in && (step - burn_in).is_multiple_of(every)
            }
        }
    }
}
