//! `pc-bench train`: models trained by predictive coding, beside backprop.
//!
//! A [`TrainingPlan`] is what the command line asks for, a [`Dataset`] the data in the form a model
//! takes, a [`Learner`] one run that can be advanced, measured, saved and gone on with. [`run`]
//! puts them together.

mod args;
mod choices;
mod dataset;
mod interrupt;
mod learner;
mod measure;
mod saved;
mod settings;
mod show;
mod summary;

use std::path::PathBuf;

use pc_core::host::Element;
use serde_json::json;

pub use args::TrainArgs;
pub use choices::{OptimiserKind, Precision, ScheduleKind};
pub use dataset::{Batch, Dataset};
pub use learner::{Learner, Progress, Step};
pub use measure::Measured;
pub use settings::{RunSettings, TrainingPlan};

use show::{Show, say};
use summary::Ended;

use crate::{error::CommandError, output::Output, report};

/// Does what `args` say, and prints tables, or JSON lines whose last is a `summary`.
///
/// # Errors
/// [`CommandError::Input`] for anything given that makes no sense, before anything is written;
/// [`CommandError::Beyond`] where a run diverged, after the report; [`CommandError::Interrupted`]
/// after Ctrl-C.
pub fn run(args: TrainArgs, json: bool) -> Result<(), CommandError> {
    let plan = TrainingPlan::new(&args)?;
    let output = Output::new(json);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(plan.threads.unwrap_or(0)).build();
    let pool = pool.map_err(|error| {
        CommandError::input(format!("cannot start {:?} threads: {error}", plan.threads))
    })?;
    interrupt::listen();
    pool.install(|| match plan.runs[0].precision {
        Precision::F32 => compare::<f32>(&plan, output),
        Precision::F64 => compare::<f64>(&plan, output),
    })
}

fn compare<F: Element>(plan: &TrainingPlan, output: Output) -> Result<(), CommandError> {
    let first = &plan.runs[0];
    let data = Dataset::load(
        first.data,
        plan.data_dir.as_deref(),
        first.seed,
        first.model,
        first.samples,
    )?;
    // All of them are made, and resumed, before any trains: what does not fit is found out at once.
    let mut learners = plan
        .runs
        .iter()
        .map(|settings| Learner::<F>::new(settings, &data))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some((path, schedule)) = &plan.resume {
        for learner in
            learners.iter_mut().filter(|learner| learner.settings().schedule == *schedule)
        {
            learner.resume(path)?;
            let done = learner.progress().epoch;
            if done >= plan.epochs {
                let epochs = plan.epochs;
                let message = format!(
                    "{} has done {done} epochs already: give --epochs above that (it is {epochs})",
                    path.display()
                );
                return Err(CommandError::input(message));
            }
        }
    }
    let model = learners[0].trainee().description();
    let mut ended = Vec::with_capacity(learners.len());
    for learner in learners {
        ended.push(train(plan, &data, learner, output)?);
    }
    let report = summary::report(plan, &data, &model, &ended);
    let files = match &plan.report {
        Some(dir) => report::write(dir, &report)?,
        None => Vec::new(),
    };
    output.text(&report::table(&report))?;
    output.text(&summary::notes(&ended))?;
    for path in ended.iter().filter_map(|run| run.saved.as_ref()) {
        output.text(&format!("saved {}", path.display()))?;
    }
    if let Some(page) = files.first() {
        output.text(&format!("the curves are in {}", page.display()))?;
    }
    output.event("summary", summary::summary(&report, &ended, &files))?;
    let diverged: Vec<String> = ended.into_iter().filter_map(|run| run.diverged).collect();
    if diverged.is_empty() { Ok(()) } else { Err(CommandError::Beyond(diverged.join("; "))) }
}

/// One run to its end.
fn train<F: Element>(
    plan: &TrainingPlan,
    data: &Dataset,
    mut learner: Learner<F>,
    output: Output,
) -> Result<Ended, CommandError> {
    let settings = learner.settings().clone();
    let save = plan.save_path(settings.schedule);
    let show = Show::new(
        output,
        settings.schedule,
        plan.epochs,
        data.batches(settings.batch),
        learner.progress().epoch,
    );
    let mut diverged = None;
    let mut saved = None;
    while learner.progress().epoch < plan.epochs {
        let epoch = learner.progress().epoch;
        let mut watch = |done: usize| {
            show.batch(epoch, done);
            !interrupt::asked()
        };
        match learner.epoch(data, &mut watch)? {
            Step::Finished(figures) => {
                show.epoch(&figures)?;
                if let Some(path) = &save {
                    learner.save(path)?;
                    saved = Some(path.clone());
                }
            }
            Step::Stopped => {
                show.end();
                return Err(stop(&learner, save, output)?);
            }
            Step::Diverged(why) => {
                output.event(
                    "diverged",
                    json!({"schedule": settings.schedule.name(),
                "epoch": epoch + 1, "message": why}),
                )?;
                diverged = Some(why);
                break;
            }
        }
    }
    show.end();
    let measured =
        match (&diverged, data.probe(settings.batch, settings.batch, settings.seed)?.first()) {
            (None, Some(batch)) => learner.measure(batch)?,
            _ => Measured::default(),
        };
    Ok(Ended { settings, progress: learner.progress().clone(), measured, diverged, saved })
}

/// Saves what there is after Ctrl-C, and says how to go on.
fn stop<F: Element>(
    learner: &Learner<F>,
    save: Option<PathBuf>,
    output: Output,
) -> Result<CommandError, CommandError> {
    let (schedule, progress) = (learner.settings().schedule, learner.progress());
    let place = format!(
        "stopped {schedule} in epoch {} after {} batches",
        progress.epoch + 1,
        progress.batch
    );
    if let Some(path) = &save {
        learner.save(path)?;
        say(&format!(
            "{place}, saved as {}; go on with: pc-bench train --resume {}",
            path.display(),
            path.display()
        ));
    } else {
        say(&format!("{place}; nothing is saved without --save FILE"));
    }
    let fields = json!({"schedule": schedule.name(), "epoch": progress.epoch + 1,
    "batch": progress.batch, "saved": save});
    output.event("interrupted", fields)?;
    Ok(CommandError::Interrupted)
}
