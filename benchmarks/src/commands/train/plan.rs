//! What the command line comes to: the runs, checked, and where what comes of them goes.

use std::path::{Path, PathBuf};

use super::{
    args::TrainArgs,
    comparison::{Comparison, file_of_run},
    config::{Configuration, Source, usual_epochs},
    saver::SaveEvery,
    settings::RunSettings,
};
use crate::{
    backends::Backend,
    checkpoint,
    contract::{ScheduleKind, details::wrong},
    error::CommandError,
    places,
};

/// The runs of one command.
#[derive(Clone, Debug)]
pub struct TrainingPlan {
    /// In order; equal but for the schedule and what comes with it.
    pub runs: Vec<RunSettings>,
    /// Passes over the data, in all.
    pub epochs: usize,
    /// With so many seeds, from that of the runs on.
    pub seeds: usize,
    /// Where this is of one seed among several, which.
    pub(super) of_seed: Option<u64>,
    /// The file to go on from, of all seeds.
    pub(super) whole: Option<PathBuf>,
    /// The file that says so.
    pub(super) source: Option<Source>,
    /// Where the data is.
    pub data_dir: Option<PathBuf>,
    /// Threads; none for all cores.
    pub threads: Option<usize>,
    /// Where the report goes.
    pub report: Option<PathBuf>,
    /// Whether the report has the energy of each vertex.
    pub energy_by_vertex: bool,
    /// Where checkpoints go.
    pub save: Option<PathBuf>,
    /// When they are written, beside the ends of epochs.
    pub save_every: Option<SaveEvery>,
    /// What to go on from.
    pub resume: Option<Resume>,
    /// What the checkpoints of these runs have in common; none of a run alone.
    pub(super) comparison: Option<String>,
}

/// What to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// One run's checkpoint, by the run with this schedule.
    One(PathBuf, ScheduleKind),
    /// The file of a comparison, by all runs.
    All(PathBuf),
}

/// What a file to go on from is of.
enum Saved {
    Run(Box<RunSettings>),
    All(Comparison),
}

impl Saved {
    fn read(path: &Path) -> Result<Self, CommandError> {
        let entries = checkpoint::read_metadata(path)?;
        match Comparison::from_metadata(path, &entries)? {
            Some(comparison) => Ok(Self::All(comparison)),
            None => Ok(Self::Run(Box::new(RunSettings::from_metadata(path, &entries)?))),
        }
    }
}

impl TrainingPlan {
    /// Checks what was given, and fills in what was not.
    ///
    /// # Errors
    /// Numbers that make no sense; choices that contradict one another; places that cannot be
    /// written to.
    pub fn new(args: &TrainArgs) -> Result<Self, CommandError> {
        let saved = match &args.resume {
            Some(path) => Some((path, Saved::read(path)?)),
            None => None,
        };
        let (source, config) = Configuration::of(args)?;
        let located = |error| match &source {
            Some(source) => source.locate(error),
            None => error,
        };
        Self::of(args, saved, &config, source.clone()).map_err(located)
    }

