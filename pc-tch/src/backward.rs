//! `loss.backward()`, by predictive coding.

use std::fmt;

use pc_core::{
    Clamps, Energy, Error, ErrorKind, Evaluation, Network, Relaxation, Result, Schedule, Status,
};
use tch::Tensor;

use crate::{
    autograd::{Autograd, Pulls, Slots, Whole},
    tensor::reported,
};

/// How gradients are found from a loss: fixed-prediction predictive coding over the autograd graph
/// that the forward pass has left.
///
/// Every operation of the graph is a vertex, its value the operation's result. Predictions and
/// Jacobians keep their feed-forward values, errors relax, `e_i <- e_i + gamma (-e_i + sum_j J_ji^T
/// e_j)`, and the leaves' gradients `g = -sum_i (d mu_i / d theta)^T e_i` are pulled once, from the
/// final errors. The loss's own operation is held at its drive from the start;
/// [`Pc::backward_from`] holds the model's outputs instead. Operations that only pass values on
/// (views, casts, clones, transposes, concatenation) are no vertices and cost no step.
///
/// # Example
/// ```
/// use pc_tch::Pc;
/// use tch::{Kind, Device, Tensor};
/// let weight = Tensor::from_slice(&[0.5, -1.5]).set_requires_grad(true);
/// let loss = (&weight * 3.0).tanh().sum(Kind::Double);
/// assert_eq!(pc_tch::depth(&loss)?, 2); // mul -> tanh -> sum
/// Pc::exact().backward(&loss); // instead of loss.backward()
/// let expected: Tensor = (1.0 - (&weight * 3.0).tanh().square()) * 3.0;
/// assert!((weight.grad() - expected).abs().max().double_value(&[]) < 1e-15);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pc {
    rule: Rule,
    keep: bool,
    measured: bool,
    shallow: bool,
}

#[derive(Clone, Debug)]
enum Rule {
    /// Rate 1, as many steps as the graph is deep.
    Exact(Evaluation),
    Given(Box<Schedule>),
}

/// How a backward pass by predictive coding ended, and what it cost. [`pc_core::Outcome`] is that
/// of one relaxation.
#[non_exhaustive]
#[must_use = "a relaxation may diverge, or be too short for the first operations to learn"]
#[derive(Clone, Debug, PartialEq)]
pub struct BackwardOutcome {
    /// How the relaxation ended. Where it diverged, no gradient has been touched.
    pub status: Status,
    /// The steps taken.
    pub steps: usize,
    /// The longest path from a driven vertex to an operation, in edges: after so many steps at rate
    /// 1 gradients are backprop's.
    pub depth: usize,
    /// Fewer steps than that were taken, so that the first operations' parameters have learned
    /// nothing ([`Pc::even_shallow`]).
    pub shallow: bool,
    /// How much of an error has come over the longest path, of what backprop would bring: 1 with
    /// [`Pc::exact`], and next to nothing at small rates in deep graphs, where the first operations
    /// hardly learn. `None` where the schedule has no such figure
    /// ([`Schedule::share_over`](pc_core::Schedule::share_over)).
    pub furthest_share: Option<f64>,
    /// How it was computed, in words: in one sweep, by path lengths (more pulls), by the front, or
    /// by simulation.
    pub evaluation: &'static str,
    /// The operations that were vertices.
    pub vertices: usize,
    /// How many times a vertex was pulled; backprop pulls each once.
    pub pulls: usize,
    /// How many times other nodes were: those that only pass values on, and those between the loss
    /// and named outputs.
    pub other_pulls: usize,
    /// The energy at the end, with [`Pc::measured`].
    pub energy: Option<Energy>,
    /// The norm of the energy's gradient, where the schedule has a tolerance.
    pub residual: Option<f64>,
    /// The energy before each step and after the last, where the schedule is traced.
    pub trace: Vec<f64>,
}

impl fmt::Display for BackwardOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, depth, evaluation, vertices, pulls, other_pulls, .. } = self;
        write!(
            f,
            "{steps} steps by {evaluation}, depth {depth}: {pulls} pulls of {vertices} operations, \
             {other_pulls} of other nodes"
        )?;
        if self.passes() > DEAR {
            write!(
                f,
                "; as dear as {:.0} backward passes, since paths of many lengths meet: layers as \
                 vertices (`pc_tch::vertex`), or the model's outputs named (`backward_from`), cost \
                 less",
                self.passes()
            )?;
        }
        if self.shallow {
            f.write_str("; too few steps for the first operations to learn")?;
        } else if let Some(share) = self.furthest_share.filter(|share| *share < FAINT) {
            write!(
                f,
                "; the first operations learn by {share:.1e} of backprop's gradient: layers as \
                 vertices (`pc_tch::vertex`) make the graph less deep"
            )?;
        }
        Ok(())
    }
}

