//! Named numbers on their way into a network's tensors, from a file or from another network.

use std::collections::BTreeMap;

use crate::{
    Error, Result,
    error::ErrorKind,
    optimiser_state::{OptimiserState, ParameterState},
    tensor::Tensor,
    topology::{ParamId, listed},
};

/// What the names of an optimiser's tensors begin with.
pub(crate) const OPTIMISER: &str = "optimiser.";

/// What the count of steps is called.
const STEPS: &str = "steps";

/// The numbers of one tensor, with its shape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) shape: Vec<usize>,
    pub(crate) numbers: Vec<f64>,
}

impl Numbers {
    pub(crate) fn of(tensor: &impl Tensor) -> Self {
        Self { shape: tensor.shape(), numbers: tensor.to_vec() }
    }

    /// A matrix with its rows as columns; anything else as it is.
    pub(crate) fn turned(self) -> Self {
        let &[rows, columns] = self.shape.as_slice() else { return self };
        let mut numbers = Vec::with_capacity(self.numbers.len());
        for column in 0..columns {
            numbers.extend(self.numbers.iter().skip(column).step_by(columns.max(1)));
        }
        debug_assert_eq!(numbers.len(), rows * columns);
        Self { shape: vec![columns, rows], numbers }
    }
}

/// Tensors by their names.
pub(crate) type Named = BTreeMap<String, Numbers>;

/// Where numbers come from, for messages.
pub(crate) struct Origin {
    pub(crate) name: String,
    /// The kind of an error about what it has.
    pub(crate) kind: ErrorKind,
}

impl Origin {
    pub(crate) fn error(&self, what: impl std::fmt::Display) -> Error {
        self.of_kind(self.kind, what)
    }

    fn of_kind(&self, kind: ErrorKind, what: impl std::fmt::Display) -> Error {
        Error::new(kind, format!("{}: {what}", self.name))
    }

    /// # Errors
    /// A name that is not among what was found.
    pub(crate) fn has_all<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        found: &Named,
    ) -> Result<()> {
        let missing: Vec<String> =
            names.filter(|name| !found.contains_key(*name)).map(str::to_owned).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let there: Vec<String> = found.keys().cloned().collect();
        Err(self.error(format!("it lacks {}; it has {}", listed(&missing), listed(&there))))
    }

    /// # Errors
    /// Something is left that nothing has taken.
    pub(crate) fn nothing_left(&self, found: &Named) -> Result<()> {
        if found.is_empty() {
            return Ok(());
        }
        let left: Vec<String> = found.keys().cloned().collect();
        Err(self.error(format!("it has {} too, which nothing here takes", listed(&left))))
    }

    /// Numbers as a tensor like the one that is held.
    ///
    /// # Errors
    /// Another shape; a number that is not finite, or too large for the tensor.
    pub(crate) fn tensor_of<T: Tensor>(&self, name: &str, held: &T, found: &Numbers) -> Result<T> {
        if !held.has_shape(&found.shape) {
            let (theirs, own) = (&found.shape, held.shape());
            let what = format!("`{name}` has shape {theirs:?}, and the graph's has {own:?}");
            return Err(self.of_kind(ErrorKind::Shape, what));
        }
        if found.numbers.iter().any(|number| !number.is_finite()) {
            let what = format!("a number of `{name}` is not finite");
            return Err(self.of_kind(ErrorKind::NotFinite, what));
        }
        let mut tensor = held.zeros(&held.shape());
        tensor.assign(&found.numbers);
        if !tensor.is_finite() {
            let what = format!("a number of `{name}` is too large for the graph's tensors");
            return Err(self.of_kind(ErrorKind::NotFinite, what));
        }
        Ok(tensor)
    }

    /// The states of an optimiser, which are taken out of what was found.
    ///
    /// # Errors
    /// A state that is not complete; as [`Origin::tensor_of`].
    pub(crate) fn states<T: Tensor>(
        &self,
        names: &[String],
        held: &[T],
        optimiser: &impl OptimiserState<T>,
        found: &mut Named,
    ) -> Result<Vec<ParameterState<T>>> {
        let mut states = Vec::new();
        for (index, (name, held)) in names.iter().zip(held).enumerate() {
            let mut tensors = Vec::with_capacity(optimiser.parts().len());
            for part in optimiser.parts() {
                if let Some(own) = found.remove(&entry(name, part)) {
                    tensors.push(self.tensor_of(&entry(name, part), held, &own)?);
                }
            }
            let steps = found.remove(&entry(name, STEPS));
            if tensors.is_empty() && steps.is_none() {
                continue;
            }
            let steps = steps.map_or(Some(0), |steps| counted(&steps));
            let (true, Some(steps)) = (tensors.len() == optimiser.parts().len(), steps) else {
                let what = format!("the optimiser's state of parameter `{name}` is not complete");
                return Err(self.error(what));
            };
            states.push(ParameterState { parameter: ParamId::new(index), steps, tensors });
        }
        Ok(states)
    }
}

/// The name of one tensor of an optimiser.
pub(crate) fn entry(parameter: &str, part: &str) -> String {
    format!("{OPTIMISER}{parameter}.{part}")
}

/// What an optimiser keeps, by the names of its parameters, and which parameter each is of.
///
/// # Errors
/// A state of a parameter that has no name here; a name that begins as the optimiser's do.
pub(crate) fn kept<T: Tensor>(
    names: &[String],
    optimiser: &impl OptimiserState<T>,
) -> Result<Vec<(ParamId, String, Numbers)>> {
    if let Some(name) = names.iter().find(|name| name.starts_with(OPTIMISER)) {
        return Err(Error::misuse(format!(
            "parameter `{name}` cannot go with an optimiser, whose entries begin with `{OPTIMISER}`"
        )));
    }
    let mut all = Vec::new();
    for ParameterState { parameter, steps, tensors } in optimiser.parameter_states() {
        let name = names.get(parameter.index()).ok_or_else(|| {
            Error::misuse(format!(
                "the optimiser has a state of parameter {}, which is not in this graph",
                parameter.index()
            ))
        })?;
        for (part, tensor) in optimiser.parts().iter().zip(&tensors) {
            all.push((parameter, entry(name, part), Numbers::of(tensor)));
        }
        if steps > 0 {
            let steps = Numbers { shape: vec![1], numbers: vec![f64::from(steps)] };
            all.push((parameter, entry(name, STEPS), steps));
        }
    }
    Ok(all)
}

/// A count of steps, if it is one.
fn counted(found: &Numbers) -> Option<u32> {
    match (found.shape.as_slice(), found.numbers.as_slice()) {
        ([1], &[steps]) if steps >= 1.0 && steps <= f64::from(i32::MAX) && steps.fract() == 0.0 => {
            Some(steps as u32)
        }
        _ => None,
    }
}
