//! A chain of dense layers as an explicit graph of any backend's tensors, and its relaxation: what
//! `gradients` asks for.

use pc_core::{
    Clamps, Graph, Network, ParamId, Relaxation, Tensor, VertexId,
    backend::GraphTensor,
    host::{Activation, HostTensor},
};

use crate::{
    contract::gradients::{Findings, LayerChain, Number, Ways},
    error::CommandError,
};

/// What a chain is made of on one backend.
pub(super) struct Parts<T: GraphTensor, F> {
    /// `f(W v + b)` with a weight `[out, in]` and a bias `[out]`.
    pub(super) layer: fn(Activation) -> pc_core::Result<T::Vertex>,
    /// The backend's tensor of these numbers.
    pub(super) tensor: fn(HostTensor<F>) -> pc_core::Result<T>,
}

/// What a chain's relaxation needs besides the network.
pub(super) struct Chain<T> {
    /// The layers, each with the shapes of its weight and bias: parameters 2 l and 2 l + 1 of the
    /// network.
    pub(super) layers: Vec<(VertexId, [Vec<usize>; 2])>,
    /// The input and the output, held.
    pub(super) clamps: Clamps<T>,
}

/// Runs a schedule on a net.
pub(super) fn compute<T: GraphTensor, F: Number>(
    net: LayerChain<F>,
    ways: &Ways,
    parts: &Parts<T, F>,
) -> Result<Findings<F>, CommandError> {
    let (mut graph, chain) = build(net, ways.activation, parts)?;
    relax(&mut graph, &chain, ways)
}

/// The graph of a net.
pub(super) fn build<T: GraphTensor, F: Number>(
    net: LayerChain<F>,
    activation: Activation,
    parts: &Parts<T, F>,
) -> Result<(Graph<T>, Chain<T>), CommandError> {
    let mut builder = Graph::builder();
    let input = builder.input("x", &net.x.dims()[1..])?;
    let last = net.layers.len() - 1;
    let mut layers = Vec::with_capacity(net.layers.len());
    let mut below = input;
    for (l, (weight, bias)) in net.layers.into_iter().enumerate() {
        let shapes = [weight.dims().to_vec(), bias.dims().to_vec()];
        let weight = builder.parameter(&format!("layers.{l}.weight"), (parts.tensor)(weight)?)?;
        let bias = builder.parameter(&format!("layers.{l}.bias"), (parts.tensor)(bias)?)?;
        let vertex = (parts.layer)(if l == last { Activation::Identity } else { activation })?;
        below = builder.vertex(&format!("layers.{l}"), vertex, &[below], &[weight, bias])?;
        layers.push((below, shapes));
    }
    let clamps =
        Clamps::new().hold(input, (parts.tensor)(net.x)?).hold(below, (parts.tensor)(net.y)?);
    Ok((builder.build()?, Chain { layers, clamps }))
}

/// Runs a schedule on a network that was made of a chain's graph.
pub(super) fn relax<N: Network, F: Number>(
    network: &mut N,
    chain: &Chain<N::Tensor>,
    ways: &Ways,
) -> Result<Findings<F>, CommandError> {
    let mut relaxation = Relaxation::new(network, ways.gradients.clone())?;
    let outcome = relaxation.run(network, &chain.clamps)?;
    Ways::finite(&outcome, relaxation.schedule())?;
    let schedule = format!("{} by {}", relaxation.schedule(), relaxation.evaluation());
    let (energy, watched) = match ways.watched.clone() {
        None => (outcome.trace, None),
        Some(schedule) => {
            let mut watched = Relaxation::new(network, schedule)?;
            let outcome = watched.run(network, &chain.clamps)?;
            Ways::finite(&outcome, watched.schedule())?;
            (outcome.trace, Some(watched))
        }
    };
    let state = watched.as_ref().unwrap_or(&relaxation);
    let mut gradients = Vec::with_capacity(chain.layers.len());
    let mut values = Vec::with_capacity(chain.layers.len());
    for (l, (vertex, [weight, bias])) in chain.layers.iter().enumerate() {
        // What no error has reached has no gradient: it is zero.
        let gradient = |parameter: usize, shape: &[usize]| match relaxation
            .gradients()
            .get(ParamId::new(parameter))
        {
            Some(gradient) => numbers(gradient),
            None => Ok(HostTensor::zeroed(shape)?),
        };
        gradients.push((gradient(2 * l, weight)?, gradient(2 * l + 1, bias)?));
        if let Some(value) = state.value(network, *vertex) {
            values.push(numbers(&value)?);
        }
    }
    Ok(Findings { gradients, energy, values, schedule })
}

/// The numbers of a backend's tensor.
fn numbers<T: Tensor, F: Number>(tensor: &T) -> Result<HostTensor<F>, CommandError> {
    Ok(HostTensor::new(&tensor.shape(), tensor.to_vec().into_iter().map(F::of).collect())?)
}
