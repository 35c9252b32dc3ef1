//! A chain of dense layers as an explicit graph of any backend's tensors, and its relaxation: what `gradients` asks for.

use pc_core::{
    Clamps, Graph, Relaxation, Tensor, VertexId,
    host::{Activation, HostTensor},
};

use crate::{
    commands::gradients::{Findings, Net, Number, Ways},
    error::CommandError,
};

/// What a chain is made of on one backend.
pub(super) struct Parts<T: Tensor, F> {
    /// `f(W v + b)` with a weight `[out, in]` and a bias `[out]`.
    pub(super) layer: fn(Activation) -> pc_core::Result<T::Vertex>,
    /// The backend's tensor of these numbers.
    pub(super) tensor: fn(HostTensor<F>) -> pc_core::Result<T>,
}

/// Runs a schedule on a net.
pub(super) fn compute<T: Tensor, F: Number>(net: Net<F>, ways: &Ways, parts: &Parts<T, F>) -> Result<Findings<F>, CommandError> {
    let (mut graph, layers, clamps) = build(net, ways.activation, parts)?;
    let mut relaxation = Relaxation::new(&graph, ways.gradients.clone())?;
    let outcome = relaxation.run(&mut graph, &clamps)?;
    Ways::finite(&outcome, relaxation.schedule())?;
    let schedule = format!("{} by {}", relaxation.schedule(), relaxation.evaluation());
    let (energy, watched) = match ways.watched.clone() {
        None => (outcome.trace, None),
        Some(schedule) => {
            let mut watched = Relaxation::new(&graph, schedule)?;
            let outcome = watched.run(&mut graph, &clamps)?;
            Ways::finite(&outcome, watched.schedule())?;
            (outcome.trace, Some(watched))
        }
    };
    let state = watched.as_ref().unwrap_or(&relaxation);
    let mut gradients = Vec::with_capacity(layers.len());
    let mut values = Vec::with_capacity(layers.len());
    for (l, vertex) in layers.iter().enumerate() {
        // What no error has reached has no gradient: it is zero.
        let gradient = |name: &str| -> Result<HostTensor<F>, CommandError> {
            let id = graph.parameter(&format!("layers.{l}.{name}"))?;
            match relaxation.gradients().get(id) {
                Some(gradient) => numbers(gradient),
                None => Ok(HostTensor::zeroed(&graph.parameters()[id.index()].shape())),
            }
        };
        gradients.push((gradient("weight")?, gradient("bias")?));
        if let Some(value) = state.value(&graph, *vertex) {
            values.push(numbers(&value)?);
        }
    }
    Ok(Findings { gradients, energy, values, schedule })
}

/// The numbers of a backend's tensor.
fn numbers<T: Tensor, F: Number>(tensor: &T) -> Result<HostTensor<F>, CommandError> {
    Ok(HostTensor::new(&tensor.shape(), tensor.to_vec().into_iter().map(F::of).collect())?)
}

type Built<T> = (Graph<T>, Vec<VertexId>, Clamps<T>);

fn build<T: Tensor, F: Number>(net: Net<F>, activation: Activation, parts: &Parts<T, F>) -> Result<Built<T>, CommandError> {
    let mut builder = Graph::builder();
    let input = builder.input("x", &net.x.dims()[1..])?;
    let last = net.layers.len() - 1;
    let mut layers = Vec::with_capacity(net.layers.len());
    let mut below = input;
    for (l, (weight, bias)) in net.layers.into_iter().enumerate() {
        let weight = builder.parameter(&format!("layers.{l}.weight"), (parts.tensor)(weight)?)?;
        let bias = builder.parameter(&format!("layers.{l}.bias"), (parts.tensor)(bias)?)?;
        let vertex = (parts.layer)(if l == last { Activation::Identity } else { activation })?;
        below = builder.vertex(&format!("layers.{l}"), vertex, &[below], &[weight, bias])?;
        layers.push(below);
    }
    let clamps = Clamps::new().hold(input, (parts.tensor)(net.x)?).hold(below, (parts.tensor)(net.y)?);
    Ok((builder.build()?, layers, clamps))
}
