//! The rule by which a schedule's states step.

use crate::{
    Error, Result, Schedule,
    rule::{Adaptive, Momentum, Ruled, StateRule},
};

impl Schedule {
    /// Moves states, or the errors of error-based PC, by this rule instead of plain steps. The last
    /// rule chosen holds. Z-IL and frozen predictions are made for plain steps (and, frozen ones,
    /// momentum), and refuse others; learning at every step and noise are refused by rules that do
    /// not work with them.
    ///
    /// # Example
    /// ```
    /// use pc_core::{Schedule, rule::{Adam, Anderson}};
    /// let adam = Schedule::ipc(0.01, 20)?.ruled_by(Adam::default());
    /// let quick = Schedule::epc(0.1, 500)?.until(1e-6)?.ruled_by(Anderson::new(5)?);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    #[must_use]
    pub fn ruled_by(mut self, rule: impl StateRule + 'static) -> Self {
        self.rule = Ruled::new(rule);
        self
    }

    /// Moves states with momentum `m`; in error-based PC, errors.
    ///
    /// # Errors
    /// Outside `[0, 1)`.
    pub fn with_momentum(self, momentum: f64) -> Result<Self> {
        let name = self.name;
        let rule = Momentum::new(momentum);
        Ok(self.ruled_by(rule.map_err(|error| Error::schedule(format!("{name}: {error}")))?))
    }

    /// Halves a step, and the rate, if the energy has not fallen after it. If the energy has
    /// fallen, the rate grows by a tenth.
    #[must_use]
    pub fn adaptive(self) -> Self {
        self.ruled_by(Adaptive)
    }
}
