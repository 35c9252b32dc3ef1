//! What a run is: everything that decides its bits, checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pc_core::Schedule;

use super::args::TrainArgs;
use super::choices::{OptimiserKind, Precision, ScheduleKind};
use crate::{backends::Backend, checkpoint, data, error::CommandError, models::ModelKind};

/// Everything that decides the bits of one run, but for the number of threads.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSettings {
    /// What computes.
    pub backend: Backend,
    /// The architecture.
    pub model: ModelKind,
    /// What it learns.
    pub data: data::Kind,
    /// By which rule.
    pub schedule: ScheduleKind,
    /// Gamma.
    pub rate: f64,
    /// T.
    pub steps: usize,
    /// Of the weights, the order and the split.
    pub seed: u64,
    /// Samples in a batch.
    pub batch: usize,
    /// What moves the weights.
    pub optimiser: OptimiserKind,
    /// How far.
    pub learning_rate: f64,
    /// What the learning rate is multiplied by after each epoch.
    pub decay: f64,
    /// The numbers' precision.
    pub precision: Precision,
    /// How many training samples at most.
    pub samples: Option<usize>,
}

impl RunSettings {
    /// The schedule.
    ///
    /// # Errors
    /// A rate that is not a positive number; zero steps.
    pub fn schedule(&self) -> pc_core::Result<Schedule> {
        self.schedule.schedule(self.rate, self.steps)
    }

    /// The entries of a checkpoint's metadata.
    pub fn to_metadata(&self) -> BTreeMap<String, String> {
        let mut entries = BTreeMap::new();
        let mut put = |key: &str, value: String| entries.insert(key.to_owned(), value);
        // Where nothing is said, it is the host.
        if self.backend != Backend::Host {
            put("backend", self.backend.to_string());
        }
        put("model", self.model.to_string());
        put("data", self.data.to_string());
        put("schedule", self.schedule.to_string());
        put("rate", self.rate.to_string());
        put("steps", self.steps.to_string());
        put("seed", self.seed.to_string());
        put("batch", self.batch.to_string());
        put("optimiser", self.optimiser.to_string());
        put("learning-rate", self.learning_rate.to_string());
        put("decay", self.decay.to_string());
        put("precision", self.precision.to_string());
        if let Some(samples) = self.samples {
            put("samples", samples.to_string());
        }
        entries
    }

    /// The settings that a checkpoint was saved under.
    ///
    /// # Errors
    /// An entry that is missing or makes no sense.
    pub fn from_metadata(
        path: &Path,
        entries: &BTreeMap<String, String>,
    ) -> Result<Self, CommandError> {
        let settings = Self {
            backend: if entries.contains_key("backend") {
                entry(path, entries, "backend")?
            } else {
                Backend::Host
            },
            model: entry(path, entries, "model")?,
            data: entry(path, entries, "data")?,
            schedule: entry(path, entries, "schedule")?,
            rate: entry(path, entries, "rate")?,
            steps: entry(path, entries, "steps")?,
            seed: entry(path, entries, "seed")?,
            batch: entry(path, entries, "batch")?,
            optimiser: entry(path, entries, "optimiser")?,
            learning_rate: entry(path, entries, "learning-rate")?,
            decay: entry(path, entries, "decay")?,
            precision: entry(path, entries, "precision")?,
            samples: if entries.contains_key("samples") {
                Some(entry(path, entries, "samples")?)
            } else {
                None
            },
        };
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), CommandError> {
        self.backend.ready()?;
        self.backend.require(self.model, self.schedule, self.precision)?;
        self.schedule()?;
        if self.batch == 0 {
            return Err(CommandError::input(
                "--batch 0 would learn from nothing: give a batch size of at least 1",
            ));
        }
        if self.samples == Some(0) {
            return Err(CommandError::input(
                "--samples 0 would learn from nothing: give at least 1",
            ));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return Err(CommandError::input(format!(
                "the learning rate must be a positive number, not {}",
                self.learning_rate
            )));
        }
        if !(self.decay > 0.0 && self.decay <= 1.0) {
            return Err(CommandError::input(format!(
                "--decay must be above 0 and at most 1, not {}",
                self.decay
            )));
        }
        Ok(())
    }
}

