//! Fixed prediction, and backprop as its limit.

use crate::{Linearise, Result, Schedule, schedule::Steps};

impl Schedule {
    /// Fixed prediction: predictions and Jacobians keep their feed-forward values, and errors relax
    /// linearly, `e_i <- e_i + gamma (-e_i + sum_j J_ji^T e_j)`, for `steps` steps (Millidge,
    /// Tschantz and Buckley 2020).
    ///
    /// At its fixed point the errors are backprop's, on any DAG. At `gamma = 1` it reaches that
    /// point after as many steps as the graph is deep. In other cases, on a chain, the error `k`
    /// edges from the output is backprop's times `P[Binomial(steps, gamma) >= k]`: **backprop with
    /// each depth's gradient rescaled**, which is how [`crate::Evaluation::Auto`] computes it.
    ///
    /// # Errors
    /// A rate that is not a positive number; zero steps.
    ///
    /// # Example
    /// ```
    /// let exact = pc_core::Schedule::fixed_prediction(1.0, 16)?;
    /// let rescaled = pc_core::Schedule::fixed_prediction(0.1, 20)?;
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn fixed_prediction(rate: f64, steps: usize) -> Result<Self> {
        Ok(Self {
            linearisation: Linearise::Frozen,
            ..Self::base("fixed prediction", rate, Steps::Count(steps))?
        })
    }

    /// Backprop: fixed prediction at rate 1 for as many steps as the graph is deep, in one reverse
    /// sweep. The baseline of every comparison.
    pub fn backprop() -> Self {
        Self { linearisation: Linearise::Frozen, ..Self::unchecked("backprop", 1.0, Steps::Depth) }
    }
}
