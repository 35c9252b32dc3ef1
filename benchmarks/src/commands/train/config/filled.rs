//! From a configuration to runs, with all that is not said filled in, and back.

use super::{
    entries::{Configuration, ScheduleEntry},
    file::Source,
};
use crate::{
    commands::train::{args::TrainArgs, settings::RunSettings},
    contract::{
        OptimiserKind, ScheduleKind,
        details::{Details, Relaxing, States, wrong},
    },
    data,
    error::CommandError,
    models::{ModelKind, likeness},
    threads,
};

impl Configuration {
    /// What the arguments say, on top of what their `--config` says.
    ///
    /// # Errors
    /// A file that cannot be read; arguments that contradict it or one another.
    pub(crate) fn of(args: &TrainArgs) -> Result<(Option<Source>, Self), CommandError> {
        let (mut source, config) = match &args.config {
            Some(path) => {
                let (source, config) = Source::read(path)?;
                (Some(source), config)
            }
            None => (None, Self::default()),
        };
        let mut said = Vec::new();
        let config = config.overridden(args, &mut said);
        let Some(source) = &mut source else { return Ok((None, config?)) };
        source.elsewhere = said;
        if config.as_ref().is_ok_and(|config| config.sweep.is_some()) {
            let message = "[sweep] is for `pc-bench sweep`, whose --output has what it chose";
            return Err(source.locate(wrong("sweep", message)));
        }
        let config = config.map_err(|error| source.locate(error))?;
        Ok((Some(source.clone()), config))
    }

    /// What a file alone says, checked.
    ///
    /// # Errors
    /// Entries that contradict one another.
    pub(crate) fn alone(self) -> Result<Self, CommandError> {
        self.overridden(&TrainArgs::default(), &mut Vec::new())
    }

    /// The same with what the arguments say instead; the entries that they say are added to `said`.
    fn overridden(
        mut self,
        args: &TrainArgs,
        said: &mut Vec<&'static str>,
    ) -> Result<Self, CommandError> {
        fn put<T: Clone>(
            said: &mut Vec<&'static str>,
            entry: &'static str,
            held: &mut Option<T>,
            given: &Option<T>,
        ) {
            if given.is_some() {
                held.clone_from(given);
                said.push(entry);
            }
        }
        if let Some(model) = args.model.filter(|_| !self.layers.is_empty()) {
            return Err(wrong("layers", format!("[[layers]] contradict --model {model}")));
        }
        put(said, "backend", &mut self.backend, &args.backend);
        put(said, "model", &mut self.model, &args.model);
        put(said, "precision", &mut self.precision, &args.precision);
        put(said, "threads", &mut self.threads, &args.threads);
        put(said, "seed", &mut self.seed, &args.seed);
        put(said, "seeds", &mut self.seeds, &args.seeds.map(usize::from));
        put(said, "epochs", &mut self.epochs, &args.epochs);
        put(said, "batch", &mut self.batch, &args.batch);
        put(said, "data.kind", &mut self.data.kind, &args.data);
        put(said, "data.dir", &mut self.data.dir, &args.data_dir);
        put(said, "data.samples", &mut self.data.samples, &args.samples);
        put(said, "optimiser.kind", &mut self.optimiser.kind, &args.optimiser);
        put(said, "optimiser.decay", &mut self.optimiser.decay, &args.decay);
        let rate = &args.learning_rate;
        put(said, "optimiser.learning-rate", &mut self.optimiser.learning_rate, rate);
        self.schedule = self.schedules(args, said)?;
        Ok(self)
    }

