//! A net that is timed.

use super::{
    arithmetic::Arithmetic,
    contender::{Contender, Seconds},
};
use crate::error::CommandError;

/// A net with a batch, and what is to be timed on it.
pub trait Timed {
    /// The architecture in a few words.
    fn description(&self) -> String;

    /// How much arithmetic its steps take, where that has been counted.
    fn arithmetic(&self) -> Option<Arithmetic>;

    /// What is timed, backprop (the framework's own) first; those that share a name differ in their
    /// role.
    fn contenders(&self) -> Vec<Contender>;

    /// Runs and times one step of a contender, by its place in [`Timed::contenders`]: the gradients
    /// of one batch, without an optimiser. Where the device works on while the program goes on, the
    /// time is until it is done.
    ///
    /// # Errors
    /// A relaxation that diverges; what the framework reports.
    fn step(&mut self, contender: usize) -> Result<Seconds, CommandError>;
}
