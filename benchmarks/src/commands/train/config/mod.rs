//! What a run is, as one description: a file says it whole, the command line parts of it.

mod entries;
mod file;
mod filled;

pub(crate) use entries::Configuration;
pub(super) use file::Source;
pub(super) use filled::usual_epochs;
