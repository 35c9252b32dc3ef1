//! `pc-bench check`: exact-gradient equivalence.

mod cases;
mod comparison;
mod differences;

use std::str::FromStr;

use serde_json::json;

use self::{
    cases::Found,
    comparison::{Comparison, Oracle, by_size},
};
pub use crate::contract::check::{LossKind, Subject};
use crate::{
    backends::Backend,
    contract::{OrAll, Precision, ScheduleKind},
    error::CommandError,
    models::ModelKind,
    output::{Output, small, table},
    progress::Line,
    threads::Threads,
};

pub(crate) const TEACH: &str = "\
Shows that the exact schedules give backprop's gradients, on a small model of every kind, and \
exits with status 1 where one does not.

Two schedules claim to be exact: fixed-prediction at rate 1 with as many steps as the net is deep, \
and zil on a levelled graph. They are \
run by plain step-by-step simulation, zil with live predictions; the quicker ways to the same \
numbers (only the front of the error, level by \
level, the closed form) are rows of their own, so that no code is compared with itself.

They are compared with a reverse sweep of the net, which is another traversal; and with an oracle \
that shares less: in f64 with Richardson \
extrapolated finite differences of the loss, by forward passes alone, at some entries of every \
parameter; in f32 with the sweep in f64. At other \
rates and steps, front and closed form are compared with the simulation. Each model is checked \
with its output held at a target \
(squared error) and driven by a cross-entropy; in the latter case rnn, lstm and attention have an \
output at each step.

For each parameter: max |difference| / max |g|, |difference| / |g|, and the cosine. Shown is the \
worst. Tolerances: 1e-10 in f64, 1e-8 against \
finite differences, 1e-5 in f32. A gradient that is zero but for rounding (a bias that softmax \
ignores) is measured against the net's largest.";

const EXAMPLES: &str = "\
Examples:
  pc-bench check
  pc-bench check --model attention --schedule zil --precision f64 --verbose
  pc-bench check --json | tail -1";

/// Arguments of `pc-bench check`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckArgs {
    /// What computes: a backend of this build, or all
    #[arg(long, value_name = "NAME", default_value = "all",
    value_parser = OrAll::<Backend>::from_str)]
    pub backend: OrAll<Backend>,
    /// mlp, cnn, rnn, lstm, residual, attention, or all
    #[arg(long, value_name = "NAME", default_value = "all")]
    pub model: OrAll<ModelKind>,
    /// fixed-prediction, zil, backprop (against finite differences), or all
    #[arg(long, value_name = "NAME", default_value = "all", value_parser = exact_rule)]
    pub schedule: OrAll<ScheduleKind>,
    /// f64, f32 or both
    #[arg(long, value_name = "TYPE", default_value = "both", value_parser = precisions)]
    pub precision: OrAll<Precision>,
    /// List every parameter
    #[arg(long)]
    pub verbose: bool,
    /// How many threads.
    #[command(flatten)]
    pub threads: Threads,
}

pub(crate) const EXACT: [ScheduleKind; 3] =
    [ScheduleKind::Backprop, ScheduleKind::FixedPrediction, ScheduleKind::Zil];

fn exact_rule(name: &str) -> Result<OrAll<ScheduleKind>, String> {
    let rule: OrAll<ScheduleKind> = name.parse()?;
    match rule {
        OrAll::One(rule) if !EXACT.contains(&rule) => Err(format!(
            "{rule} is another learner than backprop, by design, so there is nothing for its \
             gradients to equal; \
             `pc-bench train --schedule {rule}` shows their cosines. Exact are fixed-prediction \
             and zil"
        )),
        _ => Ok(rule),
    }
}

