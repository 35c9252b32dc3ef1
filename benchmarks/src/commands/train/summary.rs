//! The end of a comparison: the report's contents, and one JSON object.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::{
    dataset::Dataset,
    learner::Progress,
    measure::{Measured, TRACED},
    plan::TrainingPlan,
    recall::Recalled,
    settings::RunSettings,
};
use crate::{
    contract::{ScheduleKind, details::Figures},
    models::Wanted,
    report::{Epoch, Report, Run},
};

/// One run as it ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) settings: RunSettings,
    pub(super) progress: Progress,
    pub(super) measured: Measured,
    /// How well stored pictures were recalled, where that was asked.
    pub(super) recalled: Option<Recalled>,
    /// Whether the energy of each vertex was asked for.
    pub(super) by_vertex: bool,
    /// Why it is of no use, where it diverged.
    pub(super) diverged: Option<String>,
    /// Where it was saved.
    pub(super) saved: Option<PathBuf>,
    /// Why it was not, where it should have been.
    pub(super) unsaved: Option<String>,
}

/// What statistics are made of: a run's figures, none of one that diverged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct OfRun {
    pub(super) accuracy: Option<f64>,
    pub(super) loss: Option<f64>,
    pub(super) seconds: f64,
}

impl OfRun {
    /// Those of the epoch that is reported.
    pub(super) fn of(run: &Ended) -> Self {
        let epoch = run.reported().filter(|_| run.diverged.is_none());
        Self {
            accuracy: epoch.and_then(|epoch| epoch.test_accuracy),
            loss: epoch.map(|epoch| epoch.test_loss),
            seconds: run.seconds(),
        }
    }
}

impl Ended {
    /// What a reader needs to know of this run.
    fn note(&self) -> String {
        if let Some(why) = &self.diverged {
            return format!("Stopped: {why}.");
        }
        let applied = match self.settings.details.optimiser.updates() {
            1 => String::new(),
            times => format!("Gradients are applied {times} times a batch. "),
        };
        let Some((found, asked)) = self.recalled.zip(self.settings.details.recall) else {
            return format!("{applied}{}", self.note_on_rule()).trim_end().to_owned();
        };
        let recalled = format!(
            "Recalled from {} by {} steps: mean squared error {:.5} of {} stored pictures, where \
             what was given has {:.5}.",
            asked.words(),
            asked.steps,
            found.error,
            found.pictures,
            found.given
        );
        format!("{recalled} {applied}{}", self.note_on_rule()).trim_end().to_owned()
    }

    /// What a reader needs to know of its rule.
    fn note_on_rule(&self) -> String {
        let RunSettings { schedule, rate, steps, learning_rate, .. } = &self.settings;
        match schedule {
            ScheduleKind::FixedPrediction => format!(
                "On a chain fixed prediction is backprop with each depth's gradient rescaled: k \
                 edges from the output by \
                 P[Binomial({steps}, {rate}) >= k]. So its cosines are 1 there and its norm ratios \
                 are not; on other graphs each path is rescaled so."
            ),
            ScheduleKind::Zil => {
                "Z-IL gives backprop's gradients; edges that span several levels have identity \
                 vertices for it."
                    .to_owned()
            }
            ScheduleKind::Ipc if self.settings.details.has_latent() => format!(
                "Weights move at each of the {steps} steps, at learning rate {learning_rate}."
            ),
            ScheduleKind::Ipc => format!(
                "Weights move at each of the {steps} steps, at learning rate {learning_rate}; its \
                 gradients beside backprop's are summed over the \
                 steps, with the weights held."
            ),
            ScheduleKind::Backprop if self.by_vertex => {
                "Backprop takes no steps, so it has no energy by vertex to show.".to_owned()
            }
            ScheduleKind::Backprop | ScheduleKind::Standard | ScheduleKind::Epc => String::new(),
        }
    }

    /// The epoch whose figures stand for the run; of equally good ones the first.
    pub(super) fn reported(&self) -> Option<&Epoch> {
        self.progress.reported(self.settings.details.report)
    }

    fn seconds(&self) -> f64 {
        self.progress.history.iter().map(|epoch| epoch.seconds).sum::<f64>() + self.progress.seconds
    }

    fn to_run(&self, data: &Dataset) -> Run {
        let last = self.reported().filter(|_| self.diverged.is_none());
        let seconds = self.seconds();
        let samples = self.progress.history.len() * data.train_len() + self.progress.samples;
        Run {
            schedule: self.settings.schedule().map_or_else(
                |_| self.settings.schedule.to_string(),
                |schedule| schedule.to_string(),
            ),
            note: self.note(),
            curve: self.progress.history.clone(),
            energy_trace: self.measured.trace.clone(),
            vertex_energies: self.measured.vertices.clone(),
            layers: self.measured.layers.clone(),
            test_accuracy: last.and_then(|epoch| epoch.test_accuracy),
            test_loss: last.map_or(f64::NAN, |epoch| epoch.test_loss),
            seconds,
            min_cosine: self.measured.min_cosine(),
            samples_per_second: samples as f64 / seconds,
        }
    }
}