impl BackwardOutcome {
    /// How many backward passes the pulls come to.
    #[allow(clippy::cast_precision_loss)]
    pub fn passes(&self) -> f64 {
        self.pulls as f64 / self.vertices.max(1) as f64
    }
}

/// From so many backward passes on, [`BackwardOutcome`] says what would cost less.
const DEAR: f64 = 3.0;
/// Below such a share it says that the first operations hardly learn.
const FAINT: f64 = 1e-2;

impl Default for Pc {
    fn default() -> Self {
        Self::exact()
    }
}

impl Pc {
    /// Rate 1 and as many steps as the graph is deep: backprop's gradients, at the cost of one
    /// backward pass.
    pub fn exact() -> Self {
        Self::by(Rule::Exact(Evaluation::Auto))
    }

    /// Rate `gamma` for `steps` steps. Operations are the vertices, so a real model is deep: an
    /// error reaches an operation `k` edges from the loss by `P[Binomial(steps, gamma) >= k]` of
    /// what backprop would bring, which at rate 0.1 over 100 steps is 1e-2 at 18 edges and 1e-9 at
    /// 33. Where layers are meant, mark them ([`crate::vertex`]) and take [`pc_core::Schedule`]
    /// itself; [`depth`] and [`BackwardOutcome::furthest_share`] say how far it comes here.
    ///
    /// # Errors
    /// As [`Schedule::fixed_prediction`].
    pub fn fixed_prediction(gamma: f64, steps: usize) -> Result<Self> {
        Ok(Self::new(Schedule::fixed_prediction(gamma, steps)?))
    }

    /// Any schedule with frozen predictions. Live ones are refused when they are used: an autograd
    /// graph cannot predict at other values. Whether the batch is summed or averaged is the loss's
    /// own affair; the schedule's [`pc_core::Reduction`] has no say.
    pub fn new(schedule: Schedule) -> Self {
        Self::by(Rule::Given(Box::new(schedule)))
    }

    fn by(rule: Rule) -> Self {
        Self { rule, keep: false, measured: false, shallow: false }
    }

    /// Computes it in this way: [`Evaluation::Simulate`] pulls every operation that an error has
    /// reached at every step, [`Evaluation::Front`] those whose children's errors still change,
    /// [`Evaluation::ClosedForm`] takes no steps. All give the same numbers, to rounding. The
    /// closed form is one pass where all paths from the loss to an operation are of one length;
    /// elsewhere it pulls an operation once for each length, as a simulation that leaves out what
    /// it can: never more often than that, but often. [`BackwardOutcome::evaluation`] and
    /// [`BackwardOutcome::passes`] say which it was. A few whole sweeps cannot take its place: what
    /// they add up to, each with a factor at every edge, is a sum of powers, and the shares
    /// `P[Binomial(100, 0.1) >= k]` take 9 powers to be right to 1e-6 of the largest and 14 to
    /// 1e-12, at any depth; the small ones, by which the first operations learn, would be wrong by
    /// many times their size. Fewer path lengths are what helps: layers as vertices
    /// ([`crate::vertex`]), or the model's outputs named ([`Pc::backward_from`]).
    #[must_use]
    pub fn evaluated_by(mut self, evaluation: Evaluation) -> Self {
        self.rule = match self.rule {
            Rule::Exact(_) => Rule::Exact(evaluation),
            Rule::Given(schedule) => Rule::Given(Box::new(schedule.evaluated_by(evaluation))),
        };
        self
    }

    /// Keeps what the forward pass has saved, so that the graph can be used again: a second loss on
    /// it, another schedule.
    #[must_use]
    pub fn keep_graph(mut self) -> Self {
        self.keep = true;
        self
    }

    /// Allows fewer steps than the graph is deep. The first operations' parameters learn nothing
    /// then, and without this it is an error.
    #[must_use]
    pub fn even_shallow(mut self) -> Self {
        self.shallow = true;
        self
    }

