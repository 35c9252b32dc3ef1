//! Momentum.

use crate::{
    Error, Result,
    rule::{FreeCoordinates, Setting, Slot, StateRule, StepForm, Taken},
};

/// `u <- m u + g`, `v <- v + gamma u` (Polyak 1964).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Momentum(f64);

impl Momentum {
    /// With this momentum.
    ///
    /// # Errors
    /// Outside `[0, 1)`.
    pub fn new(momentum: f64) -> Result<Self> {
        checked(momentum).map(Self)
    }
}

/// # Errors
/// Outside `[0, 1)`.
pub(super) fn checked(momentum: f64) -> Result<f64> {
    if (0.0..1.0).contains(&momentum) {
        return Ok(momentum);
    }
    Err(Error::schedule(format!("momentum must be in [0, 1), not {momentum}")))
}

impl StateRule for Momentum {
    fn name(&self) -> &str {
        "momentum"
    }

    fn slots(&self) -> usize {
        1
    }

    fn step(&self, at: &mut dyn FreeCoordinates) -> Taken {
        at.scale(0, self.0);
        at.axpy(0, 1.0, Slot::Down);
        at.travel(at.rate(), Slot::Memory(0));
        Taken::Step
    }

    fn form(&self) -> Option<StepForm> {
        Some(StepForm::Momentum(self.0))
    }

    fn refuses(&self, _setting: Setting) -> Option<&'static str> {
        None
    }
}
