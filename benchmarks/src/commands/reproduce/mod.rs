//! `pc-bench reproduce`: experiments of the literature beside their published figures.

mod args;
mod layout;
mod saved;
mod show;

use std::path::{Path, PathBuf};

use serde_json::json;

pub use args::ReproduceArgs;
pub(crate) use args::TEACH;

use crate::{
    error::CommandError,
    experiments::{Context, EXPERIMENTS, Experiment},
    interrupt,
    output::Output,
    places::{self, Place},
    progress::Line,
    report, threads,
};
use saved::{OfSeed, Saved};
use show::Shown;

/// A run as it was asked for.
struct Plan<'a> {
    experiment: &'static Experiment,
    saved: Saved,
    data_dir: Option<&'a Path>,
    report: Option<PathBuf>,
    /// Its place is this run's alone.
    save: Option<Place>,
}

/// Runs the command.
///
/// # Errors
/// [`CommandError::Input`] for anything given that makes no sense, before anything is computed, and
/// for files that cannot be read or written; [`CommandError::Beyond`] where something does not hold
/// that should; [`CommandError::Interrupted`] after Ctrl-C.
pub fn run(args: &ReproduceArgs, json: bool) -> Result<(), CommandError> {
    let output = Output::new(json);
    if args.list {
        return list(output);
    }
    let plan = plan(args)?;
    threads::pool(plan.saved.threads)?.install(|| compute(plan, output))
}

fn list(output: Output) -> Result<(), CommandError> {
    for experiment in EXPERIMENTS {
        output.text(&show::entry(experiment))?;
        output.event("experiment", show::entry_json(experiment))?;
    }
    output.event("summary", json!({"experiments": EXPERIMENTS.len()}))
}

fn plan(args: &ReproduceArgs) -> Result<Plan<'_>, CommandError> {
    let from_folder = args.data_dir.is_some();
    let saved = match &args.resume {
        Some(path) => {
            let mut saved = Saved::read(path)?;
            agree(args, &saved, path)?;
            saved.seeds = args.seeds.map_or(saved.seeds, usize::from);
            saved
        }
        None => {
            let name = args.name.as_deref().unwrap_or_default();
            let seeds = (args.seed.unwrap_or(0), args.seeds.map_or(1, usize::from));
            let threads = args.threads.threads.map_or_else(
                || std::thread::available_parallelism().map_or(1, usize::from),
                usize::from,
            );
            Saved::new(name, args.full, seeds, from_folder, threads)
        }
    };
    let experiment = Experiment::named(&saved.name).ok_or_else(|| {
        let names: Vec<&str> = EXPERIMENTS.iter().map(|experiment| experiment.name).collect();
        CommandError::input(format!(
            "there is no experiment `{}`: give one of {} (`pc-bench reproduce --list` says what \
             they show)",
            saved.name,
            names.join(", ")
        ))
    })?;
    threads::check(saved.threads)?;
    if saved.seed.checked_add(saved.seeds as u64).is_none() {
        return Err(CommandError::input(format!(
            "--seed {} --seeds {}: the last seed is beyond the largest number",
            saved.seed, saved.seeds
        )));
    }
    let report = (!args.no_report)
        .then(|| args.report.clone().unwrap_or_else(|| Path::new("report").join(experiment.name)));
    if let Some(dir) = &report {
        report::try_experiment_place(dir)?;
    }
    if let Some(path) = args.save.as_deref().filter(|path| path.exists())
        && !args.resume.as_ref().is_some_and(|other| places::same(other, path))
    {
        return Err(CommandError::input(format!(
            "--save {}: there is a file already; go on from it by --resume, or give another name",
            path.display()
        )));
    }
    let save = args.save.as_deref().map(|path| Place::take("--save", path)).transpose()?;
    Ok(Plan { experiment, saved, data_dir: args.data_dir.as_deref(), report, save })
}

