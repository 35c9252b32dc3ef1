//! Ready layers: a vertex, its parameters, and their starting values.

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use crate::{
    Error, Result,
    graph::GraphBuilder,
    host::{Activate, Activation, Chain, Element, HostTensor, HostVertex, Linear},
    topology::VertexId,
};

/// Seeded starting values for weights: uniform in `+-sqrt(3 gain^2 / fan_in)`, so that the variance is `gain^2 / fan_in`, with `gain^2 = 2`
/// below relu and its like and 1 elsewhere; biases start at 0.
#[derive(Debug)]
pub struct Init {
    rng: ChaCha8Rng,
}

impl Init {
    /// From a seed: the same seed gives the same weights.
    pub fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Uniform draws in `[-bound, bound]`.
    pub fn uniform<F: Element>(&mut self, shape: &[usize], bound: f64) -> HostTensor<F> {
        let mut tensor = HostTensor::zeroed(shape);
        for x in tensor.data_mut() {
            *x = F::of(self.rng.random_range(-1.0..=1.0) * bound);
        }
        tensor
    }

    /// A weight with `fan_in` inputs for each output, followed by `activation`.
    pub fn weight<F: Element>(&mut self, shape: &[usize], fan_in: usize, activation: Activation) -> HostTensor<F> {
        let gain = match activation {
            Activation::Relu | Activation::LeakyRelu(_) | Activation::Gelu | Activation::Silu | Activation::Softplus => 2.0,
            Activation::Identity | Activation::Tanh | Activation::Sigmoid => 1.0,
        };
        self.uniform(shape, (3.0 * gain / fan_in.max(1) as f64).sqrt())
    }
}

/// Layers for host graphs. Each adds one vertex (with its activation inside the prediction) and the parameters `name.weight` and `name.bias`.
pub trait HostLayers<F: Element> {
    /// `f(W v + b)` over the last axis, with `outputs` rows in `W`.
    ///
    /// # Errors
    /// A name that is taken; a parent that does not fit.
    fn dense(&mut self, name: &str, parent: VertexId, outputs: usize, activation: Activation, init: &mut Init) -> Result<VertexId>;

    /// `f(v)`, element by element.
    ///
    /// # Errors
    /// A name that is taken; an unknown parent.
    fn activate(&mut self, name: &str, parent: VertexId, activation: Activation) -> Result<VertexId>;
}

/// A vertex followed by an activation, as one.
fn followed_by<F: Element>(vertex: HostVertex<F>, activation: Activation) -> Result<HostVertex<F>> {
    Ok(match activation {
        Activation::Identity => vertex,
        _ => Box::new(Chain::new(vec![vertex, Box::new(Activate(activation))])?),
    })
}

impl<F: Element> HostLayers<F> for GraphBuilder<HostTensor<F>> {
    fn dense(&mut self, name: &str, parent: VertexId, outputs: usize, activation: Activation, init: &mut Init) -> Result<VertexId> {
        let inputs = self.shape(parent)?.last().copied();
        let inputs = inputs.ok_or_else(|| Error::shape("its parent is a scalar, and has no last axis").at(name))?;
        let weight = self.parameter(&format!("{name}.weight"), init.weight(&[outputs, inputs], inputs, activation))?;
        let bias = self.parameter(&format!("{name}.bias"), HostTensor::zeroed(&[outputs]))?;
        self.vertex(name, followed_by(Box::new(Linear::new()), activation)?, &[parent], &[weight, bias])
    }

    fn activate(&mut self, name: &str, parent: VertexId, activation: Activation) -> Result<VertexId> {
        self.vertex(name, Box::new(Activate(activation)), &[parent], &[])
    }
}
