//! Where a configuration comes from, and where in it an entry is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use crate::{commands::train::plan::shell_word, error::CommandError};

/// The text of a configuration, to name the lines of what is wrong with it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    path: PathBuf,
    text: String,
    /// The entries that the command line says instead.
    pub(super) elsewhere: Vec<&'static str>,
}

impl Source {
    /// Reads a file of entries.
    ///
    /// # Errors
    /// It cannot be read, or an entry in it is unknown or of another type; with the line.
    pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<(Self, T), CommandError> {
        let text =
            fs::read_to_string(path).map_err(|error| CommandError::io("read", path, &error))?;
        Self::of(path, text)
    }

    /// The same of a text that was read already, or is part of this program.
    ///
    /// # Errors
    /// As [`Source::read`], but for the file.
    pub(crate) fn of<T: DeserializeOwned>(
        path: &Path,
        text: String,
    ) -> Result<(Self, T), CommandError> {
        let source = Self { path: path.to_owned(), text, elsewhere: Vec::new() };
        match toml::from_str(&source.text) {
            Ok(entries) => Ok((source, entries)),
            Err(error) => {
                let line = error.span().map(|span| source.line_at(span.start));
                Err(source.says(line, error.message()))
            }
        }
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The entries as they are, for other entries to be put among them.
    ///
    /// # Errors
    /// A text that is no TOML.
    pub(crate) fn table(&self) -> Result<toml::Table, CommandError> {
        self.text.parse().map_err(|error: toml::de::Error| {
            self.says(error.span().map(|span| self.line_at(span.start)), error.message())
        })
    }

    /// The command that runs it; what the command line said instead is not in it.
    pub(crate) fn command(&self) -> String {
        let path = self.path.display().to_string();
        let overridden = if self.elsewhere.is_empty() { "" } else { "  # with other flags too" };
        format!("pc-bench train --config {}{overridden}", shell_word(&path))
    }

    fn line_at(&self, place: usize) -> usize {
        1 + self.text.bytes().take(place).filter(|byte| *byte == b'\n').count()
    }

    fn says(&self, line: Option<usize>, message: &str) -> CommandError {
        let line = line.map(|line| format!("{line}:")).unwrap_or_default();
        let message = message.trim().replace('\n', " ");
        CommandError::input(format!("{}:{line} {message}", self.path.display()))
    }

    /// The error with the file and the line, where it is one of an entry of this file.
    pub(crate) fn locate(&self, error: CommandError) -> CommandError {
        match error {
            CommandError::Entry { entry, message } if !self.is_elsewhere(&entry) => {
                self.says(self.line(&entry), message.trim_start_matches('-'))
            }
            other => other,
        }
    }

    fn is_elsewhere(&self, entry: &str) -> bool {
        self.elsewhere.iter().any(|other| {
            entry.strip_prefix(other).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with('.') || rest.starts_with('[')
            })
        })
    }

    /// The line of an entry, such as `layers[2].width`; where there is none, that of what it would
    /// be in.
    fn line(&self, entry: &str) -> Option<usize> {
        let table = DeTable::parse(&self.text).ok()?;
        let mut found = None;
        let mut within: Option<&DeValue<'_>> = None;
        let mut rest = entry;
        while !rest.is_empty() {
            let here = match within {
                None => Some(table.get_ref()),
                Some(DeValue::Table(table)) => Some(table),
                Some(_) => None,
            };
            let at = |name: &str| {
                here.and_then(|here| here.iter().find(|(key, _)| key.get_ref().as_ref() == name))
            };
            // A key in quotes may have dots of its own.
            if let Some((key, _)) = at(rest) {
                found = Some(key.span().start);
                break;
            }
            let (part, more) = rest.split_once('.').unwrap_or((rest, ""));
            rest = more;
            let (name, index) = match part.split_once('[') {
                Some((name, index)) => (name, index.trim_end_matches(']').parse::<usize>().ok()),
                None => (part, None),
            };
            let Some((key, value)) = at(name) else { break };
            found = Some(key.span().start);
            within = Some(value.get_ref());
            if let (Some(index), DeValue::Array(all)) = (index, value.get_ref()) {
                let Some(item) = all.get(index) else { break };
                found = Some(item.span().start);
                within = Some(item.get_ref());
            }
        }
        found.map(|place| self.line_at(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_line() {
        let text = "batch = 3\n[data]\nkind = \"digits\"\n\n[[layers]]\nkind = \"dense\"\n\
            [[layers]]\nkind = \"dense\"\nwidth = 0\n[schedule]\nrate = 1\n\
            [sweep.ranges]\n\"layers[1].width\" = 3\n";
        let source =
            Source { path: "run.toml".into(), text: text.into(), elsewhere: vec!["batch"] };
        for (entry, line) in [
            ("batch", Some(1)),
            ("data.kind", Some(3)),
            ("data.samples", Some(2)),
            ("layers[1].width", Some(9)),
            ("layers[1]", Some(7)),
            ("schedule[0].rate", Some(11)),
            ("schedule[0].steps", Some(10)),
            ("sweep.ranges.layers[1].width", Some(13)),
            ("sweep.ranges.layers[0].width", Some(12)),
            ("states.rule", None),
        ] {
            assert_eq!(source.line(entry), line, "{entry}");
        }
        let error = |entry: &str| CommandError::Entry {
            entry: entry.to_owned(),
            message: "--width is wrong".to_owned(),
        };
        let said = |entry| source.locate(error(entry)).to_string();
        assert_eq!(said("layers[1].width"), "run.toml:9: width is wrong");
        assert_eq!(said("states.rule"), "run.toml: width is wrong");
        assert_eq!(said("batch"), "--width is wrong", "the command line's own");
    }
}
