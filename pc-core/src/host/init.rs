//! Starting values for parameters.

use std::sync::Arc;

use rand::{SeedableRng, rngs::ChaCha8Rng};

use crate::{
    Error, Result,
    host::{
        Activation, Draws, Element, HostTensor,
        starting::{Sizes, Starting, StartingRule},
    },
};

/// Seeded starting values for weights and biases, by the rule [`Starting::Gain`] unless another is
/// set.
///
/// # Example
/// ```
/// use pc_core::host::{Activation, HostTensor, Init, Starting};
/// let mut init = Init::new(7).with_rule(Starting::XavierNormal);
/// let w: HostTensor<f32> = init.weight(&[5, 3], 3, Activation::Tanh)?;
/// let mut again = Init::new(7).with_rule(Starting::XavierNormal);
/// assert_eq!(again.weight(&[5, 3], 3, Activation::Tanh)?, w);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Init {
    rng: ChaCha8Rng,
    rule: Arc<dyn StartingRule>,
}

impl Init {
    /// From a seed: the same seed gives the same weights.
    pub fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), rule: Arc::new(Starting::default()) }
    }

    /// By this rule, where a layer has none of its own. An embedding is to it a weight with a
    /// fan-in of 1. Recurrent cells and self-attention start their biases at 0 under every rule,
    /// and normalisations their gains at 1.
    #[must_use]
    pub fn with_rule(mut self, rule: impl StartingRule + 'static) -> Self {
        self.rule = Arc::new(rule);
        self
    }

    /// Uniform draws in `[-bound, bound]`, whatever the rule.
    ///
    /// # Errors
    /// There is not enough memory for them.
    pub fn uniform<F: Element>(&mut self, shape: &[usize], bound: f64) -> Result<HostTensor<F>> {
        let mut tensor = HostTensor::zeroed(shape)?;
        let mut draws = Draws { rng: &mut self.rng };
        for x in tensor.data_mut() {
            *x = F::of(draws.uniform() * bound);
        }
        Ok(tensor)
    }

    /// A weight with `fan_in` inputs for each output, next to `activation`.
    ///
    /// # Errors
    /// There is not enough memory for it.
    pub fn weight<F: Element>(
        &mut self,
        shape: &[usize],
        fan_in: usize,
        activation: Activation,
    ) -> Result<HostTensor<F>> {
        let rule = Arc::clone(&self.rule);
        self.weight_by(&*rule, shape, fan_in, activation)
    }

    /// The bias of a weight with `fan_in` inputs for each output, next to `activation`.
    ///
    /// # Errors
    /// There is not enough memory for it.
    pub fn bias<F: Element>(
        &mut self,
        shape: &[usize],
        fan_in: usize,
        activation: Activation,
    ) -> Result<HostTensor<F>> {
        let rule = Arc::clone(&self.rule);
        self.bias_by(&*rule, shape, fan_in, activation)
    }

    /// As [`Init::weight`], by this rule.
    pub(super) fn weight_by<F: Element>(
        &mut self,
        rule: &dyn StartingRule,
        shape: &[usize],
        fan_in: usize,
        activation: Activation,
    ) -> Result<HostTensor<F>> {
        let others = shape.iter().enumerate().filter(|(axis, _)| *axis != 1);
        let fan_out = others.fold(1, |all: usize, (_, size)| all.saturating_mul(*size));
        let of = Sizes { shape, fan_in, fan_out, activation };
        self.start(shape, |draws, numbers| rule.weight(&of, draws, numbers))
    }

    /// As [`Init::bias`], by this rule.
    pub(super) fn bias_by<F: Element>(
        &mut self,
        rule: &dyn StartingRule,
        shape: &[usize],
        fan_in: usize,
        activation: Activation,
    ) -> Result<HostTensor<F>> {
        let fan_out = shape.iter().fold(1, |all: usize, size| all.saturating_mul(*size));
        let of = Sizes { shape, fan_in, fan_out, activation };
        self.start(shape, |draws, numbers| rule.bias(&of, draws, numbers))
    }

    fn start<F: Element>(
        &mut self,
        shape: &[usize],
        rule: impl FnOnce(&mut Draws<'_>, &mut [f64]),
    ) -> Result<HostTensor<F>> {
        let mut tensor = HostTensor::zeroed(shape)?;
        let count = tensor.data().len();
        let mut numbers = Vec::new();
        numbers.try_reserve_exact(count).map_err(|_| {
            Error::shape(format!("there is no memory for the {count} numbers of shape {shape:?}"))
        })?;
        // What a rule leaves out is refused with the parameter's name.
        numbers.resize(count, f64::NAN);
        rule(&mut Draws { rng: &mut self.rng }, &mut numbers);
        tensor.data_mut().iter_mut().zip(numbers).for_each(|(x, number)| *x = F::of(number));
        Ok(tensor)
    }
}
