//! The one relaxation loop, which runs a method, and what is asked of it.

mod engine;
mod infer;
mod phases;
mod read;
mod start;
mod watch;

use std::fmt;

use crate::{
    Error, Result,
    clamp::Clamps,
    gradients::Gradients,
    method::{Forces, Frame, Method},
    network::{Network, Settings},
    outcome::{Energy, Event, Outcome},
    plan::Plan,
    point::Point,
    rule::Memory,
    schedule::{Reduction, Schedule, Start},
};

use engine::Stop;
use infer::Kept;
use watch::{Verdict, Watch};

/// A relaxation of one network by one schedule: a value that can be advanced from one learning
/// event to the next, and begun again with the next batch in the memory of the last.
///
/// The network is borrowed for each call only, so that between them its weights can be moved by
/// whatever optimiser it belongs to.
///
/// # Example
/// ```
/// use pc_core::{
///     Clamps, Event, Graph, Relaxation, Schedule,
///     host::{Activation, HostLayers, HostTensor, Init, Sgd},
/// };
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
///         Event::Step => {} // An observed schedule stops at every step.
///         Event::Finished(outcome) => break outcome,
///     }
/// };
/// assert_eq!(outcome.steps, 8);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub struct Relaxation<N: Network> {
    frame: Frame<N>,
    method: Method<N::Tensor>,
    watch: Watch,
    phase: Phase,
    /// Whether the gradients of all levels are handed out together.
    merge: bool,
    /// What inferences keep for the next batch that learns, and how many there were.
    kept: Option<Kept<N::Tensor>>,
    inferences: u64,
    /// What tells the network apart that it was made for.
    signature: u64,
}

impl<N: Network> fmt::Debug for Relaxation<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { frame, phase, .. } = self;
        f.debug_struct("Relaxation")
            .field("schedule", &frame.schedule)
            .field("evaluation", &self.evaluation())
            .field("phase", phase)
            .field("step", &frame.step)
            .finish_non_exhaustive()
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Nothing: there is no batch, or it is over with.
    Idle,
    /// To set out from the starting point.
    Start,
    /// To take the step that forces have been found for.
    Move,
    /// To evaluate again, after part of a step was taken back.
    Again,
    /// To go on from a point that has been shown.
    Shown(Verdict),
    /// Nothing but to say so.
    Done,
}

impl<N: Network> Relaxation<N> {
    /// Prepares to relax networks like this one by a schedule.
    ///
    /// # Errors
    /// A schedule that needs what the network cannot do, or a choice that its method cannot honour.
    pub fn new(network: &N, schedule: Schedule) -> Result<Self> {
        let plan = Plan::new(network, &schedule)?;
        let by_errors = plan == Plan::Errors;
        let live = !by_errors && !matches!(plan, Plan::Frozen(_));
        let frame = Frame {
            settings: Settings {
                live,
                plastic: schedule.learning().moves_weights(),
                learns: false,
            },
            form: schedule.rule.form(),
            memory: Memory::new(),
            by_errors,
            descends: matches!(plan, Plan::Live | Plan::Errors),
            at: network.linearisation(),
            point: Point::new(network.topology()),
            gradients: network.gradients(),
            step: 0,
            steps: 0,
            rate: schedule.rate,
            factors: schedule.rates.factors(schedule.name(), network.topology())?,
            precisions: network.topology().precisions().collect(),
            draws: 0,
            pulled: false,
            infers: false,
            forces: Forces::none(),
            schedule,
        };
        Ok(Self {
            frame,
            method: Method::new(plan, network),
            watch: Watch::new(),
            phase: Phase::Idle,
            merge: false,
            kept: None,
            inferences: 0,
            signature: network.signature(),
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
        if self.phase == Phase::Idle {
            let message = "the relaxation has not begun: call `begin` with a batch first";
            return Err(Error::misuse(message));
        }
        match self.go(network) {
            Ok(Stop::Learn) => {
                if self.frame.schedule.reduction == Reduction::Mean {
                    self.frame.gradients.scale(1.0 / self.frame.point.batch as f64);
                }
                Ok(Event::Learn)
            }
            Ok(Stop::Seen) => Ok(Event::Step),
            Ok(Stop::End) => {
                self.phase = Phase::Idle;
                self.finish(network).map(Event::Finished)
            }
            Err(error) => {
                self.phase = Phase::Idle;
                Err(error)
            }
        }
    }

    /// Begins and advances to the end, leaving all gradients in [`Relaxation::gradients`].
    ///
    /// # Errors
    /// A schedule whose weights move during relaxation, which needs [`Relaxation::train`]; as
    /// [`Relaxation::begin`] and [`Relaxation::advance`].
    pub fn run(&mut self, network: &mut N, clamps: &Clamps<N::Tensor>) -> Result<Outcome> {
        if self.frame.schedule.learning().moves_weights() {
            return Err(Error::schedule(format!(
                "{} moves weights while states move, so it needs an optimiser: use `train`",
                self.frame.schedule.name()
            )));
        }
        self.begin(network, clamps)?;
        self.merge = true;
        self.run_out(network)
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
                Event::Learn => learn(network, &self.frame.gradients)?,
                Event::Step => {}
                Event::Finished(outcome) => return Ok(outcome),
            }
        }
    }

    /// What was kept is only good for a network like the one this relaxation was made for.
    fn same_network(&self, network: &N) -> Result<()> {
        if network.signature() != self.signature {
            return Err(Error::misuse(
                "this relaxation was made for another network, of other vertices, wiring or \
                 shapes: make a `Relaxation` for each",
            ));
        }
        network.check()
    }

    fn finish(&mut self, network: &N) -> Result<Outcome> {
        network.failure()?;
        if let (Method::Frozen(_), Start::Carried) = (&self.method, self.frame.schedule.start) {
            // Where the errors have moved to is where the next batch starts.
            for vertex in network.topology().vertices() {
                let value = self.value(network, vertex);
                if let (true, Some(value)) = (self.frame.point.free[vertex.index()], value) {
                    self.frame.point.state.values[vertex.index()] = value;
                }
            }
        }
        let (frame, watch) = (&self.frame, &mut self.watch);
        if !frame.measures() {
            watch.energy = Energy { internal: f64::NAN, loss: frame.point.loss_energy() };
        }
        Ok(Outcome {
            status: watch.status,
            steps: frame.step,
            energy: watch.energy,
            residual: watch.residual,
            trace: std::mem::take(&mut watch.trace),
            shallow: match &self.method {
                Method::Errors(_) => frame.step == 0,
                _ => network.topology().depth().is_some_and(|depth| frame.step < depth),
            },
        })
    }
}
