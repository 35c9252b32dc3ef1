//! The data layer's one error type.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of trouble an [`Error`] reports; the list may grow.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A data set, or a file of it, is not where it was looked for.
    NotFound,
    /// The operating system refused to read a file or a folder.
    Io,
    /// A file or a value does not have the form or the range it should have.
    Malformed,
    /// The caller asked for something that makes no sense, such as batches of nothing.
    Argument,
}

/// Why data could not be had.
///
/// Its message is one complete line: the file, where in it (byte, record or line), what is wrong,
/// and what to do about it. [`kind`](Error::kind) and [`path`](Error::path) are for programs.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Error(Box<Repr>);

/// Where in a file something is wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// The file as a whole.
    Whole,
    /// A byte of the (unpacked) file, counted from 0.
    Byte(usize),
    /// A record, counted from 0, and the byte where the trouble is.
    Record { record: usize, byte: usize },
    /// A line, counted from 1.
    Line(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => Ok(()),
            Self::Byte(byte) => write!(f, ", byte {byte}"),
            Self::Record { record, byte } => write!(f, ", record {record} (byte {byte})"),
            Self::Line(line) => write!(f, ", line {line}"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Repr {
    #[error("{}: {message}", path.display())]
    NotFound { path: PathBuf, message: String },
    #[error("{}: cannot {action}: {cause}; check that it is there and that you may read it",
    path.display())]
    Io { path: PathBuf, action: &'static str, cause: io::Error },
    #[error("{}{place}: {what}; {remedy}", path.display())]
    Malformed { path: PathBuf, place: Place, what: String, remedy: String },
    #[error("{0}")]
    Inconsistent(String),
    #[error("{0}")]
    Argument(String),
}

impl Error {
    /// What kind of trouble this is.
    pub fn kind(&self) -> ErrorKind {
        match &*self.0 {
            Repr::NotFound { .. } => ErrorKind::NotFound,
            Repr::Io { .. } => ErrorKind::Io,
            Repr::Malformed { .. } | Repr::Inconsistent(_) => ErrorKind::Malformed,
            Repr::Argument(_) => ErrorKind::Argument,
        }
    }

    /// The file or folder it is about, where there is one.
    pub fn path(&self) -> Option<&Path> {
        match &*self.0 {
            Repr::NotFound { path, .. } | Repr::Io { path, .. } | Repr::Malformed { path, .. } => {
                Some(path)
            }
            Repr::Inconsistent(_) | Repr::Argument(_) => None,
        }
    }

    /// `path` lacks what was looked for.
    pub(super) fn not_found(path: &Path, message: impl Into<String>) -> Self {
        Self(Box::new(Repr::NotFound { path: path.to_owned(), message: message.into() }))
    }

    /// Doing `action` ("read the file") to `path` failed.
    pub(super) fn io(path: &Path, action: &'static str, cause: io::Error) -> Self {
        Self(Box::new(Repr::Io { path: path.to_owned(), action, cause }))
    }

    /// `path` holds something wrong at `place`; `remedy` says what to do.
    pub(super) fn malformed(
        path: &Path,
        place: Place,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self(Box::new(Repr::Malformed {
            path: path.to_owned(),
            place,
            what: what.into(),
            remedy: remedy.into(),
        }))
    }

    /// Values in memory do not fit one another.
    pub(super) fn inconsistent(message: impl Into<String>) -> Self {
        Self(Box::new(Repr::Inconsistent(message.into())))
    }

    /// The caller asked for something that makes no sense.
    pub(super) fn argument(message: impl Into<String>) -> Self {
        Self(Box::new(Repr::Argument(message.into())))
    }
}
