//! `pc-bench sweep`: searches ranges of a configuration on a validation part.

mod args;
mod saved;
mod trial;

use std::path::Path;

use pc_core::host::Element;
use serde_json::json;
use toml::Table;

pub use args::SweepArgs;
pub(crate) use args::TEACH;

use super::train::{Configuration, Dataset, Learner, RunSettings, Source, SweepEntry};
use crate::{
    contract::{Precision, details::wrong},
    error::CommandError,
    interrupt,
    output::{Output, table},
    places::{self, Place},
    progress::Line,
    threads,
};
use saved::{Found, Saved};
use trial::{Trial, blamed, shown};

/// One line of the table that the choice is made from.
struct Tried {
    trial: usize,
    epochs: usize,
    found: Found,
}

/// Runs the command.
///
/// # Errors
/// [`CommandError::Input`] for anything given that makes no sense, with the line of the file,
/// before anything is trained; [`CommandError::Beyond`] where every trial diverged;
/// [`CommandError::Interrupted`] after Ctrl-C.
pub fn run(args: &SweepArgs, json: bool) -> Result<(), CommandError> {
    let (source, config) = Source::read::<Configuration>(&args.file)?;
    sweep(args, &source, config, Output::new(json)).map_err(|error| source.locate(error))
}

fn sweep(
    args: &SweepArgs,
    source: &Source,
    mut config: Configuration,
    output: Output,
) -> Result<(), CommandError> {
    let Some(entry) = config.sweep.take() else {
        return Err(wrong("sweep", "there is no [sweep]: what is to be tried?"));
    };
    config.counts()?;
    let epochs = config.epochs();
    entry.check(epochs)?;
    if config.schedule.len() != 1 {
        return Err(wrong("schedule", "a sweep is of one [schedule]: have that alone"));
    }
    if config.seeds.is_some_and(|seeds| seeds != 1) {
        return Err(wrong("seeds", "seeds: a sweep trains with one seed"));
    }
    let mut entries = source.table()?;
    entries.remove("sweep");
    // All of them are looked at before any is trained.
    let trials = entry
        .choices()
        .into_iter()
        .map(|choice| Trial::new(&entries, choice))
        .collect::<Result<Vec<_>, CommandError>>()?;
    files(args)?;
    let dir = args.data_dir.as_deref().or(config.data.dir.as_deref());
    let pool = threads::pool(config.threads.unwrap_or(0))?;
    pool.install(|| {
        let mut saved = Saved::new(source.text(), dir);
        let _own = match &args.save {
            Some(path) => {
                let own = Place::take("--save", path)?;
                saved = saved.open(path)?;
                Some(own)
            }
            None => None,
        };
        let data = Data { dir, held: None };
        let save = args.save.as_deref();
        let mut search = Search { entry, trials, epochs, data, saved, save, output };
        search.fit()?;
        let tried = match search.tried() {
            Err(CommandError::Interrupted) => {
                output.event("interrupted", json!({"saved": args.save}))?;
                return Err(CommandError::Interrupted);
            }
            other => other?,
        };
        choose(args, entries, &search.trials, &tried, output)
    })
}

/// Refuses places that cannot be written to, or that are one place.
fn files(args: &SweepArgs) -> Result<(), CommandError> {
    let named = [
        ("the sweep's own file", Some(&args.file)),
        ("--save", args.save.as_ref()),
        ("--output", args.output.as_ref()),
    ];
    for (flag, path) in named.iter().skip(1) {
        let Some(path) = path else { continue };
        places::check(flag, path)?;
        let mut before = named.iter().take_while(|(other, _)| other != flag);
        let same = before.find(|(_, other)| other.is_some_and(|other| places::same(other, path)));
        if let Some((other, _)) = same {
            return Err(CommandError::input(format!(
                "{flag} {}: that is the place of {other}; give another",
                path.display()
            )));
        }
    }
    Ok(())
}

/// The data that trials learn from, which most of them share.
struct Data<'a> {
    dir: Option<&'a Path>,
    held: Option<(RunSettings, Dataset)>,
}

impl Data<'_> {
    fn of(&mut self, run: &RunSettings) -> Result<&Dataset, CommandError> {
        // The kind and the seed are the same for all trials.
        let what = |run: &RunSettings| (run.model, run.samples, run.details.data);
        let held = match self.held.take() {
            Some(held) if what(&held.0) == what(run) => held,
            _ => (run.clone(), Dataset::load(run, self.dir)?),
        };
        Ok(&self.held.insert(held).1)
    }
}

/// A search under way.
struct Search<'a> {
    entry: SweepEntry,
    trials: Vec<Trial>,
    epochs: usize,
    data: Data<'a>,
    saved: Saved,
    save: Option<&'a Path>,
    output: Output,
}

