//! Convolutions with what follows them as one vertex: against the host in `f64`, and against the
//! same links apart.

use pc_core::{
    Agreement, Clamps, Evaluation, Graph, Identity, Learning, ParamId, PredictionId, Relaxation,
    Result, Schedule, VertexId,
    backend::GraphTensor,
    composites::{Reshape, Sum},
    host::{
        Activate, Activation, AvgPool2d, Conv2d, Element, HostChain, HostTensor, HostVertex,
        Linear, MaxPool2d,
    },
};
use pc_cuda::{Device, DeviceTensor, Precision, graph_to_device};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pool {
    Not,
    Max(usize, usize),
    Mean(usize, usize),
}

/// One vertex between a convolution and a dense layer.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) act: Option<Activation>,
    pub(crate) pool: Pool,
    /// Stride, padding, and whether there is a bias.
    pub(crate) conv: (usize, usize, bool),
    pub(crate) image: [usize; 3],
    pub(crate) out: usize,
    /// Whether an activation comes first, as one more link.
    pub(crate) led: bool,
    /// Whether all of an image is one number, so that windows are full of equals.
    pub(crate) flat: bool,
    pub(crate) batches: [usize; 3],
}

pub(crate) const ACTIVATIONS: [Option<Activation>; 10] = [
    None,
    Some(Activation::Identity),
    Some(Activation::Relu),
    Some(Activation::LeakyRelu(0.1)),
    Some(Activation::HardTanh),
    Some(Activation::Tanh),
    Some(Activation::Sigmoid),
    Some(Activation::Gelu),
    Some(Activation::Silu),
    Some(Activation::Softplus),
];

/// Windows side by side, overlapping, with gaps, beyond which rows are left over, and of one place.
const POOLS: [Pool; 8] = [
    Pool::Not,
    Pool::Max(2, 2),
    Pool::Max(3, 1),
    Pool::Max(2, 3),
    Pool::Mean(2, 2),
    Pool::Mean(3, 2),
    Pool::Mean(2, 3),
    Pool::Max(1, 1),
];

/// Every activation with every pooling, over convolutions of all kinds.
pub(crate) fn every() -> Vec<Block> {
    let convs = [(1, 1, true), (1, 0, false), (2, 2, true), (1, 2, true), (2, 1, false)];
    let all = ACTIVATIONS.iter().flat_map(|act| POOLS.map(|pool| (*act, pool)));
    let known = all.filter(|(act, pool)| act.is_some() || *pool != Pool::Not);
    known
        .enumerate()
        .map(|(index, (act, pool))| Block {
            act,
            pool,
            conv: convs[index % 5],
            image: [2, 7, 6],
            out: [4, 5][index % 2],
            led: index % 3 == 0,
            flat: false,
            batches: [3, 2, 3],
        })
        .collect()
}

/// More channels than a block takes, more windows over a place than one takes at a time, windows
/// full of equals, images of fewer places and more.
pub(crate) fn odd() -> Vec<Block> {
    let one = Block {
        act: Some(Activation::Relu),
        pool: Pool::Max(2, 2),
        conv: (1, 0, true),
        image: [1, 5, 4],
        out: 131,
        led: false,
        flat: false,
        batches: [2, 1, 1],
    };
    let (tanh, gelu) = (Some(Activation::Tanh), Some(Activation::Gelu));
    let wide = Block { image: [1, 4, 36], out: 2, conv: (1, 1, true), ..one.clone() };
    let flat = Block {
        act: None,
        image: [2, 5, 4],
        out: 2,
        conv: (1, 0, true),
        flat: true,
        ..one.clone()
    };
    vec![
        one.clone(),
        Block { act: gelu, pool: Pool::Mean(2, 1), ..one },
        Block { act: tanh, pool: Pool::Max(3, 1), ..wide.clone() },
        Block { act: tanh, pool: Pool::Mean(3, 1), ..wide.clone() },
        Block { act: Some(Activation::HardTanh), pool: Pool::Max(4, 2), ..wide },
        Block { act: tanh, pool: Pool::Max(3, 2), ..flat.clone() },
        Block { pool: Pool::Max(2, 1), ..flat },
    ]
}

pub(crate) fn schedules() -> Result<[Schedule; 3]> {
    Ok([
        Schedule::standard(0.05, 3)?.evaluated_by(Evaluation::Simulate),
        Schedule::fixed_prediction(0.05, 3)?.evaluated_by(Evaluation::Simulate),
        Schedule::ipc(0.02, 3)?,
    ])
}

/// So many numbers without a pattern, up to `scale` in size, that `f32` holds.
fn numbers(count: usize, scale: f64, shift: f64) -> Vec<f64> {
    (0..count).map(|k| f64::from((scale * (2.3 * k as f64 + shift).sin()) as f32)).collect()
}

/// A graph, and its vertices with their shapes.
type Built<F> = (Graph<HostTensor<F>>, [(VertexId, Vec<usize>); 2]);

