//! What a backend is to the commands.

use pc_core::host::Element;

use super::{
    check::{Checked, Subject},
    choices::{Precision, ScheduleKind},
    gradients::{Findings, LayerChain, Number, Ways},
    speed::{Case, Measured, Target, Timed, TimedKind},
    train::{Task, Trainee},
};
use crate::{error::CommandError, models::ModelKind};

/// What a backend has.
#[derive(Clone, Copy, Debug)]
pub struct Support {
    /// The architectures.
    pub models: &'static [ModelKind],
    /// What `speed` can time. [`Adapter::timed`] is never asked for another one.
    pub timed: &'static [TimedKind],
    /// Whether it times them with other activations, widths and steps ([`Case::varied`]). Where it
    /// does not, [`Adapter::timed`] is never asked to.
    pub varied: bool,
    /// The rules.
    pub rules: &'static [ScheduleKind],
    /// The numbers.
    pub precisions: &'static [Precision],
    /// Whether its runs can be saved and gone on with ([`Trainee::optimiser`]).
    pub checkpoints: bool,
    /// Whether the energy of each vertex can be read at every step ([`Trainee::energies`]).
    pub energies: bool,
    /// Whether it trains nets of layers, and honours losses, clamps, rates of states, reductions
    /// and settings of optimisers: see [`Details::refuse_on`](super::details::Details::refuse_on).
    pub details: bool,
}

/// A backend, as the commands see it.
pub trait Adapter {
    /// What it has.
    fn support() -> Support;

    /// Whether this machine can run it.
    ///
    /// # Errors
    /// Why it cannot, such as a GPU that is missing.
    fn ready() -> Result<(), CommandError> {
        Ok(())
    }

    /// A model at its initial weights, with a schedule and an optimiser, for `train`.
    ///
    /// # Errors
    /// A model that does not fit the data; a schedule that it cannot be trained by.
    fn trainee<F: Element>(task: &Task) -> Result<Box<dyn Trainee<F>>, CommandError>;

    /// The model of a subject, at its weights, for `check`.
    ///
    /// # Errors
    /// A model that it does not have.
    fn checked<F: Element>(subject: &Subject<F>) -> Result<Box<dyn Checked<F>>, CommandError>;

    /// What the schedules give on a chain of dense layers, for `gradients`.
    ///
    /// # Errors
    /// A schedule that is refused, or diverges.
    fn gradients<F: Number>(net: LayerChain<F>, ways: &Ways) -> Result<Findings<F>, CommandError>;

    /// The net of a case with a batch of random numbers, and the contenders by these rules, for
    /// `speed`.
    ///
    /// # Errors
    /// A net or a rule that it does not have.
    fn timed<F: Element>(
        case: &Case,
        rules: &[ScheduleKind],
    ) -> Result<Box<dyn Timed>, CommandError>;

    /// What it has set itself to reach on one thread, in f32, of what was measured: nets
    /// as they come, with the batches they come with.
    fn targets(_measured: &[Measured]) -> Vec<Target> {
        Vec::new()
    }
}