/// The report.
pub(super) fn report(plan: &TrainingPlan, data: &Dataset, model: &str, ended: &[Ended]) -> Report {
    let first = &plan.runs[0];
    let mut notes = vec![
        "All runs start from the same weights and see the same batches.".to_owned(),
        format!(
            "Gradients beside backprop's: on the same {} training samples, at each run's own final \
             weights.",
            first.batch.min(data.train_len())
        ),
        "Training figures are of up to 2,000 training samples; energies are a sample's; seconds \
         are of training alone."
            .to_owned(),
    ];
    if data.test_len() == super::dataset::PROBE && data.description.ends_with("windows") {
        notes.push("Test figures are of the test text's first 2,000 windows.".to_owned());
    }
    if ended.iter().any(|run| run.measured.trace.len() > TRACED) {
        notes.push(format!("Energies by step are of the first {TRACED} steps."));
    }
    let details = &first.details;
    if details.target == Wanted::Input && details.recall.is_some() {
        notes.push(
            "All figures are of the pictures that were stored. The loss is the mean squared error \
             of a number of a picture that is given again from all of itself."
                .to_owned(),
        );
    } else if details.target == Wanted::Input {
        notes.push(
            "The loss is the mean squared error of a picture that is given again, a number; the \
             pictures are those that it was found from."
                .to_owned(),
        );
    }
    if details.has_latent() {
        notes.remove(1);
        notes.push(
            "Latents are found by the run's own steps, of training and of test pictures; what is \
             judged is what they then predict. There is no backprop to compare with: it finds no \
             latents."
                .to_owned(),
        );
    }
    let validation = details.data.validation.is_some();
    let mut title = "Predictive coding beside backprop".to_owned();
    let held = if validation { "validation" } else { "test" };
    if details.report == Figures::BestEpoch {
        let by = if details.target == Wanted::Label { "accuracy" } else { "loss" };
        title += &format!(": the best epoch by {held} {by}");
        notes.push(format!(
            "{held} figures are those of each run's best epoch, chosen by the same figures: they \
             flatter every run."
        ));
    }
    if validation {
        title += ", the test set unseen";
        notes.push(
            "Validation figures are of a part of the training data that was held out; report.json \
             has them as test_accuracy and test_loss."
                .to_owned(),
        );
    }
    Report {
        title,
        validation,
        model: model.to_owned(),
        data: data.description.clone(),
        backend: format!("{}, {}", first.backend, first.precision),
        seed: first.seed,
        threads: threads(),
        batch: first.batch,
        epochs: plan.epochs,
        notes,
        command: plan.command(),
        runs: ended.iter().map(|run| run.to_run(data)).collect(),
    }
}

/// Threads that compute.
pub(super) fn threads() -> usize {
    rayon::current_num_threads()
}

/// The notes on single runs, for people, in lines of at most 80 characters.
pub(super) fn notes(ended: &[Ended]) -> String {
    let mut text = String::new();
    for run in ended.iter().filter(|run| !run.note().is_empty()) {
        let mut line = format!("{}:", run.settings.schedule);
        for word in run.note().split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > 80 {
                text += &line;
                text.push('\n');
                line = " ".to_owned();
            }
            line.push(' ');
            line += word;
        }
        text += &line;
        text.push('\n');
    }
    text
}

/// What the last line of `--json` says, but for its `event`. `unwritten` is why there is no report,
/// where there should be one.
pub(super) fn summary(
    report: &Report,
    ended: &[Ended],
    files: &[PathBuf],
    unwritten: Option<&str>,
) -> Value {
    let backprop = ended
        .iter()
        .zip(&report.runs)
        .find(|(ended, _)| ended.settings.schedule == ScheduleKind::Backprop);
    let backprop_accuracy = backprop.and_then(|(_, run)| run.test_accuracy);
    let figures = ended.first().map(|run| run.settings.details.report).unwrap_or_default();
    let mut runs = Map::new();
    for (ended, run) in ended.iter().zip(&report.runs) {
        let settings = &ended.settings;
        let relaxes = settings.schedule.takes_rate();
        let fields = json!({
            "schedule": run.schedule,
            "epoch": ended.reported().map(|epoch| epoch.epoch),
            "status": if ended.diverged.is_some() { "diverged" } else { "finished" },
            "test_accuracy": run.test_accuracy,
            "backprop_test_accuracy": backprop_accuracy,
            "min_cosine": run.min_cosine,
            "seconds": run.seconds,
            "energy": run.curve.last().and_then(|epoch| epoch.energy),
            "test_loss": run.test_loss,
            "train_accuracy": run.curve.last().and_then(|epoch| epoch.train_accuracy),
            "train_loss": run.curve.last().map(|epoch| epoch.train_loss),
            "samples_per_second": run.samples_per_second,
            "rate": relaxes.then_some(settings.rate),
            "steps": relaxes.then_some(settings.steps),
            "learning_rate": settings.learning_rate,
            "layers": run.layers,
            "note": run.note,
            "recalled": ended.recalled,
            "saved": ended.saved,
            "unsaved": ended.unsaved,
        });
        runs.insert(settings.schedule.to_string(), fields);
    }
    let shown =
        ended.iter().find(|run| run.settings.schedule != ScheduleKind::Backprop).or(ended.first());
    let shown =
        shown.and_then(|run| runs.get(run.settings.schedule.name())).cloned().unwrap_or_default();
    json!({
        "model": report.model,
        "data": report.data,
        "backend": report.backend,
        "seed": report.seed,
        "threads": report.threads,
        "batch": report.batch,
        "epochs": report.epochs,
        "figures": figures,
        "judged_on": if report.validation { "validation" } else { "test" },
        "test_accuracy": shown["test_accuracy"],
        "backprop_test_accuracy": backprop_accuracy,
        "min_cosine": shown["min_cosine"],
        "seconds": shown["seconds"],
        "runs": runs,
        "report": files,
        "report_error": unwritten,
        "command": report.command,
    })
}
