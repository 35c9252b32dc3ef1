//! What goes into a causal model, and what comes out.

use pc_core::{Error, ErrorKind, Outcome, Result, Tensor};

/// A variable of a causal model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Variable<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many numbers it has.
    pub width: usize,
    /// Its direct causes, by name.
    pub parents: &'a [&'a str],
    /// The inverse variance of its noise.
    pub precision: f64,
}

impl<'a> Variable<'a> {
    /// A variable with noise of variance 1.
    pub fn new(name: &'a str, width: usize, parents: &'a [&'a str]) -> Self {
        Self { name, width, parents, precision: 1.0 }
    }

    /// With noise of this inverse variance.
    #[must_use]
    pub fn precision(mut self, precision: f64) -> Self {
        self.precision = precision;
        self
    }
}

/// What all variables of a causal model come to, `[batch, width]` each.
#[derive(Clone, Debug)]
pub struct World<T> {
    values: Vec<(String, T)>,
    outcome: Outcome,
}

impl<T: Tensor> World<T> {
    /// Of what was found of each variable.
    pub(super) fn new<'a>(
        outcome: Outcome,
        values: impl Iterator<Item = (&'a str, Option<T>)>,
    ) -> Result<Self> {
        let found = values.map(|(name, value)| {
            let value = value.ok_or_else(|| {
                Error::new(ErrorKind::Misuse, "the relaxation left no value of it").at(name)
            })?;
            Ok((name.to_owned(), value))
        });
        Ok(Self { values: found.collect::<Result<Vec<_>>>()?, outcome })
    }

    /// A variable, by name.
    ///
    /// # Errors
    /// No variable has this name.
    pub fn get(&self, name: &str) -> Result<&T> {
        let found = self.values.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value).ok_or_else(|| {
            let names: Vec<&str> = self.values.iter().map(|(own, _)| own.as_str()).collect();
            let names = names.join(", ");
            let message = format!("no variable is called `{name}`; there are {names}");
            Error::new(ErrorKind::Graph, message)
        })
    }

    /// All variables, by name, in the order of the diagram.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &T)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How the relaxation ended that found them.
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    pub(super) fn batch(&self) -> Option<usize> {
        self.values.first().map(|(_, value)| value.batch())
    }
}
