//! A linear map of several parents.

use crate::{
    Error, Result,
    host::{
        Element, HostTensor, Linear,
        parts::{part, part_pulled},
    },
    structure::Structure,
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu = W_0 v_0 + W_1 v_1 + ... + b` over the last axes, with a weight `W_k [out, in_k]` for each
/// parent and, where there is a bias, `b [out]` after them. Parents agree on the axes before the
/// last, which count as batch. A gate of a recurrent cell is one of these and an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearMany {
    parents: usize,
    bias: bool,
}

/// The slot of one parent's part of the result.
const PART: usize = 0;

impl LinearMany {
    /// Of so many parents, with a bias.
    pub fn new(parents: usize) -> Self {
        Self { parents, bias: true }
    }

    /// Of so many parents, without a bias.
    pub fn without_bias(parents: usize) -> Self {
        Self { parents, bias: false }
    }

    /// The linear map of parent `k` and the end of its parameters, which begin at `k`: the last has
    /// the bias.
    fn link(&self, k: usize) -> (Linear, usize) {
        if self.bias && k + 1 == self.parents {
            (Linear::new(), k + 2)
        } else {
            (Linear::without_bias(), k + 1)
        }
    }
}

impl<F: Element> Vertex<HostTensor<F>> for LinearMany {
    fn kind(&self) -> &str {
        "linear_many"
    }

    fn structure(&self) -> Structure {
        let map = |k| Structure::Linear { bias: self.bias && k + 1 == self.parents };
        Structure::SumOf((0..self.parents).map(map).collect())
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        if parents.is_empty() || parents.len() != self.parents {
            return Err(Error::graph(format!(
                "a linear_many vertex for {} parents has {}",
                self.parents,
                parents.len()
            )));
        }
        let mut common: Option<Vec<usize>> = None;
        for (k, parent) in parents.iter().enumerate() {
            let (link, end) = self.link(k);
            let own = parameters.get(k..end).ok_or_else(|| {
                Error::graph(format!("a linear_many vertex has too few parameters for parent {k}"))
            })?;
            let shape = Vertex::<HostTensor<F>>::shape(&link, &[parent], own);
            let shape = shape.map_err(|error| {
                Error::new(error.kind(), format!("the map of parent {k}: {error}"))
            })?;
            match &common {
                Some(common) if *common != shape => {
                    return Err(Error::shape(format!(
                        "the map of parent {k} has the shape {shape:?}, that of parent 0 {common:?}"
                    )));
                }
                _ => common = Some(shape),
            }
        }
        Ok(common.unwrap_or_default())
    }

    fn parameters(&self) -> usize {
        self.parents + usize::from(self.bias)
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let mut other = cache.take(PART, output.dims(), output);
        for k in 0..self.parents {
            let (link, end) = self.link(k);
            let to = if k == 0 { &mut *output } else { &mut other };
            link.predict(&part(at, k..k + 1, k..end), cache.child(k), to)?;
            if k > 0 {
                output.axpy(1.0, &other);
            }
        }
        cache.put(PART, other);
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let mut other = cache.take(PART, output.dims(), output);
        let mut first = true;
        for k in 0..self.parents {
            if !at.plastic() && at.displacement(k).is_none() {
                continue;
            }
            let (link, end) = self.link(k);
            let to = if first { &mut *output } else { &mut other };
            link.change(&part(at, k..k + 1, k..end), cache.child(k), predicted, to)?;
            if !first {
                output.axpy(1.0, &other);
            }
            first = false;
        }
        if first {
            output.fill(0.0);
        }
        cache.put(PART, other);
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        for k in 0..self.parents {
            let (link, end) = self.link(k);
            link.pull(
                &part(at, k..k + 1, k..end),
                cache.child(k),
                cotangent,
                &mut part_pulled(pulled, k..k + 1, k..end),
            )?;
        }
        Ok(())
    }
}
