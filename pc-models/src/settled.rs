//! What diverged is an error, in every model.

use pc_core::{Error, ErrorKind, Outcome, Result, Status};

/// The outcome of a relaxation.
///
/// # Errors
/// It diverged. Nothing was learned from it, or, where weights move at every step, nothing that is
/// of use.
pub(crate) fn settled(outcome: Outcome, what: &str) -> Result<Outcome> {
    if outcome.status != Status::Diverged {
        return Ok(outcome);
    }
    let steps = outcome.steps;
    let message = format!("{what} diverged after {steps} steps: take a smaller rate");
    Err(Error::new(ErrorKind::NotFinite, message))
}