fn precisions(name: &str) -> Result<OrAll<Precision>, String> {
    match name {
        "both" => Ok(OrAll::All),
        "f64" => Ok(OrAll::One(Precision::F64)),
        "f32" => Ok(OrAll::One(Precision::F32)),
        _ => Err("there are f64, f32 and both".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// [`CommandError::Beyond`] where a gradient is beyond tolerance.
pub fn run(args: &CheckArgs, json: bool) -> Result<(), CommandError> {
    args.threads.run(0, || check(args, Output::new(json)))
}

fn check(args: &CheckArgs, output: Output) -> Result<(), CommandError> {
    let (mut count, mut failed, mut worst, mut live) = (0, 0, Vec::new(), false);
    for backend in Backend::chosen(args.backend)? {
        let has = backend.support();
        let rules = match backend.among("--schedule", args.schedule, &EXACT, has.rules) {
            // Of all backends, those that have it.
            Err(_) if args.backend == OrAll::All => continue,
            rules => rules?,
        };
        let precisions = backend.among(
            "--precision",
            args.precision,
            &[Precision::F64, Precision::F32],
            has.precisions,
        )?;
        for kind in backend.among("--model", args.model, &ModelKind::ALL, has.models)? {
            let Found { comparisons: found, refused } =
                check_model(backend, kind, &rules, &precisions, output)?;
            if let (OrAll::One(rule), Some((_, why))) = (args.schedule, refused.first()) {
                return Err(CommandError::input(format!(
                    "--schedule {rule} with --model {kind} on {backend}: {why}"
                )));
            }
            for comparison in &found {
                output.event(
                    "comparison",
                    comparison.to_json(backend.name(), kind.name(), args.verbose),
                )?;
                if !comparison.passed() {
                    worst.push(describe(kind, comparison));
                }
            }
            output.text(&title(backend, kind)?)?;
            output.text(&summary_table(&found))?;
            for (rule, why) in refused {
                output.event(
                    "refused",
                    json!({ "backend": backend.name(), "model": kind.name(),
                "schedule": rule.name(), "why": why }),
                )?;
                output.text(&format!("({rule} is refused: {why})"))?;
            }
            if args.verbose {
                output.text(&parameter_table(&found))?;
            }
            live |= found.iter().any(|comparison| comparison.tolerance == cases::LIVE);
            count += found.len();
            failed += found.iter().filter(|comparison| !comparison.passed()).count();
        }
    }
    output.event(
        "summary",
        json!({ "command": "check", "comparisons": count, "failed": failed,
    "passed": failed == 0 }),
    )?;
    match worst.first() {
        None => output.text(&format!(
            "all {count} comparisons are within tolerance: max |difference| / max |g| at most \
             1e-10 in f64 (1e-8 against differences), 1e-5 in f32{}",
            if live { " (1e-4 of standard PC)" } else { "" }
        )),
        Some(first) => Err(CommandError::Beyond(format!(
            "{failed} of {count} comparisons are \
            beyond tolerance: {first}"
        ))),
    }
}

fn check_model(
    backend: Backend,
    kind: ModelKind,
    rules: &[ScheduleKind],
    precisions: &[Precision],
    output: Output,
) -> Result<Found, CommandError> {
    let parts = precisions.len() * LossKind::ALL.len();
    let what = format!("checking {kind} on {backend}");
    let progress = Line::of(output.is_json(), what, parts).ticking();
    let mut all = Found::default();
    for precision in precisions {
        for loss in LossKind::ALL {
            let found = match precision {
                Precision::F64 => cases::check::<f64>(backend, kind, loss, *precision, rules)?,
                Precision::F32 => cases::check::<f32>(backend, kind, loss, *precision, rules)?,
            };
            progress.one_more();
            all.comparisons.extend(found.comparisons);
            for (rule, why) in found.refused {
                if !all.refused.iter().any(|(known, _)| *known == rule) {
                    all.refused.push((rule, why));
                }
            }
        }
    }
    Ok(all)
}

fn title(backend: Backend, kind: ModelKind) -> Result<String, CommandError> {
    // In f32, which every backend has.
    let subject = Subject::<f32>::new(kind, LossKind::SquaredError, 0)?;
    Ok(format!(
        "{} on {backend}: {}",
        subject.model.description,
        backend.checked(&subject)?.structure()?
    ))
}

fn describe(kind: ModelKind, comparison: &Comparison) -> String {
    let case = &comparison.case;
    let worst = comparison.worst();
    format!(
        "{kind}, {} by {} in {}, {}: parameter `{}` differs from {} by {} of max |g|, more than \
         {:e}",
        case.schedule,
        case.evaluation,
        case.precision,
        case.loss,
        worst.map_or("?", |row| row.parameter.as_str()),
        comparison.oracle.name(),
        small(worst.map(|row| row.max_difference)),
        comparison.tolerance
    )
}

/// One row for each way to the gradients, the worst over losses, rates and parameters.
fn summary_table(found: &[Comparison]) -> String {
    let mut ways = Vec::new();
    for comparison in found {
        let way = (comparison.case.precision, comparison.case.schedule, comparison.case.evaluation);
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    let rows: Vec<Vec<String>> = ways
        .into_iter()
        .map(|way| {
            let of_way: Vec<&Comparison> = found
                .iter()
                .filter(|c| (c.case.precision, c.case.schedule, c.case.evaluation) == way)
                .collect();
            let worst_of = |oracles: &[Oracle]| {
                let some =
                    of_way.iter().filter(|c| oracles.contains(&c.oracle)).filter_map(|c| c.worst());
                small(some.map(|row| row.max_difference).max_by(|a, b| by_size(*a, *b)))
            };
            // The one that comes nearest to its tolerance.
            let share =
                |c: &Comparison| c.worst().map_or(0.0, |row| row.max_difference / c.tolerance);
            let nearest = of_way.iter().max_by(|a, b| by_size(share(a), share(b)));
            let norm = of_way.iter().filter_map(|c| c.max_norm()).max_by(|a, b| by_size(*a, *b));
            let angle = of_way
                .iter()
                .filter_map(|c| c.min_cosine())
                .map(|cosine| (1.0 - cosine).abs())
                .max_by(|a, b| by_size(*a, *b));
            let (precision, schedule, evaluation) = way;
            vec![
                schedule.to_owned(),
                evaluation.to_owned(),
                precision.to_owned(),
                if of_way.iter().all(|c| c.passed()) { "yes" } else { "NO" }.to_owned(),
                worst_of(&[Oracle::ReverseSweep]),
                worst_of(&[Oracle::Differences, Oracle::DoubleSweep]),
                worst_of(&[Oracle::Simulation, Oracle::HostSimulation]),
                small(norm),
                small(angle),
                nearest
                    .and_then(|c| c.worst())
                    .map_or_else(String::new, |row| row.parameter.clone()),
            ]
        })
        .collect();
    let header = [
        "schedule",
        "evaluation",
        "in",
        "exact",
        "sweep",
        "differences\nor f64 sweep",
        "simulation",
        "norm",
        "1 - cosine",
        "worst parameter",
    ];
    table(&header, 4, &rows)
}

fn parameter_table(found: &[Comparison]) -> String {
    let rows: Vec<Vec<String>> = found
        .iter()
        .flat_map(|comparison| {
            let case = &comparison.case;
            comparison.rows.iter().map(move |row| {
                vec![
                    case.schedule.to_owned(),
                    format!("{}, rate {}, T {}", case.evaluation, case.rate, case.steps),
                    case.precision.to_owned(),
                    case.loss.to_owned(),
                    comparison.oracle.name().to_owned(),
                    row.parameter.clone(),
                    small(Some(row.max_difference)),
                    small(Some(row.relative_norm)),
                    row.cosine.map_or_else(|| "-".to_owned(), |cosine| format!("{cosine:.12}")),
                ]
            })
        })
        .collect();
    table(
        &["schedule", "evaluation", "in", "loss", "against", "parameter", "max", "norm", "cosine"],
        6,
        &rows,
    )
}
