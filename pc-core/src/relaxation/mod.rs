//! The one relaxation loop.

mod begin;
mod errors;
mod frozen;
mod fuse;
mod live;
mod measure;
mod outcome;
mod plan;

pub use fuse::Losses;
pub use outcome::{Energy, Event, Outcome, Status};

use crate::{
    Error, Result,
    clamp::{Clamps, SharedLoss},
    gradients::Gradients,
    network::{Network, Settings, State},
    schedule::{Coordinates, Learning, Linearise, Reduction, Schedule},
    tensor::Tensor,
    topology::VertexId,
};

use frozen::ClosedForm;
use plan::Plan;

/// A relaxation of one network by one schedule: a value that can be advanced from one learning
/// event to the next, and begun again with the next batch in the memory of the last.
///
/// The network is borrowed for each call only, so that between them its weights can be moved by
/// whatever optimiser it belongs to.
///
/// # Example
/// ```
/// use pc_core::{Clamps, Event, Graph, Relaxation, Schedule, host::{Activation, HostLayers, HostTensor, Init, Sgd}};
/// # let mut init = Init::new(7);
/// # let mut b = Graph::<HostTensor<f64>>::builder();
/// # let x = b.input("x", &[2])?;
/// # let h = b.dense("h", x, 8, Activation::Tanh, &mut init)?;
/// # let y = b.dense("y", h, 1, Activation::Identity, &mut init)?;
/// # let mut graph = b.build()?;
/// # let clamps = Clamps::new()
/// #     .hold(x, HostTensor::new(&[1, 2], vec![0.5, -1.0])?)
/// #     .hold(y, HostTensor::new(&[1, 1], vec![1.0])?);
/// let mut relaxation = Relaxation::new(&graph, Schedule::ipc(0.2, 8)?)?;
/// let mut optimiser = Sgd::new(0.01)?;
/// relaxation.begin(&mut graph, &clamps)?;
/// let outcome = loop {
///     match relaxation.advance(&mut graph)? {
///         Event::Learn => optimiser.step(graph.parameters_mut(), relaxation.gradients())?,
///         Event::Finished(outcome) => break outcome,
///     }
/// };
/// assert_eq!(outcome.steps, 8);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Relaxation<N: Network> {
    schedule: Schedule,
    settings: Settings,
    plan: Plan,
    at: N::Linearisation,
    state: State<N::Tensor>,
    vertices: Vec<VertexPlan<N::Tensor>>,
    predictions: Predictions<N::Tensor>,
    gradients: Gradients<N::Tensor>,
    /// What is collected for weights whose turn has not come (Z-IL).
    partial: Gradients<N::Tensor>,
    /// By vertex: which vertices take their forward prediction, and which may move.
    follows: Vec<bool>,
    free: Vec<bool>,
    batch: usize,
    /// What was found of the closed form, for as long as the same vertices are free.
    closed_form: Option<ClosedForm>,
    run: Run,
}

/// What one batch makes of a vertex.
#[derive(Debug)]
struct VertexPlan<T> {
    role: Role<T>,
    /// The running step, where the rule keeps one.
    velocity: Option<T>,
    /// Room for a step that has to be put together.
    scratch: Option<T>,
    /// 1 where a masked vertex is free.
    free_mask: Option<T>,
}

enum Role<T> {
    Free,
    Masked,
    Held,
    Intervened,
    Driven { loss: SharedLoss<T>, lambda: f64, value: f64 },
}

impl<T> std::fmt::Debug for Role<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Role::Free => "Free",
            Role::Masked => "Masked",
            Role::Held => "Held",
            Role::Intervened => "Intervened",
            Role::Driven { .. } => "Driven",
        })
    }
}

impl<T> Role<T> {
    fn moves(&self) -> bool {
        matches!(self, Role::Free | Role::Masked)
    }
}

/// By prediction.
#[derive(Debug)]
struct Predictions<T> {
    errors: Vec<T>,
    residuals: Vec<T>,
    residual: Vec<bool>,
    /// `pi e`, where some precision is not 1.
    weighted: Vec<T>,
    /// Whether the error may differ from zero.
    active: Vec<bool>,
    /// Whether the error changed in the last frozen step.
    changed: Vec<bool>,
    /// Whether it counts at all: the predictions of an intervened vertex do not.
    counts: Vec<bool>,
    /// Which to pull next.
    pull: Vec<bool>,
    /// Which weights a closed form gives.
    weights: Vec<f64>,
    /// The errors of one path length, where a closed form goes by path length.
    front: Vec<T>,
    uniform: bool,
}

