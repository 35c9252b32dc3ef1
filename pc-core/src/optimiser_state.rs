//! What an optimiser keeps between steps, for files.

use crate::{Error, Result, tensor::Tensor, topology::ParamId};

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

/// Checks states for [`OptimiserState::set_parameter_states`]: of an optimiser of this kind, which
/// keeps so many tensors for each parameter and counts steps or does not.
///
/// # Errors
/// Another number of tensors; tensors of different shapes, or that are not finite; steps where none
/// are counted, or none where they are.
///
/// # Example
/// ```
/// use pc_core::{ParamId, backend::{ParameterState, check_states}, host::HostTensor};
/// let tensors = vec![HostTensor::<f32>::zeroed(&[3])?];
/// let states = [ParameterState { parameter: ParamId::new(0), steps: 0, tensors }];
/// assert!(check_states("sgd", 1, false, &states).is_ok());
/// assert!(check_states("adam", 2, true, &states).is_err());
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn check_states<T: Tensor>(
    kind: &str,
    parts: usize,
    counts: bool,
    states: &[ParameterState<T>],
) -> Result<()> {
    for ParameterState { parameter, steps, tensors } in states {
        let wrong = |what: String| {
            Err(Error::misuse(format!(
                "the state of parameter {} is none of {kind}'s: {what}",
                parameter.index()
            )))
        };
        if tensors.len() != parts {
            return wrong(format!("it has {} tensors, not {parts}", tensors.len()));
        }
        if (*steps > 0) != counts {
            return wrong(format!("it is of {steps} steps"));
        }
        if tensors.iter().any(|tensor| !tensor.is_like(&tensors[0]) || !tensor.is_finite()) {
            return wrong("its tensors differ in shape, or are not finite".to_owned());
        }
    }
    Ok(())
}
