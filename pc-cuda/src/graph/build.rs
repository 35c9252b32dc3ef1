//! From a host graph to one on a device.

use pc_core::{
    Activation, Chain, Error, ErrorKind, Graph, Residual, Result, SumOf,
    backend::{Structure, Vertex},
    composites::rebuilt,
    host::{self, Element, HostTensor},
};

use crate::{
    device::Device,
    graph::{
        Rounds,
        activation::Activate,
        conv::Conv,
        conv_block::ConvBlock,
        embedding::Embedding,
        linear::Linear,
        matmul::MatMul,
        norm::LayerNorm,
        pool::{AvgPool2d, MaxPool2d},
        softmax::Softmax,
    },
    precision::Precision,
    tensor::DeviceTensor,
    transfer,
};

/// A vertex on a device.
type DeviceVertex = Box<dyn Vertex<DeviceTensor>>;

/// Moves a host graph to a device: an ordinary graph there, whose vertices, predictions and
/// parameters keep their ids and names. [`pc_core::HandOver`] brings weights back. Each prediction
/// runs on the device by itself, in the engine's loop, so that every schedule works, on any wiring.
/// For a chain of dense layers [`crate::FusedNet`] is faster by far.
///
/// In [`Precision::Tf32`] and [`Precision::Bf16`] the operands of products of linear maps and
/// convolutions that carry displacements and pull errors back may be rounded, by cuBLASLt, unless
/// predictions are live and the graph has an activation with a kink or a maximum, for the reason
/// given there. All else is `f32`.
///
/// # Errors
/// An energy, a projection or whatever else the graph has beside its predictions and scalar
/// precisions (see [`Graph::addition`]); a vertex that the device has no kernels for (the error
/// names it and says what it is made of); no memory.
///
/// # Example
/// ```
/// # #[cfg(feature = "simulation")] {
/// use pc_core::{Clamps, Graph, Relaxation, Schedule};
/// use pc_core::host::{Activation, ConvLayer, HostLayers, HostTensor, Init};
/// use pc_cuda::{Device, Precision, Simulation, graph_to_device};
///
/// let mut init = Init::new(7);
/// let mut b = Graph::<HostTensor<f32>>::builder();
/// let x = b.input("x", &[1, 4, 4])?;
/// let layer = ConvLayer::new(2, 3).activation(Activation::Relu).flatten();
/// let c = b.conv("c", x, &layer, &mut init)?;
/// let y = b.dense("y", c, 3, Activation::Identity, &mut init)?;
///
/// let device = Device::simulated(&Simulation::new(0))?; // Device::cuda(0)? where there is a GPU
/// let mut graph = graph_to_device(&b.build()?, &device, Precision::F32)?;
/// let clamps = Clamps::new()
///     .hold(x, device.tensor(&[1, 1, 4, 4], &[0.5; 16])?)
///     .hold(y, device.tensor(&[1, 3], &[1.0, 0.0, 0.0])?);
/// let mut rule = Relaxation::new(&graph, Schedule::standard(0.1, 8)?)?;
/// assert_eq!(rule.run(&mut graph, &clamps)?.steps, 8);
/// # }
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn graph_to_device<F: Element>(
    graph: &Graph<HostTensor<F>>,
    device: &Device,
    precision: Precision,
) -> Result<Graph<DeviceTensor>> {
    device.check()?;
    if let Some(what) = graph.addition() {
        let why = format!("a device's graph knows nothing of {what}: relax the host graph instead");
        return Err(Error::new(ErrorKind::Unsupported, why));
    }
    let topology = graph.topology();
    let mut structures = Vec::with_capacity(topology.predictions().len());
    for (index, prediction) in topology.predictions().iter().enumerate() {
        let (structure, kind) = graph.structure(pc_core::PredictionId::new(index))?;
        structures.push((structure, kind, prediction));
    }
    let kinks = structures.iter().any(|(structure, ..)| has_kink(structure));
    let live = if kinks { Precision::F32 } else { precision };
    let rounds = Rounds { frozen: precision, live };
    let mut b = Graph::<DeviceTensor>::builder();
    for vertex in topology.vertices() {
        b.input(topology.name(vertex)?, graph.shape(vertex)?)?;
    }
    for (name, parameter) in graph.named_parameters() {
        let parameter = transfer::upload(device, parameter)?;
        // A device that fails reads as numbers that are not finite.
        b.parameter(name, parameter).map_err(|error| device.check().err().unwrap_or(error))?;
    }
    for (structure, kind, prediction) in &structures {
        let name = topology.name(prediction.of)?;
        let vertex = vertex(structure, rounds).map_err(|error| {
            let why = format!("its prediction is {kind}, and on a device {error}");
            Error::new(error.kind(), why).at(name)
        })?;
        let (parents, uses) = (&prediction.parents, &prediction.parameters);
        b.predict(prediction.of, vertex, parents, uses, prediction.precision)?;
    }
    b.build()
}

