//! The same comparison with several seeds, one after the other, and what its figures are on
//! average.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{
    comparison::{Comparison, file_of_seed},
    plan::{Resume, TrainingPlan},
    settings::RunSettings,
    summary::OfRun,
};
use crate::{
    checkpoint,
    contract::{ScheduleKind, details::Figures},
    error::CommandError,
    output::{Output, warn},
    places::Place,
    statistics::{Summary, difference, summary},
};

/// The figures of one seed, run by run, and what is wrong with them.
pub(super) type OfSeed = (Vec<OfRun>, Result<(), CommandError>);

/// Trains with every seed by `train`, and prints the statistics.
///
/// # Errors
/// As of `train`; where a run diverged, or a file could not be written, after the statistics.
pub(super) fn run(
    plan: &TrainingPlan,
    output: Output,
    train: impl Fn(&TrainingPlan) -> Result<OfSeed, CommandError>,
) -> Result<(), CommandError> {
    let _whole = plan.save.as_deref().map(|path| Place::take("--save", path)).transpose()?;
    let first = plan.runs.first().map_or(0, |run| run.seed);
    let seeds: Vec<u64> = (first..).take(plan.seeds).collect();
    let plans =
        seeds.iter().map(|seed| of_seed(plan, *seed)).collect::<Result<Vec<_>, CommandError>>()?;
    if let Some((path, whole)) = plan.comparison() {
        whole.checkpoint().write(path)?;
    }
    let (mut found, mut wrong) = (Vec::new(), Ok(()));
    for of_seed in &plans {
        let (runs, end) = train(of_seed)?;
        found.push(runs);
        wrong = wrong.and(end);
    }
    let statistics = Statistics::of(&plan.runs, &found);
    output.text(&statistics.text(&seeds))?;
    output.event("summary", statistics.json(&seeds, plan))?;
    wrong
}

/// The plan of one seed.
fn of_seed(plan: &TrainingPlan, seed: u64) -> Result<TrainingPlan, CommandError> {
    let id = plan.comparison.as_ref().map(|id| format!("{id}.{seed}"));
    let runs = plan.runs.iter().map(|run| RunSettings { seed, ..run.clone() }).collect();
    let mut own = TrainingPlan {
        runs,
        seeds: 1,
        of_seed: Some(seed),
        report: plan.report.as_ref().map(|dir| dir.join(format!("seed-{seed}"))),
        save: plan.save.as_ref().map(|path| file_of_seed(path, seed)),
        whole: plan.save.clone(),
        comparison: id,
        resume: None,
        ..plan.clone()
    };
    if let Some(Resume::All(path)) = &plan.resume {
        own.resume = begun(&file_of_seed(path, seed), own.comparison.as_deref())?.map(Resume::All);
    }
    Ok(own)
}

/// The file of a seed, where it is of these runs.
fn begun(path: &Path, id: Option<&str>) -> Result<Option<PathBuf>, CommandError> {
    if !path.exists() {
        return Ok(None);
    }
    let saved = Comparison::from_metadata(path, &checkpoint::read_metadata(path)?)?;
    if saved.is_some_and(|saved| Some(saved.id.as_str()) == id) {
        return Ok(Some(path.to_owned()));
    }
    warn(&format!("{} is of other runs; its seed starts anew", path.display()));
    Ok(None)
}

/// The figures of each rule over the seeds.
struct Statistics {
    rows: Vec<Row>,
    /// Whether there are losses alone.
    by_loss: bool,
    figures: Figures,
    validation: bool,
}

struct Row {
    rule: ScheduleKind,
    accuracy: Option<Summary>,
    loss: Option<Summary>,
    seconds: Option<Summary>,
    /// Accuracy, or where there is none the loss, minus that of backprop with the same seed; none
    /// of backprop itself.
    beside: Option<Summary>,
    diverged: usize,
}

impl Statistics {
    fn of(runs: &[RunSettings], found: &[Vec<OfRun>]) -> Self {
        let column = |at: usize, figure: fn(&OfRun) -> Option<f64>| -> Vec<Option<f64>> {
            found.iter().map(|seed| seed.get(at).and_then(figure)).collect()
        };
        let some = |figures: Vec<Option<f64>>| {
            summary(&figures.into_iter().flatten().collect::<Vec<f64>>())
        };
        // Where the picture itself is wanted, nothing is right or wrong.
        let by_loss = found.iter().flatten().all(|run| run.accuracy.is_none())
            && found.iter().flatten().any(|run| run.loss.is_some());
        let figure: fn(&OfRun) -> Option<f64> =
            if by_loss { |run| run.loss } else { |run| run.accuracy };
        let baseline = runs.iter().position(|run| run.schedule == ScheduleKind::Backprop);
        let rows = runs.iter().enumerate().map(|(at, run)| {
            let figures = |at| column(at, figure);
            let base = baseline.filter(|base| *base != at);
            Row {
                rule: run.schedule,
                accuracy: some(column(at, |run| run.accuracy)),
                loss: some(column(at, |run| run.loss)),
                seconds: some(column(at, |run| Some(run.seconds))),
                beside: base.and_then(|base| difference(&figures(at), &figures(base))),
                diverged: found
                    .iter()
                    .filter(|seed| seed.get(at).is_some_and(|run| run.loss.is_none()))
                    .count(),
            }
        });
        let details = runs.first().map(|run| &run.details);
        Self {
            rows: rows.collect(),
            by_loss,
            figures: details.map(|details| details.report).unwrap_or_default(),
            validation: details.is_some_and(|details| details.data.validation.is_some()),
        }
    }

