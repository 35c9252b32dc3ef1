//! A comparison of several runs as files: one for each run, and one that says which there are.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use super::settings::{RunSettings, entry};
use crate::{checkpoint::Checkpoint, contract::ScheduleKind, error::CommandError};

/// The entry that lists the runs; only the file of a comparison has it.
const RUNS: &str = "runs";

/// The entry that says with how many seeds; left out for one.
const SEEDS: &str = "seeds";

/// The entry that the file of a comparison and those of its runs share.
pub(super) const COMPARISON: &str = "comparison";

/// What the file of a comparison says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Comparison {
    /// Tells its runs from those of another comparison that was saved by the same name.
    pub(super) id: String,
    /// Passes over the data, in all.
    pub(super) epochs: usize,
    /// In order; of several seeds those of the first.
    pub(super) runs: Vec<RunSettings>,
    /// With so many seeds, each with files of its own ([`file_of_seed`]).
    pub(super) seeds: usize,
}

impl Comparison {
    /// An id that no other comparison has.
    pub(super) fn new_id() -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{:x}-{:x}", now.as_nanos(), std::process::id())
    }

    /// As a checkpoint without tensors.
    pub(super) fn checkpoint(&self) -> Checkpoint<f32> {
        let names: Vec<&str> = self.runs.iter().map(|run| run.schedule.name()).collect();
        let mut metadata: BTreeMap<String, String> = [
            (COMPARISON.to_owned(), self.id.clone()),
            ("epochs".to_owned(), self.epochs.to_string()),
            (RUNS.to_owned(), names.join(",")),
        ]
        .into();
        if self.seeds > 1 {
            metadata.insert(SEEDS.to_owned(), self.seeds.to_string());
        }
        for run in &self.runs {
            let entries = run.to_metadata().into_iter();
            metadata.extend(entries.map(|(key, word)| (format!("{}.{key}", run.schedule), word)));
        }
        Checkpoint { metadata, tensors: BTreeMap::new() }
    }

    /// From a checkpoint's metadata; none where it is that of a single run.
    ///
    /// # Errors
    /// An entry that is missing or makes no sense.
    pub(super) fn from_metadata(
        path: &Path,
        entries: &BTreeMap<String, String>,
    ) -> Result<Option<Self>, CommandError> {
        let Some(names) = entries.get(RUNS) else { return Ok(None) };
        let run = |name: &str| {
            let own = entries.iter().filter_map(|(key, word)| {
                Some((key.strip_prefix(name)?.strip_prefix('.')?.to_owned(), word.clone()))
            });
            RunSettings::from_metadata(path, &own.collect())
        };
        Ok(Some(Self {
            id: entry(path, entries, COMPARISON)?,
            epochs: entry(path, entries, "epochs")?,
            runs: names.split(',').map(run).collect::<Result<_, _>>()?,
            seeds: if entries.contains_key(SEEDS) { entry(path, entries, SEEDS)? } else { 1 },
        }))
    }
}

/// The file of one run of the comparison that is saved as `path`.
pub(super) fn file_of_run(path: &Path, schedule: ScheduleKind) -> PathBuf {
    with_word(path, schedule.name())
}

/// The file of one seed of several that are saved as `path`.
pub(super) fn file_of_seed(path: &Path, seed: u64) -> PathBuf {
    with_word(path, &format!("seed-{seed}"))
}

fn with_word(path: &Path, word: &str) -> PathBuf {
    let extension =
        path.extension().map_or("safetensors".into(), |extension| extension.to_string_lossy());
    path.with_extension(format!("{word}.{extension}"))
}
