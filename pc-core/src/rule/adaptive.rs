//! Plain steps at a rate that adapts.

use crate::rule::{FreeCoordinates, Setting, Slot, StateRule, StepForm, Taken};

/// Halves a step, and the rate, if the energy has not fallen after it. If the energy has fallen,
/// the rate grows by a tenth. Each time part of a step is taken back counts as a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adaptive;

const SHRINK: f64 = 0.5;
const GROWTH: f64 = 1.1;

impl StateRule for Adaptive {
    fn name(&self) -> &str {
        "adaptive"
    }

    fn slots(&self) -> usize {
        1
    }

    /// The rate, and the energy at the last point that it went on from.
    fn numbers(&self) -> usize {
        2
    }

    fn watches(&self) -> bool {
        true
    }

    fn step(&self, at: &mut dyn FreeCoordinates) -> Taken {
        let (energy, first, given) = (at.energy(), at.taken() == 0, at.rate());
        let [rate, accepted] = at.numbers() else { return Taken::Step };
        if first {
            *rate = given;
        } else if !(energy < *accepted) {
            let change = (SHRINK - 1.0) * *rate;
            *rate *= SHRINK;
            at.travel(change, Slot::Memory(0));
            return Taken::Step;
        } else {
            *rate *= GROWTH;
        }
        *accepted = energy;
        let rate = *rate;
        at.copy(0, Slot::Down);
        at.travel(rate, Slot::Memory(0));
        Taken::Step
    }

    fn form(&self) -> Option<StepForm> {
        Some(StepForm::Adaptive { shrink: SHRINK, growth: GROWTH })
    }

    fn refuses(&self, setting: Setting) -> Option<&'static str> {
        match setting {
            Setting::Noise => {
                Some("noise raises the energy that an adaptive step waits to see fall")
            }
            Setting::MovingWeights => {
                Some("an adaptive step needs an energy that only states change")
            }
            Setting::Errors => None,
        }
    }
}
