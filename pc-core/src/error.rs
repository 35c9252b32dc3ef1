//! The one error type of the workspace's libraries.

use std::fmt;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of mistake an [`Error`] reports; the list may grow.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The graph itself is wrong: an unknown parent, a doubled name, a cycle where an order is
    /// needed.
    Graph,
    /// Two shapes that should agree do not.
    Shape,
    /// A clamp is missing, or does not fit its vertex.
    Clamp,
    /// A schedule's settings are outside what they may be.
    Schedule,
    /// The network cannot do what the schedule needs.
    Unsupported,
    /// A number that must be finite is not.
    NotFinite,
    /// The calls came in an order that makes no sense, such as advancing a relaxation that was
    /// never begun.
    Misuse,
    /// A file cannot be read or written, or holds something else than what is asked of it.
    File,
    /// The framework underneath reported a failure.
    Backend,
}

/// An error: what is wrong, and at which vertex if it is about one.
///
/// # Example
/// ```
/// use pc_core::{ErrorKind, Schedule};
/// let error = Schedule::standard(f64::NAN, 20).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Schedule);
/// assert!(error.to_string().contains("rate"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: ErrorKind,
    vertex: Option<String>,
    message: String,
}

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { inner: Box::new(Inner { kind, vertex: None, message: message.into() }) }
    }

    /// The same error about the vertex called `name`. An error that already names a vertex keeps
    /// it.
    #[must_use]
    pub fn at(mut self, name: &str) -> Self {
        self.inner.vertex.get_or_insert_with(|| name.to_owned());
        self
    }

    /// The kind of mistake.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The name of the vertex it is about. Returns `None` if it is about no vertex.
    pub fn vertex(&self) -> Option<&str> {
        self.inner.vertex.as_deref()
    }

    pub(crate) fn graph(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Graph, message)
    }
    pub(crate) fn shape(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Shape, message)
    }
    pub(crate) fn clamp(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Clamp, message)
    }
    pub(crate) fn schedule(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Schedule, message)
    }
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }
    pub(crate) fn not_finite(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFinite, message)
    }
    #[cfg(feature = "safetensors")]
    pub(crate) fn file(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::File, message)
    }
    pub(crate) fn misuse(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Misuse, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner.vertex {
            Some(name) => write!(f, "vertex `{name}`: {}", self.inner.message),
            None => f.write_str(&self.inner.message),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.inner.kind)
    }
}

impl std::error::Error for Error {}
