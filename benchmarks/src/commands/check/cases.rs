//! Which ways to the gradients are checked, and against what.

use pc_core::{
    Evaluation, Gradients, Schedule, Tensor,
    host::{Element, HostTensor},
};

use super::{
    comparison::{Case, Comparison, Lists, Oracle},
    differences::derivatives,
    subject::{LossKind, Subject},
};
use crate::{
    commands::train::{Precision, ScheduleKind},
    error::CommandError,
    models::ModelKind,
};

/// Against finite differences, whose own error this bounds.
pub(super) const DIFFERENCES: f64 = 1e-8;
/// A gradient below this share of the net's largest is zero but for rounding: a key's bias, say, which softmax ignores.
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
    subject: Subject<F>,
    precision: Precision,
    names: Vec<String>,
    sizes: Vec<usize>,
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
    kind: ModelKind,
    loss: LossKind,
    precision: Precision,
    rules: &[ScheduleKind],
) -> Result<Vec<Comparison>, CommandError> {
    let mut checker = Checker::<F>::new(kind, loss, precision)?;
    for rule in rules {
        match rule {
            ScheduleKind::Backprop => checker.backprop(),
            ScheduleKind::FixedPrediction => checker.fixed_prediction()?,
            ScheduleKind::Zil => checker.zil()?,
            ScheduleKind::Standard | ScheduleKind::Ipc | ScheduleKind::Epc => {}
        }
    }
    Ok(checker.found)
}

impl<F: Element> Checker<F> {
    fn new(kind: ModelKind, loss: LossKind, precision: Precision) -> Result<Self, CommandError> {
        let mut subject = Subject::<F>::new(kind, loss, SEED)?;
        let mut double = subject.converted::<f64>()?;
        let graph = &subject.model.graph;
        let names = graph.topology().parameter_names().to_vec();
        let sizes: Vec<usize> = graph.parameters().iter().map(|parameter| parameter.data().len()).collect();
        let exact = lists(&double.gradients(Schedule::backprop())?, &sizes);
        let largest = |list: &[f64]| list.iter().fold(0.0_f64, |m, x| m.max(x.abs()));
        let net = exact.iter().map(|list| largest(list)).fold(0.0, f64::max);
        let vanishing = exact.iter().map(|list| largest(list) < VANISHING * net).collect();
        let independent = match precision {
            Precision::F32 => Independent::Double(exact),
            Precision::F64 => {
                let sampled = derivatives(&mut double, &exact)?;
                let (entries, derivatives) = sampled.into_iter().map(|sampled| (sampled.entries, sampled.derivatives)).unzip();
                Independent::Differences { entries, derivatives }
            }
        };
        let sweep = lists(&subject.gradients(Schedule::backprop())?, &sizes);
        Ok(Self { subject, precision, names, sizes, vanishing, sweep, independent, found: Vec::new() })
    }

    fn backprop(&mut self) {
        let sweep = self.sweep.clone();
        let case = self.case(ScheduleKind::Backprop, "reverse sweep", 1.0, self.subject.depth());
        self.against_independent(case, &sweep);
    }

    fn fixed_prediction(&mut self) -> Result<(), CommandError> {
        let depth = self.subject.depth().max(1);
        let exact = Schedule::fixed_prediction(1.0, depth)?;
        for (evaluation, name) in
            [(Evaluation::Simulate, "simulation"), (Evaluation::Front, "front"), (Evaluation::ClosedForm, "closed form")]
        {
            let found = lists(&self.subject.gradients(exact.clone().evaluated_by(evaluation))?, &self.sizes);
            let case = self.case(ScheduleKind::FixedPrediction, name, 1.0, depth);
            // At rate 1 the closed form is the sweep itself, so that one says nothing about it.
            if evaluation != Evaluation::ClosedForm {
                self.against(case.clone(), Oracle::ReverseSweep, &found, &self.sweep.clone());
            }
            self.against_independent(case, &found);
        }
        for (rate, steps) in [(0.1, 20), (0.37, depth), (0.75, depth + 3), (1.0, depth.div_ceil(2))] {
            let schedule = Schedule::fixed_prediction(rate, steps)?;
            let plain = lists(&self.subject.gradients(schedule.clone().evaluated_by(Evaluation::Simulate))?, &self.sizes);
            for (evaluation, name) in [(Evaluation::Front, "front, other rates"), (Evaluation::ClosedForm, "closed form, other rates")] {
                let found = lists(&self.subject.gradients(schedule.clone().evaluated_by(evaluation))?, &self.sizes);
                self.against(self.case(ScheduleKind::FixedPrediction, name, rate, steps), Oracle::Simulation, &found, &plain);
            }
        }
        Ok(())
    }

    fn zil(&mut self) -> Result<(), CommandError> {
        let mut levelled = self.subject.levelled()?;
        for (evaluation, name) in [(Evaluation::Simulate, "simulation, levelled"), (Evaluation::Front, "level by level")] {
            let found = lists(&levelled.gradients(Schedule::zil().evaluated_by(evaluation))?, &self.sizes);
            let case = self.case(ScheduleKind::Zil, name, 1.0, levelled.depth());
            self.against(case.clone(), Oracle::ReverseSweep, &found, &self.sweep.clone());
            self.against_independent(case, &found);
        }
        Ok(())
    }

    fn case(&self, rule: ScheduleKind, evaluation: &'static str, rate: f64, steps: usize) -> Case {
        Case { schedule: rule.name(), evaluation, rate, steps, precision: self.precision.name(), loss: self.subject.loss.name() }
    }

    fn against(&mut self, case: Case, oracle: Oracle, found: &Lists, reference: &Lists) {
        let tolerance = if oracle == Oracle::Differences { DIFFERENCES } else { tolerance(self.precision) };
        self.found.push(Comparison::new(case, oracle, tolerance, &self.names, found, reference, &self.vanishing));
    }

    fn against_independent(&mut self, case: Case, found: &Lists) {
        match &self.independent {
            Independent::Double(reference) => self.against(case, Oracle::DoubleSweep, found, &reference.clone()),
            Independent::Differences { entries, derivatives } => {
                let some = found.iter().zip(entries).map(|(list, entries)| entries.iter().map(|&entry| list[entry]).collect()).collect();
                self.against(case, Oracle::Differences, &some, &derivatives.clone());
            }
        }
    }
}

/// The gradients as numbers; zeros where no error has arrived.
fn lists<F: Element>(gradients: &Gradients<HostTensor<F>>, sizes: &[usize]) -> Lists {
    let each = gradients.iter().zip(sizes);
    each.map(|((_, gradient), size)| gradient.map_or_else(|| vec![0.0; *size], Tensor::to_vec)).collect()
}
