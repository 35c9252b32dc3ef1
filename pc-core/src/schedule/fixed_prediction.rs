//! Fixed prediction, and backprop as its limit.

use crate::{
    Linearise, Result, Schedule, paths,
    rule::{Plain, Ruled},
    schedule::Steps,
};

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

    /// How much of an error has come over a path of so many edges, after all steps of fixed
    /// prediction: `P[Binomial(steps, gamma) >= edges]`, of what backprop would bring. `None` where
    /// no such figure holds: live predictions, a rate above 1 or that varies, another state rule.
    ///
    /// # Example
    /// ```
    /// use pc_core::Schedule;
    /// let few = Schedule::fixed_prediction(0.1, 100)?;
    /// assert!(few.share_over(33).is_some_and(|share| share < 1e-9));
    /// assert_eq!(Schedule::fixed_prediction(1.0, 5)?.share_over(5), Some(1.0));
    /// assert_eq!(Schedule::standard(0.1, 100)?.share_over(5), None);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn share_over(&self, edges: usize) -> Option<f64> {
        let plain = self.rates.are_plain() && self.rule == Ruled::new(Plain);
        if self.linearisation != Linearise::Frozen || !plain || self.rate > 1.0 {
            return None;
        }
        let Steps::Count(steps) = self.steps else { return Some(1.0) };
        paths::binomial_tails(self.rate, steps, edges).get(edges).copied()
    }
}