    fn judged(&self) -> &'static str {
        if self.validation { "validation" } else { "test" }
    }

    /// A table of at most 80 columns, in percent; of losses in thousandths.
    fn text(&self, seeds: &[u64]) -> String {
        let (by, unit) = if self.by_loss { (1e3, "loss x 1e-3") } else { (1e2, "accuracy %") };
        let shown = |figure: Option<f64>, plus: bool| match figure {
            Some(x) if plus => format!("{:+.2}", by * x),
            Some(x) => format!("{:.2}", by * x),
            None => "-".to_owned(),
        };
        let range = match seeds {
            [first, .., last] => format!("seeds {first} to {last}"),
            _ => "one seed".to_owned(),
        };
        let which = match self.figures {
            Figures::LastEpoch => "last epoch",
            Figures::BestEpoch => "best epoch of each run",
        };
        let rule = "─".repeat(72);
        let mut text = format!(
            "\n{} {unit}, {which}, over {range}\n{rule}\n{:<18}{:>8}{:>11}{:>9}{:>16}{:>10}\n\
             {rule}\n",
            self.judged(),
            "schedule",
            "mean",
            "deviation",
            "95% +-",
            "minus backprop",
            "95% +-"
        );
        for row in &self.rows {
            let own = if self.by_loss { row.loss } else { row.accuracy };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{:<18}{:>8}{:>11}{:>9}{:>16}{:>10}",
                row.rule,
                shown(own.map(|own| own.mean), false),
                shown(own.and_then(|own| own.deviation), false),
                shown(own.and_then(|own| own.half), false),
                shown(row.beside.map(|own| own.mean), true),
                shown(row.beside.and_then(|own| own.half), false),
            );
        }
        text += &rule;
        for row in self.rows.iter().filter(|row| row.diverged > 0) {
            let count = row.diverged;
            let _ = write!(text, "\n{}: {count} of {} seeds diverged", row.rule, seeds.len());
        }
        text + "\nIntervals are Student's t; differences are paired, seed by seed."
    }

    fn json(&self, seeds: &[u64], plan: &TrainingPlan) -> Value {
        let mut runs = Map::new();
        for row in &self.rows {
            let fields = json!({
                "test_accuracy": row.accuracy,
                "test_loss": row.loss,
                "seconds": row.seconds,
                "minus_backprop": row.beside,
                "diverged": row.diverged,
            });
            runs.insert(row.rule.to_string(), fields);
        }
        json!({
            "seeds": seeds,
            "figures": self.figures,
            "judged_on": self.judged(),
            "runs": runs,
            "command": plan.command(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::train::TrainArgs;

    #[test]
    fn figures_are_put_together_by_rule_and_compared_seed_by_seed() {
        let rules = vec![ScheduleKind::Standard, ScheduleKind::Backprop];
        let args = TrainArgs { schedule: rules, no_report: true, ..TrainArgs::default() };
        let plan = TrainingPlan::new(&args).unwrap();
        let run =
            |accuracy: Option<f64>| OfRun { accuracy, loss: accuracy.map(|_| 1.0), seconds: 2.0 };
        let found = [
            vec![run(Some(0.75)), run(Some(0.5))],
            vec![run(None), run(Some(0.25))],
            vec![run(Some(0.5)), run(Some(0.25))],
        ];
        let statistics = Statistics::of(&plan.runs, &found);
        let [standard, backprop] = statistics.rows.as_slice() else { panic!("two rows") };
        assert_eq!(standard.accuracy.unwrap().mean, 0.625);
        assert_eq!((standard.diverged, backprop.diverged), (1, 0));
        let beside = standard.beside.unwrap();
        assert_eq!((beside.count, beside.mean, beside.deviation), (2, 0.25, Some(0.0)));
        assert!(backprop.beside.is_none());
        let text = statistics.text(&[4, 5, 6]);
        assert!(text.contains("seeds 4 to 6") && text.contains("+25.00"), "{text}");
        assert!(text.contains("standard: 1 of 3 seeds diverged"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn where_nothing_is_right_or_wrong_losses_are_put_together() {
        let rules = vec![ScheduleKind::Standard, ScheduleKind::Backprop];
        let args = TrainArgs { schedule: rules, no_report: true, ..TrainArgs::default() };
        let plan = TrainingPlan::new(&args).unwrap();
        let run = |loss: Option<f64>| OfRun { accuracy: None, loss, seconds: 2.0 };
        let found = [vec![run(Some(0.009)), run(Some(0.008))], vec![run(None), run(Some(0.008))]];
        let statistics = Statistics::of(&plan.runs, &found);
        let [standard, backprop] = statistics.rows.as_slice() else { panic!("two rows") };
        assert_eq!((standard.diverged, backprop.diverged), (1, 0));
        assert!((standard.beside.unwrap().mean - 0.001).abs() < 1e-12);
        let text = statistics.text(&[4, 5]);
        assert!(text.contains("test loss x 1e-3") && text.contains("+1.00"), "{text}");
    }
}