    /// Measures the energy at the end ([`BackwardOutcome::energy`]), and ends without gradients
    /// where it is not finite. Unmeasured, a loss that is not finite gives gradients that are not,
    /// as in backprop.
    #[must_use]
    pub fn measured(mut self) -> Self {
        self.measured = true;
        self
    }

    /// Instead of `loss.backward()`: adds to the `.grad` of every leaf below the loss. A leaf that
    /// no error has reached keeps its `.grad`, undefined or not. With [`Pc::exact`] the gradients
    /// are backprop's.
    ///
    /// # Panics
    /// Where [`Pc::f_backward`] has an error, and where the relaxation diverged: as tch's own
    /// methods without `f_` do. No `.grad` has been touched then.
    pub fn backward(&self, loss: &Tensor) {
        self.backward_from(loss, &[]);
    }

    /// [`Pc::backward`], with its outcome.
    ///
    /// # Errors
    /// A loss that is not one real number, needs no gradient, or whose graph has been freed; a
    /// tensor changed in place since the forward pass; fewer steps than the graph is deep, unless
    /// [`Pc::even_shallow`] allows it; a live schedule; what libtorch reports. No `.grad` has been
    /// touched then, unless the error comes from a hook on a leaf itself.
    pub fn f_backward(&self, loss: &Tensor) -> Result<BackwardOutcome> {
        self.f_backward_from(loss, &[])
    }

    /// As [`Pc::backward`], from named outputs: see [`Pc::f_backward_from`].
    ///
    /// # Panics
    /// As [`Pc::backward`].
    pub fn backward_from(&self, loss: &Tensor, outputs: &[&Tensor]) {
        self.f_backward_from(loss, outputs).and_then(learned).unwrap_or_else(stop);
    }

    /// As [`Pc::f_backward`], with the model's outputs held at their drives `-dL/d output`, and
    /// whatever lies between them and the loss pulled once before relaxation. With a rate below 1
    /// this spares the model's vertices the transient of the loss's own operations.
    ///
    /// # Errors
    /// As [`Pc::f_backward`]; an output that the loss does not depend on, or depends on through
    /// another output; a loss that depends on the model past the outputs.
    ///
    /// # Example
    /// ```
    /// use pc_tch::Pc;
    /// use tch::{Kind, Tensor};
    /// let weight = Tensor::from_slice(&[0.5, -1.5]).set_requires_grad(true);
    /// let output = (&weight * 3.0).tanh();
    /// let loss = (&output - 1.0).square().sum(Kind::Double);
    /// let outcome = Pc::fixed_prediction(0.5, 4)?.f_backward_from(&loss, &[&output])?;
    /// assert_eq!((outcome.vertices, outcome.depth), (2, 1));
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn f_backward_from(&self, loss: &Tensor, outputs: &[&Tensor]) -> Result<BackwardOutcome> {
        if outputs.is_empty()
            && !self.measured
            && matches!(self.rule, Rule::Exact(Evaluation::Auto))
        {
            return self.swept(loss);
        }
        let mut graph = Autograd::below(loss, outputs, self.keep)?;
        let depth = graph.topology().depth().unwrap_or(0);
        let vertices = graph.topology().len();
        if vertices == 0 {
            // The loss is itself a leaf, or nothing but what lies between loss and outputs: there
            // is nothing to relax.
            return self.unrelaxed(loss, &mut graph);
        }
        let schedule = match &self.rule {
            Rule::Exact(Evaluation::Auto) => Schedule::backprop(),
            Rule::Exact(evaluation) => {
                Schedule::fixed_prediction(1.0, depth.max(1))?.evaluated_by(*evaluation)
            }
            Rule::Given(schedule) => Schedule::clone(schedule),
        };
        if let Some(steps) = schedule.steps().filter(|steps| *steps < depth && !self.shallow) {
            return Err(Error::new(
                ErrorKind::Schedule,
                format!(
                    "{steps} steps do not reach the first of operations that are {depth} deep, and \
                     their parameters would learn nothing: take `Pc::exact()` or at least {depth} \
                     steps, make layers the vertices (`pc_tch::vertex`), or allow it with \
                     `even_shallow()`"
                ),
            ));
        }
        let furthest_share = schedule.share_over(depth);
        let looked_at = self.measured || schedule.is_watched();
        let schedule = if looked_at { schedule } else { schedule.unmeasured() };
        let mut value = if self.measured { read(loss)? } else { f64::NAN };
        let mut clamps = Clamps::new();
        for (vertex, drive) in graph.drives() {
            let drive = drive.clone();
            // The loss is counted once, at the first vertex it drives.
            let part = std::mem::take(&mut value);
            clamps = clamps.drive(*vertex, move |_: &Slots, error: &mut Slots| {
                error.clone_from(&drive);
                Ok(part)
            });
        }
        let mut relaxation = Relaxation::new(&graph, schedule)?;
        let outcome = relaxation.run(&mut graph, &clamps)?;
        let evaluation = relaxation.evaluation();
        if outcome.status != Status::Diverged {
            let mut gradients = relaxation.into_gradients();
            graph.accumulate(|parameter| {
                gradients.take(pc_core::ParamId::new(parameter)).and_then(Slots::into_first)
            })?;
        }
        let pulls = graph.pulls();
        Ok(BackwardOutcome {
            status: outcome.status,
            steps: outcome.steps,
            depth,
            shallow: outcome.shallow,
            furthest_share,
            evaluation,
            vertices,
            pulls: pulls.vertices,
            other_pulls: pulls.others,
            energy: self.measured.then_some(outcome.energy),
            residual: outcome.residual,
            trace: outcome.trace,
        })
    }

