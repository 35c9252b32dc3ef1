//! One trial: a choice, and the run that it makes of the file.

use toml::{Table, Value};

use crate::{
    commands::train::{Choice, Configuration, RunSettings, place, put},
    contract::details::wrong,
    error::CommandError,
};

/// The share that is held out where the file says none.
const SHARE: f64 = 0.2;

/// A choice, checked.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) choice: Choice,
    /// It sees no test set.
    pub(super) run: RunSettings,
}

impl Trial {
    /// The trial that makes this choice among the entries of a file.
    ///
    /// # Errors
    /// A choice that cannot be there, or that contradicts others or the file; with its range.
    pub(super) fn new(entries: &Table, choice: Choice) -> Result<Self, CommandError> {
        let mut entries = entries.clone();
        // The file alone may lack what is to be tried; so the last of these has it all.
        let mut config = Configuration::default();
        for (name, value) in &choice {
            put(&mut entries, name, value)?;
            config = entries.clone().try_into().map_err(|error: toml::de::Error| {
                let what = error.message().trim().replace('\n', " ");
                wrong(&place(name), format!("`{name}` = {}: {what}", shown(value)))
            })?;
        }
        config.data.validation = config.data.validation.or(Some(SHARE));
        let run = settings(config).map_err(|error| blamed(&choice, error))?;
        Ok(Self { choice, run })
    }

    /// Puts the choice among the entries of a file.
    pub(super) fn put_into(&self, entries: &mut Table) -> Result<(), CommandError> {
        self.choice.iter().try_for_each(|(name, value)| put(entries, name, value))
    }
}

fn settings(config: Configuration) -> Result<RunSettings, CommandError> {
    let runs = config.alone()?.runs()?;
    let run = runs.into_iter().next().ok_or_else(|| wrong("schedule", "there is no rule"))?;
    run.check()?;
    Ok(run)
}

/// The error with what was tried; where it is of an entry that has a range, it is the range's.
pub(super) fn blamed(choice: &Choice, error: CommandError) -> CommandError {
    let said = |message: String| format!("{message} (with {})", says(choice));
    // There is one schedule, be it written as a table or as the first of several.
    let plain = |entry: &str| entry.replacen("schedule[0]", "schedule", 1);
    let within = |inner: &str, outer: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    match error {
        CommandError::Entry { entry, message } => {
            let entry = plain(&entry);
            let own = |name: &&String| {
                let name = plain(name);
                // Of a fault of all of [schedule], which the file has, no one range is to blame.
                within(&entry, &name) || (entry != "schedule" && within(&name, &entry))
            };
            let at = choice.keys().find(own).map_or(entry.clone(), |name| place(name));
            wrong(&at, said(message))
        }
        CommandError::Input(message) => CommandError::Input(said(message)),
        other => other,
    }
}

/// A choice in words.
fn says(choice: &Choice) -> String {
    let words: Vec<String> =
        choice.iter().map(|(name, value)| format!("{name} = {}", shown(value))).collect();
    words.join(", ")
}

/// A value in words, a number with four digits.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Float(number) => {
            // Four digits, and no more than are needed.
            format!("{number:.3e}").parse().unwrap_or(*number).to_string()
        }
        other => other.to_string(),
    }
}
