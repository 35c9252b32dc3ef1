//! What of a run is kept in a file.

use std::{collections::BTreeMap, fs, path::Path};

use serde::{Deserialize, Serialize};

use crate::{
    error::CommandError,
    experiments::{Findings, Parts},
    interrupt, places,
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
        Self { format, name, full, seed, seeds, from_folder, threads, done: BTreeMap::new() }
    }

    /// Reads the file of `--resume`.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or is no such file.
    pub(super) fn read(path: &Path) -> Result<Self, CommandError> {
        let text =
            fs::read_to_string(path).map_err(|error| CommandError::io("read", path, &error))?;
        let wrong = |why: String| {
            CommandError::input(format!(
                "--resume {}: it is damaged, or no file of `pc-bench reproduce --save`: {why}",
                path.display()
            ))
        };
        let saved: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if saved.format != FORMAT {
            return Err(wrong(format!("it is `{}`, not `{FORMAT}`", saved.format)));
        }
        if saved.seeds == 0 {
            return Err(wrong("it has no seeds".to_owned()));
        }
        Ok(saved)
    }

    fn write(&self, path: &Path) -> Result<(), CommandError> {
        let mut text = serde_json::to_string(self)
            .map_err(|error| CommandError::input(format!("cannot save: {error}")))?;
        text.push('\n');
        places::write_whole(path, text.as_bytes())
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
            Some(path) => self.saved.write(path),
            None => Ok(()),
        }
    }

    fn interrupted(&self) -> bool {
        interrupt::asked()
    }
}

#[cfg(test)]
mod tests {
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
        let text = fs::read_to_string(&path).unwrap();
        for broken in [&text[..text.len() / 2], &text.replace("reproduce, 1", "reproduce, 9"), ""] {
            fs::write(&path, broken).unwrap();
            let error = Saved::read(&path).unwrap_err();
            assert!(error.status() == 2 && error.to_string().contains("run.json"), "{error}");
        }
    }
}
