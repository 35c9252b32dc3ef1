//! What a run is: everything that decides its bits, checked.

use std::{collections::BTreeMap, path::Path, str::FromStr};

use pc_core::Schedule;

use crate::{
    backends::Backend,
    contract::{
        OptimiserKind, Precision, ScheduleKind,
        details::{Details, Relaxing, States, Weights, wrong},
        train::Task,
    },
    data,
    error::CommandError,
    models::{InputShape, ModelKind},
};

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
    /// What else was chosen.
    pub details: Details,
}

/// The entry of a checkpoint's metadata with [`RunSettings::details`], as TOML; left out where all
/// is as usual.
const DETAILS: &str = "details";

impl RunSettings {
    /// The schedule.
    ///
    /// # Errors
    /// A rate that is not a positive number; zero steps.
    pub fn schedule(&self) -> pc_core::Result<Schedule> {
        self.schedule_of(self.steps)
    }

    /// The same with another number of steps.
    ///
    /// # Errors
    /// As there.
    pub(super) fn schedule_of(&self, steps: usize) -> pc_core::Result<Schedule> {
        let Self { schedule: rule, details, .. } = self;
        let plain = rule.schedule(self.rate, steps)?;
        if *rule == ScheduleKind::Backprop {
            let reduced = Relaxing { reduction: details.schedule.reduction, ..Relaxing::default() };
            return reduced.apply(plain, self.seed);
        }
        let schedule = details.schedule.apply(plain, self.seed)?;
        if rule.takes_rate() { details.states.apply(schedule) } else { Ok(schedule) }
    }

    /// What a backend is asked for, where a sample has this shape, there are so many classes, and
    /// there is a label for each step or for each sample.
    ///
    /// # Errors
    /// As [`RunSettings::schedule`].
    pub fn task(&self, shape: InputShape, classes: usize, per_step: bool) -> pc_core::Result<Task> {
        Ok(Task {
            model: self.model,
            data: self.data,
            rule: self.schedule,
            schedule: self.schedule()?,
            optimiser: self.optimiser,
            learning_rate: self.learning_rate,
            seed: self.seed,
            shape,
            classes,
            per_step,
            details: self.details.clone(),
        })
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
        if self.details != self.usual() {
            // What a file could say can be written.
            put(DETAILS, toml::to_string(&self.details).unwrap_or_default());
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
        let mut settings = Self {
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
            details: Details::default(),
        };
        settings.details = match entries.get(DETAILS) {
            Some(words) => toml::from_str(words).map_err(|error| {
                let what = error.message();
                CommandError::input(format!("{}: its `details`: {what}", path.display()))
            })?,
            None => settings.usual(),
        };
        settings.check()?;
        Ok(settings)
    }

    /// The details of a run of which nothing is said.
    pub(super) fn usual(&self) -> Details {
        Details { optimiser: Weights::usual(self.optimiser), ..Details::default() }
    }

    pub(crate) fn check(&self) -> Result<(), CommandError> {
        self.backend.ready()?;
        self.backend.require(self.model, self.schedule, self.precision)?;
        self.details.check(self.schedule, self.optimiser, self.data)?;
        for (at, layer) in self.details.layers.iter().enumerate() {
            layer.check(at)?;
        }
        if self.backend != Backend::Host {
            let honours = self.backend.support().details;
            self.details.refuse_on(self.backend.name(), self.optimiser, honours)?;
        }
        // A rate, steps, or a choice beside them.
        let plain = self.schedule.schedule(self.rate, self.steps);
        let entry = match plain {
            Err(_) if self.steps == 0 => "schedule.steps",
            Err(_) => "schedule.rate",
            Ok(_) if self.details.states != States::default() => "states",
            Ok(_) => "schedule",
        };
        self.schedule().map_err(|error| wrong(entry, error.to_string()))?;
        if self.batch == 0 {
            let message = "--batch 0 would learn from nothing: give a batch size of at least 1";
            return Err(wrong("batch", message));
        }
        if self.samples == Some(0) {
            let message = "--samples 0 would learn from nothing: give at least 1";
            return Err(wrong("data.samples", message));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            let rate = self.learning_rate;
            let message = format!("the learning rate must be a positive number, not {rate}");
            return Err(wrong("optimiser.learning-rate", message));
        }
        if !(self.decay > 0.0 && self.decay <= 1.0) {
            let message = format!("--decay must be above 0 and at most 1, not {}", self.decay);
            return Err(wrong("optimiser.decay", message));
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
