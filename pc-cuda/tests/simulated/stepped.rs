//! Graphs that run on the device step by step, layer by layer against the host: by pc-core's
//! conformance suite, and at the edges of what a layer may meet.

use pc_core::{
    Activation, Agreement, Clamps, Evaluation, Graph, Identity, PredictionId, Relaxation, Result,
    Schedule, Tensor, VertexId,
    backend::GraphTensor,
    composites::Sum,
    conformance::{Backend, Built, HostBackend, Net},
    host::{
        Activate, AvgPool2d, Element, HostChain, HostLayers, HostTensor, HostVertex, LayerNorm,
        MaxPool2d, Softmax,
    },
};
use pc_cuda::{Device, DeviceTensor, Precision, graph_to_device};

/// The backend of the conformance suite.
pub(crate) struct Stepped {
    pub(crate) device: Device,
    /// What the first number of the first parameter is multiplied by: 1, or there is a mistake.
    pub(crate) factor: f32,
}

impl Backend for Stepped {
    type Tensor = DeviceTensor;
    type Network = Graph<DeviceTensor>;

    fn name(&self) -> String {
        "pc-cuda's graphs on the host layer".to_owned()
    }

    fn tolerance(&self) -> f64 {
        1e-5
    }

    fn tensor(&self, shape: &[usize], values: &[f64]) -> Result<DeviceTensor> {
        self.device.tensor(shape, &values.iter().map(|x| *x as f32).collect::<Vec<_>>())
    }

    fn build(&self, net: &Net) -> Result<Option<Built<Graph<DeviceTensor>>>> {
        let Some(built) = HostBackend::<f64>::new().build(net)? else { return Ok(None) };
        let mut network = graph_to_device(&built.network, &self.device, Precision::F32)?;
        let first = &mut network.parameters_mut()[0];
        let mut numbers = first.numbers()?;
        numbers[0] *= self.factor;
        first.set_numbers(&numbers)?;
        Ok(Some(Built { network, vertices: built.vertices, parameters: built.parameters }))
    }
}

/// So many numbers without a pattern, up to `scale` in size, that `f32` holds.
fn numbers(count: usize, scale: f64) -> Vec<f64> {
    (0..count).map(|k| f64::from((scale * (2.3 * k as f64 + 0.4).sin()) as f32)).collect()
}

/// One layer, and where its parent starts and is drawn to: a sample.
struct Edge {
    name: &'static str,
    shape: &'static [usize],
    start: Vec<f64>,
    far: Vec<f64>,
}

/// Ties, which only their order decides, and softmaxes of numbers that lie far apart.
fn all() -> Vec<Edge> {
    let mut tall = numbers(40, 60.0);
    tall[7] = 150.0;
    let mut other = tall.clone();
    other[31] = 170.0;
    let mut edges = vec![
        Edge { name: "softmax", shape: &[40], start: vec![0.0; 40], far: numbers(40, 0.9) },
        Edge { name: "softmax", shape: &[40], start: vec![0.5; 40], far: numbers(40, 30.0) },
        Edge { name: "softmax", shape: &[40], start: tall.clone(), far: other.clone() },
        Edge { name: "softmax", shape: &[40], start: other, far: tall },
    ];
    for name in ["max pool", "average pool"] {
        let shape: &[usize] = &[2, 7, 6];
        let steps = numbers(84, 2.0).into_iter().map(f64::round).collect();
        edges.push(Edge { name, shape, start: steps, far: numbers(84, 1.0) });
        edges.push(Edge { name, shape, start: vec![0.25; 84], far: numbers(84, 1.0) });
    }
    edges
}

fn layer<F: Element>(name: &str) -> HostVertex<F> {
    match name {
        "softmax" => Box::new(Softmax::new()),
        "max pool" => Box::new(MaxPool2d { size: 3, stride: 2 }),
        "average pool" => Box::new(AvgPool2d { size: 3, stride: 2 }),
        "layer norm" => Box::new(LayerNorm::default()),
        "relu" => Box::new(Activate(Activation::Relu)),
        "leaky relu" => Box::new(Activate(Activation::LeakyRelu(0.1))),
        "hard tanh" => Box::new(Activate(Activation::HardTanh)),
        "tanh" => Box::new(Activate(Activation::Tanh)),
        "sigmoid" => Box::new(Activate(Activation::Sigmoid)),
        "gelu" => Box::new(Activate(Activation::Gelu)),
        "silu" => Box::new(Activate(Activation::Silu)),
        "softplus" => Box::new(Activate(Activation::Softplus)),
        other => panic!("there is no layer {other} here"),
    }
}

