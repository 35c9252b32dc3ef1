//! Which ways to the gradients are checked, and against what.

use pc_core::{Evaluation, Schedule, Topology, backend::Prediction, host::Element};

use super::{
    comparison::{Case, Comparison, Lists, Oracle},
    differences::derivatives,
};
use crate::{
    backends::Backend,
    contract::{
        Precision, ScheduleKind,
        check::{Checked, LossKind, Subject},
    },
    error::CommandError,
    models::ModelKind,
};

/// Against finite differences, whose own error this bounds.
pub(super) const DIFFERENCES: f64 = 1e-8;
/// Of live relaxations in f32 against f64, where a backend sees predictions only, and an error is
/// the difference of two rounded numbers.
pub(super) const LIVE: f64 = 1e-4;
/// A gradient below this share of the net's largest is zero but for rounding: a key's bias, say,
/// which softmax ignores.
const VANISHING: f64 = 1e-9;
const SEED: u64 = 1;

/// How far gradients may differ.
pub(super) fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F64 => 1e-10,
        Precision::F32 => 1e-5,
    }
}

/// A subject with everything it is compared with.
struct Checker<F: Element> {
    model: Box<dyn Checked<F>>,
    /// The host's in f64, where it has the same vertices.
    twin: Option<Box<dyn Checked<f64>>>,
    /// Whether every vertex has one parent and one child at most.
    chain: bool,
    loss: LossKind,
    precision: Precision,
    names: Vec<String>,
    /// Gradients that are zero but for rounding, by parameter.
    vanishing: Vec<bool>,
    sweep: Lists,
    /// In f64: sampled entries and their derivatives. In f32: the sweep in f64.
    independent: Independent,
    found: Vec<Comparison>,
}

enum Independent {
    Differences { entries: Vec<Vec<usize>>, derivatives: Lists },
    Double(Lists),
}

/// Checks these rules on one model.
pub(super) fn check<F: Element>(
    backend: Backend,
    kind: ModelKind,
    loss: LossKind,
    precision: Precision,
    rules: &[ScheduleKind],
) -> Result<Found, CommandError> {
    let mut checker = Checker::<F>::new(backend, kind, loss, precision)?;
    let mut refused = Vec::new();
    for rule in rules {
        if let Some(why) = checker.model.refuses(*rule) {
            refused.push((*rule, why));
            continue;
        }
        match rule {
            ScheduleKind::Backprop => checker.backprop(),
            ScheduleKind::FixedPrediction => checker.fixed_prediction()?,
            ScheduleKind::Zil => checker.zil()?,
            ScheduleKind::Standard | ScheduleKind::Ipc | ScheduleKind::Epc => {}
        }
    }
    Ok(Found { comparisons: checker.found, refused })
}

/// What was found of one model.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) comparisons: Vec<Comparison>,
    /// Rules that the model cannot be run by, and why.
    pub(super) refused: Vec<(ScheduleKind, String)>,
}

impl<F: Element> Checker<F> {
    fn new(
        backend: Backend,
        kind: ModelKind,
        loss: LossKind,
        precision: Precision,
    ) -> Result<Self, CommandError> {
        let subject = Subject::<F>::new(kind, loss, SEED)?;
        let mut double = subject.converted::<f64>()?;
        let names = subject.model.graph.topology().parameter_names().to_vec();
        // The host's sweep in f64 is the oracle on every backend; finite differences, which know no
        // pullbacks, are above it.
        let exact = Backend::Host.checked(&double)?.gradients(Schedule::backprop())?;
        let largest = |list: &[f64]| list.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        let net = exact.iter().map(|list| largest(list)).fold(0.0, f64::max);
        let vanishing = exact.iter().map(|list| largest(list) < VANISHING * net).collect();
        let independent = match precision {
            Precision::F32 => Independent::Double(exact),
            Precision::F64 => {
                let sampled = derivatives(&mut double, &exact)?;
                let (entries, derivatives) = sampled
                    .into_iter()
                    .map(|sampled| (sampled.entries, sampled.derivatives))
                    .unzip();
                Independent::Differences { entries, derivatives }
            }
        };
        let mut model = backend.checked(&subject)?;
        let sweep = model.gradients(Schedule::backprop())?;
        let twin = if backend != Backend::Host && model.has_the_hosts_vertices() {
            Some(Backend::Host.checked(&double)?)
        } else {
            None
        };
        let chain = is_chain(subject.model.graph.topology());
        Ok(Self {
            model,
            twin,
            chain,
            loss,
            precision,
            names,
            vanishing,
            sweep,
            independent,
            found: Vec::new(),
        })
    }

    fn backprop(&mut self) {
        let sweep = self.sweep.clone();
        let case = self.case(ScheduleKind::Backprop, "reverse sweep", 1.0, self.model.depth());
        self.against_independent(case, &sweep);
    }

