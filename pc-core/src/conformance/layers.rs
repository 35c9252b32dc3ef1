//! Cases for backends that make the host's layers anew.

use crate::{
    Activation, Result, SumOf,
    composites::{Gated, Sum},
    conformance::{
        Backend, Case, HostBackend, Report, Verdict, Worst,
        composites::{STEP, compare, evaluate, numbers},
        regions,
    },
    graph::{Graph, GraphTensor},
    host::{
        Activate, AvgPool2d, Conv2d, ConvTranspose2d, Element, HostChain, HostTensor, HostVertex,
        LayerNorm, Linear, LinearMany, MatMul, MaxPool2d, Reshape, Softmax,
    },
    residual::Residual,
    topology::{ParamId, VertexId},
    vertex::Vertex,
};

/// A vertex, its parents' shapes, and its parameters'.
type Layer<F> = (HostVertex<F>, Vec<Vec<usize>>, Vec<Vec<usize>>);

const ACTIVATIONS: [Activation; 9] = [
    Activation::Identity,
    Activation::Relu,
    Activation::LeakyRelu(0.1),
    Activation::HardTanh,
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Gelu,
    Activation::Silu,
    Activation::Softplus,
];

/// Every layer of the host with a choice of its settings.
fn all<F: Element>() -> Result<Vec<Layer<F>>> {
    let mut all: Vec<Layer<F>> = Vec::new();
    let mut add = |vertex: HostVertex<F>, parents: &[&[usize]], parameters: &[&[usize]]| {
        let owned = |shapes: &[&[usize]]| shapes.iter().map(|shape| shape.to_vec()).collect();
        all.push((vertex, owned(parents), owned(parameters)));
    };
    for f in ACTIVATIONS {
        add(Box::new(Activate(f)), &[&[17]], &[]);
        add(Box::new(Gated(f)), &[&[2, 3], &[2, 3]], &[]);
    }
    add(Box::<Linear>::default(), &[&[5]], &[&[4, 5], &[4]]);
    add(Box::new(Linear::without_bias()), &[&[2, 5]], &[&[1, 5]]);
    add(Box::<Linear>::default(), &[&[3, 2, 4]], &[&[6, 4], &[6]]);
    add(Box::new(LinearMany::new(2)), &[&[5], &[3]], &[&[4, 5], &[4, 3], &[4]]);
    add(Box::new(LinearMany::without_bias(3)), &[&[2], &[3], &[1]], &[&[4, 2], &[4, 3], &[4, 1]]);
    for (stride, padding, bias) in [(1, 0, true), (1, 1, false), (2, 2, true), (3, 1, true)] {
        let conv = Conv2d { stride, padding, bias };
        let parameters: &[&[usize]] = if bias { &[&[4, 2, 3, 2], &[4]] } else { &[&[4, 2, 3, 2]] };
        add(Box::new(conv), &[&[2, 7, 6]], parameters);
    }
    // Windows that overlap, that meet and that leave gaps; edges that are cut off, and that only
    // output padding reaches.
    for (stride, padding, output_padding, bias) in
        [(1, 0, 0, true), (1, 1, 0, false), (2, 1, 0, true), (2, 2, 1, false), (4, 1, 3, true)]
    {
        let vertex = ConvTranspose2d { stride, padding, output_padding, bias };
        let parameters: &[&[usize]] = if bias { &[&[3, 2, 3, 4], &[2]] } else { &[&[3, 2, 3, 4]] };
        add(Box::new(vertex), &[&[3, 4, 3]], parameters);
    }
    for (size, stride) in [(1, 1), (2, 2), (3, 2), (2, 3), (3, 1)] {
        add(Box::new(MaxPool2d { size, stride }), &[&[2, 7, 6]], &[]);
        add(Box::new(AvgPool2d { size, stride }), &[&[2, 7, 6]], &[]);
    }
    for transpose_b in [false, true] {
        let second: &[usize] = if transpose_b { &[2, 18, 5] } else { &[2, 5, 18] };
        add(Box::new(MatMul { transpose_b, scale: 0.7 }), &[&[2, 17, 5], second], &[]);
    }
    add(Box::new(Softmax::new()), &[&[9]], &[]);
    add(Box::new(Softmax::new()), &[&[2, 40]], &[]);
    add(Box::new(Softmax::causal()), &[&[4, 5]], &[]);
    add(Box::new(Softmax::causal()), &[&[2, 3, 3]], &[]);
    add(Box::<LayerNorm>::default(), &[&[9]], &[&[9], &[9]]);
    add(Box::new(LayerNorm { epsilon: 0.1 }), &[&[3, 37]], &[&[37], &[37]]);
    add(Box::new(Residual::new(Linear::new())), &[&[5]], &[&[5, 5], &[5]]);
    let parts: Vec<HostVertex<F>> = vec![Box::new(Sum::new()), Box::new(Linear::without_bias())];
    add(Box::new(SumOf::new(parts)), &[&[4], &[3]], &[&[4, 3]]);
    let links: Vec<HostVertex<F>> = vec![
        Box::new(Activate(Activation::Silu)),
        Box::new(Conv2d { stride: 1, padding: 1, bias: true }),
        Box::new(Activate(Activation::Gelu)),
        Box::new(AvgPool2d { size: 2, stride: 2 }),
        Box::new(Reshape::flatten()),
        Box::new(LayerNorm::default()),
        Box::new(Linear::new()),
    ];
    let parameters: [&[usize]; 6] = [&[3, 2, 3, 3], &[3], &[12], &[12], &[5, 12], &[5]];
    add(Box::new(HostChain::new(links)?), &[&[2, 4, 4]], &parameters);
    Ok(all)
}

