//! What the command line comes to: the runs, checked, and where what comes of them goes.

use std::path::{Path, PathBuf};

use super::{
    args::TrainArgs,
    comparison::{Comparison, file_of_run},
    saver::SaveEvery,
    settings::RunSettings,
};
use crate::{
    backends::Backend,
    checkpoint,
    contract::{OptimiserKind, ScheduleKind},
    data,
    error::CommandError,
    models::ModelKind,
    places, threads,
};

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
    Run(RunSettings),
    All(Comparison),
}

impl Saved {
    fn read(path: &Path) -> Result<Self, CommandError> {
        let entries = checkpoint::read_metadata(path)?;
        match Comparison::from_metadata(path, &entries)? {
            Some(comparison) => Ok(Self::All(comparison)),
            None => Ok(Self::Run(RunSettings::from_metadata(path, &entries)?)),
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
        let runs = match &saved {
            Some((path, Saved::Run(run))) => Self::resumed(args, path, run.clone())?,
            Some((path, Saved::All(all))) => Self::all_resumed(args, path, &all.runs)?,
            None => Self::fresh(args)?,
        };
        for run in &runs {
            run.check()?;
        }
        let data = runs[0].data;
        let epochs = args.epochs.unwrap_or(match (&saved, data) {
            (Some((_, Saved::All(all))), _) => all.epochs,
            (_, data::Kind::Digits) => 12,
            (_, data::Kind::Names) => 6,
            _ => 3,
        });
        if epochs == 0 {
            return Err(CommandError::input("--epochs 0 would train nothing: give at least 1"));
        }
        if args.threads == Some(0) {
            return Err(CommandError::input("--threads 0 could compute nothing: give at least 1"));
        }
        threads::check(args.threads.unwrap_or(0))?;
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
            places::check("--save", path)?;
        } else if let Some(every) = args.save_every {
            return Err(CommandError::input(format!(
                "--save-every {every} needs --save FILE, to say where"
            )));
        }
        let comparison = match &saved {
            Some((_, Saved::All(all))) => Some(all.id.clone()),
            _ => (runs.len() > 1).then(Comparison::new_id),
        };
        let resume = saved.map(|(path, saved)| match saved {
            Saved::Run(run) => Resume::One(path.clone(), run.schedule),
            Saved::All(_) => Resume::All(path.clone()),
        });
        Ok(Self {
            epochs,
            data_dir: args.data_dir.clone(),
            threads: args.threads,
            report,
            energy_by_vertex: args.energy_by_vertex,
            save: args.save.clone(),
            save_every: args.save_every,
            resume,
            comparison,
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
        Some(match self.runs.len() {
            1 => path.clone(),
            _ => file_of_run(path, schedule),
        })
    }

    /// The file that stands for all runs, and what it says, where there are several.
    pub(super) fn comparison(&self) -> Option<(&Path, Comparison)> {
        let (path, id) = (self.save.as_deref()?, self.comparison.clone()?);
        Some((path, Comparison { id, epochs: self.epochs, runs: self.runs.clone() }))
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