/// One entry of a checkpoint's metadata.
///
/// # Errors
/// Where it is missing or cannot be read.
pub(super) fn entry<T: FromStr>(
    path: &Path,
    entries: &BTreeMap<String, String>,
    key: &str,
) -> Result<T, CommandError>
where
    T::Err: std::fmt::Display,
{
    let text = entries.get(key).ok_or_else(|| {
        CommandError::input(format!("{}: the checkpoint does not say its `{key}`", path.display()))
    })?;
    text.parse().map_err(|error| {
        CommandError::input(format!(
            "{}: the checkpoint's `{key}` is '{text}': {error}",
            path.display()
        ))
    })
}

/// The runs of one command.
#[derive(Clone, Debug)]
pub struct TrainingPlan {
    /// In order; equal but for the schedule and what comes with it.
    pub runs: Vec<RunSettings>,
    /// Passes over the data, in all.
    pub epochs: usize,
    /// Where the data is.
    pub data_dir: Option<PathBuf>,
    /// Threads; none for all cores.
    pub threads: Option<usize>,
    /// Where the report goes.
    pub report: Option<PathBuf>,
    /// Where checkpoints go.
    pub save: Option<PathBuf>,
    /// What to go on from, by the run with this schedule.
    pub resume: Option<(PathBuf, ScheduleKind)>,
}

impl TrainingPlan {
    /// Checks what was given, and fills in what was not.
    ///
    /// # Errors
    /// Numbers that make no sense; choices that contradict one another; places that cannot be
    /// written to.
    pub fn new(args: &TrainArgs) -> Result<Self, CommandError> {
        let resumed = match &args.resume {
            Some(path) => {
                Some(RunSettings::from_metadata(path, &checkpoint::read_metadata(path)?)?)
            }
            None => None,
        };
        let runs = match (&args.resume, resumed) {
            (Some(path), Some(saved)) => Self::resumed(args, path, saved)?,
            _ => Self::fresh(args)?,
        };
        for run in &runs {
            run.check()?;
        }
        let data = runs[0].data;
        let epochs = args.epochs.unwrap_or(match data {
            data::Kind::Digits => 12,
            data::Kind::Names => 6,
            _ => 3,
        });
        if epochs == 0 {
            return Err(CommandError::input("--epochs 0 would train nothing: give at least 1"));
        }
        if args.threads == Some(0) {
            return Err(CommandError::input("--threads 0 could compute nothing: give at least 1"));
        }
        let report = (!args.no_report).then(|| args.report.clone());
        // Folders that are missing are made at the end; a file in their place is better found now.
        let there = report.iter().flat_map(|dir| dir.ancestors()).find(|place| place.exists());
        if let Some(file) = there.filter(|place| !place.is_dir()) {
            return Err(CommandError::input(format!(
                "the report cannot go there: {} is a file, and a folder is needed",
                file.display()
            )));
        }
        if let Some(path) = &args.save {
            let backend = runs[0].backend;
            if !backend.support().checkpoints {
                return Err(CommandError::input(format!(
                    "--save: the backend {backend} cannot save its runs"
                )));
            }
            check_place(path)?;
        }
        Ok(Self {
            epochs,
            data_dir: args.data_dir.clone(),
            threads: args.threads,
            report,
            save: args.save.clone(),
            resume: args.resume.clone().map(|path| (path, runs[runs.len() - 1].schedule)),
            runs,
        })
    }

