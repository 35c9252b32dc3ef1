//! Standard PC: relax, then learn.

use crate::{Result, Schedule, schedule::Steps};

impl Schedule {
    /// Standard PC (inference learning): live predictions; `steps` synchronous steps `v_i <- v_i +
    /// gamma (-pi_i e_i + sum_j J_ji^T pi_j e_j)` from the feed-forward values; then the weights
    /// learn from the errors next to them (Whittington and Bogacz 2017). Add [`Schedule::until`] to
    /// stop at an equilibrium instead.
    ///
    /// Not backprop, by design. With few steps or a small rate its gradients point nearly where
    /// backprop's do but are much smaller far from the output: compare cosines *and* norms.
    ///
    /// # Errors
    /// A rate that is not a positive number; zero steps.
    ///
    /// # Example
    /// ```
    /// let to_equilibrium = pc_core::Schedule::standard(0.1, 10_000)?.until(1e-10)?;
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn standard(rate: f64, steps: usize) -> Result<Self> {
        Self::base("standard PC", rate, Steps::Count(steps))
    }
}
