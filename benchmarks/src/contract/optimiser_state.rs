//! An optimiser's state as named tensors, the same on every backend: what a checkpoint holds beside
//! the parameters.

use std::collections::BTreeMap;

use pc_core::host::{Element, HostTensor};

/// An optimiser's state by name: `PARAMETER.first` and `PARAMETER.second`, Adam's moments, or
/// `PARAMETER.velocity`, that of SGD.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimiserState<F> {
    /// The running tensors.
    pub tensors: BTreeMap<String, HostTensor<F>>,
    /// The steps so far, by parameter; only Adam counts.
    pub counts: BTreeMap<String, i32>,
}

/// Adam's moments, in order.
pub(crate) const MOMENTS: [&str; 2] = ["first", "second"];

/// Both of one parameter, and the steps that they are of.
pub(crate) type Moments<F> = ([HostTensor<F>; 2], i32);

/// What SGD with momentum keeps.
pub(crate) const VELOCITY: [&str; 1] = ["velocity"];

impl<F> Default for OptimiserState<F> {
    fn default() -> Self {
        Self { tensors: BTreeMap::new(), counts: BTreeMap::new() }
    }
}

impl<F: Element> OptimiserState<F> {
    /// Adds the tensors of one parameter.
    pub(crate) fn put<const N: usize>(
        &mut self,
        parameter: &str,
        parts: [&str; N],
        tensors: [HostTensor<F>; N],
    ) {
        self.tensors.extend(
            parts
                .into_iter()
                .zip(tensors)
                .map(|(part, tensor)| (format!("{parameter}.{part}"), tensor)),
        );
    }

    /// Takes out the tensors of one parameter, which has this shape; none where it has not learned
    /// yet.
    ///
    /// # Errors
    /// A tensor of another shape; some of the parts without the others. The message has no file's
    /// name.
    pub(crate) fn take<const N: usize>(
        &mut self,
        parameter: &str,
        parts: [&str; N],
        shape: &[usize],
    ) -> Result<Option<[HostTensor<F>; N]>, String> {
        let found = parts.map(|part| self.tensors.remove(&format!("{parameter}.{part}")));
        if let Some(wrong) = found.iter().flatten().find(|tensor| tensor.dims() != shape) {
            return Err(format!(
                "the optimiser's state for `{parameter}` has shape {:?}, not {shape:?}",
                wrong.dims()
            ));
        }
        match found.iter().flatten().count() {
            0 => Ok(None),
            some if some == N => {
                let whole: Result<[HostTensor<F>; N], _> =
                    found.into_iter().flatten().collect::<Vec<_>>().try_into();
                whole.map(Some).map_err(|_| incomplete(parameter))
            }
            _ => Err(incomplete(parameter)),
        }
    }

    /// As [`OptimiserState::take`], for Adam: its moments and how many steps they are of.
    ///
    /// # Errors
    /// As there; moments without their count, or the other way round.
    pub(crate) fn take_moments(
        &mut self,
        parameter: &str,
        shape: &[usize],
    ) -> Result<Option<Moments<F>>, String> {
        match (self.take(parameter, MOMENTS, shape)?, self.counts.remove(parameter)) {
            (Some(moments), Some(count)) if count > 0 => Ok(Some((moments, count))),
            (None, None) => Ok(None),
            _ => Err(incomplete(parameter)),
        }
    }

    /// Fails where something is left, which is of no parameter that the model has.
    ///
    /// # Errors
    /// A message that names it.
    pub(crate) fn finish(self) -> Result<(), String> {
        match self.tensors.keys().chain(self.counts.keys()).next() {
            Some(name) => Err(format!(
                "the checkpoint has an entry `optimiser.{name}`, which this model has not"
            )),
            None => Ok(()),
        }
    }
}

fn incomplete(parameter: &str) -> String {
    format!("the optimiser's state for `{parameter}` is not complete")
}
