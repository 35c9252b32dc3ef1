//! Configurations: what they say is what is run, and what makes no sense is told by its line.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod again;
mod bad;
mod layers;
mod recall;
mod released;
mod same;
mod seeds;
mod sweep;

use std::{fs, path::PathBuf};

use pc_bench::{
    commands::train::{Dataset, Learner, Step, TrainArgs, TrainingPlan},
    error::CommandError,
};
use pc_core::host::HostTensor;

/// A file in a folder of its own.
pub(crate) fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// The plan of a file.
pub(crate) fn plan(text: &str) -> Result<TrainingPlan, CommandError> {
    plan_with(text, TrainArgs::default())
}

/// The plan of a file and of flags beside it.
pub(crate) fn plan_with(text: &str, flags: TrainArgs) -> Result<TrainingPlan, CommandError> {
    let (_folder, path) = file(text);
    TrainingPlan::new(&TrainArgs { config: Some(path), no_report: true, ..flags })
}

/// What a run learns: the energy of each batch, and its parameters.
pub(crate) type Learned = (Vec<f64>, Vec<(String, HostTensor<f32>)>);

/// What each run of a plan learns in an epoch of so many batches.
pub(crate) fn learned(plan: &TrainingPlan, batches: usize) -> Vec<Learned> {
    let data = Dataset::load(&plan.runs[0], plan.data_dir.as_deref()).unwrap();
    let run = |settings| {
        let mut learner = Learner::<f32>::new(settings, &data).unwrap();
        let mut energies = Vec::new();
        for batch in data.epoch(settings.batch, settings.seed, 0, 0).unwrap().take(batches) {
            energies.push(learner.learn(&batch.unwrap()).unwrap());
        }
        (energies, learner.trainee().parameters().unwrap())
    };
    plan.runs.iter().map(run).collect()
}

/// Goes on to the end of an epoch.
pub(crate) fn epoch(learner: &mut Learner<f32>, data: &Dataset) {
    let end = learner.epoch(data, &mut |_| true).unwrap();
    assert!(matches!(end, Step::Finished(_)), "{end:?}");
}
