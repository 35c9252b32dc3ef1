//! How many threads a command computes with.

use std::num::NonZeroUsize;

use crate::error::CommandError;

/// How many threads a command may use.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Threads {
    /// Threads to compute with [default: one for each core; speed: 1]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
}

impl Threads {
    /// Runs `work` on this many threads, or on `default` many where none are asked for (0 for one a
    /// core).
    ///
    /// # Errors
    /// What `work` returns; threads that cannot be started.
    pub fn run(
        self,
        default: usize,
        work: impl FnOnce() -> Result<(), CommandError> + Send,
    ) -> Result<(), CommandError> {
        let threads = self.threads.map_or(default, NonZeroUsize::get);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.map_err(|error| {
            CommandError::input(format!("cannot start {threads} threads: {error}"))
        })?
        .install(work)
    }
}