/// What is given beside `--resume` must be what the file says.
fn agree(args: &ReproduceArgs, saved: &Saved, path: &Path) -> Result<(), CommandError> {
    let file = path.display();
    let size = |full: bool| if full { "--full" } else { "--quick" };
    let differs = |given: String, own: String| {
        Err(CommandError::input(format!("--resume {file}: {given} was given, but it is of {own}")))
    };
    if let Some(name) = args.name.as_deref().filter(|name| *name != saved.name) {
        return differs(format!("`{name}`"), format!("`{}`", saved.name));
    }
    if (args.full || args.quick) && args.full != saved.full {
        return differs(size(args.full).to_owned(), size(saved.full).to_owned());
    }
    if let Some(seed) = args.seed.filter(|seed| *seed != saved.seed) {
        return differs(format!("--seed {seed}"), format!("--seed {}", saved.seed));
    }
    if let Some(seeds) = args.seeds.filter(|seeds| usize::from(*seeds) < saved.seeds) {
        return differs(format!("--seeds {seeds}"), format!("--seeds {}", saved.seeds));
    }
    let threads = args.threads.threads.map_or(saved.threads, usize::from);
    if threads != saved.threads {
        return differs(format!("--threads {threads}"), format!("--threads {}", saved.threads));
    }
    match (args.data_dir.is_some(), saved.from_folder) {
        (true, false) => differs("--data-dir".to_owned(), "a run without it".to_owned()),
        (false, true) => Err(CommandError::input(format!(
            "--resume {file}: it is of a run with --data-dir; give the folder again"
        ))),
        _ => Ok(()),
    }
}

fn compute(mut plan: Plan<'_>, output: Output) -> Result<(), CommandError> {
    interrupt::listen("this part");
    let experiment = plan.experiment;
    let progress = Line::styled(
        output.is_json(),
        experiment.name,
        None,
        "{prefix} {spinner} {elapsed:>4} {msg}",
    )
    .ticking();
    let start = std::time::Instant::now();
    let (full, data_dir) = (plan.saved.full, plan.data_dir);
    let (first, count) = (plan.saved.seed, plan.saved.seeds as u64);
    let (mut found, mut data) = (Vec::new(), Vec::new());
    for seed in first..first + count {
        let path = plan.save.as_ref().map(Place::path);
        let mut parts = OfSeed { saved: &mut plan.saved, seed, path };
        let mut context = Context::new(seed, full, data_dir, &progress, &mut parts);
        let findings = (experiment.run)(&mut context)?;
        for name in context.read() {
            if !data.contains(name) {
                data.push(name.clone());
            }
        }
        // What is not within a part is kept too, and an end is taken between seeds.
        let findings = context.part("all of it", |_| Ok(findings))?;
        output.event("seed", show::seed_json(seed, &findings))?;
        found.push(findings);
    }
    drop(progress);
    finish(&plan, &Shown::new(experiment, &plan.saved, data, found, start.elapsed()), output)
}

/// Shows what was found, first of all; then writes the report.
fn finish(plan: &Plan<'_>, shown: &Shown, output: Output) -> Result<(), CommandError> {
    output.text(&shown.text())?;
    let written = plan.report.as_deref().map(|dir| {
        let command = shown.command(plan.data_dir);
        report::write_experiment(dir, &shown.report(command)).map(|paths| (dir, paths))
    });
    let paths = match &written {
        Some(Ok((_, paths))) => paths.clone(),
        _ => Vec::new(),
    };
    if let Some(page) = paths.first() {
        output.text(&format!("curves and pictures are in {}", page.display()))?;
    }
    let mut summary = shown.json();
    summary["files"] = json!(paths);
    output.event("summary", summary)?;
    if let Some(Err(error)) = written {
        return Err(CommandError::input(format!("the results are above, but {error}")));
    }
    let broken = shown.broken();
    if !broken.is_empty() {
        return Err(CommandError::Beyond(format!("this does not hold: {}", broken.join("; "))));
    }
    Ok(())
}