    /// The exact rule in one sweep.
    fn swept(&self, loss: &Tensor) -> Result<BackwardOutcome> {
        let graph = Whole::below(loss)?;
        let (vertices, depth) = (graph.vertices, graph.depth);
        let pulls = graph.sweep(self.keep)?;
        let evaluation = if vertices == 0 { "nothing to relax" } else { "reverse sweep" };
        Ok(BackwardOutcome { depth, steps: depth, vertices, ..outcome(evaluation, pulls) })
    }

    fn unrelaxed(&self, loss: &Tensor, graph: &mut Autograd) -> Result<BackwardOutcome> {
        graph.accumulate(|_| None)?;
        let energy =
            if self.measured { Some(Energy { internal: 0.0, loss: read(loss)? }) } else { None };
        Ok(BackwardOutcome { energy, ..outcome("nothing to relax", graph.pulls()) })
    }
}

/// That of a sweep which nobody watched.
fn outcome(evaluation: &'static str, pulls: Pulls) -> BackwardOutcome {
    BackwardOutcome {
        status: Status::Spent,
        steps: 0,
        depth: 0,
        shallow: false,
        furthest_share: Some(1.0),
        evaluation,
        vertices: 0,
        pulls: pulls.vertices,
        other_pulls: pulls.others,
        energy: None,
        residual: None,
        trace: Vec::new(),
    }
}

/// Refuses an outcome that has left no gradients.
pub(crate) fn learned(outcome: BackwardOutcome) -> Result<()> {
    if outcome.status == Status::Diverged {
        return Err(Error::new(
            ErrorKind::Schedule,
            format!("the relaxation diverged after {} steps, and left no gradients", outcome.steps),
        ));
    }
    Ok(())
}

/// What tch's methods without `f_` do with an error.
#[allow(clippy::panic)] // Asked for by whoever calls such a method.
#[track_caller]
pub(crate) fn stop(error: Error) {
    panic!("{error}")
}

/// The number of steps after which, at rate 1, the last error has arrived: the longest path from
/// the loss to an operation, in edges, counting operations and not what only passes values on.
/// Pulls nothing and leaves the graph as it is. Ask it before a rule with a number of steps of its
/// own, [`Pc::fixed_prediction`], is used on a model: fewer steps are an error, and where the graph
/// is much deeper than `gamma` times the steps, the first operations hardly learn
/// ([`BackwardOutcome::furthest_share`]). [`Pc::exact`] needs no such number.
///
/// # Errors
/// As [`Pc::f_backward`].
///
/// # Example
/// ```
/// use tch::{Kind, Tensor};
/// let weight = Tensor::from_slice(&[0.5]).set_requires_grad(true);
/// assert_eq!(pc_tch::depth(&weight.tanh().view([1, 1]).sum(Kind::Double))?, 1);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn depth(loss: &Tensor) -> Result<usize> {
    Ok(Whole::below(loss)?.depth)
}

fn read(loss: &Tensor) -> Result<f64> {
    let number = loss.f_reshape([]).and_then(|loss| loss.f_double_value(&[]));
    number.map_err(reported)
}
