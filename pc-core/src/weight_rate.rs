//! The rate at which weights learn, step by step.

use crate::{Error, Result};

/// A rate for weights that changes as training goes on. It belongs to no optimiser: set what
/// [`WeightRate::at`] gives before each step, or before each epoch.
///
/// # Example
/// ```
/// use pc_core::{WeightRate, host::Sgd};
/// let rate = WeightRate::cosine(0.1, 0.01, 90)?.warmed_up(10);
/// for (step, expected) in [(0, 0.01), (9, 0.1), (10, 0.1), (10 + 45, 0.055), (100, 0.01)] {
///     assert!((rate.at(step) - expected).abs() < 1e-15, "{step}");
/// }
/// let mut sgd = Sgd::<f32>::new(rate.at(0))?;
/// for step in 0..200 {
///     sgd.set_rate(rate.at(step))?;
/// }
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WeightRate {
    rate: f64,
    warm_up: usize,
    then: Then,
}

/// What comes after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    Constant,
    Cosine { last: f64, steps: usize },
    Decay { factor: f64, every: usize },
}

fn positive(what: &str, value: f64) -> Result<f64> {
    if value > 0.0 && value.is_finite() {
        return Ok(value);
    }
    Err(Error::schedule(format!("the {what} must be a positive number, not {value}")))
}

fn some(what: &str, count: usize) -> Result<usize> {
    if count > 0 {
        return Ok(count);
    }
    Err(Error::schedule(format!("the {what} must be at least 1")))
}

impl WeightRate {
    fn new(rate: f64, then: Then) -> Result<Self> {
        Ok(Self { rate: positive("weights' rate", rate)?, warm_up: 0, then })
    }

    /// The same rate at every step.
    ///
    /// # Errors
    /// A rate that is not a positive number.
    pub fn constant(rate: f64) -> Result<Self> {
        Self::new(rate, Then::Constant)
    }

    /// Falls from `rate` to `last` along half a wave, `last + (rate - last) (1 + cos(pi t / T)) /
    /// 2` after `t` of `T = steps` steps, and stays there (Loshchilov and Hutter 2017).
    ///
    /// # Errors
    /// Rates that are not positive numbers; no steps.
    pub fn cosine(rate: f64, last: f64, steps: usize) -> Result<Self> {
        let last = positive("last of the weights' rates", last)?;
        Self::new(rate, Then::Cosine { last, steps: some("steps of a cosine", steps)? })
    }

    /// Multiplies the rate by `factor` after every `every` steps.
    ///
    /// # Errors
    /// A rate or factor that is not a positive number; no steps.
    pub fn step_decay(rate: f64, factor: f64, every: usize) -> Result<Self> {
        let factor = positive("factor of a decaying rate", factor)?;
        Self::new(rate, Then::Decay { factor, every: some("steps between decays", every)? })
    }

    /// Rises to the rate over so many steps first, by as much at each: step 0 is taken at `rate /
    /// steps`. What follows counts its steps from there.
    #[must_use]
    pub fn warmed_up(mut self, steps: usize) -> Self {
        self.warm_up = steps;
        self
    }

    /// The rate of a step, counted from 0. A rate that has decayed for long may be too small for
    /// any number, and is 0 then, which optimisers refuse.
    pub fn at(&self, step: usize) -> f64 {
        let Some(step) = step.checked_sub(self.warm_up) else {
            return self.rate * ((step + 1) as f64 / self.warm_up as f64);
        };
        match self.then {
            Then::Constant => self.rate,
            Then::Cosine { last, steps } if step >= steps => last,
            Then::Cosine { last, steps } => {
                let turn = std::f64::consts::PI * (step as f64 / steps as f64);
                last + (self.rate - last) * (0.5 * (1.0 + turn.cos()))
            }
            Then::Decay { factor, every } => {
                // So many multiplications, so that what counts on from a rate comes to the same
                // bits. They end where they change nothing any more.
                let mut rate = self.rate;
                for _ in 0..step / every {
                    let next = rate * factor;
                    if next == rate {
                        break;
                    }
                    rate = next;
                }
                rate
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_what_their_formulas_say() {
        let constant = WeightRate::constant(0.3).unwrap().warmed_up(3);
        let found: Vec<f64> = (0..5).map(|step| constant.at(step)).collect();
        assert_eq!(found, [0.3 / 3.0, 0.3 * (2.0 / 3.0), 0.3, 0.3, 0.3]);
        let decay = WeightRate::step_decay(0.2, 0.9, 2).unwrap();
        let found: Vec<f64> = (0..5).map(|step| decay.at(step)).collect();
        assert_eq!(found, [0.2, 0.2, 0.2 * 0.9, 0.2 * 0.9, 0.2 * 0.9 * 0.9]);
        let cosine = WeightRate::cosine(1.0, 0.5, 4).unwrap();
        for step in 0..9 {
            let turn = std::f64::consts::PI * step.min(4) as f64 / 4.0;
            let expected = 0.5 + 0.25 * (1.0 + turn.cos());
            assert!((cosine.at(step) - expected).abs() < 1e-15, "{step}");
        }
        assert_eq!((cosine.at(0), cosine.at(4)), (1.0, 0.5));
    }

    #[test]
    fn rates_end_soon_wherever_they_go() {
        let fast = WeightRate::step_decay(1.0, 0.9, 1).unwrap();
        assert!(fast.at(usize::MAX) < 1e-300);
        assert!(WeightRate::step_decay(1.0, 2.0, 1).unwrap().at(usize::MAX).is_infinite());
        assert_eq!(WeightRate::step_decay(1.0, 1.0, 1).unwrap().at(usize::MAX), 1.0);
    }

    #[test]
    fn rates_that_are_none_are_refused() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(WeightRate::constant(bad).is_err());
            assert!(WeightRate::cosine(1.0, bad, 3).is_err());
            assert!(WeightRate::cosine(bad, 1.0, 3).is_err());
            assert!(WeightRate::step_decay(1.0, bad, 3).is_err());
        }
        assert!(WeightRate::cosine(1.0, 0.1, 0).is_err());
        assert!(WeightRate::step_decay(1.0, 0.1, 0).is_err());
    }
}
