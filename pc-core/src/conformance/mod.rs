//! The cases that every backend must pass.
//!
//! An adapter implements [`Backend`] in its tests, builds each [`Net`] however its models are
//! built, and calls [`run`]. Every case is a net, clamps and a schedule; the oracle is the host
//! backend in `f64`, whose pullbacks are derived by hand and checked by finite differences. A new
//! adapter is done when [`Report::check`] says nothing. One whose tensors make explicit graphs
//! calls [`composites`] too.
//!
//! # Example
//! ```
//! use pc_core::conformance::{HostBackend, run};
//! let report = run(&HostBackend::<f32>::new())?;
//! report.check().map_err(|failures| pc_core::Error::new(pc_core::ErrorKind::Backend, failures))?;
//! assert!(report.passed() > 30);
//! # Ok::<(), pc_core::Error>(())
//! ```

mod additions;
mod batches;
mod composites;
mod host;
mod layers;
mod nets;
mod regions;
mod tensors;

use std::fmt;

use crate::{
    Agreement, Clamps, Evaluation, Network, Relaxation, Result, Schedule, SquaredError, Start,
    Tensor,
    topology::{ParamId, VertexId},
};

pub use additions::additions;
pub use composites::composites;
pub use host::HostBackend;
pub use layers::layers;
pub use nets::{Net, NetVertex, Operation, nets};

/// What an adapter brings to its conformance test.
pub trait Backend {
    /// Its tensor.
    type Tensor: Tensor + 'static;
    /// Its networks.
    type Network: Network<Tensor = Self::Tensor>;

    /// Its name, for the report.
    fn name(&self) -> String;

    /// The largest `max |difference| / max |gradient|` allowed: 1e-10 in f64, 1e-5 in f32.
    fn tolerance(&self) -> f64;

    /// A tensor of these numbers, in row-major order.
    ///
    /// # Errors
    /// What the framework reports.
    fn tensor(&self, shape: &[usize], values: &[f64]) -> Result<Self::Tensor>;

    /// The net as this backend builds it. Returns `None` if the backend cannot express it (a cycle,
    /// say).
    ///
    /// # Errors
    /// What the framework reports.
    fn build(&self, net: &Net) -> Result<Option<Built<Self::Network>>>;

    /// Whether the network's vertices are the net's, so that rules whose results depend on what
    /// counts as a vertex can be compared. Where they are finer (an autograd graph's operations),
    /// only exact rules are.
    fn same_vertices(&self) -> bool {
        true
    }
}

/// A network with the places of the net's vertices and parameters in it.
#[derive(Debug)]
pub struct Built<N> {
    /// The network.
    pub network: N,
    /// By vertex of the net, inputs first.
    pub vertices: Vec<VertexId>,
    /// By parameter of the net.
    pub parameters: Vec<ParamId>,
}

/// How one case went.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Within tolerance, the worst parameter off by this much.
    Passed(f64),
    /// Not run, and why: the network does not declare what the schedule needs.
    Skipped(String),
    /// Beyond tolerance, or an error.
    Failed(String),
}

/// One case.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Net, clamps and schedule.
    pub name: String,
    /// How it went.
    pub verdict: Verdict,
}

/// All cases of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The backend.
    pub backend: String,
    /// The cases.
    pub cases: Vec<Case>,
}

impl Report {
    /// How many cases passed.
    pub fn passed(&self) -> usize {
        self.cases.iter().filter(|case| matches!(case.verdict, Verdict::Passed(_))).count()
    }

    /// How many were not run.
    pub fn skipped(&self) -> usize {
        self.cases.iter().filter(|case| matches!(case.verdict, Verdict::Skipped(_))).count()
    }

