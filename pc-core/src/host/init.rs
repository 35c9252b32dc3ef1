//! Starting values for parameters.

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use crate::{
    Result,
    host::{Activation, Element, HostTensor},
};

/// Seeded starting values for weights: uniform in `+-sqrt(3 gain^2 / fan_in)`, so that the variance
/// is `gain^2 / fan_in`, with `gain^2 = 2` below relu and its like and 1 elsewhere; biases start at
/// 0.
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
    ///
    /// # Errors
    /// There is not enough memory for them.
    pub fn uniform<F: Element>(&mut self, shape: &[usize], bound: f64) -> Result<HostTensor<F>> {
        let mut tensor = HostTensor::zeroed(shape)?;
        for x in tensor.data_mut() {
            *x = F::of(self.rng.random_range(-1.0..=1.0) * bound);
        }
        Ok(tensor)
    }

    /// A weight with `fan_in` inputs for each output, followed by `activation`.
    ///
    /// # Errors
    /// There is not enough memory for it.
    pub fn weight<F: Element>(
        &mut self,
        shape: &[usize],
        fan_in: usize,
        activation: Activation,
    ) -> Result<HostTensor<F>> {
        let gain = match activation {
            Activation::Relu
            | Activation::LeakyRelu(_)
            | Activation::Gelu
            | Activation::Silu
            | Activation::Softplus => 2.0,
            Activation::Identity | Activation::Tanh | Activation::Sigmoid => 1.0,
        };
        self.uniform(shape, (3.0 * gain / fan_in.max(1) as f64).sqrt())
    }
}
