//! What computes: the backends, and what the commands ask of one.
//!
//! The commands know no framework. They choose a [`Backend`], and ask its [`Adapter`] for a
//! [`Trainee`] (`train`), a [`Checked`] (`check`), a [`Timed`] (`speed`), or for the [`Findings`]
//! of a chain (`gradients`). The models are those of [`crate::models`] on every backend: the graphs
//! there say which parameters there are, in which order and layout, and what they start at; weights
//! and gradients travel as [`HostTensor`]s in that layout. So all backends start from the same
//! weights, read the same checkpoints, and are compared entry by entry.
//!
//! # To add a backend
//! 1. A folder `backends/NAME/` with a type that implements [`Adapter`], and a Cargo feature `NAME`
//!    that brings its crates.
//! 2. `#[cfg(feature = "NAME")] mod NAME;` here and one line in the table of `registry.rs`. The
//!    command line, the messages and `all` follow from it.
//! 3. [`Adapter::support`] says which models, rules and precisions it has; what is not in it is
//!    refused before anything runs, with a message that names what there is. What only a model can
//!    know (an evaluation that needs a chain) is refused by the adapter's own error.
//! 4. [`Adapter::ready`] says why the machine cannot run it, where it cannot (no GPU).
//! 5. Tests of the command line behind the same feature.

#[cfg(feature = "burn")]
mod burn;
mod chain;
#[cfg(feature = "cuda")]
mod cuda;
mod host;
mod optimiser_state;
mod registry;
#[cfg(feature = "tch")]
mod tch;

use pc_core::{
    Evaluation, Schedule,
    host::{Element, HostTensor},
};

pub use host::Host;
pub use optimiser_state::OptimiserState;
pub use registry::Backend;
#[cfg(feature = "tch")]
pub use tch::Tch;

use crate::{
    commands::{
        check::Subject,
        gradients::{Findings, LayerChain, Number, Ways},
        speed::{Arithmetic, Contender, Measured, Seconds, Target},
        train::{Batch, Precision, RunSettings, ScheduleKind},
    },
    error::CommandError,
    models::{InputShape, ModelKind, Score},
};

/// What a backend has.
#[derive(Clone, Copy, Debug)]
pub struct Support {
    /// The architectures.
    pub models: &'static [ModelKind],
    /// The rules.
    pub rules: &'static [ScheduleKind],
    /// The numbers.
    pub precisions: &'static [Precision],
    /// Whether its runs can be saved and gone on with ([`Trainee::optimiser`]).
    pub checkpoints: bool,
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
    fn trainee<F: Element>(task: &Task<'_>) -> Result<Box<dyn Trainee<F>>, CommandError>;

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

    /// The net of a kind with a batch of random numbers, and the contenders by these rules, for
    /// `speed`.
    ///
    /// # Errors
    /// A net or a rule that it does not have.
    fn timed<F: Element>(
        kind: ModelKind,
        batch: usize,
        rules: &[ScheduleKind],
    ) -> Result<Box<dyn Timed>, CommandError>;

    /// What it has set itself to reach on one thread, in f32, at batch 64, of what was measured.
    fn targets(_measured: &[Measured]) -> Vec<Target> {
        Vec::new()
    }
}

/// What a [`Trainee`] is made for.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// The model, the schedule, the optimiser and the seed.
    pub settings: &'a RunSettings,
    /// The shape of a sample.
    pub shape: InputShape,
    /// How many classes there are.
    pub classes: usize,
    /// Whether there is a label for each step.
    pub per_step: bool,
}

/// A model that learns.
pub trait Trainee<F: Element> {
    /// The architecture in a few words.
    fn description(&self) -> String;

    /// Learns from one batch, and returns the energy at the end of its relaxation, summed over the
    /// batch (of backprop, the loss); not finite where it diverged.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    fn learn(&mut self, batch: &Batch) -> Result<f64, CommandError>;

    /// Another learning rate from here on.
    ///
    /// # Errors
    /// One that is not a positive number.
    fn set_learning_rate(&mut self, rate: f64) -> Result<(), CommandError>;

    /// How good the model's logits for a batch are, summed over its labels. Nothing learns, and
    /// nothing is drawn.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    fn score(&mut self, batch: &Batch) -> Result<Score, CommandError>;