/// `x`, a convolution of it, the block, and a dense layer; with the block's links `apart`, an
/// identity stands between each two of them.
fn graph<F: Element>(block: &Block, apart: bool) -> Result<Built<F>> {
    let mut b = Graph::<HostTensor<F>>::builder();
    let [channels, ..] = block.image;
    let x = b.input("x", &block.image)?;
    let mut shift = 0.0;
    let mut parameters = |b: &mut pc_core::GraphBuilder<HostTensor<F>>, shapes: &[Vec<usize>]| {
        let own = shapes.iter().map(|shape| {
            shift += 0.7;
            let numbers = numbers(shape.iter().product(), 0.3, shift);
            let tensor = HostTensor::new(shape, numbers.into_iter().map(F::of).collect())?;
            b.parameter(&format!("p{shift:.1}"), tensor)
        });
        own.collect::<Result<Vec<_>>>()
    };
    let first = Conv2d { stride: 1, padding: 0, bias: true };
    let own = parameters(&mut b, &[vec![channels, channels, 1, 1], vec![channels]])?;
    let h = b.vertex("h", Box::new(first), &[x], &own)?;
    let (stride, padding, bias) = block.conv;
    let mut links: Vec<HostVertex<F>> = vec![Box::new(Conv2d { stride, padding, bias })];
    if let Some(f) = block.act {
        links.push(Box::new(Activate(f)));
    }
    match block.pool {
        Pool::Not => {}
        Pool::Max(size, stride) => links.push(Box::new(MaxPool2d { size, stride })),
        Pool::Mean(size, stride) => links.push(Box::new(AvgPool2d { size, stride })),
    }
    links.push(Box::new(Reshape::flatten()));
    if apart {
        let between = |link| [link, Box::new(Identity) as HostVertex<F>];
        links = links.into_iter().flat_map(between).collect();
    }
    if block.led {
        links.insert(0, Box::new(Activate(Activation::Tanh)));
    }
    let weight = vec![block.out, channels, 3, 2];
    let shapes = if bias { vec![weight, vec![block.out]] } else { vec![weight] };
    let own = parameters(&mut b, &shapes)?;
    let m = b.vertex("m", Box::new(HostChain::new(links)?), &[h], &own)?;
    let width = b.shape(m)?[0];
    let own = parameters(&mut b, &[vec![3, width], vec![3]])?;
    let y = b.vertex("y", Box::<Linear>::default(), &[m], &own)?;
    Ok((b.build()?, [(x, block.image.to_vec()), (y, vec![3])]))
}

/// By parameter, every gradient of three batches of two sizes, between which parameters move: all
/// learn in the first; where parameters are `frozen`, the block's weight in the second does not,
/// nor its bias in the third. Zeros where there is no gradient.
fn learned<T: GraphTensor>(
    graph: &mut Graph<T>,
    (block, schedule, frozen): Case<'_>,
    held: &[(VertexId, Vec<usize>); 2],
    of: impl Fn(&[usize], &[f64]) -> Result<T>,
) -> Result<Vec<Vec<f64>>> {
    let mut rule = Relaxation::new(graph, schedule.clone())?;
    let mut all = vec![Vec::new(); graph.parameters().len()];
    for (index, batch) in block.batches.into_iter().enumerate() {
        let mut clamps = Clamps::new();
        for (k, (vertex, shape)) in held.iter().enumerate() {
            let shape = [&[batch], &shape[..]].concat();
            let mut own = numbers(shape.iter().product(), 1.0, (index + 3 * k) as f64);
            if block.flat && k == 0 {
                let each = own.len() / (batch * block.image[0]);
                own = (0..own.len()).map(|i| own[i / each]).collect();
            }
            clamps = clamps.hold(*vertex, of(&shape, &own)?);
        }
        for (k, parameter) in [(1, 2), (2, 3)] {
            graph.freeze(ParamId::new(parameter), frozen && index == k)?;
        }
        rule.train(graph, &clamps, |graph, gradients| {
            for (k, own) in graph.parameters_mut().iter_mut().enumerate() {
                let gradient = gradients.get(ParamId::new(k));
                let stays = frozen && [(1, 2), (2, 3)].contains(&(index, k));
                assert!(gradient.is_none() || !stays, "a frozen parameter has a gradient");
                match gradient {
                    Some(gradient) => all[k].extend(gradient.to_vec()),
                    None => all[k].extend(vec![0.0; own.to_vec().len()]),
                }
                if let Some(gradient) = gradient {
                    own.axpy(-0.0005, gradient);
                    // Weights are f32 on the device.
                    let numbers = own.to_vec().into_iter().map(|x| f64::from(x as f32));
                    *own = of(&own.shape(), &numbers.collect::<Vec<_>>())?;
                }
            }
            Ok(())
        })?;
    }
    Ok(all)
}

