//! Sums, and constant factors.

use crate::{
    Error, Result,
    composites::{common, linear::linear_in_parent, single},
    graph::GraphTensor,
    structure::Structure,
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu = sum over k of w_k v_k`, over any number of parents of one shape; the weights are
/// constants, 1 unless given. No parameters. A residual connection is one of these.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sum {
    weights: Vec<f64>,
}

impl Sum {
    /// Every parent with weight 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// One weight for each parent.
    pub fn weighted(weights: &[f64]) -> Self {
        Self { weights: weights.to_vec() }
    }

    fn weight(&self, k: usize) -> f64 {
        self.weights.get(k).copied().unwrap_or(1.0)
    }
}

/// `to <- factor x`.
fn set_scaled<T: Tensor>(factor: f64, x: &T, to: &mut T) {
    to.copy_from(x);
    if factor != 1.0 {
        to.scale(factor);
    }
}

impl<T: GraphTensor> Vertex<T> for Sum {
    fn kind(&self) -> &str {
        "sum"
    }

    fn structure(&self) -> Structure {
        Structure::Sum { weights: self.weights.clone() }
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let shape = common("sum", parents)?;
        if !self.weights.is_empty() && self.weights.len() != parents.len() {
            return Err(Error::graph(format!(
                "a sum vertex has {} weights for {} parents",
                self.weights.len(),
                parents.len()
            )));
        }
        match self.weights.iter().find(|weight| !weight.is_finite()) {
            Some(weight) => {
                Err(Error::graph(format!("a weight of a sum vertex must be finite, not {weight}")))
            }
            None => Ok(shape),
        }
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(&self, at: &Inputs<'_, T>, _cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        at.agree()?;
        set_scaled(self.weight(0), at.value(0), output);
        for k in 1..at.len() {
            output.axpy(self.weight(k), at.value(k));
        }
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        _predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        let mut moved = (0..at.len()).filter_map(|k| Some((self.weight(k), at.displacement(k)?)));
        match moved.next() {
            Some((weight, displacement)) => set_scaled(weight, displacement, output),
            None => output.fill(0.0),
        }
        moved.for_each(|(weight, displacement)| output.axpy(weight, displacement));
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        for k in 0..at.len() {
            if let Some(force) = pulled.force(k) {
                set_scaled(self.weight(k), cotangent, force);
            }
        }
        Ok(())
    }
}

/// `mu = c v` with a constant `c`. No parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale(
    /// The constant.
    pub f64,
);

impl Scale {
    fn shape_of(&self, parent: &[usize]) -> Result<Vec<usize>> {
        if self.0.is_finite() {
            return Ok(parent.to_vec());
        }
        Err(Error::graph(format!("the factor of a scale vertex must be finite, not {}", self.0)))
    }

    fn map<T: Tensor>(&self, from: &T, to: &mut T) {
        set_scaled(self.0, from, to);
    }
}

linear_in_parent!(
    Scale,
    "scale",
    |scale: &Self| Structure::Scale(scale.0),
    Self::shape_of,
    Self::map,
    Self::map
);

/// `mu = v + p`, the same `p` for every sample (positions of a sequence, for one). Parameter: `p`,
/// of the parent's shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddParameter;

// Slots of the cache: the old parameter, for moving ones, and how far it has moved.
const OLD: usize = 0;
const MOVED: usize = 1;

/// Adds the one parameter to every sample, and keeps it where it may move.
pub(crate) fn add_parameter<T: GraphTensor>(
    at: &Inputs<'_, T>,
    cache: &mut Cache<T>,
    output: &mut T,
) {
    let parameter = at.parameter(0);
    output.add_to_samples(1.0, parameter);
    if at.plastic() {
        let mut old = cache.take_like(OLD, parameter);
        old.copy_from(parameter);
        cache.put(OLD, old);
    }
}

/// Adds to every sample how far that parameter has moved.
pub(crate) fn add_parameter_change<T: GraphTensor>(
    at: &Inputs<'_, T>,
    cache: &mut Cache<T>,
    output: &mut T,
) -> Result<()> {
    if at.plastic() {
        let parameter = at.parameter(0);
        let mut moved = cache.take_like(MOVED, parameter);
        moved.set_difference(parameter, cache.get(OLD)?);
        output.add_to_samples(1.0, &moved);
        cache.put(MOVED, moved);
    }
    Ok(())
}

/// Adds to that parameter's gradient.
pub(crate) fn learn_parameter<T: GraphTensor>(cotangent: &T, pulled: &mut Pulled<'_, T>) {
    let scale = pulled.scale();
    if let Some(gradient) = pulled.gradient(0) {
        gradient.add_samples(scale, cotangent);
    }
}

impl<T: GraphTensor> Vertex<T> for AddParameter {
    fn kind(&self) -> &str {
        "add_parameter"
    }

    fn structure(&self) -> Structure {
        Structure::AddParameter
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let parent = single("add_parameter", parents)?;
        if parameters.first().copied() != Some(parent) {
            return Err(Error::shape(format!(
                "its parameter has shape {:?}, not its parent's {parent:?}",
                parameters.first()
            )));
        }
        Ok(parent.to_vec())
    }

    fn parameters(&self) -> usize {
        1
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(&self, at: &Inputs<'_, T>, cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        at.agree()?;
        output.copy_from(at.value(0));
        add_parameter(at, cache, output);
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        _predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        match at.displacement(0) {
            Some(displacement) => output.copy_from(displacement),
            None => output.fill(0.0),
        }
        add_parameter_change(at, cache, output)
    }

    fn pull(
        &self,
        _at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            force.copy_from(cotangent);
        }
        learn_parameter(cotangent, pulled);
        Ok(())
    }
}