    fn fresh(args: &TrainArgs) -> Result<Vec<RunSettings>, CommandError> {
        let data = args.data.unwrap_or_default();
        let digits = data == data::Kind::Digits;
        let text = matches!(data, data::Kind::Names | data::Kind::Shakespeare);
        let mut schedules = match args.schedule.as_slice() {
            [] => {
                let has = args.backend.unwrap_or_default().support().rules;
                let usual =
                    [ScheduleKind::Backprop, ScheduleKind::FixedPrediction, ScheduleKind::Standard];
                usual.into_iter().filter(|rule| has.contains(rule)).collect()
            }
            given => given.to_vec(),
        };
        if args.compare_backprop && !schedules.contains(&ScheduleKind::Backprop) {
            schedules.insert(0, ScheduleKind::Backprop);
        }
        if let Some(twice) =
            schedules.iter().enumerate().find(|(index, kind)| schedules[..*index].contains(kind))
        {
            return Err(CommandError::input(format!("--schedule names {} twice", twice.1)));
        }
        if (args.rate.is_some() || args.steps.is_some())
            && !schedules.iter().any(|kind| kind.takes_rate())
        {
            let names = schedules.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
            return Err(CommandError::input(format!(
                "--rate and --steps are for schedules that relax freely; {names} takes neither"
            )));
        }
        let optimiser = args.optimiser.unwrap_or_default();
        let model = args.model.unwrap_or(if text { ModelKind::Lstm } else { ModelKind::Cnn });
        Ok(schedules
            .into_iter()
            .map(|schedule| {
                let rate = if schedule.takes_rate() { args.rate } else { None }
                    .unwrap_or(schedule.default_rate(model));
                let steps = if schedule.takes_rate() { args.steps } else { None }
                    .unwrap_or(schedule.default_steps());
                let learning_rate = args
                    .learning_rate
                    .unwrap_or_else(|| default_learning_rate(optimiser, digits, schedule, steps));
                RunSettings {
                    backend: args.backend.unwrap_or_default(),
                    model,
                    data,
                    schedule,
                    rate,
                    steps,
                    seed: args.seed.unwrap_or(0),
                    batch: args.batch.unwrap_or(if digits { 32 } else { 64 }),
                    optimiser,
                    learning_rate,
                    decay: args.decay.unwrap_or(if digits { 0.9 } else { 1.0 }),
                    precision: args.precision.unwrap_or_default(),
                    samples: args.samples,
                }
            })
            .collect())
    }

    /// The run of a checkpoint, which must agree with what is given beside it; and its twin, where
    /// asked for.
    fn resumed(
        args: &TrainArgs,
        path: &Path,
        saved: RunSettings,
    ) -> Result<Vec<RunSettings>, CommandError> {
        fn same<T: PartialEq + std::fmt::Display>(
            path: &Path,
            flag: &str,
            given: &Option<T>,
            held: &T,
        ) -> Result<(), CommandError> {
            match given {
                Some(given) if given != held => Err(CommandError::input(format!(
                    "--{flag} {given} contradicts {}, which was saved with {held}",
                    path.display()
                ))),
                _ => Ok(()),
            }
        }
        if let [first, second, ..] = args.schedule.as_slice() {
            return Err(CommandError::input(format!(
                "--resume goes on with one run, of {}, so it takes no list of schedules \
                 ({first},{second},..)",
                saved.schedule
            )));
        }
        same(path, "schedule", &args.schedule.first().copied(), &saved.schedule)?;
        same(path, "backend", &args.backend, &saved.backend)?;
        same(path, "model", &args.model, &saved.model)?;
        same(path, "data", &args.data, &saved.data)?;
        same(path, "rate", &args.rate, &saved.rate)?;
        same(path, "steps", &args.steps, &saved.steps)?;
        same(path, "seed", &args.seed, &saved.seed)?;
        same(path, "batch", &args.batch, &saved.batch)?;
        same(path, "optimiser", &args.optimiser, &saved.optimiser)?;
        same(path, "learning-rate", &args.learning_rate, &saved.learning_rate)?;
        same(path, "decay", &args.decay, &saved.decay)?;
        same(path, "precision", &args.precision, &saved.precision)?;
        if args.samples.is_some() && args.samples != saved.samples {
            let held = saved.samples.map_or("all".to_owned(), |samples| samples.to_string());
            return Err(CommandError::input(format!(
                "--samples contradicts {}, which was saved with {held}",
                path.display()
            )));
        }
        let mut runs = Vec::new();
        if args.compare_backprop && saved.schedule != ScheduleKind::Backprop {
            let learning_rate = match saved.schedule {
                ScheduleKind::Ipc => saved.learning_rate * saved.steps as f64,
                _ => saved.learning_rate,
            };
            runs.push(RunSettings {
                schedule: ScheduleKind::Backprop,
                rate: 1.0,
                steps: 1,
                learning_rate,
                ..saved.clone()
            });
        }
        runs.push(saved);
        Ok(runs)
    }