impl<T> Predictions<T> {
    /// `pi e`, which is what is pulled back; [`Relaxation::weigh_errors`] has brought it up to
    /// date.
    fn cotangents(&self) -> &[T] {
        if self.uniform { &self.errors } else { &self.weighted }
    }
}

/// Where a relaxation stands.
#[derive(Debug)]
struct Run {
    phase: Phase,
    step: usize,
    steps: usize,
    rate: f64,
    status: Status,
    energy: Energy,
    last_energy: f64,
    first_energy: f64,
    drive: f64,
    residual: Option<f64>,
    trace: Vec<f64>,
    draws: u64,
    merge: bool,
    /// Whether the linearisation has been pulled, which some networks allow once only.
    pulled: bool,
}

impl Run {
    /// What a tolerance is relative to: the norm of the drive, where there is one.
    fn scale(&self) -> f64 {
        if self.drive > 0.0 { self.drive } else { 1.0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    /// At a point whose errors are to be found.
    Evaluate,
    /// Evaluated and pulled; the step is still to be taken.
    Move,
    /// Nothing is left but to say so.
    Done,
}

impl<N: Network> Relaxation<N> {
    /// Prepares to relax networks like this one by a schedule.
    ///
    /// # Errors
    /// A schedule that needs what the network cannot do, or whose choices contradict one another.
    pub fn new(network: &N, schedule: Schedule) -> Result<Self> {
        let plan = Plan::new(network, &schedule)?;
        let topology = network.topology();
        let count = topology.predictions().len();
        let uniform = topology.predictions().iter().all(|prediction| prediction.precision == 1.0);
        Ok(Self {
            settings: Settings {
                live: schedule.linearisation == Linearise::Live
                    && schedule.coordinates == Coordinates::States,
                plastic: schedule.learning == Learning::EveryStep
                    && schedule.coordinates == Coordinates::States,
                learns: false,
            },
            plan,
            at: network.linearisation(),
            state: State {
                values: Vec::new(),
                references: Vec::new(),
                displacements: Vec::new(),
                moved: vec![false; topology.len()],
            },
            vertices: (0..topology.len())
                .map(|_| VertexPlan {
                    role: Role::Free,
                    velocity: None,
                    scratch: None,
                    free_mask: None,
                })
                .collect(),
            predictions: Predictions {
                errors: Vec::new(),
                residuals: Vec::new(),
                residual: vec![false; count],
                weighted: Vec::new(),
                active: vec![false; count],
                changed: vec![false; count],
                counts: vec![true; count],
                pull: vec![false; count],
                weights: vec![1.0; count],
                front: Vec::new(),
                uniform,
            },
            gradients: network.gradients(),
            partial: network.gradients(),
            follows: vec![false; topology.len()],
            free: vec![false; topology.len()],
            batch: 0,
            closed_form: None,
            run: Run {
                phase: Phase::Idle,
                step: 0,
                steps: 0,
                rate: schedule.rate,
                status: Status::Spent,
                energy: Energy::default(),
                last_energy: f64::INFINITY,
                first_energy: 0.0,
                drive: 0.0,
                residual: None,
                trace: Vec::new(),
                draws: 0,
                merge: false,
                pulled: false,
            },
            schedule,
        })
    }

    /// Runs to the next learning event, or to the end. At a learning event
    /// [`Relaxation::gradients`] holds what to learn from; gradients are absent for weights whose
    /// turn it is not.
    ///
    /// # Errors
    /// Before [`Relaxation::begin`]; what the framework reports.
    pub fn advance(&mut self, network: &mut N) -> Result<Event> {
        self.same_network(network)?;
        match self.run.phase {
            Phase::Idle => {
                return Err(Error::misuse(
                    "the relaxation has not begun: call `begin` with a batch first",
                ));
            }
            Phase::Done => {
                self.run.phase = Phase::Idle;
                return self.outcome(network).map(Event::Finished);
            }
            Phase::Evaluate | Phase::Move => {}
        }
        let learn = match self.plan {
            Plan::Live | Plan::LiveLevels => self.advance_live(network)?,
            Plan::Errors => self.advance_errors(network)?,
            Plan::Simulate | Plan::Front | Plan::Layers { .. } | Plan::Sweep => {
                self.advance_frozen(network)?
            }
        };
        if learn {
            if self.schedule.reduction == Reduction::Mean {
                self.gradients.scale(1.0 / self.batch as f64);
            }
            return Ok(Event::Learn);
        }
        self.run.phase = Phase::Idle;
        self.outcome(network).map(Event::Finished)
    }

    /// Begins and advances to the end, leaving all gradients in [`Relaxation::gradients`].
    ///
    /// # Errors
    /// A schedule whose weights move during relaxation, which needs [`Relaxation::train`]; as
    /// [`Relaxation::begin`] and [`Relaxation::advance`].
    pub fn run(&mut self, network: &mut N, clamps: &Clamps<N::Tensor>) -> Result<Outcome> {
        if self.schedule.learning == Learning::EveryStep {
            return Err(Error::schedule(format!(
                "{} moves weights at every step, so it needs an optimiser: use `train`",
                self.schedule.name()
            )));
        }
        self.begin(network, clamps)?;
        self.run.merge = true;
        loop {
            if let Event::Finished(outcome) = self.advance(network)? {
                return Ok(outcome);
            }
        }
    }

    /// Begins and advances to the end, calling `learn` at every learning event. For most optimisers
    /// it is one line: `|network, gradients| optimiser.step(network.parameters_mut(), gradients)`.
    ///
    /// # Errors
    /// As [`Relaxation::begin`] and [`Relaxation::advance`]; what `learn` returns.
    pub fn train(
        &mut self,
        network: &mut N,
        clamps: &Clamps<N::Tensor>,
        mut learn: impl FnMut(&mut N, &Gradients<N::Tensor>) -> Result<()>,
    ) -> Result<Outcome> {
        self.begin(network, clamps)?;
        loop {
            match self.advance(network)? {
                Event::Learn => learn(network, &self.gradients)?,
                Event::Finished(outcome) => return Ok(outcome),
            }
        }
    }

    /// The gradients of the last learning event.
    pub fn gradients(&self) -> &Gradients<N::Tensor> {
        &self.gradients
    }

    /// The gradients of the last learning event, moved out; the relaxation is over with.
    pub fn into_gradients(self) -> Gradients<N::Tensor> {
        self.gradients
    }

    /// The schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// How a frozen relaxation is computed, in words: what [`crate::Evaluation::Auto`] came to,
    /// once it has begun.
    pub fn evaluation(&self) -> &'static str {
        self.closed_form
            .as_ref()
            .and_then(|known| known.describe())
            .unwrap_or_else(|| self.plan.describe())
    }

    /// The error of prediction `index`, as last evaluated.
    pub fn error(&self, index: usize) -> Option<&N::Tensor> {
        self.predictions.errors.get(index)
    }

    /// The value of a vertex, as last evaluated: in a frozen relaxation the feed-forward prediction
    /// plus the error.
    pub fn value(&self, network: &N, vertex: VertexId) -> Option<N::Tensor> {
        let value = self.state.values.get(vertex.index())?;
        if self.plan.is_frozen()
            && self.vertices[vertex.index()].role.moves()
            && let Some(first) = network.topology().own(vertex).first()
        {
            let mut moved = network.prediction(&self.at, first.index())?.clone();
            moved.axpy(1.0, &self.predictions.errors[first.index()]);
            return Some(moved);
        }
        Some(value.clone())
    }

    fn outcome(&mut self, network: &N) -> Result<Outcome> {
        network.failure()?;
        let run = &mut self.run;
        Ok(Outcome {
            status: run.status,
            steps: run.step,
            energy: run.energy,
            residual: run.residual,
            trace: std::mem::take(&mut run.trace),
            shallow: match self.plan {
                Plan::Errors => run.step == 0,
                _ => network.topology().depth().is_some_and(|depth| run.step < depth),
            },
        })
    }
}
