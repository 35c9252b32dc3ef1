//! What `check` asks of a backend, and of what: a small model of each kind, a batch of random
//! numbers, and a loss.

use pc_core::{
    Clamps, Evaluation, Schedule, VertexId,
    host::{CrossEntropy, Element, HostTensor, Init},
};

use super::choices::ScheduleKind;
use crate::{
    error::CommandError,
    models::{InputShape, Model, ModelKind, Size, build, build_per_step, one_for_all},
};

/// Samples in a batch.
const BATCH: usize = 3;
const CLASSES: usize = 4;
const SHAPE: InputShape = InputShape::Image([1, 8, 8]);

/// How the outputs are driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossKind {
    /// The outputs are held at random targets.
    SquaredError,
    /// A cross-entropy against random distributions drives them.
    CrossEntropy,
}

impl LossKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::SquaredError, Self::CrossEntropy];

    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::SquaredError => "squared-error",
            Self::CrossEntropy => "cross-entropy",
        }
    }
}

/// One model, one batch, one loss. The graph is the host's: it says to every backend which
/// parameters there are and what they hold.
#[derive(Debug)]
pub struct Subject<F: Element> {
    /// The model.
    pub model: Model<F>,
    /// What its roots are held at.
    pub inputs: Vec<(VertexId, HostTensor<F>)>,
    /// What each output is driven to.
    pub targets: Vec<(VertexId, HostTensor<F>)>,
    /// How.
    pub loss: LossKind,
    /// Of the weights.
    pub seed: u64,
}

impl<F: Element> Subject<F> {
    /// With weights, inputs and targets from a seed.
    ///
    /// # Errors
    /// None, if the models are right.
    pub fn new(kind: ModelKind, loss: LossKind, seed: u64) -> Result<Self, CommandError> {
        let mut model = bare(kind, loss, seed)?;
        let mut numbers = Init::new(seed ^ 0x5eed);
        // Biases start at zero, where a mistake in how they enter would not show.
        for parameter in model.graph.parameters_mut() {
            if parameter.data().iter().all(|x| *x == F::zero()) {
                *parameter = numbers.uniform(parameter.dims(), 0.3)?;
            }
        }
        let batch = |vertex: VertexId| -> pc_core::Result<Vec<usize>> {
            Ok([&[BATCH], model.graph.shape(vertex)?].concat())
        };
        let mut drawn = |vertices: &[VertexId]| {
            let draw = |v: &VertexId| Ok((*v, numbers.uniform(&batch(*v)?, 1.0)?));
            vertices.iter().map(draw).collect::<pc_core::Result<Vec<_>>>()
        };
        let mut inputs = drawn(&model.inputs)?;
        for v in &model.zeros {
            inputs.push((*v, HostTensor::zeroed(&batch(*v)?)?));
        }
        let mut targets = drawn(&model.outputs)?;
        if loss == LossKind::CrossEntropy {
            for (_, target) in &mut targets {
                distribute(target, model.classes);
            }
        }
        Ok(Self { model, inputs, targets, loss, seed })
    }

    /// The same with every number in another precision; exact towards the larger one.
    ///
    /// # Errors
    /// None, if the models are right.
    pub fn converted<G: Element>(&self) -> Result<Subject<G>, CommandError> {
        let mut model = bare::<G>(self.model.kind, self.loss, self.seed)?;
        for (to, from) in model.graph.parameters_mut().iter_mut().zip(self.model.graph.parameters())
        {
            *to = convert(from)?;
        }
        let all = |tensors: &[(VertexId, HostTensor<F>)]| -> Result<Vec<_>, CommandError> {
            tensors.iter().map(|(vertex, tensor)| Ok((*vertex, convert(tensor)?))).collect()
        };
        Ok(Subject {
            model,
            inputs: all(&self.inputs)?,
            targets: all(&self.targets)?,
            loss: self.loss,
            seed: self.seed,
        })
    }

    /// What is held and driven in the graph.
    pub fn clamps(&self) -> Clamps<HostTensor<F>> {
        let held = self
            .inputs
            .iter()
            .fold(Clamps::new(), |clamps, (vertex, value)| clamps.hold(*vertex, value.clone()));
        self.targets.iter().fold(held, |clamps, (vertex, target)| match self.loss {
            LossKind::SquaredError => clamps.hold(*vertex, target.clone()),
            LossKind::CrossEntropy => clamps.drive(*vertex, CrossEntropy::new(target.clone())),
        })
    }

    /// Inputs and targets as one tensor each, for backends that hold them so: inputs as
    /// [`Model::input`] lays them out, targets `[samples, classes]`, or `[samples, steps, classes]`
    /// where there is an output at each step.
    ///
    /// # Errors
    /// None, if the models are right.
    pub fn batch(&self) -> pc_core::Result<[HostTensor<F>; 2]> {
        let input = self
            .inputs
            .iter()
            .filter(|(vertex, _)| !self.model.zeros.contains(vertex))
            .map(|(_, value)| value)
            .collect();
        Ok([
            one_for_all(input)?,
            one_for_all(self.targets.iter().map(|(_, target)| target).collect())?,
        ])
    }

    /// How deep the graph is.
    pub fn depth(&self) -> usize {
        self.model.graph.topology().depth().unwrap_or(0)
    }
}

/// The model alone. Under a cross-entropy, what goes step by step has an output at each step; else
/// one output.
fn bare<F: Element>(kind: ModelKind, loss: LossKind, seed: u64) -> pc_core::Result<Model<F>> {
    let make =
        if loss == LossKind::CrossEntropy && kind.goes_by_step() { build_per_step } else { build };
    make(kind, &SHAPE, CLASSES, seed, Size::Small)
}

/// The same numbers in another precision.
pub(crate) fn convert<F: Element, G: Element>(
    tensor: &HostTensor<F>,
) -> pc_core::Result<HostTensor<G>> {
    HostTensor::new(tensor.dims(), tensor.data().iter().map(|x| G::of(x.value())).collect())
}

/// Makes each row positive and its sum one.
fn distribute<F: Element>(target: &mut HostTensor<F>, classes: usize) {
    for row in target.data_mut().chunks_exact_mut(classes.max(1)) {
        let sum = row.iter_mut().fold(F::zero(), |sum, x| {
            *x = x.abs();
            sum + *x
        });
        row.iter_mut().for_each(|x| *x /= sum);
    }
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
