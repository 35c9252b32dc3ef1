//! Incremental PC: states and weights together.

use crate::{Learning, Result, Schedule, schedule::Steps};

impl Schedule {
    /// Incremental PC: at each of `steps` steps the states and the weights move together, from the
    /// same errors (Salvatori et al. 2022). Every step is a learning event, so it needs
    /// [`crate::Relaxation::advance`] (or [`crate::Relaxation::train`]) with an optimiser, whose
    /// rate is the weights' rate.
    ///
    /// # Errors
    /// A rate that is not a positive number; zero steps.
    ///
    /// # Example
    /// ```
    /// let ipc = pc_core::Schedule::ipc(0.5, 8)?;
    /// assert_eq!(ipc.learning(), pc_core::Learning::EveryStep);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn ipc(rate: f64, steps: usize) -> Result<Self> {
        Ok(Self { learning: Learning::EveryStep, ..Self::base("iPC", rate, Steps::Count(steps))? })
    }
}