/// Two lists' worst distance, by parameter, relative to the norm of the second's. A NaN stays.
pub(crate) fn distance(found: &[Vec<f64>], wanted: &[Vec<f64>]) -> f64 {
    let mut worst = if found.len() == wanted.len() { 0f64 } else { f64::INFINITY };
    for (found, wanted) in found.iter().zip(wanted) {
        let off = if found.len() == wanted.len() {
            Agreement::of_slices(found, wanted).relative_norm
        } else {
            f64::INFINITY
        };
        worst = if worst.is_nan() || off <= worst { worst } else { off };
    }
    worst
}

/// A block, a schedule, and whether parameters are frozen in between.
pub(crate) type Case<'a> = (&'a Block, &'a Schedule, bool);

/// What is learned on a device, with the block's links as one or apart.
pub(crate) fn learned_there(
    device: &Device,
    case: Case<'_>,
    precision: Precision,
    apart: bool,
) -> Result<Vec<Vec<f64>>> {
    let (host, held) = graph::<f32>(case.0, apart)?;
    let mut graph: Graph<DeviceTensor> = graph_to_device(&host, device, precision)?;
    // What it says of itself is what the host says.
    for k in 0..3 {
        let id = PredictionId::new(k);
        assert_eq!(graph.structure(id)?, host.structure(id)?, "{:?}", case.0);
    }
    let found = learned(&mut graph, case, &held, |shape, numbers| {
        device.tensor(shape, &numbers.iter().map(|x| *x as f32).collect::<Vec<_>>())
    })?;
    device.synchronize()?;
    Ok(found)
}

/// What is learned on the host in `f64`.
pub(crate) fn learned_here(case: Case<'_>) -> Result<Vec<Vec<f64>>> {
    let (block, schedule, _) = case;
    let (mut graph, held) = graph::<f64>(block, false)?;
    let of = |shape: &[usize], numbers: &[f64]| HostTensor::new(shape, numbers.to_vec());
    let wanted = learned(&mut graph, case, &held, of)?;
    assert!(wanted.iter().flatten().all(|x| x.is_finite()), "{block:?}");
    let events = if schedule.learning() == Learning::AtEnd { 3 } else { 9 };
    assert_eq!(wanted[0].len(), events * block.image[0] * block.image[0], "{block:?}, {schedule}");
    Ok(wanted)
}

/// The blocks that take a NaN for a number: none, or there is a mistake. It comes about within the
/// vertex, as the difference of two numbers that are too large.
pub(crate) fn swallow(device: &Device, activations: &[Option<Activation>]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for &act in activations {
        for pool in [Pool::Max(3, 3), Pool::Mean(3, 3)] {
            let mut b = Graph::<HostTensor<f32>>::builder();
            let parents = ["one", "other", "plain"]
                .iter()
                .map(|own| b.input(own, &[1, 3, 3]))
                .collect::<Result<Vec<_>>>()?;
            let weight = b.parameter("weight", HostTensor::new(&[1, 1, 1, 1], vec![0.5])?)?;
            let mut links: Vec<HostVertex<f32>> = vec![
                Box::new(Sum::weighted(&[2.0, -2.0, 1.0])),
                Box::new(Conv2d { stride: 1, padding: 0, bias: false }),
            ];
            if let Some(f) = act {
                links.push(Box::new(Activate(f)));
            }
            links.push(match pool {
                Pool::Max(size, stride) => Box::new(MaxPool2d { size, stride }),
                _ => Box::new(AvgPool2d { size: 3, stride: 3 }),
            });
            let y = b.vertex("y", Box::new(HostChain::new(links)?), &parents, &[weight])?;
            let graph = b.build()?;
            // Without a NaN all is well.
            for place in std::iter::once(None).chain((0..9).map(Some)) {
                let mut there = graph_to_device(&graph, device, Precision::F32)?;
                let mut large = [0.0; 9];
                if let Some(place) = place {
                    large[place] = 3e38;
                }
                let plain: Vec<f32> = (0..9).map(|k| k as f32 - 4.0).collect();
                let clamps = Clamps::new()
                    .hold(parents[0], device.tensor(&[1, 1, 3, 3], &large)?)
                    .hold(parents[1], device.tensor(&[1, 1, 3, 3], &large)?)
                    .hold(parents[2], device.tensor(&[1, 1, 3, 3], &plain)?)
                    .hold(y, device.tensor(&[1, 1, 1, 1], &[0.5])?);
                let mut rule = Relaxation::new(&there, Schedule::standard(0.1, 1)?)?;
                let finite = match rule.run(&mut there, &clamps) {
                    Ok(outcome) => outcome.energy.total().is_finite(),
                    Err(error) if place.is_none() => return Err(error),
                    Err(_) => false,
                };
                assert!(finite || place.is_some(), "{act:?}: no energy without a NaN");
                if finite && place.is_some() {
                    all.push(format!("{act:?}, {pool:?}, place {place:?}"));
                }
            }
        }
    }
    Ok(all)
}