impl Search<'_> {
    /// Makes every net once, so that what does not fit its data is found out at once.
    fn fit(&mut self) -> Result<(), CommandError> {
        for Trial { choice, run } in &self.trials {
            let data = self.data.of(run).map_err(|error| blamed(choice, error))?;
            let made = match run.precision {
                Precision::F32 => Learner::<f32>::new(run, data).map(drop),
                Precision::F64 => Learner::<f64>::new(run, data).map(drop),
            };
            made.map_err(|error| blamed(choice, error))?;
        }
        Ok(())
    }

    /// What came of the trials, rung by rung, the best of each first.
    fn tried(&mut self) -> Result<Vec<Tried>, CommandError> {
        interrupt::listen("this batch");
        let mut tried = Vec::new();
        let mut left: Vec<usize> = (0..self.trials.len()).collect();
        for [count, epochs] in self.entry.rungs(self.trials.len(), self.epochs) {
            left.truncate(count);
            let mut rung = Vec::with_capacity(left.len());
            for trial in left {
                rung.push(Tried { trial, epochs, found: self.found(trial, epochs)? });
            }
            rung.sort_by(|one, other| one.found.order(&other.found));
            let learned = rung.iter().filter(|tried| tried.found.loss.is_some());
            left = learned.map(|tried| tried.trial).collect();
            tried.extend(rung);
        }
        Ok(tried)
    }

    /// What comes of one trial after so many epochs, from its first one on.
    fn found(&mut self, trial: usize, epochs: usize) -> Result<Found, CommandError> {
        let Some(Trial { choice, run }) = self.trials.get(trial) else {
            return Err(CommandError::input(format!("there is no trial {}", trial + 1)));
        };
        let found = match self.saved.get(trial, epochs) {
            Some(found) => found,
            None => {
                let what = format!("trial {} of {}", trial + 1, self.trials.len());
                let line = Line::open(self.output.is_json(), what);
                let data = self.data.of(run)?;
                let found = match run.precision {
                    Precision::F32 => train::<f32>(run, data, epochs)?,
                    Precision::F64 => train::<f64>(run, data, epochs)?,
                };
                drop(line);
                self.saved.keep([trial, epochs], found, self.save)?;
                found
            }
        };
        self.output.event(
            "trial",
            json!({"trial": trial + 1, "epochs": epochs, "tried": choice, "found": found}),
        )?;
        Ok(found)
    }
}

fn train<F: Element>(
    run: &RunSettings,
    data: &Dataset,
    epochs: usize,
) -> Result<Found, CommandError> {
    let mut learner = Learner::<F>::new(run, data)?;
    if learner.through(data, epochs, &mut |_| ())?.is_some() {
        return Ok(Found { accuracy: None, loss: None });
    }
    // With data.validation they are called test, and are of the part that was held out.
    let figures = learner.progress().reported(run.details.report);
    Ok(Found {
        accuracy: figures.and_then(|epoch| epoch.test_accuracy),
        loss: figures.map(|epoch| epoch.test_loss),
    })
}

/// Prints what was tried and the best of it, and writes the best where it was asked for.
fn choose(
    args: &SweepArgs,
    mut entries: Table,
    trials: &[Trial],
    tried: &[Tried],
    output: Output,
) -> Result<(), CommandError> {
    output.text(&text(trials, tried))?;
    let last = tried.last().map_or(0, |tried| tried.epochs);
    let best = tried.iter().find(|tried| tried.epochs == last && tried.found.loss.is_some());
    let Some((best, trial)) = best.and_then(|best| Some((best, trials.get(best.trial)?))) else {
        output.event("summary", json!({"chosen": null}))?;
        let message = "every trial that was left diverged: lower the rates";
        return Err(CommandError::Beyond(message.to_owned()));
    };
    trial.put_into(&mut entries)?;
    // All of the training data is there to learn from again, and the test set to judge by.
    if let Some(data) = entries.get_mut("data").and_then(|data| data.as_table_mut()) {
        data.remove("validation");
    }
    let words =
        toml::to_string(&entries).map_err(|error| CommandError::input(error.to_string()))?;
    let figure = match (best.found.accuracy, best.found.loss) {
        (None, Some(loss)) => format!("loss {loss:.5}"),
        (accuracy, _) => format!("accuracy {}%", percent(accuracy)),
    };
    let words = format!(
        "# Chosen by `pc-bench sweep`: trial {} of {}, validation {figure}.\n{words}",
        best.trial + 1,
        trials.len()
    );
    output.text(&format!("\n{words}"))?;
    output.event(
        "summary",
        json!({"chosen": best.trial + 1, "validation_accuracy": best.found.accuracy,
            "validation_loss": best.found.loss, "configuration": words, "output": args.output}),
    )?;
    match &args.output {
        Some(path) => places::write_whole(path, words.as_bytes()),
        None => Ok(()),
    }
}

/// The table that the choice was made from: those that were trained longest first, the best of
/// them on top.
fn text(trials: &[Trial], tried: &[Tried]) -> String {
    let mut order: Vec<&Tried> = tried.iter().collect();
    order.sort_by_key(|tried| std::cmp::Reverse(tried.epochs));
    let names: Vec<&String> = trials.first().map_or(Vec::new(), |one| one.choice.keys().collect());
    let folded: Vec<String> = names.iter().map(|name| name.replace('.', ".\n")).collect();
    let mut header = vec!["trial"];
    header.extend(folded.iter().map(String::as_str));
    header.extend(["epochs", "validation\nacc. %", "loss"]);
    let row = |tried: &&Tried| {
        let choice = trials.get(tried.trial).map(|trial| &trial.choice);
        let value = |name: &&String| choice.and_then(|choice| choice.get(*name)).map(shown);
        let mut row = vec![(tried.trial + 1).to_string()];
        row.extend(names.iter().map(|name| value(name).unwrap_or_default()));
        row.push(tried.epochs.to_string());
        row.push(percent(tried.found.accuracy));
        row.push(tried.found.loss.map_or("-".to_owned(), |loss| format!("{loss:.4}")));
        row
    };
    let rows: Vec<_> = order.iter().map(row).collect();
    format!(
        "The best first, by a part of the training data; the test set unseen\n{}",
        table(&header, 0, &rows)
    )
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{:.2}", 100.0 * share))
}
