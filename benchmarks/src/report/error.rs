//! Why a report could not be made.

use std::path::PathBuf;

use crate::error::CommandError;

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A file or folder could not be written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The report could not be turned into JSON.
    #[error("cannot write the report as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A picture could not be drawn.
    #[error("cannot draw the picture \"{figure}\": {reason}")]
    Draw {
        /// Which picture.
        figure: String,
        /// What the drawing library said.
        reason: String,
    },
}

impl From<ReportError> for CommandError {
    fn from(error: ReportError) -> Self {
        Self::Input(error.to_string())
    }
}