    /// Whether every case that ran passed, and any ran at all.
    ///
    /// # Errors
    /// The failures, one a line.
    pub fn check(&self) -> std::result::Result<(), String> {
        let failures: Vec<String> = self
            .cases
            .iter()
            .filter(|case| matches!(case.verdict, Verdict::Failed(_)))
            .map(ToString::to_string)
            .collect();
        if !failures.is_empty() {
            return Err(format!(
                "{}: {} of {} cases failed\n{}",
                self.backend,
                failures.len(),
                self.cases.len(),
                failures.join("\n")
            ));
        }
        if self.passed() == 0 {
            return Err(format!("{}: no case ran", self.backend));
        }
        Ok(())
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::Passed(worst) => write!(f, "passed   {} (off by {worst:.1e})", self.name),
            Verdict::Skipped(why) => write!(f, "skipped  {}: {why}", self.name),
            Verdict::Failed(why) => write!(f, "FAILED   {}: {why}", self.name),
        }
    }
}

/// Which nets a schedule is run on.
#[derive(Clone, Copy, PartialEq)]
enum On {
    Ordered,
    Levelled,
    Any,
}

fn schedules(depth: usize) -> Result<Vec<(Schedule, On, bool)>> {
    let by = |evaluation| move |schedule: Schedule| schedule.evaluated_by(evaluation);
    let depth = depth.max(1);
    // The flag says whether the rule's results depend on what counts as one vertex.
    Ok(vec![
        (Schedule::backprop(), On::Ordered, false),
        (by(Evaluation::Simulate)(Schedule::fixed_prediction(1.0, depth)?), On::Ordered, false),
        (by(Evaluation::Auto)(Schedule::fixed_prediction(1.0, depth)?), On::Ordered, false),
        (by(Evaluation::Simulate)(Schedule::fixed_prediction(0.3, 9)?), On::Ordered, true),
        (by(Evaluation::Front)(Schedule::fixed_prediction(0.3, 9)?), On::Ordered, true),
        (by(Evaluation::ClosedForm)(Schedule::fixed_prediction(0.3, 9)?), On::Ordered, true),
        (
            by(Evaluation::Simulate)(Schedule::fixed_prediction(0.2, 6)?.with_momentum(0.4)?),
            On::Ordered,
            true,
        ),
        (by(Evaluation::Simulate)(Schedule::zil()), On::Levelled, true),
        (by(Evaluation::Auto)(Schedule::zil()), On::Levelled, true),
        (Schedule::standard(0.1, 12)?, On::Ordered, true),
        (Schedule::standard(0.1, 12)?.with_momentum(0.5)?, On::Ordered, true),
        (Schedule::standard(2.0, 5)?.adaptive(), On::Ordered, true),
        (Schedule::standard(0.1, 12)?.starting(Start::Zero), On::Any, true),
        (Schedule::epc(0.1, 8)?, On::Ordered, true),
    ])
}

/// Runs every case.
///
/// # Errors
/// A net that the host itself cannot build; the backend's failures are verdicts, not errors.
pub fn run<B: Backend>(backend: &B) -> Result<Report> {
    let oracle = HostBackend::<f64>::new();
    let mut cases = tensors::cases(backend);
    for net in nets() {
        for driven in [false, true] {
            let Some(mut truth) = oracle.build(&net)? else { continue };
            let topology = truth.network.topology();
            let (ordered, depth) = (topology.is_acyclic(), topology.depth().unwrap_or(1));
            let levelled = ordered && topology.unlevelled_edge().is_none();
            for (schedule, on, granular) in schedules(depth)? {
                if on == On::Ordered && !ordered || on == On::Levelled && !levelled {
                    continue;
                }
                let clamps = if driven { "driven" } else { "held" };
                let name = format!("{}, {clamps}, {schedule}", net.name);
                let verdict = if granular && !backend.same_vertices() {
                    Verdict::Skipped("its vertices are finer than the net's".to_owned())
                } else {
                    match compare(backend, &oracle, &mut truth, &net, driven, &schedule) {
                        Ok(verdict) => verdict,
                        Err(error) => Verdict::Failed(error.to_string()),
                    }
                };
                cases.push(Case { name, verdict });
            }
        }
    }
    cases.extend(batches::cases(backend, &oracle)?);
    Ok(Report { backend: backend.name(), cases })
}

