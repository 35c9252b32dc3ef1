//! Nesterov's accelerated gradient.

use crate::{
    Result,
    rule::{FreeCoordinates, Slot, StateRule, Taken, momentum},
};

/// Nesterov's accelerated gradient: momentum, with the gradient taken where momentum alone would
/// lead (Nesterov 1983).
///
/// The coordinates are kept at that point, which turns the rule into
/// `u <- m u + g`, `v <- v + gamma (g + m u)` (Sutskever et al. 2013, in the form of Bengio et al.
/// 2013), and makes every error and energy that is read one of a point where a gradient was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nesterov(f64);

impl Nesterov {
    /// With this momentum.
    ///
    /// # Errors
    /// Outside `[0, 1)`.
    ///
    /// # Example
    /// ```
    /// use pc_core::{Schedule, rule::Nesterov};
    /// let schedule = Schedule::standard(0.1, 100)?.ruled_by(Nesterov::new(0.9)?);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn new(momentum: f64) -> Result<Self> {
        momentum::checked(momentum).map(Self)
    }
}

impl StateRule for Nesterov {
    fn name(&self) -> &str {
        "Nesterov"
    }

    fn slots(&self) -> usize {
        1
    }

    fn step(&self, at: &mut dyn FreeCoordinates) -> Taken {
        at.scale(0, self.0);
        at.axpy(0, 1.0, Slot::Down);
        let rate = at.rate();
        at.travel(rate, Slot::Down);
        at.travel(rate * self.0, Slot::Memory(0));
        Taken::Step
    }
}
