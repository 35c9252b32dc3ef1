//! What `train` asks of a backend: a model that learns from batches.

use pc_core::{
    Schedule,
    host::{Element, HostTensor},
};

use super::{
    choices::{OptimiserKind, ScheduleKind},
    details::Details,
    optimiser_state::OptimiserState,
};
use crate::{
    data::Kind,
    error::CommandError,
    models::{self, Features, InputShape, Model, ModelKind, Score, Size},
};

/// What a [`Trainee`] is made for.
#[derive(Clone, Debug)]
pub struct Task {
    /// The architecture; of a net of layers the one that it is most like.
    pub model: ModelKind,
    /// What it learns.
    pub data: Kind,
    /// By which rule.
    pub rule: ScheduleKind,
    /// The rule with its rate and steps, its gradients the mean over the batch.
    pub schedule: Schedule,
    /// What moves the weights.
    pub optimiser: OptimiserKind,
    /// How far.
    pub learning_rate: f64,
    /// Of the weights.
    pub seed: u64,
    /// The shape of a sample.
    pub shape: InputShape,
    /// How many classes there are.
    pub classes: usize,
    /// Whether there is a label for each step.
    pub per_step: bool,
    /// What else was chosen. No backend is given what [`Details::refuse_on`] refuses of it.
    pub details: Details,
}

impl Task {
    /// The model as the host backend builds it: on every backend this says what the parameters are
    /// called, how they are laid out and what they start at.
    ///
    /// # Errors
    /// A model that does not fit the data.
    pub fn model<F: Element>(&self) -> Result<Model<F>, CommandError> {
        let Self { model, data, seed, .. } = *self;
        if !self.details.layers.is_empty() {
            let layers = &self.details.layers;
            let wanted = self.details.target;
            let (shape, classes) = (&self.shape, self.classes);
            return models::build_layers(layers, shape, classes, seed, self.per_step, wanted);
        }
        let build = if self.per_step { models::build_per_step::<F> } else { models::build::<F> };
        build(model, &self.shape, self.classes, seed, Size::Standard).map_err(|error| {
            let message = format!("--model {model} does not fit {data}: {error}");
            CommandError::Entry { entry: "model".to_owned(), message }
        })
    }
}

/// One batch, with its own memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The inputs.
    pub inputs: Inputs,
    /// The labels: one for each sample, or one for each step of each.
    pub labels: Vec<usize>,
    /// How many samples there are.
    pub samples: usize,
}

/// The inputs of a [`Batch`], sample after sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Inputs {
    /// Pictures.
    Pixels(Vec<f32>),
    /// Sequences.
    Symbols(Vec<usize>),
}

impl Batch {
    /// The inputs, for a model.
    pub fn features(&self) -> Features<'_> {
        match &self.inputs {
            Inputs::Pixels(pixels) => Features::Pixels(pixels),
            Inputs::Symbols(symbols) => Features::Symbols(symbols),
        }
    }
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

    /// The next batch is of this epoch, counted from 0.
    fn begin_epoch(&mut self, _epoch: usize) {}

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

    /// Asks for pictures from what a batch has left of them: where a mask of as many numbers is 1
    /// they are held, elsewhere they are free; without a mask all of them start there and are free.
    /// Gives the pictures that the relaxation ends at, at weights that stay, or nothing where it
    /// diverged. Only asked for of a net that begins with a latent.
    ///
    /// # Errors
    /// A batch that does not fit the model; always of a backend that has no latents.
    fn recall(
        &mut self,
        _batch: &Batch,
        _known: Option<&[f32]>,
        _schedule: Schedule,
    ) -> Result<Option<Vec<f32>>, CommandError> {
        Err(CommandError::input("this backend has no latents, so it recalls nothing"))
    }

    /// The gradients of one batch by a schedule (often another than the trainee's own), in the
    /// order of [`Trainee::parameters`], the mean over the batch. Weights stay where they are; a
    /// schedule that learns at every step has its gradients summed over the steps.
    /// [`Schedule::backprop`] is the framework's own backward. The energies are of every step where
    /// the schedule is traced, in so far as the backend knows them.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    fn gradients(&mut self, batch: &Batch, schedule: Schedule) -> Result<Traced, CommandError>;

    /// The energies of one batch by a schedule, vertex by vertex. Weights stay where they are. Only
    /// asked for where [`Support::energies`](super::Support::energies), and not of
    /// [`Schedule::backprop`], which takes no steps.
    ///
    /// # Errors
    /// A batch that does not fit the model; always of a backend that cannot read them.
    fn energies(
        &mut self,
        _batch: &Batch,
        _schedule: Schedule,
    ) -> Result<Vec<VertexTrace>, CommandError> {
        Err(CommandError::input("this backend cannot read the energy of each vertex"))
    }

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

    /// The optimiser's state. Only asked for where
    /// [`Support::checkpoints`](super::Support::checkpoints).
    ///
    /// # Errors
    /// What the framework reports.
    fn optimiser(&self) -> Result<OptimiserState<F>, CommandError>;

    /// Takes back what [`Trainee::optimiser`] gave. Only asked for where
    /// [`Support::checkpoints`](super::Support::checkpoints).
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

/// The energy of one vertex while values relax.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VertexTrace {
    /// The vertex.
    pub name: String,
    /// `sum 1/2 pi |e|^2` over its predictions, and the loss where one drives it: before each step
    /// and after the last, summed over the batch. By Z-IL 0 before the step at which its level
    /// learns.
    pub energy: Vec<f64>,
}
