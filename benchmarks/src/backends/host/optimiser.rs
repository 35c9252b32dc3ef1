//! The optimisers by name, with their state as named tensors.

use std::collections::BTreeMap;

use pc_core::{
    Gradients, Graph, Result,
    host::{Adam, Element, HostTensor, Sgd},
};

use crate::commands::train::OptimiserKind;

/// Momentum of `sgd`.
const MOMENTUM: f64 = 0.9;

/// Weight decay of `adamw`.
const DECAY: f64 = 0.01;

/// An optimiser of the host backend.
#[derive(Clone, Debug)]
pub(super) enum Optimiser<F> {
    Adam(Adam<F>),
    Sgd(Sgd<F>),
}

impl<F: Element> Optimiser<F> {
    pub(super) fn new(kind: OptimiserKind, rate: f64) -> Result<Self> {
        Ok(match kind {
            OptimiserKind::Adam => Self::Adam(Adam::new(rate)?),
            OptimiserKind::AdamW => Self::Adam(Adam::new(rate)?.with_decay(DECAY)?),
            OptimiserKind::Sgd => Self::Sgd(Sgd::new(rate)?.with_momentum(MOMENTUM)?),
        })
    }

    /// Another rate from here on.
    pub(super) fn set_rate(&mut self, rate: f64) -> Result<()> {
        match self {
            Self::Adam(adam) => adam.set_rate(rate),
            Self::Sgd(sgd) => sgd.set_rate(rate),
        }
    }

    pub(super) fn step(&mut self, parameters: &mut [HostTensor<F>], gradients: &Gradients<HostTensor<F>>) -> Result<()> {
        match self {
            Self::Adam(adam) => adam.step(parameters, gradients),
            Self::Sgd(sgd) => sgd.step(parameters, gradients),
        }
    }

    /// The running tensors as `PARAMETER.first` and so on, and the step counts by parameter.
    pub(super) fn save(&self, graph: &Graph<HostTensor<F>>, tensors: &mut BTreeMap<String, HostTensor<F>>) -> BTreeMap<String, i32> {
        let names = graph.topology().parameter_names();
        let mut counts = BTreeMap::new();
        match self {
            Self::Adam(adam) => {
                for (index, first, second, count) in adam.state() {
                    tensors.insert(format!("{}.first", names[index]), first.clone());
                    tensors.insert(format!("{}.second", names[index]), second.clone());
                    counts.insert(names[index].clone(), count);
                }
            }
            Self::Sgd(sgd) => {
                for (index, velocity) in sgd.state() {
                    tensors.insert(format!("{}.velocity", names[index]), velocity.clone());
                }
            }
        }
        counts
    }

    /// Takes back what [`Optimiser::save`] gave, out of `tensors`.
    ///
    /// # Errors
    /// A tensor of another shape than its parameter, or one of a pair without the other; the message has no file's name.
    pub(super) fn restore(
        &mut self,
        graph: &Graph<HostTensor<F>>,
        tensors: &mut BTreeMap<String, HostTensor<F>>,
        counts: &BTreeMap<String, i32>,
    ) -> Result<(), String> {
        for (index, (name, parameter)) in graph.named_parameters().enumerate() {
            let mut take = |part: &str| match tensors.remove(&format!("{name}.{part}")) {
                Some(tensor) if tensor.dims() != parameter.dims() => {
                    Err(format!("the optimiser's state for `{name}` has shape {:?}, not {:?}", tensor.dims(), parameter.dims()))
                }
                tensor => Ok(tensor),
            };
            match self {
                Self::Adam(adam) => match (take("first")?, take("second")?, counts.get(name)) {
                    (Some(first), Some(second), Some(count)) => adam.restore(index, &first, &second, *count),
                    (None, None, None) => {}
                    _ => return Err(format!("the optimiser's state for `{name}` is not complete")),
                },
                Self::Sgd(sgd) => {
                    if let Some(velocity) = take("velocity")? {
                        sgd.restore(index, &velocity);
                    }
                }
            }
        }
        Ok(())
    }
}