    /// Where the run of this schedule is saved: its own file where several are.
    pub fn save_path(&self, schedule: ScheduleKind) -> Option<PathBuf> {
        let path = self.save.as_ref()?;
        if self.runs.len() == 1 {
            return Some(path.clone());
        }
        let extension =
            path.extension().map_or("safetensors".into(), |extension| extension.to_string_lossy());
        Some(path.with_extension(format!("{schedule}.{extension}")))
    }

    /// The command that repeats this, with every choice spelt out.
    pub fn command(&self) -> String {
        use std::fmt::Write;
        let run = &self.runs[self.runs.len() - 1];
        let schedules =
            self.runs.iter().map(|run| run.schedule.to_string()).collect::<Vec<_>>().join(",");
        let mut line = format!(
            "pc-bench train --model {} --data {} --schedule {schedules}",
            run.model, run.data
        );
        let mut add = |flag: &str, value: &dyn std::fmt::Display| {
            // Writing to a string does not fail.
            let _ = write!(line, " --{flag} {value}");
        };
        if run.backend != Backend::Host {
            add("backend", &run.backend);
        }
        if let Some(dir) = &self.data_dir {
            add("data-dir", &shell_word(&dir.display().to_string()));
        }
        let relaxed: Vec<&RunSettings> =
            self.runs.iter().filter(|run| run.schedule.takes_rate()).collect();
        if let Some(first) = relaxed.first() {
            if relaxed.iter().all(|run| run.rate == first.rate)
                && first.rate != first.schedule.default_rate(first.model)
            {
                add("rate", &first.rate);
            }
            if relaxed.iter().all(|run| run.steps == first.steps)
                && first.steps != first.schedule.default_steps()
            {
                add("steps", &first.steps);
            }
        }
        add("epochs", &self.epochs);
        add("seed", &run.seed);
        add("batch", &run.batch);
        add("optimiser", &run.optimiser);
        if self.runs.iter().all(|other| other.learning_rate == run.learning_rate) {
            add("learning-rate", &run.learning_rate);
        }
        add("decay", &run.decay);
        add("precision", &run.precision);
        if let Some(samples) = run.samples {
            add("samples", &samples);
        }
        if let Some(threads) = self.threads {
            add("threads", &threads);
        }
        line
    }
}

fn default_learning_rate(
    optimiser: OptimiserKind,
    digits: bool,
    schedule: ScheduleKind,
    steps: usize,
) -> f64 {
    let rate = match optimiser {
        OptimiserKind::Adam | OptimiserKind::AdamW if digits => 0.002,
        OptimiserKind::Adam | OptimiserKind::AdamW => 0.001,
        OptimiserKind::Sgd => 0.02,
    };
    // These weights move at every step.
    if schedule == ScheduleKind::Ipc { rate / steps.max(1) as f64 } else { rate }
}

/// A word as a shell wants it.
fn shell_word(word: &str) -> String {
    let plain = word.chars().all(|c| c.is_alphanumeric() || "-_./".contains(c));
    if plain && !word.is_empty() {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Whether a file can be put there, as far as can be known before.
fn check_place(path: &Path) -> Result<(), CommandError> {
    if path.is_dir() || path.file_name().is_none() {
        return Err(CommandError::input(format!(
            "--save {} names a folder, and a file is needed",
            path.display()
        )));
    }
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) if !parent.is_dir() => Err(CommandError::input(format!(
            "--save {} cannot be written: there is no folder {}",
            path.display(),
            parent.display()
        ))),
        _ => Ok(()),
    }
}