    /// The gradients of one batch by a schedule (often another than the trainee's own), in the
    /// order of [`Trainee::parameters`], the mean over the batch. Weights stay where they are; a
    /// schedule that learns at every step has its gradients summed over the steps.
    /// [`Schedule::backprop`] is the framework's own backward. The energies are of every step where
    /// the schedule is traced, in so far as the backend knows them.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    fn gradients(&mut self, batch: &Batch, schedule: Schedule) -> Result<Traced, CommandError>;

    /// The parameters by name, in the layout and order of [`crate::models`].
    ///
    /// # Errors
    /// What the framework reports.
    fn parameters(&self) -> Result<Vec<(String, HostTensor<F>)>, CommandError>;

    /// Sets a parameter.
    ///
    /// # Errors
    /// No such parameter; another shape.
    fn set_parameter(&mut self, name: &str, value: HostTensor<F>) -> Result<(), CommandError>;

    /// The optimiser's state. Only asked for where [`Support::checkpoints`].
    ///
    /// # Errors
    /// What the framework reports.
    fn optimiser(&self) -> Result<OptimiserState<F>, CommandError>;

    /// Takes back what [`Trainee::optimiser`] gave. Only asked for where [`Support::checkpoints`].
    ///
    /// # Errors
    /// A tensor of another shape than its parameter, or one of a pair without the other; the
    /// message has no file's name.
    fn set_optimiser(&mut self, state: OptimiserState<F>) -> Result<(), String>;
}

/// What a schedule came to on one batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Traced {
    /// Every parameter's gradient; zeros where no error has arrived.
    pub gradients: Vec<Vec<f64>>,
    /// The energy before each step and after the last, summed over the batch; empty where it is not
    /// known.
    pub energy: Vec<f64>,
}

/// A model at the weights, inputs and targets of a [`Subject`].
pub trait Checked<F: Element> {
    /// How it is built, in a few words: `4 vertices (4 levelled), ...`.
    fn structure(&self) -> Result<String, CommandError>;

    /// The steps that an error takes from an output to the farthest parameter's vertex.
    fn depth(&self) -> usize;

    /// The ways in which a rule that is exact can be evaluated on this model: all that there are,
    /// unless it says otherwise.
    fn evaluations(&self, rule: ScheduleKind) -> Vec<Evaluation> {
        match rule {
            ScheduleKind::FixedPrediction => {
                vec![Evaluation::Simulate, Evaluation::Front, Evaluation::ClosedForm]
            }
            ScheduleKind::Zil => vec![Evaluation::Simulate, Evaluation::Front],
            _ => Vec::new(),
        }
    }

    /// Why the rule cannot be run on this model, where it cannot.
    fn refuses(&mut self, _rule: ScheduleKind) -> Option<String> {
        None
    }

    /// Whether its vertices are those of the host's graph, so that schedules which are not exact
    /// come to the same numbers too.
    fn has_the_hosts_vertices(&self) -> bool {
        false
    }

    /// Every parameter's gradient by a schedule, in the subject's order, summed over the batch;
    /// zeros where no error has arrived, all NaN where it diverged. Z-IL is run on the model
    /// levelled. [`Schedule::backprop`] is the framework's own backward, by another path than PC's.
    ///
    /// # Errors
    /// A schedule that the model refuses.
    fn gradients(&mut self, schedule: Schedule) -> Result<Vec<Vec<f64>>, CommandError>;
}

/// A net with a batch, and what is to be timed on it.
pub trait Timed {
    /// The architecture in a few words.
    fn description(&self) -> String;

    /// How much arithmetic its steps take, where that has been counted.
    fn arithmetic(&self) -> Option<Arithmetic>;

    /// What is timed, backprop (the framework's own) first; those that share a name differ in their
    /// role.
    fn contenders(&self) -> Vec<Contender>;

    /// Runs and times one step of a contender, by its place in [`Timed::contenders`]: the gradients
    /// of one batch, without an optimiser. Where the device works on while the program goes on, the
    /// time is until it is done.
    ///
    /// # Errors
    /// A relaxation that diverges; what the framework reports.
    fn step(&mut self, contender: usize) -> Result<Seconds, CommandError>;
}