/// A graph, its vertices, and the shape of its layer's prediction.
type Layered<F> = (Graph<HostTensor<F>>, [VertexId; 3], Vec<usize>);

/// `x`, a layer of it, and its copy.
fn graph<F: Element>(name: &str, shape: &[usize]) -> Result<Layered<F>> {
    let mut b = Graph::<HostTensor<F>>::builder();
    let x = b.input("x", shape)?;
    let y = b.vertex("y", layer::<F>(name), &[x], &[])?;
    let vertices = [x, y, b.vertex("copy", Box::new(Identity), &[x], &[])?];
    let graph = b.build()?;
    let out = graph.shape(y)?.to_vec();
    Ok((graph, vertices, out))
}

/// Where `x` comes to, and the energy of its layer's prediction there.
fn drawn<T: GraphTensor>(
    graph: &mut Graph<T>,
    [x, y, copy]: [VertexId; 3],
    (edge, out): (&Edge, &[usize]),
    of: impl Fn(&[usize], &[f64]) -> Result<T>,
) -> Result<(Vec<f64>, f64)> {
    let sample = |shape: &[usize], values: &[f64]| of(&[&[1], shape].concat(), values);
    let clamps = Clamps::new()
        .free(x, sample(edge.shape, &edge.start)?)
        .hold(y, sample(out, &numbers(out.iter().product(), 0.7))?)
        .hold(copy, sample(edge.shape, &edge.far)?);
    let schedule = Schedule::standard(0.4, 3)?.evaluated_by(Evaluation::Simulate);
    let mut rule = Relaxation::new(graph, schedule)?;
    rule.run(graph, &clamps)?;
    let found = rule.value(graph, x).map(|value| value.to_vec()).unwrap_or_default();
    Ok((found, rule.energy(graph, PredictionId::new(0)).unwrap_or(f64::NAN)))
}

/// How far the device is off at the worst of all edges.
pub(crate) fn edges(device: &Device) -> Result<(String, f64)> {
    let mut worst = ("nothing".to_owned(), 0.0);
    for (index, edge) in all().iter().enumerate() {
        let (narrow, vertices, out) = graph::<f32>(edge.name, edge.shape)?;
        let mut there = graph_to_device(&narrow, device, Precision::F32)?;
        let (mut wide, ..) = graph::<f64>(edge.name, edge.shape)?;
        let found = drawn(&mut there, vertices, (edge, &out), |shape, values| {
            device.tensor(shape, &values.iter().map(|x| *x as f32).collect::<Vec<_>>())
        })?;
        let wanted = drawn(&mut wide, vertices, (edge, &out), |shape, values| {
            HostTensor::<f64>::new(shape, values.to_vec())
        })?;
        let places = Agreement::of_slices(&found.0, &wanted.0).max_difference;
        let energy = (found.1 / wanted.1 - 1.0).abs();
        for off in [places, energy] {
            // A NaN stays.
            if !(off <= worst.1) {
                worst = (format!("{} {index}", edge.name), off);
            }
        }
    }
    device.synchronize()?;
    Ok(worst)
}

/// How far what a tensor adds up over samples is off, with factors that no layer of pc-core has.
pub(crate) fn added(device: &Device) -> Result<f64> {
    fn run<T: GraphTensor>(of: impl Fn(&[usize], &[f64]) -> Result<T>) -> Result<Vec<f64>> {
        let (mut rows, mut list) = (of(&[3, 5], &numbers(15, 1.0))?, of(&[5], &numbers(5, 0.7))?);
        rows.add_to_samples(-0.5, &list);
        list.add_samples(0.25, &rows);
        Ok([rows.to_vec(), list.to_vec()].concat())
    }
    let found = run(|shape, values| {
        device.tensor(shape, &values.iter().map(|x| *x as f32).collect::<Vec<_>>())
    })?;
    let wanted = run(|shape, values| HostTensor::<f64>::new(shape, values.to_vec()))?;
    let off = Agreement::of_slices(&found, &wanted).max_difference;
    Ok(if off.is_finite() { off } else { f64::INFINITY })
}