    /// One entry for each rule.
    fn schedules(
        &self,
        args: &TrainArgs,
        said: &mut Vec<&'static str>,
    ) -> Result<Vec<ScheduleEntry>, CommandError> {
        let of = |rule| ScheduleEntry { rule: Some(rule), ..ScheduleEntry::default() };
        let rule_of = |entry: &ScheduleEntry| entry.rule;
        if let Some(at) = self.schedule.iter().position(|entry| entry.rule.is_none()) {
            return Err(wrong(
                &format!("schedule[{at}]"),
                "schedule.rule is missing: which rule is it?",
            ));
        }
        let mut all = self.schedule.clone();
        if !args.schedule.is_empty() {
            said.push("schedule");
            let own = |rule: &ScheduleKind| all.iter().find(|entry| entry.rule == Some(*rule));
            all =
                args.schedule.iter().map(|rule| own(rule).cloned().unwrap_or(of(*rule))).collect();
        } else if all.is_empty() {
            let has = self.backend.unwrap_or_default().support().rules;
            let usual =
                [ScheduleKind::Backprop, ScheduleKind::FixedPrediction, ScheduleKind::Standard];
            all = usual.into_iter().filter(|rule| has.contains(rule)).map(of).collect();
        }
        let backprop = Some(ScheduleKind::Backprop);
        if args.compare_backprop && !all.iter().any(|entry| entry.rule == backprop) {
            all.insert(0, of(ScheduleKind::Backprop));
            said.push("schedule");
        }
        for (at, rule) in all.iter().map(rule_of).enumerate() {
            if let Some(twice) = rule.filter(|_| all[..at].iter().any(|other| other.rule == rule)) {
                let entry = format!("schedule[{at}].rule");
                return Err(wrong(&entry, format!("--schedule names {twice} twice")));
            }
        }
        let relaxes = |entry: &ScheduleEntry| entry.rule.is_some_and(ScheduleKind::takes_rate);
        if (args.rate.is_some() || args.steps.is_some()) && !all.iter().any(relaxes) {
            let names: Vec<String> =
                all.iter().filter_map(rule_of).map(|rule| rule.to_string()).collect();
            return Err(CommandError::input(format!(
                "--rate and --steps are for schedules that relax freely; {} takes neither",
                names.join(" and ")
            )));
        }
        for (at, entry) in all.iter_mut().enumerate() {
            if relaxes(entry) {
                entry.rate = args.rate.or(entry.rate);
                entry.steps = args.steps.or(entry.steps);
            }
            check(entry, at)?;
            if args.learning_rate.is_some() {
                entry.learning_rate = args.learning_rate;
            }
        }
        Ok(all)
    }

    /// The runs, one for each rule.
    ///
    /// # Errors
    /// Entries that contradict one another.
    pub(crate) fn runs(&self) -> Result<Vec<RunSettings>, CommandError> {
        let data = self.data.kind.unwrap_or_default();
        let digits = data == data::Kind::Digits;
        let text = matches!(data, data::Kind::Names | data::Kind::Shakespeare);
        let optimiser = self.optimiser.kind.unwrap_or_default();
        if let Some(model) = self.model.filter(|_| !self.layers.is_empty()) {
            return Err(wrong("model", format!("model {model} contradicts [[layers]]")));
        }
        let model = match self.layers.as_slice() {
            [] => self.model.unwrap_or(if text { ModelKind::Lstm } else { ModelKind::Cnn }),
            layers => likeness(layers),
        };
        let rules: Vec<ScheduleKind> =
            self.schedule.iter().filter_map(|entry| entry.rule).collect();
        let free = rules.iter().any(|rule| rule.takes_rate());
        if self.states != States::default() && !free {
            return Err(wrong("states", "states has nothing to act on: no rule here relaxes"));
        }
        let epochs = self.epochs();
        let weights = self.optimiser.details();
        self.schedule
            .iter()
            .zip(rules)
            .map(|(entry, schedule)| {
                let steps = entry.steps.unwrap_or(schedule.default_steps());
                let learning_rate = entry
                    .learning_rate
                    .or(self.optimiser.learning_rate)
                    .unwrap_or_else(|| default_learning_rate(optimiser, digits, schedule, steps));
                let states =
                    if schedule.takes_rate() { self.states.clone() } else { States::default() };
                Ok(RunSettings {
                    backend: self.backend.unwrap_or_default(),
                    model,
                    data,
                    schedule,
                    rate: entry.rate.unwrap_or(schedule.default_rate(model)),
                    steps,
                    seed: self.seed.unwrap_or(0),
                    batch: self.batch.unwrap_or(if digits { 32 } else { 64 }),
                    optimiser,
                    learning_rate,
                    decay: self.optimiser.decay.unwrap_or(if digits { 0.9 } else { 1.0 }),
                    precision: self.precision.unwrap_or_default(),
                    samples: self.data.samples,
                    details: Details {
                        report: self.report,
                        target: self.target,
                        data: self.data.details(),
                        layers: self.layers.clone(),
                        loss: self.loss,
                        clamp: self.clamp.filled(),
                        schedule: entry.details(),
                        states: states.filled(),
                        optimiser: weights.filled(optimiser, epochs),
                        recall: self.recall,
                    },
                })
            })
            .collect()
    }