    fn of(
        args: &TrainArgs,
        saved: Option<(&PathBuf, Saved)>,
        config: &Configuration,
        source: Option<Source>,
    ) -> Result<Self, CommandError> {
        let runs = match &saved {
            Some((path, Saved::Run(run))) => Self::resumed(args, path, (**run).clone())?,
            Some((path, Saved::All(all))) => Self::all_resumed(args, path, &all.runs)?,
            None => config.runs()?,
        };
        for (at, run) in runs.iter().enumerate() {
            run.check().map_err(|error| of_schedule(at, error))?;
        }
        let epochs = match &saved {
            Some((_, Saved::All(all))) => args.epochs.unwrap_or(all.epochs),
            Some((_, Saved::Run(run))) => args.epochs.unwrap_or(usual_epochs(run.data)),
            None => config.epochs(),
        };
        config.counts()?;
        let report = (!args.no_report).then(|| args.report.clone());
        // Folders that are missing are made at the end; a file in their place is better found now.
        let there = report.iter().flat_map(|dir| dir.ancestors()).find(|place| place.exists());
        if let Some(file) = there.filter(|place| !place.is_dir()) {
            return Err(CommandError::input(format!(
                "the report cannot go there: {} is a file, and a folder is needed",
                file.display()
            )));
        }
        if args.energy_by_vertex {
            can_show_vertices(&runs, report.is_some())?;
        }
        if let Some(path) = &args.save {
            let backend = runs[0].backend;
            if !backend.support().checkpoints {
                return Err(CommandError::input(format!(
                    "--save: the backend {backend} cannot save its runs"
                )));
            }
            if let Some(why) = runs.iter().find_map(|run| run.details.schedule.goes_on().err()) {
                return Err(CommandError::input(format!(
                    "--save: a run with {why} cannot be gone on with to the same bits"
                )));
            }
            places::check("--save", path)?;
        } else if let Some(every) = args.save_every {
            return Err(CommandError::input(format!(
                "--save-every {every} needs --save FILE, to say where"
            )));
        }
        let seeds = seeds(config, &saved)?;
        let first = runs.first().map_or(0, |run| run.seed);
        if first.checked_add(seeds as u64).is_none() {
            let message = format!("--seeds {seeds}: from {first} on there are not so many");
            return Err(wrong("seeds", message));
        }
        let comparison = match &saved {
            Some((_, Saved::All(all))) => Some(all.id.clone()),
            _ => (runs.len() > 1 || seeds > 1).then(Comparison::new_id),
        };
        let resume = saved.map(|(path, saved)| match saved {
            Saved::Run(run) => Resume::One(path.clone(), run.schedule),
            Saved::All(_) => Resume::All(path.clone()),
        });
        Ok(Self {
            epochs,
            seeds,
            of_seed: None,
            whole: args.save.clone(),
            source,
            data_dir: config.data.dir.clone(),
            threads: config.threads,
            report,
            energy_by_vertex: args.energy_by_vertex,
            save: args.save.clone(),
            save_every: args.save_every,
            resume,
            comparison,
            runs,
        })
    }

