//! `pc-bench train`: models trained by predictive coding, beside backprop.
//!
//! A [`TrainingPlan`] is what the command line comes to, a [`Dataset`] the data in the form a model
//! takes, a [`Learner`] one run that can be advanced, measured, saved and gone on with. [`run`]
//! puts them together.

mod advance;
mod args;
mod augment;
mod comparison;
mod config;
mod dataset;
mod learner;
mod measure;
mod plan;
mod recall;
mod saved;
mod saver;
mod seeds;
mod settings;
mod show;
mod summary;

use std::path::Path;

use pc_core::host::Element;
use serde_json::json;

pub use args::TrainArgs;
pub(crate) use config::{Choice, Configuration, Source, SweepEntry, place, put};
pub use dataset::Dataset;
pub use learner::{Learner, Progress, Step};
pub use measure::Measured;
pub use plan::{Resume, TrainingPlan};
pub use recall::Recalled;
pub use saver::SaveEvery;
pub use settings::RunSettings;

use advance::{Early, advance};
use comparison::{COMPARISON, file_of_run};
use saver::Saver;
use seeds::OfSeed;
use summary::{Ended, OfRun};

use crate::{
    checkpoint::Checkpoint,
    contract::Precision,
    error::CommandError,
    interrupt,
    output::{self, Output, warn},
    places::Place,
    progress::Line,
    report, threads,
};

/// Does what `args` say, and prints tables, or JSON lines whose last is a `summary`.
///
/// # Errors
/// [`CommandError::Input`] for anything given that makes no sense, before anything is written, and
/// for a file that could not be written, after the results; [`CommandError::Beyond`] where a run
/// diverged, after the report; [`CommandError::Interrupted`] after Ctrl-C.
pub fn run(args: TrainArgs, json: bool) -> Result<(), CommandError> {
    if args.print_config && json {
        return Err(CommandError::input(
            "--json: `--print-config` prints a file for --config, not JSON",
        ));
    }
    let plan = TrainingPlan::new(&args)?;
    if args.print_config {
        return output::bytes(plan.configuration()?.as_bytes());
    }
    let output = Output::new(json);
    let pool = threads::pool(plan.threads.unwrap_or(0))?;
    let train = |plan: &TrainingPlan| match plan.runs[0].precision {
        Precision::F32 => compare::<f32>(plan, output),
        Precision::F64 => compare::<f64>(plan, output),
    };
    let done = pool.install(|| match plan.seeds {
        1 => train(&plan).and_then(|(_, end)| end),
        _ => seeds::run(&plan, output, train),
    });
    done.map_err(|error| plan.located(error))
}

fn compare<F: Element>(plan: &TrainingPlan, output: Output) -> Result<OfSeed, CommandError> {
    let first = &plan.runs[0];
    let reading = Line::open(output.is_json(), format!("reading {}", first.data));
    let data = Dataset::load(first, plan.data_dir.as_deref())?;
    // All of them are made before any trains: what does not fit is found out at once. So is what
    // cannot be written.
    let mut learners = plan
        .runs
        .iter()
        .map(|settings| Learner::<F>::new(settings, &data))
        .collect::<Result<Vec<_>, _>>()?;
    drop(reading);
    if let Some(dir) = &plan.report {
        report::try_place(dir)?;
    }
    let comparison = plan.comparison();
    let _whole = match &comparison {
        Some((path, _)) => Some(Place::take("--save", path)?),
        None => None,
    };
    let mut savers = Vec::with_capacity(learners.len());
    for run in &plan.runs {
        savers.push(match plan.save_path(run.schedule) {
            Some(path) => Some(Saver::new(&path, plan.save_every)?),
            None => None,
        });
    }
    if let Some(resume) = &plan.resume {
        go_on(plan, resume, &mut learners)?;
    }
    if let Some((path, comparison)) = &comparison {
        // First what has been learned already, then the file of the comparison: its place may be
        // where that was read from.
        for (learner, saver) in learners.iter_mut().zip(&mut savers) {
            learner.comparison = Some(comparison.id.clone());
            if let Some(saver) = saver
                && learner.progress() != &Progress::default()
            {
                saver.save(learner)?;
                if let Some(why) = saver.failure() {
                    return Err(CommandError::input(why));
                }
            }
        }
        comparison.checkpoint().write(path)?;
    }
    let model = learners[0].trainee().description();
    interrupt::listen("this batch");
    let mut ended = Vec::with_capacity(learners.len());
    let mut early = None;
    for (learner, saver) in learners.into_iter().zip(&mut savers) {
        match advance(plan, &data, learner, saver.as_mut(), output) {
            Ok(run) => ended.push(run),
            Err(end) => {
                early = Some(end);
                break;
            }
        }
    }
    finish(plan, &data, &model, &ended, early, output)
}

