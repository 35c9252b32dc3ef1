//! A chain as a graph, and its relaxation.

use pc_core::{
    Clamps, Graph, Relaxation, VertexId,
    host::{Activate, Activation, Chain, HostTensor, HostVertex, Linear},
};

use crate::{
    commands::gradients::{Findings, Net, Number, Ways},
    error::CommandError,
};

/// Runs a schedule on a net.
pub(super) fn compute<F: Number>(net: Net<F>, ways: &Ways) -> Result<Findings<F>, CommandError> {
    let count = net.layers.len();
    let (mut graph, layers, clamps) = build(net, ways.activation)?;
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
    let mut gradients = Vec::with_capacity(count);
    let mut values = Vec::with_capacity(count);
    for (l, vertex) in layers.iter().enumerate() {
        // What no error has reached has no gradient: it is zero.
        let gradient = |name: &str| -> Result<HostTensor<F>, CommandError> {
            let id = graph.parameter(&format!("layers.{l}.{name}"))?;
            let zero = || HostTensor::zeroed(graph.parameters()[id.index()].dims());
            Ok(relaxation.gradients().get(id).cloned().unwrap_or_else(zero))
        };
        gradients.push((gradient("weight")?, gradient("bias")?));
        values.extend(state.value(&graph, *vertex));
    }
    Ok(Findings { gradients, energy, values, schedule })
}

/// A chain with its layers and what is held.
pub(in crate::backends) type Built<F> = (Graph<HostTensor<F>>, Vec<VertexId>, Clamps<HostTensor<F>>);

/// The chain of dense layers that a net of `gradients` is.
pub(in crate::backends) fn build<F: Number>(net: Net<F>, activation: Activation) -> Result<Built<F>, CommandError> {
    let mut builder = Graph::builder();
    let input = builder.input("x", &net.x.dims()[1..])?;
    let last = net.layers.len() - 1;
    let mut layers = Vec::with_capacity(net.layers.len());
    let mut below = input;
    for (l, (weight, bias)) in net.layers.into_iter().enumerate() {
        let weight = builder.parameter(&format!("layers.{l}.weight"), weight)?;
        let bias = builder.parameter(&format!("layers.{l}.bias"), bias)?;
        let linear: HostVertex<F> = Box::new(Linear::new());
        let vertex = if l == last || activation == Activation::Identity {
            linear
        } else {
            Box::new(Chain::new(vec![linear, Box::new(Activate(activation))])?)
        };
        below = builder.vertex(&format!("layers.{l}"), vertex, &[below], &[weight, bias])?;
        layers.push(below);
    }
    Ok((builder.build()?, layers, Clamps::new().hold(input, net.x).hold(below, net.y)))
}