    /// The run of a checkpoint, which must agree with what is given beside it; and its twin, where
    /// asked for.
    fn resumed(
        args: &TrainArgs,
        path: &Path,
        saved: RunSettings,
    ) -> Result<Vec<RunSettings>, CommandError> {
        if let [first, second, ..] = args.schedule.as_slice() {
            return Err(CommandError::input(format!(
                "--resume goes on with one run, of {}, so it takes no list of schedules \
                 ({first},{second},..)",
                saved.schedule
            )));
        }
        same(path, "schedule", &args.schedule.first().copied(), &saved.schedule)?;
        agree(args, path, &saved)?;
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

    /// The runs of a comparison, which must agree with what is given beside it.
    fn all_resumed(
        args: &TrainArgs,
        path: &Path,
        saved: &[RunSettings],
    ) -> Result<Vec<RunSettings>, CommandError> {
        let rules: Vec<ScheduleKind> = saved.iter().map(|run| run.schedule).collect();
        let names = || rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        if !args.schedule.is_empty() && args.schedule != rules {
            return Err(CommandError::input(format!(
                "--schedule contradicts {}, which is a comparison of {}",
                path.display(),
                names()
            )));
        }
        if args.compare_backprop && !rules.contains(&ScheduleKind::Backprop) {
            return Err(CommandError::input(format!(
                "--compare-backprop: {} is a comparison of {}, and goes on as it began",
                path.display(),
                names()
            )));
        }
        for run in saved {
            // Beside those that relax there may be runs that take neither.
            let relaxes = run.schedule.takes_rate();
            let (rate, steps) = (args.rate.filter(|_| relaxes), args.steps.filter(|_| relaxes));
            agree(&TrainArgs { rate, steps, ..args.clone() }, path, run)?;
        }
        Ok(saved.to_vec())
    }

    /// Where the run of this schedule is saved: its own file where several are.
    pub fn save_path(&self, schedule: ScheduleKind) -> Option<PathBuf> {
        let path = self.save.as_ref()?;
        Some(match self.comparison {
            None => path.clone(),
            Some(_) => file_of_run(path, schedule),
        })
    }

    /// The file that stands for all runs, and what it says, where there are several.
    pub(super) fn comparison(&self) -> Option<(&Path, Comparison)> {
        let (path, id) = (self.save.as_deref()?, self.comparison.clone()?);
        let (epochs, runs, seeds) = (self.epochs, self.runs.clone(), self.seeds);
        Some((path, Comparison { id, epochs, runs, seeds }))
    }

    /// Every choice, as `--print-config` prints it.
    ///
    /// # Errors
    /// A seed beyond the largest number of such a file.
    pub fn configuration(&self) -> Result<String, CommandError> {
        let mut config = Configuration::of_runs(&self.runs, self.epochs);
        (config.threads, config.data.dir) = (self.threads, self.data_dir.clone());
        config.seeds = Some(self.seeds);
        config.text()
    }

    /// The error with the line of the file, where it is one of an entry of it.
    pub(super) fn located(&self, error: CommandError) -> CommandError {
        self.source.as_ref().map_or(error.clone(), |source| source.locate(error))
    }

    /// The command that repeats this, with every choice spelt out, or with the file that says them.
    pub fn command(&self) -> String {
        use std::fmt::Write;
        if let Some(source) = &self.source {
            return source.command();
        }
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
        if self.seeds > 1 {
            add("seeds", &self.seeds);
        }
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
        if self.energy_by_vertex {
            line += " --energy-by-vertex";
        }
        line
    }
}

/// Refuses `--energy-by-vertex` where nothing would come of it.
fn can_show_vertices(runs: &[RunSettings], reports: bool) -> Result<(), CommandError> {
    let refuse = |why: &str| Err(CommandError::input(format!("--energy-by-vertex: {why}")));
    if !reports {
        return refuse("it is for the report, which --no-report leaves out");
    }
    let backend = runs[0].backend;
    if !backend.support().energies {
        return refuse(&format!(
            "the backend {backend} cannot read the energy of each vertex; the host can"
        ));
    }
    if runs.iter().all(|run| run.schedule == ScheduleKind::Backprop) {
        return refuse("backprop takes no steps: give a schedule that relaxes");
    }
    Ok(())
}

/// What is given beside a checkpoint must be what it was saved with.
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

/// The same of all that a run is made of, but for its schedule.
fn agree(args: &TrainArgs, path: &Path, saved: &RunSettings) -> Result<(), CommandError> {
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
    Ok(())
}

/// With how many seeds: a run of several goes on with as many, or with more.
fn seeds(config: &Configuration, saved: &Option<(&PathBuf, Saved)>) -> Result<usize, CommandError> {
    let held = match saved {
        Some((_, Saved::All(all))) => all.seeds,
        _ => 1,
    };
    match (config.seeds, saved) {
        (None, _) => Ok(held),
        (Some(0), _) => Err(wrong("seeds", "--seeds 0 would train nothing: give at least 1")),
        (Some(given), Some((path, _))) if given != held && (held == 1 || given < held) => {
            Err(CommandError::input(format!(
                "--seeds {given} contradicts {}, which was saved with {held}",
                path.display()
            )))
        }
        (Some(given), _) => Ok(given),
    }
}

/// The error of a run's schedule as that of an entry among several.
fn of_schedule(at: usize, error: CommandError) -> CommandError {
    match error {
        CommandError::Entry { entry, message } if entry.starts_with("schedule") => {
            let entry = entry.replacen("schedule", &format!("schedule[{at}]"), 1);
            CommandError::Entry { entry, message }
        }
        other => other,
    }
}

/// A word as a shell wants it.
pub(super) fn shell_word(word: &str) -> String {
    let plain = word.chars().all(|c| c.is_alphanumeric() || "-_./".contains(c));
    if plain && !word.is_empty() {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
