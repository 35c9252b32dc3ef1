//! What an optimiser keeps between steps, for files.

use crate::{Result, topology::ParamId};

/// What an optimiser keeps for one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterState<T> {
    /// The parameter.
    pub parameter: ParamId,
    /// The steps so far, or 0 for an optimiser that does not count them.
    pub steps: u32,
    /// One tensor of the parameter's shape for each of [`OptimiserState::parts`], in that order.
    pub tensors: Vec<T>,
}

/// An optimiser whose state can be saved with a graph, and loaded. [`crate::host::Sgd`] and
/// [`crate::host::Adam`] are such; [`crate::Graph::save_with`] takes any.
pub trait OptimiserState<T> {
    /// What it is, as a file says: `adam`.
    fn kind(&self) -> &'static str;

    /// The names of the tensors it keeps for each parameter.
    fn parts(&self) -> &'static [&'static str];

    /// What it keeps, for the parameters that have learned so far.
    fn parameter_states(&self) -> Vec<ParameterState<T>>;

    /// Puts back what [`OptimiserState::parameter_states`] gave, in place of all that it keeps.
    ///
    /// # Errors
    /// States that are not such as it keeps; nothing has changed then.
    fn set_parameter_states(&mut self, states: Vec<ParameterState<T>>) -> Result<()>;
}
