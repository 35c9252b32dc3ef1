//! Why a command did not do what it was asked, and the exit status that says so.

use std::{io, path::Path};

use crate::data;

/// What ends a command early. Its message is one line; `main` prints it after `error: `.
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommandError {
    /// What was given cannot be worked with: a file, a number, a name. Exit status 2, like a
    /// misspelt option.
    #[error("{0}")]
    Input(String),
    /// The same of one entry of a configuration, such as `schedule.rate` or `layers[2].width`.
    /// Where it was given in a file, the message names the line. Exit status 2.
    #[error("{message}")]
    Entry {
        /// Which.
        entry: String,
        /// What is wrong with it.
        message: String,
    },
    /// The command ran, and what it found is beyond its tolerance. Exit status 1.
    #[error("{0}")]
    Beyond(String),
    /// Stopped by the user (Ctrl-C) after saving what there was to save. Exit status 130.
    #[error("interrupted")]
    Interrupted,
    /// Whoever read the output has stopped reading (`| head`). Says nothing; exit status 141, as of
    /// a broken pipe.
    #[error("the output was closed")]
    Closed,
}

impl CommandError {
    /// [`CommandError::Input`] that says `message`.
    pub fn input(message: impl Into<String>) -> Self {
        Self::Input(message.into())
    }

    /// Doing `action` ("read", "write") to `path` failed.
    pub fn io(action: &str, path: &Path, source: &io::Error) -> Self {
        Self::Input(format!("cannot {action} {}: {source}", path.display()))
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Input(_) | Self::Entry { .. } => 2,
            Self::Beyond(_) => 1,
            Self::Interrupted => 130,
            Self::Closed => 141,
        }
    }
}

impl From<pc_core::Error> for CommandError {
    fn from(error: pc_core::Error) -> Self {
        Self::Input(error.to_string())
    }
}

impl From<data::Error> for CommandError {
    fn from(error: data::Error) -> Self {
        Self::Input(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_status() {
        let io = CommandError::io(
            "read",
            Path::new("net.safetensors"),
            &io::Error::from(io::ErrorKind::NotFound),
        );
        assert!(io.to_string().starts_with("cannot read net.safetensors: "));
        let core = CommandError::from(pc_core::Schedule::standard(0.0, 1).unwrap_err());
        let status = [io, core, CommandError::Beyond(String::new()), CommandError::Interrupted]
            .map(|error| error.status());
        assert_eq!(status, [2, 2, 1, 130]);
    }
}
