//! What of a sweep is kept in a file.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{error::CommandError, kept};

const FORMAT: &str = "pc-bench sweep, 1";

/// The figures of one trial on the validation part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    /// None where it diverged.
    pub(super) accuracy: Option<f64>,
    pub(super) loss: Option<f64>,
}

impl Found {
    /// The higher accuracy comes first, then the lower loss; what diverged comes last.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let accuracy = |found: &Self| found.accuracy.unwrap_or(f64::NEG_INFINITY);
        let loss = |found: &Self| found.loss.unwrap_or(f64::INFINITY);
        let by_accuracy = accuracy(other).total_cmp(&accuracy(self));
        by_accuracy.then(loss(self).total_cmp(&loss(other)))
    }
}

/// Which sweep it is, and what of it is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Saved {
    format: String,
    /// The file's text.
    text: String,
    data_dir: Option<PathBuf>,
    threads: usize,
    /// By trial and epochs, `3/12`.
    done: BTreeMap<String, Found>,
}

impl Saved {
    /// Of a sweep of which nothing is done, with the threads of this pool.
    pub(super) fn new(text: &str, dir: Option<&Path>) -> Self {
        Self {
            format: FORMAT.to_owned(),
            text: text.to_owned(),
            data_dir: dir.map(Path::to_owned),
            threads: rayon::current_num_threads(),
            done: BTreeMap::new(),
        }
    }

    /// What `path` has of this sweep; nothing where there is no such file.
    ///
    /// # Errors
    /// A file that cannot be read, or of another sweep.
    pub(super) fn open(self, path: &Path) -> Result<Self, CommandError> {
        if !path.exists() {
            return Ok(self);
        }
        let wrong =
            |what: String| Err(CommandError::input(format!("--save {}: {what}", path.display())));
        let saved: Self = kept::read(path, ["--save", "sweep"])?;
        if (&saved.format, &saved.text) != (&self.format, &self.text) {
            return wrong("it is of another sweep, or of another version of this one".to_owned());
        }
        if saved.data_dir != self.data_dir {
            return wrong("it was begun with another folder of data (--data-dir)".to_owned());
        }
        if saved.threads != self.threads {
            let (before, now) = (saved.threads, self.threads);
            return wrong(format!("it was begun with {before} threads, and {now} are here"));
        }
        Ok(saved)
    }

    pub(super) fn get(&self, trial: usize, epochs: usize) -> Option<Found> {
        self.done.get(&format!("{trial}/{epochs}")).copied()
    }

    /// Keeps what came of a trial, in the file where there is one.
    pub(super) fn keep(
        &mut self,
        [trial, epochs]: [usize; 2],
        found: Found,
        path: Option<&Path>,
    ) -> Result<(), CommandError> {
        self.done.insert(format!("{trial}/{epochs}"), found);
        path.map_or(Ok(()), |path| kept::write(path, self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_better_comes_first() {
        let found = |accuracy: Option<f64>, loss| Found { accuracy, loss };
        let best = found(Some(0.9), Some(0.3));
        let all =
            [found(None, None), found(Some(0.8), Some(0.1)), found(Some(0.9), Some(0.4)), best];
        let mut sorted = all;
        sorted.sort_by(Found::order);
        assert_eq!(sorted, [all[3], all[2], all[1], all[0]]);
    }
}