/// How far the gradients of an embedding, whose rows are taken more than once or never, are off
/// after two batches that learn.
pub(crate) fn embedded(device: &Device) -> Result<f64> {
    fn graph<F: Element>() -> Result<(Graph<HostTensor<F>>, [VertexId; 2])> {
        let mut b = Graph::<HostTensor<F>>::builder();
        let x = b.input("x", &[4])?;
        let table = numbers(35, 0.8).into_iter().map(F::of).collect();
        let table = b.parameter("table", HostTensor::new(&[7, 5], table)?)?;
        let e = b.embedding_with("e", x, table)?;
        Ok((b.build()?, [x, e]))
    }
    fn gradients<T: GraphTensor>(
        graph: &mut Graph<T>,
        [x, e]: [VertexId; 2],
        of: impl Fn(&[usize], &[f64]) -> Result<T>,
    ) -> Result<Vec<f64>> {
        let indices = [1.0, 6.0, 1.0, 0.0, 3.0, 1.0, 6.0, 3.0];
        let target = of(&[2, 4, 5], &numbers(40, 0.6))?;
        let clamps = Clamps::new().hold(x, of(&[2, 4], &indices)?).hold(e, target);
        // Two batches, and the weight moves between them.
        let schedule = Schedule::standard(0.1, 2)?;
        let mut all = Vec::new();
        let mut rule = Relaxation::new(graph, schedule)?;
        for _ in 0..2 {
            rule.train(graph, &clamps, |graph, g| {
                let found = g.get(pc_core::ParamId::new(0)).map(Tensor::to_vec);
                all.extend(found.unwrap_or_default());
                if let Some(g) = g.get(pc_core::ParamId::new(0)) {
                    graph.parameters_mut()[0].axpy(-0.5, g);
                }
                Ok(())
            })?;
        }
        Ok(all)
    }
    let (narrow, vertices) = graph::<f32>()?;
    let mut there = graph_to_device(&narrow, device, Precision::F32)?;
    let found = gradients(&mut there, vertices, |shape, values| {
        device.tensor(shape, &values.iter().map(|x| *x as f32).collect::<Vec<_>>())
    })?;
    let (mut wide, _) = graph::<f64>()?;
    let wanted = gradients(&mut wide, vertices, |shape, values| {
        HostTensor::<f64>::new(shape, values.to_vec())
    })?;
    let off = Agreement::of_slices(&found, &wanted).max_difference;
    Ok(if found.len() == wanted.len() && off.is_finite() { off } else { f64::INFINITY })
}

/// Layers that could take a NaN for a number.
const KEEP_NAN: [&str; 12] = [
    "softmax",
    "max pool",
    "average pool",
    "layer norm",
    "relu",
    "leaky relu",
    "hard tanh",
    "tanh",
    "sigmoid",
    "gelu",
    "silu",
    "softplus",
];

/// The layers that take a NaN for a number: none, or there is a mistake. Since clamps may hold no
/// NaN, each comes about within a vertex, as the difference of two numbers that are too large.
pub(crate) fn swallowed(device: &Device) -> Result<Vec<&'static str>> {
    let mut all = Vec::new();
    for name in KEEP_NAN {
        let shape: &[usize] = if name.contains("pool") { &[1, 3, 3] } else { &[9] };
        let mut b = Graph::<HostTensor<f32>>::builder();
        let parents = ["one", "other", "plain"]
            .iter()
            .map(|own| b.input(own, shape))
            .collect::<Result<Vec<_>>>()?;
        let mut parameters = Vec::new();
        if name == "layer norm" {
            for own in ["gain", "bias"] {
                parameters.push(b.parameter(own, HostTensor::new(shape, vec![0.5; 9])?)?);
            }
        }
        let links: Vec<HostVertex<f32>> =
            vec![Box::new(Sum::weighted(&[2.0, -2.0, 1.0])), layer(name)];
        let y = b.vertex("y", Box::new(HostChain::new(links)?), &parents, &parameters)?;
        let graph = b.build()?;
        let out = [&[1], graph.shape(y)?].concat();
        let target = device.tensor(&out, &vec![0.5; out.iter().product()])?;
        // Without a NaN all is well.
        for place in std::iter::once(None).chain((0..9).map(Some)) {
            let mut there = graph_to_device(&graph, device, Precision::F32)?;
            let mut large = [0.0; 9];
            if let Some(place) = place {
                large[place] = 3e38;
            }
            let plain: Vec<f32> = (0..9).map(|k| k as f32 - 4.0).collect();
            let sample = [&[1], shape].concat();
            let clamps = Clamps::new()
                .hold(parents[0], device.tensor(&sample, &large)?)
                .hold(parents[1], device.tensor(&sample, &large)?)
                .hold(parents[2], device.tensor(&sample, &plain)?)
                .hold(y, target.clone());
            let mut rule = Relaxation::new(&there, Schedule::standard(0.1, 1)?)?;
            let finite = match rule.run(&mut there, &clamps) {
                Ok(outcome) => outcome.energy.total().is_finite(),
                Err(error) if place.is_none() => return Err(error),
                Err(_) => false,
            };
            assert!(finite || place.is_some(), "{name}: no energy without a NaN");
            if finite && place.is_some() {
                all.push(name);
            }
        }
    }
    all.dedup();
    Ok(all)
}
