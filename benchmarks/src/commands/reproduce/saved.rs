//! What of a run is kept in a file.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    error::CommandError,
    experiments::{Findings, Parts},
    interrupt, kept,
};

/// The first word of such a file.
const FORMAT: &str = "pc-bench reproduce, 1";

/// What a run is, and what of it is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Saved {
    format: String,
    pub(super) name: String,
    pub(super) full: bool,
    pub(super) seed: u64,
    pub(super) seeds: usize,
    /// Whether pictures are read from a folder of data.
    pub(super) from_folder: bool,
    /// The data sets that were read, with check sums of their numbers.
    data: BTreeMap<String, u32>,
    /// Threads decide in which order numbers are summed.
    pub(super) threads: usize,
    /// Parts, as `SEED/NAME`.
    done: BTreeMap<String, Findings>,
}

impl Saved {
    /// A run of which nothing is done.
    pub(super) fn new(
        name: &str,
        full: bool,
        (seed, seeds): (u64, usize),
        from_folder: bool,
        threads: usize,
    ) -> Self {
        let (format, name) = (FORMAT.to_owned(), name.to_owned());
        let (data, done) = (BTreeMap::new(), BTreeMap::new());
        Self { format, name, full, seed, seeds, from_folder, data, threads, done }
    }

    /// Reads the file of `--resume`.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or is no such file.
    pub(super) fn read(path: &Path) -> Result<Self, CommandError> {
        let place = ["--resume", "reproduce"];
        let saved: Self = kept::read(path, place)?;
        if saved.format != FORMAT {
            let why = format!("it is `{}`, not `{FORMAT}`", saved.format);
            return Err(kept::wrong(path, place, &why));
        }
        if saved.seeds == 0 || saved.threads == 0 {
            return Err(kept::wrong(path, place, "it has no seeds, or no threads"));
        }
        Ok(saved)
    }
}

/// The parts of one seed.
pub(super) struct OfSeed<'a> {
    pub(super) saved: &'a mut Saved,
    pub(super) seed: u64,
    pub(super) path: Option<&'a Path>,
}

impl OfSeed<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.seed)
    }
}

impl Parts for OfSeed<'_> {
    fn done(&self, name: &str) -> Option<Findings> {
        self.saved.done.get(&self.key(name)).cloned()
    }

    fn keep(&mut self, name: &str, findings: &Findings) -> Result<(), CommandError> {
        let key = self.key(name);
        self.saved.done.insert(key, findings.clone());
        match self.path {
            Some(path) => kept::write(path, self.saved),
            None => Ok(()),
        }
    }

    fn read(&mut self, set: &str, sum: u32) -> Result<(), CommandError> {
        match self.saved.data.insert(set.to_owned(), sum) {
            Some(before) if before != sum => Err(CommandError::input(format!(
                "{set} is not what the saved run has read: its numbers are others"
            ))),
            _ => Ok(()),
        }
    }

    fn interrupted(&self) -> bool {
        interrupt::asked()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_come_back_and_damaged_ones_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        let mut saved = Saved::new("x", true, (3, 2), false, 1);
        let mut findings = Findings::new();
        findings.cell("a", "b", 1.0 / 3.0);
        let mut parts = OfSeed { saved: &mut saved, seed: 3, path: Some(&path) };
        assert_eq!(parts.done("p"), None);
        parts.keep("p", &findings).unwrap();
        assert_eq!(parts.done("p"), Some(findings));
        assert_eq!(OfSeed { saved: &mut saved, seed: 4, path: None }.done("p"), None);
        assert_eq!(Saved::read(&path).unwrap(), saved);
        let mut parts = OfSeed { saved: &mut saved, seed: 3, path: None };
        parts.read("digits", 7).unwrap();
        parts.read("digits", 7).unwrap();
        assert!(parts.read("digits", 8).unwrap_err().to_string().contains("digits"));
        let text = fs::read_to_string(&path).unwrap();
        let (_, body) = text.split_once('\n').unwrap();
        let again = |body: String| format!("{}\n{body}", kept::check_sum(&body));
        let broken = [
            text[..text.len() / 2].to_owned(),
            text.replace("\"seed\":3", "\"seed\":4"),
            again(body.replace("reproduce, 1", "reproduce, 9")),
            again(body.replace("\"threads\":1", "\"threads\":0")),
            String::new(),
        ];
        for broken in broken {
            fs::write(&path, broken).unwrap();
            let error = Saved::read(&path).unwrap_err();
            assert!(error.status() == 2 && error.to_string().contains("run.json"), "{error}");
        }
    }
}