    /// Passes over the data.
    pub(crate) fn epochs(&self) -> usize {
        self.epochs.unwrap_or(usual_epochs(self.data.kind.unwrap_or_default()))
    }

    /// Refuses to train nothing, on no threads or on too many.
    ///
    /// # Errors
    /// A message that names the entry.
    pub(crate) fn counts(&self) -> Result<(), CommandError> {
        if self.epochs() == 0 {
            return Err(wrong("epochs", "--epochs 0 would train nothing: give at least 1"));
        }
        if self.threads == Some(0) {
            return Err(wrong("threads", "--threads 0 could compute nothing: give at least 1"));
        }
        threads::check(self.threads.unwrap_or(0))
    }

    /// The configuration of runs that are equal but for their schedules, every choice spelt out.
    pub(crate) fn of_runs(runs: &[RunSettings], epochs: usize) -> Self {
        let Some(first) = runs.first() else { return Self::default() };
        let RunSettings { details, .. } = first;
        let free = runs.iter().find(|run| run.schedule.takes_rate()).unwrap_or(first);
        let named = details.layers.is_empty();
        let entry = |run: &RunSettings| {
            let relaxes = run.schedule.takes_rate();
            ScheduleEntry {
                rule: Some(run.schedule),
                rate: relaxes.then_some(run.rate),
                steps: relaxes.then_some(run.steps),
                learning_rate: Some(run.learning_rate),
                ..ScheduleEntry::default()
            }
            .with(run.details.schedule)
        };
        let mut config = Self {
            backend: Some(first.backend),
            model: named.then_some(first.model),
            precision: Some(first.precision),
            seed: Some(first.seed),
            epochs: Some(epochs),
            batch: Some(first.batch),
            report: details.report,
            target: details.target,
            layers: details.layers.clone(),
            loss: details.loss,
            clamp: details.clamp,
            schedule: runs.iter().map(entry).collect(),
            states: free.details.states.clone(),
            recall: details.recall,
            ..Self::default()
        };
        config.data = config.data.with(details.data);
        config.data.kind = Some(first.data);
        config.data.samples = first.samples;
        config.optimiser = config.optimiser.with(details.optimiser);
        config.optimiser.kind = Some(first.optimiser);
        config.optimiser.decay = Some(first.decay);
        config
    }

    /// As a file.
    ///
    /// # Errors
    /// A seed beyond the largest number of such a file.
    pub(crate) fn text(&self) -> Result<String, CommandError> {
        toml::to_string(self)
            .map_err(|error| CommandError::input(format!("cannot be a configuration: {error}")))
    }
}

/// Passes over the data where none are asked for.
pub(crate) fn usual_epochs(data: data::Kind) -> usize {
    match data {
        data::Kind::Digits => 12,
        data::Kind::Names => 6,
        _ => 3,
    }
}

/// Refuses what a rule does not take.
fn check(entry: &ScheduleEntry, at: usize) -> Result<(), CommandError> {
    let Some(rule) = entry.rule else { return Ok(()) };
    for (name, given) in [("rate", entry.rate.is_some()), ("steps", entry.steps.is_some())] {
        if given && !rule.takes_rate() {
            let message = format!("schedule.{name}: {rule} takes none");
            return Err(wrong(&format!("schedule[{at}].{name}"), message));
        }
    }
    if let Some(rate) = entry.learning_rate.filter(|rate| !(*rate > 0.0 && rate.is_finite())) {
        let message = format!("the learning rate must be a positive number, not {rate}");
        return Err(wrong(&format!("schedule[{at}].learning-rate"), message));
    }
    let details = entry.details();
    let plain = Relaxing { reduction: details.reduction, ..Relaxing::default() };
    if rule == ScheduleKind::Backprop && details != plain {
        let message = "backprop takes no steps, so it has rule, learning-rate and reduction alone";
        return Err(wrong(&format!("schedule[{at}]"), message));
    }
    Ok(())
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
