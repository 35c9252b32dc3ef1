//! Error-based PC: relaxation in the errors.

use crate::{Coordinates, Result, Schedule, schedule::Steps};

impl Schedule {
    /// Error-based PC: the free coordinates are the errors, `v_i = f_i(v_parents) + e_i`. They move
    /// by `e_i <- e_i + gamma (-pi_i e_i + delta_i)`, `steps` times, with `delta` the reverse-mode
    /// derivative of the output's energy. So a signal crosses the whole net in one step (Goemaere
    /// et al. 2025). Then weights learn as in standard PC.
    ///
    /// Its stationary points are those of standard PC (the same minimum where that is unique);
    /// rates are not comparable. The residual it reports is the gradient of the energy in the
    /// states, as for every other rule.
    ///
    /// # Errors
    /// A rate that is not a positive number; zero steps.
    ///
    /// # Example
    /// ```
    /// let epc = pc_core::Schedule::epc(0.1, 64)?;
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn epc(rate: f64, steps: usize) -> Result<Self> {
        Ok(Self {
            coordinates: Coordinates::Errors,
            ..Self::base("error-based PC", rate, Steps::Count(steps))?
        })
    }
}