fn compare<B: Backend>(
    backend: &B,
    oracle: &HostBackend<f64>,
    truth: &mut Built<<HostBackend<f64> as Backend>::Network>,
    net: &Net,
    driven: bool,
    schedule: &Schedule,
) -> Result<Verdict> {
    let Some(mut built) = backend.build(net)? else {
        return Ok(Verdict::Skipped("the backend cannot express this net".to_owned()));
    };
    let mut relaxation = match Relaxation::new(&built.network, schedule.clone()) {
        Ok(relaxation) => relaxation,
        Err(error) if error.kind() == crate::ErrorKind::Unsupported => {
            return Ok(Verdict::Skipped(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    let clamps = clamp(backend, net, driven, &built.vertices)?;
    let outcome = relaxation.run(&mut built.network, &clamps)?;
    let mut expected = Relaxation::new(&truth.network, schedule.clone())?;
    let clamps = clamp(oracle, net, driven, &truth.vertices)?;
    let expected_outcome = expected.run(&mut truth.network, &clamps)?;

    let mut worst = Worst::new(backend.tolerance());
    let energy = expected_outcome.energy.total();
    // Finer vertices share the energy out differently.
    if backend.same_vertices() {
        worst.energy(outcome.energy.total(), energy);
    }
    for (index, (name, ..)) in net.parameters.iter().enumerate() {
        let found = relaxation.gradients().get(built.parameters[index]).map(Tensor::to_vec);
        let wanted = expected.gradients().get(truth.parameters[index]).map(Tensor::to_vec);
        worst.gradient(name, found, wanted, net.parameters[index].2.len());
    }
    Ok(worst.verdict())
}

/// The worse of two distances. A NaN is the worst there is and stays, where `f64::max` drops it.
fn worse(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

/// The worst distance of a case so far, and what is so far off.
struct Worst {
    off: f64,
    what: String,
    tolerance: f64,
}

impl Worst {
    fn new(tolerance: f64) -> Self {
        Self { off: 0.0, what: "nothing".to_owned(), tolerance }
    }

    fn note(&mut self, off: f64, what: &str) {
        // The first NaN is the one that is reported.
        if !self.off.is_nan() && !(off <= self.off) {
            self.off = off;
            what.clone_into(&mut self.what);
        }
    }

    fn energy(&mut self, found: f64, wanted: f64) {
        self.note((found - wanted).abs() / wanted.abs().max(1.0), "energy");
    }

    /// Absent gradients count as `length` zeros.
    fn gradient(
        &mut self,
        name: &str,
        found: Option<Vec<f64>>,
        wanted: Option<Vec<f64>>,
        length: usize,
    ) {
        let zeros = || vec![0.0; length];
        let (found, wanted) = (found.unwrap_or_else(zeros), wanted.unwrap_or_else(zeros));
        let off = if found.len() == wanted.len() {
            Agreement::of_slices(&found, &wanted).max_difference
        } else {
            f64::NAN
        };
        self.note(off, name);
    }

    fn verdict(self) -> Verdict {
        let Self { off, what, tolerance } = self;
        if off <= tolerance {
            Verdict::Passed(off)
        } else {
            Verdict::Failed(format!("{what} is off by {off:.1e}, more than {tolerance:.0e}"))
        }
    }
}

/// Inputs held; outputs held at their targets, or driven by the squared error towards them.
fn clamp<B: Backend>(
    backend: &B,
    net: &Net,
    driven: bool,
    places: &[VertexId],
) -> Result<Clamps<B::Tensor>> {
    let mut clamps = Clamps::new();
    for (index, values) in net.held() {
        clamps = clamps.hold(places[index], backend.tensor(&net.batch_shape(index), values)?);
    }
    for (index, values) in net.targets() {
        let target = backend.tensor(&net.batch_shape(index), values)?;
        clamps = if driven {
            clamps.drive(places[index], SquaredError::new(target))
        } else {
            clamps.hold(places[index], target)
        };
    }
    Ok(clamps)
}
