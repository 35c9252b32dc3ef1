//! Vertices that combine their parents element by element: sums, and the like.

use crate::{
    Error, Result,
    host::{
        Element, HostTensor,
        parts::{accumulate, common, single},
    },
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu = sum over k of w_k v_k`, over any number of parents of one shape; the weights are
/// constants, 1 unless given. No parameters.
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

/// `to <- weight x` at first, `to <- to + weight x` then.
fn add_scaled<F: Element>(to: &mut HostTensor<F>, first: bool, weight: f64, x: &HostTensor<F>) {
    match (first, weight == 1.0) {
        (true, true) => to.data_mut().copy_from_slice(x.data()),
        (true, false) => {
            let weight = F::of(weight);
            to.data_mut().iter_mut().zip(x.data()).for_each(|(y, x)| *y = weight * *x);
        }
        (false, _) => to.axpy(weight, x),
    }
}

impl<F: Element> Vertex<HostTensor<F>> for Sum {
    fn kind(&self) -> &str {
        "sum"
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

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        for k in 0..at.len() {
            add_scaled(output, k == 0, self.weight(k), at.value(k));
        }
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let mut first = true;
        for k in 0..at.len() {
            if let Some(displacement) = at.displacement(k) {
                add_scaled(output, first, self.weight(k), displacement);
                first = false;
            }
        }
        if first {
            output.fill(0.0);
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        for k in 0..at.len() {
            if let Some(force) = pulled.force(k) {
                add_scaled(force, true, self.weight(k), cotangent);
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

impl<F: Element> Vertex<HostTensor<F>> for Scale {
    fn kind(&self) -> &str {
        "scale"
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let parent = single("scale", parents)?;
        if !self.0.is_finite() {
            return Err(Error::graph(format!(
                "the factor of a scale vertex must be finite, not {}",
                self.0
            )));
        }
        Ok(parent.to_vec())
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        add_scaled(output, true, self.0, at.value(0));
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        match at.displacement(0) {
            Some(displacement) => add_scaled(output, true, self.0, displacement),
            None => output.fill(0.0),
        }
        Ok(())
    }

    fn pull(
        &self,
        _at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            add_scaled(force, true, self.0, cotangent);
        }
        Ok(())
    }
}

/// `mu = v + p`, the same `p` for every sample (positions of a sequence, for one). Parameter: `p`,
/// of the parent's shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddParameter;

/// The slot of the old parameter, for moving ones.
const OLD: usize = 0;

impl<F: Element> Vertex<HostTensor<F>> for AddParameter {
    fn kind(&self) -> &str {
        "add_parameter"
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

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let (x, p) = (at.value(0), at.parameter(0));
        let length = p.data().len().max(1);
        for (y, x) in output.data_mut().chunks_exact_mut(length).zip(x.data().chunks_exact(length))
        {
            y.iter_mut().zip(x.iter().zip(p.data())).for_each(|(y, (x, p))| *y = *x + *p);
        }
        if at.plastic() {
            cache.slot(OLD, p.dims(), p).copy_from(p);
        }
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        match at.displacement(0) {
            Some(displacement) => output.copy_from(displacement),
            None => output.fill(0.0),
        }
        if at.plastic() {
            let (new, old) = (at.parameter(0).data(), cache.get(OLD)?.data());
            for y in output.data_mut().chunks_exact_mut(new.len().max(1)) {
                y.iter_mut().zip(new.iter().zip(old)).for_each(|(y, (new, old))| *y += *new - *old);
            }
        }
        Ok(())
    }

    fn pull(
        &self,
        _at: &Inputs<'_, HostTensor<F>>,
        _cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            force.copy_from(cotangent);
        }
        let scale = F::of(pulled.scale());
        if let Some(gradient) = pulled.gradient(0) {
            let length = gradient.data().len().max(1);
            for u in cotangent.data().chunks_exact(length) {
                accumulate(gradient.data_mut(), false, scale, u.iter().copied());
            }
        }
        Ok(())
    }
}
