//! What a run is, as one description: a file says it whole, the command line parts of it.

mod entries;
mod file;
mod filled;
mod ranges;

pub(crate) use entries::Configuration;
pub(crate) use file::Source;
pub(super) use filled::usual_epochs;
pub(crate) use ranges::{Choice, SweepEntry, place, put};
