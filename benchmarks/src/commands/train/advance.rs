//! One run to its end, saved on the way.

use std::path::PathBuf;

use pc_core::host::Element;
use serde_json::{Value, json};

use super::{
    dataset::Dataset,
    learner::{Learner, Step},
    measure::Measured,
    plan::TrainingPlan,
    saver::Saver,
    show::Show,
    summary::Ended,
};
use crate::{
    error::CommandError,
    interrupt,
    output::{Output, note, warn},
    progress::Line,
};

/// Why a run ended before its end.
pub(super) enum Early {
    /// The user asked for it; these are the fields of its event.
    Stopped(Value),
    /// It could not go on.
    Failed(CommandError),
}

impl From<CommandError> for Early {
    fn from(error: CommandError) -> Self {
        Self::Failed(error)
    }
}

/// Advances one run to its last epoch, and measures it.
pub(super) fn advance<F: Element>(
    plan: &TrainingPlan,
    data: &Dataset,
    mut learner: Learner<F>,
    mut saver: Option<&mut Saver>,
    output: Output,
) -> Result<Ended, Early> {
    let settings = learner.settings().clone();
    let show = Show::new(
        output,
        settings.schedule,
        plan.epochs,
        data.batches(settings.batch),
        learner.progress().epoch,
    );
    let mut diverged = None;
    while learner.progress().epoch < plan.epochs {
        let epoch = learner.progress().epoch;
        if interrupt::asked() {
            show.end();
            return Err(stop(plan, &learner, saver)?);
        }
        let mut watch = |done: usize| {
            show.batch(epoch, done);
            !interrupt::asked() && !saver.as_mut().is_some_and(|saver| saver.due(done))
        };
        match learner.epoch(data, &mut watch)? {
            Step::Finished(figures) => {
                if let Some(saver) = &mut saver {
                    saver.new_epoch();
                    saver.save(&learner)?;
                }
                match show.epoch(&figures) {
                    // Nobody reads what is still to come.
                    Err(CommandError::Closed) => return Err(CommandError::Closed.into()),
                    Err(error) => warn(&format!("{error}; the run goes on")),
                    Ok(()) => {}
                }
            }
            // The beginning of this loop hears the user.
            Step::Stopped if interrupt::asked() => {}
            Step::Stopped => {
                if let Some(saver) = &mut saver {
                    saver.save(&learner)?;
                }
            }
            Step::Diverged(why) => {
                output.event(
                    "diverged",
                    json!({"schedule": settings.schedule.name(), "epoch": epoch + 1,
                    "message": why}),
                )?;
                diverged = Some(why);
                break;
            }
        }
    }
    show.end();
    if let Some(saver) = &mut saver
        && saver.failure().is_some()
        && diverged.is_none()
    {
        saver.save(&learner)?;
    }
    let measuring = Line::open(output.is_json(), format!("measuring {}", settings.schedule));
    let measured =
        match (&diverged, data.probe(settings.batch, settings.batch, settings.seed)?.first()) {
            (None, Some(batch)) => {
                let mut measured = learner.measure_unless(batch, &interrupt::asked)?;
                if plan.energy_by_vertex && !interrupt::asked() {
                    measured.vertices = learner.energies(batch)?;
                }
                measured
            }
            _ => Measured::default(),
        };
    drop(measuring);
    let mut recalled = None;
    if diverged.is_none() && settings.details.recall.is_some() && !interrupt::asked() {
        let _asking = Line::open(output.is_json(), format!("recalling by {}", settings.schedule));
        recalled = learner.recall(data)?;
    }
    let unsaved = saver.as_ref().and_then(|saver| saver.failure()).map(str::to_owned);
    // A run that diverged in its first epoch has left nothing to save.
    let saved = plan
        .save_path(settings.schedule)
        .filter(|_| unsaved.is_none() && learner.progress().epoch > 0);
    let progress = learner.progress().clone();
    let by_vertex = plan.energy_by_vertex;
    Ok(Ended { settings, progress, measured, recalled, by_vertex, diverged, saved, unsaved })
}

/// Saves what there is after Ctrl-C, and says how to go on.
fn stop<F: Element>(
    plan: &TrainingPlan,
    learner: &Learner<F>,
    saver: Option<&mut Saver>,
) -> Result<Early, CommandError> {
    let (schedule, progress) = (learner.settings().schedule, learner.progress());
    let place = format!(
        "stopped {schedule} in epoch {} after {} batches",
        progress.epoch + 1,
        progress.batch
    );
    let mut saved = None;
    let mut resume: Option<PathBuf> = None;
    match saver {
        None => note(&format!("{place}; nothing is saved without --save FILE")),
        Some(saver) => {
            saver.save(learner)?;
            if let Some(why) = saver.failure() {
                warn(&format!("{place}, and could not be saved: {why}"));
            } else {
                saved = plan.save_path(schedule);
                resume = plan.whole.clone();
            }
        }
    }
    if let (Some(saved), Some(resume)) = (&saved, &resume) {
        let (saved, resume) = (saved.display(), resume.display());
        note(&format!(
            "{place}, saved as {saved}; go on with: pc-bench train --resume {resume} --save \
             {resume}"
        ));
    }
    Ok(Early::Stopped(json!({"schedule": schedule.name(), "epoch": progress.epoch + 1,
    "batch": progress.batch, "saved": saved, "resume": resume})))
}
