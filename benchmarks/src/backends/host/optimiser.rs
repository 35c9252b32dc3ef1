//! The optimisers by name, with their state as named tensors.

use pc_core::{
    Gradients, Graph, ParamId, Result,
    host::{Adam, Element, HostTensor, Sgd},
};

use crate::contract::{MOMENTS, OptimiserKind, OptimiserState, VELOCITY, details::Weights};

#[derive(Clone, Debug)]
enum Stepper<F> {
    Adam(Adam<F>),
    Sgd(Sgd<F>),
}

/// An optimiser of the host backend, and how often it applies gradients.
#[derive(Clone, Debug)]
pub(super) struct Optimiser<F> {
    stepper: Stepper<F>,
    updates: usize,
}

impl<F: Element> Optimiser<F> {
    /// `weights` has every number that the kind takes ([`Weights::usual`]).
    pub(super) fn new(kind: OptimiserKind, rate: f64, weights: &Weights) -> Result<Self> {
        let Weights { momentum, first, second, weight_decay, .. } = *weights;
        let number = |number: Option<f64>| number.unwrap_or_default();
        let (clipping, updates) = (weights.clipping()?, weights.updates());
        if kind == OptimiserKind::Sgd {
            let sgd = Sgd::new(rate)?.with_momentum(number(momentum))?;
            let sgd = sgd.with_decay(number(weight_decay))?;
            let stepper = Stepper::Sgd(match clipping {
                Some(clip) => sgd.with_clipping(clip),
                None => sgd,
            });
            return Ok(Self { stepper, updates });
        }
        let mut adam = Adam::new(rate)?;
        if let (Some(first), Some(second)) = (first, second) {
            adam = adam.with_betas(first, second)?;
        }
        if kind == OptimiserKind::AdamW {
            adam = adam.with_decay(number(weight_decay))?;
        }
        let stepper = Stepper::Adam(match clipping {
            Some(clip) => adam.with_clipping(clip),
            None => adam,
        });
        Ok(Self { stepper, updates })
    }

    /// Another rate from here on.
    pub(super) fn set_rate(&mut self, rate: f64) -> Result<()> {
        match &mut self.stepper {
            Stepper::Adam(adam) => adam.set_rate(rate),
            Stepper::Sgd(sgd) => sgd.set_rate(rate),
        }
    }

    pub(super) fn step(
        &mut self,
        parameters: &mut [HostTensor<F>],
        gradients: &Gradients<HostTensor<F>>,
    ) -> Result<()> {
        for _ in 0..self.updates {
            match &mut self.stepper {
                Stepper::Adam(adam) => adam.step(parameters, gradients)?,
                Stepper::Sgd(sgd) => sgd.step(parameters, gradients)?,
            }
        }
        Ok(())
    }

    /// The running tensors and the step counts by parameter.
    pub(super) fn save(&self, graph: &Graph<HostTensor<F>>) -> OptimiserState<F> {
        let names = graph.topology().parameter_names();
        let mut saved = OptimiserState::default();
        match &self.stepper {
            Stepper::Adam(adam) => {
                for (parameter, first, second, count) in adam.state() {
                    saved.put(&names[parameter.index()], MOMENTS, [first.clone(), second.clone()]);
                    saved.counts.insert(names[parameter.index()].clone(), count);
                }
            }
            Stepper::Sgd(sgd) => {
                for (parameter, velocity) in sgd.state() {
                    saved.put(&names[parameter.index()], VELOCITY, [velocity.clone()]);
                }
            }
        }
        saved
    }

    /// Takes back what [`Optimiser::save`] gave.
    ///
    /// # Errors
    /// As [`OptimiserState::take`]; what is of no parameter.
    pub(super) fn restore(
        &mut self,
        graph: &Graph<HostTensor<F>>,
        mut saved: OptimiserState<F>,
    ) -> Result<(), String> {
        for (index, (name, parameter)) in graph.named_parameters().enumerate() {
            match &mut self.stepper {
                Stepper::Adam(adam) => {
                    if let Some(([first, second], count)) =
                        saved.take_moments(name, parameter.dims())?
                    {
                        adam.restore(ParamId::new(index), &first, &second, count);
                    }
                }
                Stepper::Sgd(sgd) => {
                    if let Some([velocity]) = saved.take(name, VELOCITY, parameter.dims())? {
                        sgd.restore(ParamId::new(index), &velocity);
                    }
                }
            }
        }
        saved.finish()
    }
}