/// The host's graph of one such vertex.
fn graph_of((vertex, parents, parameters): Layer<f32>) -> Result<Graph<HostTensor<f32>>> {
    let mut b = Graph::<HostTensor<f32>>::builder();
    let parents: Vec<VertexId> = parents
        .iter()
        .enumerate()
        .map(|(k, shape)| b.input(&format!("x{k}"), shape))
        .collect::<Result<_>>()?;
    let parameters: Vec<ParamId> = parameters
        .iter()
        .enumerate()
        .map(|(k, shape)| {
            let numbers = numbers(shape.iter().product(), 1.0, 0.5);
            let numbers = numbers.into_iter().map(|x| x as f32).collect();
            b.parameter(&format!("p{k}"), HostTensor::new(shape, numbers)?)
        })
        .collect::<Result<_>>()?;
    b.vertex("y", vertex, &parents, &parameters)?;
    b.build()
}

/// How far parents and parameters move: hardly, about as far as they are large, and far beyond.
const STEPS: [f64; 3] = [STEP, 1.5, 20.0];

/// Runs every layer of the host, each by itself, on a backend that makes host graphs anew: its
/// prediction, the change of it over short and long steps, and its pullbacks. Activations and
/// softmax are tried from every region of theirs to every other, too, number by number. The oracle
/// is the host in `f64`. An embedding is no case, since its parent's numbers are indices.
///
/// # Errors
/// A layer that the host itself refuses; the backend's failures are verdicts, not errors.
///
/// # Example
/// ```
/// use pc_core::conformance::{HostBackend, layers};
/// let report = layers(&HostBackend::<f32>::new(), Ok)?;
/// report.check().map_err(|failures| pc_core::Error::new(pc_core::ErrorKind::Backend, failures))?;
/// assert_eq!(report.skipped(), 0);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn layers<B: Backend>(
    backend: &B,
    remade: impl Fn(Graph<HostTensor<f32>>) -> Result<Graph<B::Tensor>>,
) -> Result<Report>
where
    B::Tensor: GraphTensor,
{
    let oracle = HostBackend::<f64>::new();
    let own = |shape: &[usize], numbers: &[f64]| backend.tensor(shape, numbers);
    let host = |shape: &[usize], numbers: &[f64]| oracle.tensor(shape, numbers);
    let mut cases = Vec::new();
    for (layer, (truth, parents, parameters)) in all::<f32>()?.into_iter().zip(all::<f64>()?) {
        let name = format!("layers: {} of {parents:?}, {:?}", truth.kind(), truth.structure());
        let parents: Vec<&[usize]> = parents.iter().map(Vec::as_slice).collect();
        let parameters: Vec<&[usize]> = parameters.iter().map(Vec::as_slice).collect();
        let mut worst = Worst::new(backend.tolerance());
        let run = || -> Result<()> {
            let graph = remade(graph_of(layer)?)?;
            let vertex = &graph.vertices[0];
            for step in STEPS {
                for moved in 0..1 << parents.len() {
                    let (shapes, far) = ((&parents[..], &parameters[..]), (moved, step));
                    let found = evaluate::<B::Tensor>(vertex, &own, shapes, far)?;
                    let wanted = evaluate::<HostTensor<f64>>(&truth, &host, shapes, far)?;
                    compare(&mut worst, &found, &wanted);
                }
            }
            Ok(())
        };
        let verdict = match run() {
            Ok(()) => worst.verdict(),
            Err(error) => Verdict::Failed(error.to_string()),
        };
        cases.push(Case { name, verdict });
    }
    for region in regions::all(&ACTIVATIONS) {
        let layer = (region.vertex::<f32>(), vec![region.shape().to_vec()], Vec::new());
        cases.push(region.case(backend, || Ok(remade(graph_of(layer)?)?.vertices.swap_remove(0))));
    }
    Ok(Report { backend: backend.name(), cases })
}
