//! From a host graph to the device.

use pc_core::{
    ErrorKind, Graph, Result, VertexId,
    backend::Structure,
    host::{Activation, Element, HostTensor},
};

use crate::{
    device::Device,
    net::{FusedNet, Link, error},
    plan::Strategy,
    precision::Precision,
    transfer,
};

/// How the kernels number a relu.
pub(super) const RELU: i32 = 1;

/// What a link's vertex is made of, as the kernels number it.
fn dense(structure: &Structure) -> Option<(bool, i32)> {
    let act = |activation: &Activation| match activation {
        Activation::Identity => Some(0),
        Activation::Relu => Some(RELU),
        Activation::Tanh => Some(2),
        _ => None,
    };
    match structure {
        Structure::Linear { bias } => Some((*bias, 0)),
        Structure::Chain(links) => match links.as_slice() {
            [one] => dense(one),
            [Structure::Linear { bias }, Structure::Activation(activation)] => {
                Some((*bias, act(activation)?))
            }
            _ => None,
        },
        _ => None,
    }
}

impl FusedNet {
    /// Moves a host graph to a device: its parameters are copied, its vertices and parameters keep
    /// their ids and names.
    ///
    /// # Errors
    /// A graph that is not one chain from one input; an energy, a projection or whatever else it
    /// has beside dense layers and scalar precisions (see [`Graph::addition`]); a vertex that is
    /// not linear with, perhaps, an activation out of identity, relu and tanh (the error names it);
    /// no memory.
    pub fn from_graph<F: Element>(
        graph: &Graph<HostTensor<F>>,
        device: &Device,
        precision: Precision,
    ) -> Result<Self> {
        device.check()?;
        if let Some(what) = graph.addition() {
            let why = format!("fused kernels know nothing of {what}: relax the host graph instead");
            return Err(error(ErrorKind::Unsupported, why));
        }
        let topology = graph.topology().clone();
        let refuse = |vertex: VertexId, why: String| {
            error(ErrorKind::Unsupported, why).at(topology.name(vertex).unwrap_or("?"))
        };
        let mut roots = topology.vertices().filter(|&vertex| topology.is_root(vertex));
        let root = roots.next().ok_or_else(|| {
            error(ErrorKind::Unsupported, "a fused net starts at an input, and this graph has none")
        })?;
        if let Some(second) = roots.next() {
            return Err(refuse(
                second,
                "a fused net has one input, and this is a second".to_owned(),
            ));
        }
        let mut links = Vec::new();
        let mut at = root;
        loop {
            let shape = graph.shape(at)?;
            let [width] = shape else {
                let why = format!("a fused net's vertices are rows of numbers, not {shape:?}");
                return Err(refuse(at, why));
            };
            let next = match topology.children(at)? {
                [] => break,
                [(next, 0)] => *next,
                _ => {
                    return Err(refuse(
                        at,
                        "a fused net is a chain, and this has several children".to_owned(),
                    ));
                }
            };
            let prediction = topology.prediction(next)?;
            let of = prediction.of;
            if topology.predictions_of(of)?.len() > 1 || prediction.parents.len() > 1 {
                return Err(refuse(
                    of,
                    "a fused net is a chain, and this has several parents or predictions"
                        .to_owned(),
                ));
            }
            if links.len() == topology.predictions().len() {
                return Err(refuse(
                    of,
                    "a fused net is a chain, and this lies on a cycle".to_owned(),
                ));
            }
            let (structure, kind) = graph.structure(next)?;
            let Some((bias, act)) = dense(&structure) else {
                let known = "linear vertices with identity, relu or tanh";
                return Err(refuse(
                    of,
                    format!(
                        "its prediction is {kind} ({structure:?}), but fused kernels are for \
                         {known}"
                    ),
                ));
            };
            let outputs = graph.shape(of)?.first().copied().unwrap_or(0);
            links.push(Link {
                prediction: next,
                of,
                parent: at,
                weight: prediction.parameters[0],
                bias: bias.then(|| prediction.parameters[1]),
                act,
                inputs: *width,
                outputs,
                precision: prediction.precision as f32,
            });
            at = of;
        }
        if links.len() != topology.predictions().len() {
            let missed = topology
                .vertices()
                .find(|&v| v != root && links.iter().all(|link| link.of != v))
                .unwrap_or(root);
            return Err(refuse(
                missed,
                "a fused net is one chain, and this is not on it".to_owned(),
            ));
        }
        let mut parameters = Vec::with_capacity(graph.parameters().len());
        for parameter in graph.parameters() {
            parameters.push(transfer::upload(device, parameter)?);
        }
        let widths = topology
            .vertices()
            .map(|vertex| Ok(graph.shape(vertex)?.first().copied().unwrap_or(0)))
            .collect::<Result<_>>()?;
        Ok(Self {
            topology,
            links,
            widths,
            root,
            parameters,
            device: device.clone(),
            precision,
            strategy: Strategy::default(),
            timed: false,
            last: std::cell::Cell::new(None),
        })
    }
}
