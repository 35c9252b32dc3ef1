//! Plain steps.

use crate::rule::{FreeCoordinates, Setting, Slot, StateRule, StepForm, Taken};

/// `v <- v + gamma g`, which every schedule starts with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plain;

impl StateRule for Plain {
    fn name(&self) -> &str {
        "plain"
    }

    fn slots(&self) -> usize {
        0
    }

    fn step(&self, at: &mut dyn FreeCoordinates) -> Taken {
        at.travel(at.rate(), Slot::Down);
        Taken::Step
    }

    fn form(&self) -> Option<StepForm> {
        Some(StepForm::Plain)
    }

    fn refuses(&self, _setting: Setting) -> Option<&'static str> {
        None
    }
}
