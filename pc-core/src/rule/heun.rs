//! Heun's method.

use crate::rule::{FreeCoordinates, Setting, Slot, StateRule, Taken};

/// Heun's method, of second order: `v <- v + gamma/2 (g(v) + g(v + gamma g(v)))`. It follows
/// gradient flow, `dv/dt = g`, with an error that falls as `gamma^2`, where plain steps (Euler's)
/// have one of `gamma`. A step takes two passes.
///
/// # Example
/// ```
/// use pc_core::{Schedule, rule::Heun};
/// let flow = Schedule::standard(0.1, 20)?.ruled_by(Heun);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heun;

impl StateRule for Heun {
    fn name(&self) -> &str {
        "Heun"
    }

    fn slots(&self) -> usize {
        1
    }

    fn step(&self, at: &mut dyn FreeCoordinates) -> Taken {
        let rate = at.rate();
        if at.part() == 0 {
            at.copy(0, Slot::Down);
            at.travel(rate, Slot::Down);
            return Taken::Part;
        }
        at.travel(0.5 * rate, Slot::Down);
        at.travel(-0.5 * rate, Slot::Memory(0));
        Taken::Step
    }

    fn refuses(&self, setting: Setting) -> Option<&'static str> {
        match setting {
            Setting::Noise => Some("noise samples the energy with plain steps and momentum alone"),
            Setting::MovingWeights => {
                Some("its second pass would meet other weights than its first")
            }
            Setting::Errors => None,
        }
    }
}