/// Puts runs where their checkpoints left them.
fn go_on<F: Element>(
    plan: &TrainingPlan,
    resume: &Resume,
    learners: &mut [Learner<F>],
) -> Result<(), CommandError> {
    let (path, done) = match resume {
        Resume::One(path, schedule) => {
            let own = learners.iter_mut().find(|run| run.settings().schedule == *schedule);
            let learner = own.ok_or_else(|| {
                CommandError::input(format!("{} is of no run here", path.display()))
            })?;
            learner.resume(path)?;
            (path, learner.progress().epoch)
        }
        Resume::All(path) => {
            for learner in learners.iter_mut() {
                let own = file_of_run(path, learner.settings().schedule);
                if own.exists() {
                    go_on_within(plan, &own, learner)?;
                }
            }
            let done = learners.iter().map(|learner| learner.progress().epoch).min();
            (path, done.unwrap_or_default())
        }
    };
    if done >= plan.epochs && plan.of_seed.is_none() {
        return Err(already(path, done, plan.epochs));
    }
    Ok(())
}

/// The same of one run of a comparison, whose file may be left of an earlier one.
fn go_on_within<F: Element>(
    plan: &TrainingPlan,
    path: &Path,
    learner: &mut Learner<F>,
) -> Result<(), CommandError> {
    let saved = Checkpoint::read(path)?;
    if saved.metadata.get(COMPARISON) != plan.comparison.as_ref() {
        warn(&format!(
            "{} is of another comparison; {} starts anew",
            path.display(),
            learner.settings().schedule
        ));
        return Ok(());
    }
    learner.restore(path, saved)
}

fn already(path: &Path, done: usize, epochs: usize) -> CommandError {
    CommandError::input(format!(
        "{} has done {done} epochs already: give --epochs above that (it is {epochs})",
        path.display()
    ))
}

/// Prints what came of the runs that ended, first of all; then writes the report. What could not
/// be printed or written is told at the end.
fn finish(
    plan: &TrainingPlan,
    data: &Dataset,
    model: &str,
    ended: &[Ended],
    early: Option<Early>,
    output: Output,
) -> Result<OfSeed, CommandError> {
    if let (Some(Early::Failed(error)), []) = (&early, ended) {
        return Err(error.clone());
    }
    let report = summary::report(plan, data, model, ended);
    let shown = if ended.is_empty() { Ok(()) } else { show_runs(&report, ended, output) };
    if let Some(end) = early {
        if !ended.is_empty() {
            output.event("partial", summary::summary(&report, ended, &[], None))?;
        }
        let error = match end {
            Early::Stopped(fields) => {
                output.event("interrupted", fields)?;
                CommandError::Interrupted
            }
            Early::Failed(error) => error,
        };
        shown?;
        return Err(error);
    }
    let (files, unwritten) = match plan.report.as_ref().map(|dir| report::write(dir, &report)) {
        Some(Ok(files)) => (files, None),
        Some(Err(error)) => (Vec::new(), Some(error.to_string())),
        None => (Vec::new(), None),
    };
    let page = files.first().map(|page| format!("the curves are in {}", page.display()));
    let shown = shown.and_then(|()| page.map_or(Ok(()), |page| output.text(&page)));
    let summary = summary::summary(&report, ended, &files, unwritten.as_deref());
    let event = if plan.of_seed.is_some() { "seed" } else { "summary" };
    let summed = output.event(event, summary);
    shown.and(summed)?;
    let found = ended.iter().map(OfRun::of).collect();
    Ok((found, verdict(plan, ended, unwritten.as_deref(), output)))
}

/// What is wrong with what is above.
fn verdict(
    plan: &TrainingPlan,
    ended: &[Ended],
    unwritten: Option<&str>,
    output: Output,
) -> Result<(), CommandError> {
    let unsaved = ended.iter().filter_map(|run| run.unsaved.as_deref());
    let unwritten: Vec<&str> = unwritten.into_iter().chain(unsaved).collect();
    if !unwritten.is_empty() {
        return Err(CommandError::input(format!(
            "the results are above, but not all is written: {}",
            unwritten.join("; ")
        )));
    }
    let diverged: Vec<&str> = ended.iter().filter_map(|run| run.diverged.as_deref()).collect();
    if !diverged.is_empty() {
        return Err(CommandError::Beyond(diverged.join("; ")));
    }
    if interrupt::asked() {
        // After the last batch: all that is missing are figures that had not been found yet.
        output.event("interrupted", json!({"saved": plan.save}))?;
        return Err(CommandError::Interrupted);
    }
    Ok(())
}

/// The tables, for people.
fn show_runs(report: &report::Report, ended: &[Ended], output: Output) -> Result<(), CommandError> {
    output.text(&report::table(report))?;
    output.text(&summary::notes(ended))?;
    for path in ended.iter().filter_map(|run| run.saved.as_ref()) {
        output.text(&format!("saved {}", path.display()))?;
    }
    Ok(())
}
