//! When a run is saved, and what happens where that fails.

use std::{
    fmt,
    path::Path,
    str::FromStr,
    time::{Duration, Instant},
};

use pc_core::host::Element;

use super::learner::Learner;
use crate::{
    error::CommandError,
    output::{note, warn},
    places::Place,
};

/// How long after a save that failed the next is tried, where none is due before.
const AGAIN: Duration = Duration::from_secs(30);

/// How often a run is saved, beside the ends of epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveEvery {
    /// After so many batches.
    Batches(usize),
    /// After so much time, when the batch ends.
    Time(Duration),
}

impl FromStr for SaveEvery {
    type Err = String;

    /// `500` is batches; `30s`, `10m` and `2h` are times.
    fn from_str(word: &str) -> Result<Self, String> {
        let wrong = || "give a number of batches, or a time such as 30s, 10m or 2h".to_owned();
        let (number, seconds) = match word.char_indices().last() {
            Some((end, 's')) => (&word[..end], Some(1)),
            Some((end, 'm')) => (&word[..end], Some(60)),
            Some((end, 'h')) => (&word[..end], Some(3600)),
            _ => (word, None),
        };
        let number: u32 = number.parse().map_err(|_| wrong())?;
        match seconds {
            _ if number == 0 => Err("give at least 1".to_owned()),
            Some(seconds) => Ok(Self::Time(Duration::from_secs(u64::from(number) * seconds))),
            None => Ok(Self::Batches(number as usize)),
        }
    }
}

impl fmt::Display for SaveEvery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batches(count) => write!(f, "{count}"),
            Self::Time(time) => write!(f, "{}s", time.as_secs()),
        }
    }
}

/// Saves one run to its own place.
#[derive(Debug)]
pub(super) struct Saver {
    place: Place,
    every: Option<SaveEvery>,
    /// Since when, and after how many batches, the next save is counted.
    since: Instant,
    batches: usize,
    /// The batches done of the current epoch, as far as they are counted.
    done: usize,
    /// Why the last save failed, where it did.
    failed: Option<String>,
}

impl Saver {
    /// Takes the place.
    ///
    /// # Errors
    /// As [`Place::take`].
    pub(super) fn new(path: &Path, every: Option<SaveEvery>) -> Result<Self, CommandError> {
        Ok(Self {
            place: Place::take("--save", path)?,
            every,
            since: Instant::now(),
            batches: 0,
            done: 0,
            failed: None,
        })
    }

    /// Whether to save now that `done` batches of the epoch are done. May be asked more than once
    /// about the same batch.
    pub(super) fn due(&mut self, done: usize) -> bool {
        if done == self.done {
            return false;
        }
        self.done = done;
        self.batches += 1;
        let passed = self.since.elapsed();
        let due = match self.every {
            Some(SaveEvery::Batches(count)) => self.batches >= count,
            Some(SaveEvery::Time(time)) => passed >= time,
            None => false,
        };
        due || (self.failed.is_some() && passed >= AGAIN)
    }

    /// Batches are counted from 1 again.
    pub(super) fn new_epoch(&mut self) {
        self.done = 0;
    }

    /// Saves the run. Where the file cannot be written this says so, once, and the run can go on:
    /// what was saved before is still there, and the next save may succeed.
    ///
    /// # Errors
    /// What the backend reports.
    pub(super) fn save<F: Element>(&mut self, learner: &Learner<F>) -> Result<(), CommandError> {
        let written = learner.checkpoint()?.write(self.place.path());
        (self.since, self.batches) = (Instant::now(), 0);
        match (written, &self.failed) {
            (Ok(()), Some(_)) => {
                note(&format!("saved {} after all", self.place.path().display()));
                self.failed = None;
            }
            (Ok(()), None) => {}
            (Err(error), before) => {
                if before.is_none() {
                    warn(&format!(
                        "{error}; the run goes on, and this is tried again at the next \
                         save or in {} seconds",
                        AGAIN.as_secs()
                    ));
                }
                self.failed = Some(error.to_string());
            }
        }
        Ok(())
    }

    /// Why the run as it is now is not saved.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_and_times_are_told_apart() {
        let time = |seconds| Ok(SaveEvery::Time(Duration::from_secs(seconds)));
        for (word, every) in [("500", Ok(SaveEvery::Batches(500))), ("30s", time(30))]
            .into_iter()
            .chain([("10m", time(600)), ("2h", time(7200))])
        {
            assert_eq!(word.parse::<SaveEvery>(), every);
            let again = every.clone().map(|every| every.to_string().parse::<SaveEvery>());
            assert_eq!(again.unwrap(), every);
        }
        for word in ["", "0", "0m", "m", "-1", "1.5h", "5d", "4é"] {
            assert!(word.parse::<SaveEvery>().is_err(), "{word}");
        }
    }

    #[test]
    fn a_save_is_due_once_for_each_count_of_batches() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let mut saver = Saver::new(&path, Some(SaveEvery::Batches(2))).unwrap();
        let due: Vec<bool> = [1, 2, 2].map(|done| saver.due(done)).into();
        assert_eq!(due, [false, true, false]);
    }
}
