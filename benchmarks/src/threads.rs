//! How many threads a command computes with.

use std::num::NonZeroUsize;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::CommandError;

/// So many threads may be asked for on any machine; on large ones [`A_CORE`] for each core.
const ANYWHERE: usize = 256;

/// Threads that may be asked for, for each core.
const A_CORE: usize = 4;

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
        pool(self.threads.map_or(default, NonZeroUsize::get))?.install(work)
    }
}

/// Refuses a number of threads that would bring the machine down before it computes anything.
///
/// # Errors
/// A message that says how many may be asked for.
pub fn check(threads: usize) -> Result<(), CommandError> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let most = ANYWHERE.max(A_CORE * cores);
    if threads > most {
        return Err(CommandError::input(format!(
            "--threads {threads}: at most {most} can be asked for on this machine, which has \
             {cores} cores"
        )));
    }
    Ok(())
}

/// So many threads; 0 for one a core.
///
/// # Errors
/// As [`check`]; threads that cannot be started.
pub fn pool(threads: usize) -> Result<ThreadPool, CommandError> {
    check(threads)?;
    ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|error| CommandError::input(format!("cannot start {threads} threads: {error}")))
}