    fn fixed_prediction(&mut self) -> Result<(), CommandError> {
        let depth = self.model.depth().max(1);
        let has = self.model.evaluations(ScheduleKind::FixedPrediction);
        let exact = Schedule::fixed_prediction(1.0, depth)?;
        for evaluation in has.iter().copied() {
            let found = self.model.gradients(exact.clone().evaluated_by(evaluation))?;
            let case = self.case(ScheduleKind::FixedPrediction, named(evaluation), 1.0, depth);
            // At rate 1 the closed form is the sweep itself, so that one says nothing about it.
            if evaluation != Evaluation::ClosedForm {
                self.against(case.clone(), Oracle::ReverseSweep, &found, &self.sweep.clone());
            }
            self.against_independent(case, &found);
        }
        if !has.contains(&Evaluation::Simulate) {
            return Ok(());
        }
        for (rate, steps) in [(0.1, 20), (0.37, depth), (0.75, depth + 3), (1.0, depth.div_ceil(2))]
        {
            let schedule = Schedule::fixed_prediction(rate, steps)?;
            let plain =
                self.model.gradients(schedule.clone().evaluated_by(Evaluation::Simulate))?;
            if let Some(twin) = &mut self.twin {
                let theirs = twin.gradients(schedule.clone().evaluated_by(Evaluation::Simulate))?;
                let case = self.case(
                    ScheduleKind::FixedPrediction,
                    "simulation, other rates",
                    rate,
                    steps,
                );
                self.against(case, Oracle::HostSimulation, &plain, &theirs);
            }
            for (evaluation, name) in [
                (Evaluation::Front, "front, other rates"),
                (Evaluation::ClosedForm, "closed form, other rates"),
            ] {
                if has.contains(&evaluation) {
                    let found = self.model.gradients(schedule.clone().evaluated_by(evaluation))?;
                    self.against(
                        self.case(ScheduleKind::FixedPrediction, name, rate, steps),
                        Oracle::Simulation,
                        &found,
                        &plain,
                    );
                }
            }
        }
        // In f32 on chains only: where paths meet, the first layers' errors come near the rounding
        // of their predictions.
        if let Some(twin) =
            self.twin.as_mut().filter(|_| self.chain || self.precision == Precision::F64)
        {
            let schedule = Schedule::standard(0.1, 20)?;
            let theirs = twin.gradients(schedule.clone())?;
            let found = self.model.gradients(schedule)?;
            let case = self.case(ScheduleKind::Standard, "simulation", 0.1, 20);
            let tolerance =
                if self.precision == Precision::F32 { LIVE } else { tolerance(self.precision) };
            self.within(tolerance, case, Oracle::HostSimulation, &found, &theirs);
        }
        Ok(())
    }

    fn zil(&mut self) -> Result<(), CommandError> {
        for evaluation in self.model.evaluations(ScheduleKind::Zil) {
            let name = if evaluation == Evaluation::Front {
                "level by level"
            } else {
                "simulation, levelled"
            };
            let found = self.model.gradients(Schedule::zil().evaluated_by(evaluation))?;
            let case = self.case(ScheduleKind::Zil, name, 1.0, self.model.depth());
            self.against(case.clone(), Oracle::ReverseSweep, &found, &self.sweep.clone());
            self.against_independent(case, &found);
        }
        Ok(())
    }

    fn case(&self, rule: ScheduleKind, evaluation: &'static str, rate: f64, steps: usize) -> Case {
        Case {
            schedule: rule.name(),
            evaluation,
            rate,
            steps,
            precision: self.precision.name(),
            loss: self.loss.name(),
        }
    }

    fn against(&mut self, case: Case, oracle: Oracle, found: &Lists, reference: &Lists) {
        let tolerance =
            if oracle == Oracle::Differences { DIFFERENCES } else { tolerance(self.precision) };
        self.within(tolerance, case, oracle, found, reference);
    }

    fn within(
        &mut self,
        tolerance: f64,
        case: Case,
        oracle: Oracle,
        found: &Lists,
        reference: &Lists,
    ) {
        self.found.push(Comparison::new(
            case,
            oracle,
            tolerance,
            &self.names,
            found,
            reference,
            &self.vanishing,
        ));
    }

    fn against_independent(&mut self, case: Case, found: &Lists) {
        match &self.independent {
            Independent::Double(reference) => {
                self.against(case, Oracle::DoubleSweep, found, &reference.clone())
            }
            Independent::Differences { entries, derivatives } => {
                let some = found
                    .iter()
                    .zip(entries)
                    .map(|(list, entries)| entries.iter().map(|&entry| list[entry]).collect())
                    .collect();
                self.against(case, Oracle::Differences, &some, &derivatives.clone());
            }
        }
    }
}

fn is_chain(topology: &Topology) -> bool {
    let children = |prediction: &Prediction| topology.children(prediction.of).map_or(0, <[_]>::len);
    topology
        .predictions()
        .iter()
        .all(|prediction| prediction.parents.len() <= 1 && children(prediction) <= 1)
}

/// What a way to evaluate fixed prediction is called.
fn named(evaluation: Evaluation) -> &'static str {
    match evaluation {
        Evaluation::Auto => "chosen by itself",
        Evaluation::Simulate => "simulation",
        Evaluation::Front => "front",
        Evaluation::ClosedForm => "closed form",
    }
}
