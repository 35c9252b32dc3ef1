//! Stochastic gradient descent.

use super::{Clipped, defined, fraction, not_negative, positive, running};
use crate::{
    Clipping, Result,
    gradients::Gradients,
    host::{Element, HostTensor},
    optimiser_state::{OptimiserState, ParameterState, check_states},
    tensor::Tensor,
    topology::ParamId,
};

/// Stochastic gradient descent: `u <- m u + g + w theta`, `theta <- theta - rate u`.
///
/// # Example
/// ```
/// use pc_core::host::Sgd;
/// let sgd = Sgd::<f32>::new(0.1)?.with_momentum(0.9)?;
/// assert!(Sgd::<f32>::new(0.0).is_err());
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sgd<F> {
    rate: f64,
    momentum: f64,
    decay: f64,
    clipped: Clipped<F>,
    velocity: Vec<Option<HostTensor<F>>>,
}

impl<F: Element> Sgd<F> {
    /// Plain, at this rate.
    ///
    /// # Errors
    /// A rate that is not a positive number.
    pub fn new(rate: f64) -> Result<Self> {
        Ok(Self {
            rate: positive("weights' rate", rate)?,
            momentum: 0.0,
            decay: 0.0,
            clipped: Clipped::default(),
            velocity: Vec::new(),
        })
    }

    /// Another rate from here on, for a rate that falls.
    ///
    /// # Errors
    /// A rate that is not a positive number.
    pub fn set_rate(&mut self, rate: f64) -> Result<()> {
        self.rate = positive("weights' rate", rate)?;
        Ok(())
    }

    /// With momentum `m`.
    ///
    /// # Errors
    /// Outside `[0, 1)`.
    pub fn with_momentum(self, momentum: f64) -> Result<Self> {
        Ok(Self { momentum: fraction("momentum", momentum)?, ..self })
    }

    /// With weight decay `w`.
    ///
    /// # Errors
    /// A negative number.
    pub fn with_decay(self, decay: f64) -> Result<Self> {
        Ok(Self { decay: not_negative("weight decay", decay)?, ..self })
    }

    /// With a bound on the gradients of each step. The caller's gradients stay as they are.
    #[must_use]
    pub fn with_clipping(self, clipping: Clipping) -> Self {
        Self { clipped: Clipped::by(clipping), ..self }
    }

    /// Moves the parameters that have a gradient; the others, and their momentum, stay as they are.
    ///
    /// # Errors
    /// Gradients of other shapes; a gradient that is not finite. Nothing has moved then.
    pub fn step(
        &mut self,
        parameters: &mut [HostTensor<F>],
        gradients: &Gradients<HostTensor<F>>,
    ) -> Result<()> {
        let gradients = self.clipped.of(gradients)?;
        for (index, parameter, gradient) in defined(parameters, gradients)? {
            if self.momentum == 0.0 {
                parameter.scale(1.0 - self.rate * self.decay);
                parameter.axpy(-self.rate, gradient);
                continue;
            }
            let velocity = running(&mut self.velocity, index, gradient);
            velocity.scale(self.momentum);
            velocity.axpy(1.0, gradient);
            velocity.axpy(self.decay, parameter);
            parameter.axpy(-self.rate, velocity);
        }
        Ok(())
    }

    /// The running steps, by parameter, for a checkpoint. Without momentum there are none.
    pub fn state(&self) -> impl Iterator<Item = (ParamId, &HostTensor<F>)> {
        self.velocity
            .iter()
            .enumerate()
            .filter_map(|(index, velocity)| Some((ParamId::new(index), velocity.as_ref()?)))
    }

    /// Puts back what [`Sgd::state`] gave for one parameter.
    pub fn restore(&mut self, parameter: ParamId, velocity: &HostTensor<F>) {
        running(&mut self.velocity, parameter.index(), velocity).clone_from(velocity);
    }
}

impl<F: Element> OptimiserState<HostTensor<F>> for Sgd<F> {
    fn kind(&self) -> &'static str {
        "sgd"
    }

    fn parts(&self) -> &'static [&'static str] {
        if self.momentum == 0.0 { &[] } else { &["velocity"] }
    }

    fn parameter_states(&self) -> Vec<ParameterState<HostTensor<F>>> {
        let states = self.state().map(|(parameter, velocity)| ParameterState {
            parameter,
            steps: 0,
            tensors: vec![velocity.clone()],
        });
        states.collect()
    }

    fn set_parameter_states(&mut self, states: Vec<ParameterState<HostTensor<F>>>) -> Result<()> {
        check_states("sgd", self.parts().len(), false, &states)?;
        self.velocity.clear();
        for state in &states {
            for velocity in &state.tensors {
                self.restore(state.parameter, velocity);
            }
        }
        Ok(())
    }
}
