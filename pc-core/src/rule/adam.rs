//! Adam.

use crate::{
    Error, Result,
    rule::{FreeCoordinates, Slot, StateRule, Taken},
};

/// Adam (Kingma and Ba 2015), on states: `m <- b1 m + (1 - b1) g`, `s <- b2 s + (1 - b2) g^2`, `v
/// <- v + gamma m^ / (sqrt(s^) + epsilon)`, with `m^` and `s^` divided by what they would be of a
/// gradient of ones. Its memory begins anew with each batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    first: f64,
    second: f64,
    epsilon: f64,
}

impl Default for Adam {
    /// `b1 = 0.9`, `b2 = 0.999`, `epsilon = 1e-8`, as in the paper.
    fn default() -> Self {
        Self { first: 0.9, second: 0.999, epsilon: 1e-8 }
    }
}

impl Adam {
    /// With these `b1`, `b2` and `epsilon`.
    ///
    /// # Errors
    /// A decay outside `[0, 1)`; an `epsilon` that is not a positive number.
    ///
    /// # Example
    /// ```
    /// use pc_core::{Schedule, rule::Adam};
    /// let usual = Schedule::standard(0.01, 100)?.ruled_by(Adam::default());
    /// let shorter = Schedule::standard(0.01, 100)?.ruled_by(Adam::new(0.9, 0.9, 1e-8)?);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn new(first: f64, second: f64, epsilon: f64) -> Result<Self> {
        if let Some(bad) = [first, second].into_iter().find(|b| !(0.0..1.0).contains(b)) {
            return Err(Error::schedule(format!("Adam: a decay must be in [0, 1), not {bad}")));
        }
        if !(epsilon > 0.0 && epsilon.is_finite()) {
            let message = format!("Adam: epsilon must be a positive number, not {epsilon}");
            return Err(Error::schedule(message));
        }
        Ok(Self { first, second, epsilon })
    }
}

impl StateRule for Adam {
    fn name(&self) -> &str {
        "Adam"
    }

    /// Both means, and the step.
    fn slots(&self) -> usize {
        3
    }

    /// The powers of both decays.
    fn numbers(&self) -> usize {
        2
    }

    fn step(&self, at: &mut dyn FreeCoordinates) -> Taken {
        let Self { first, second, epsilon } = *self;
        let begins = at.taken() == 0;
        let [power, power_of_second] = at.numbers() else { return Taken::Step };
        if begins {
            (*power, *power_of_second) = (1.0, 1.0);
        }
        *power *= first;
        *power_of_second *= second;
        let (whole, whole_of_second) = (1.0 - *power, 1.0 - *power_of_second);
        at.map(&[Slot::Down], &[0, 1, 2], &mut |down, kept| {
            let ([down], [mean, square, step]) = (down, kept) else { return };
            let each = down.iter().zip(mean.iter_mut()).zip(square.iter_mut()).zip(step.iter_mut());
            for (((g, mean), square), step) in each {
                *mean = first * *mean + (1.0 - first) * g;
                *square = second * *square + (1.0 - second) * g * g;
                *step = *mean / whole / ((*square / whole_of_second).sqrt() + epsilon);
            }
        });
        at.travel(at.rate(), Slot::Memory(2));
        Taken::Step
    }
}