/// Whether its slope jumps somewhere.
fn has_kink(structure: &Structure) -> bool {
    match structure {
        Structure::Activation(f) | Structure::Gated(f) => {
            matches!(f, Activation::Relu | Activation::LeakyRelu(_) | Activation::HardTanh)
        }
        Structure::MaxPool2d { .. } => true,
        Structure::Chain(parts) | Structure::SumOf(parts) => parts.iter().any(has_kink),
        Structure::Residual(inner) => has_kink(inner),
        _ => false,
    }
}

/// The vertex of this structure on a device.
fn vertex(structure: &Structure, rounds: Rounds) -> Result<DeviceVertex> {
    let all = |parts: &[Structure]| {
        parts.iter().map(|part| vertex(part, rounds)).collect::<Result<Vec<_>>>()
    };
    Ok(match structure {
        Structure::Linear { bias } => Box::new(Linear::new(*bias, rounds)),
        Structure::Activation(f) => Box::new(Activate::new(*f)?),
        Structure::Chain(links) => chain(links, rounds)?,
        Structure::SumOf(parts) => Box::new(SumOf::new(all(parts)?)),
        Structure::Residual(inner) => Box::new(Residual::new(vertex(inner, rounds)?)),
        &Structure::Conv2d { stride, padding, bias } => {
            Box::new(Conv::new(host::Conv2d { stride, padding, bias }, rounds))
        }
        &Structure::ConvTranspose2d { stride, padding, output_padding, bias } => {
            let host = host::ConvTranspose2d { stride, padding, output_padding, bias };
            Box::new(Conv::transposed(host, rounds))
        }
        &Structure::MaxPool2d { size, stride } => {
            Box::new(MaxPool2d { host: host::MaxPool2d { size, stride } })
        }
        &Structure::AvgPool2d { size, stride } => {
            Box::new(AvgPool2d { host: host::AvgPool2d { size, stride } })
        }
        &Structure::MatMul { transpose_b, scale } => {
            Box::new(MatMul { host: host::MatMul { transpose_b, scale } })
        }
        Structure::Softmax { causal } => Box::new(Softmax::new(*causal)),
        Structure::LayerNorm { epsilon } => {
            Box::new(LayerNorm { host: host::LayerNorm { epsilon: *epsilon } })
        }
        Structure::Embedding => Box::new(Embedding::default()),
        other => {
            if let Structure::Gated(f) = other {
                Activate::new(*f)?;
            }
            rebuilt::<DeviceTensor>(other).ok_or_else(|| {
                let why = format!("there are no kernels for {other:?}");
                Error::new(ErrorKind::Unsupported, why)
            })?
        }
    })
}

/// The vertex of these links. A convolution and what follows it are one link, where that is an
/// activation or pooling.
fn chain(mut rest: &[Structure], rounds: Rounds) -> Result<DeviceVertex> {
    let mut links: Vec<DeviceVertex> = Vec::new();
    while let [first, behind @ ..] = rest {
        let (link, behind): (DeviceVertex, _) = match ConvBlock::of(rest, rounds)? {
            Some((block, count)) => (Box::new(block), &rest[count..]),
            None => (vertex(first, rounds)?, behind),
        };
        links.push(link);
        rest = behind;
    }
    Ok(Box::new(Chain::<DeviceTensor>::new(links)?))
}
