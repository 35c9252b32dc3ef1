//! The same net on every backend: two dense layers, the first of them square, so that a matrix that
//! is not turned shows.

use burn::tensor::{DType, Device as BurnDevice};
use pc_burn::{
    BurnTensor,
    explicit::{self, BurnVertex},
};
use pc_core::{
    Activation, Chain, Clamps, Graph, HandOver, ParamId, Relaxation, Schedule, Tensor,
    backend::GraphTensor,
    host::{Element, HostLayers, HostTensor, Init},
};
use pc_cuda::{Device, DeviceTensor, FusedNet, Precision, Sgd, Simulation, graph_to_device};

pub(crate) const WIDE: [usize; 3] = [5, 5, 3];
pub(crate) const LAYERS: [&str; 2] = ["h", "y"];
pub(crate) const OTHER_LAYERS: [&str; 2] = ["first", "last"];

const RATE: f64 = 0.05;

/// A backend's nets.
pub(crate) trait Side {
    type Net: HandOver;
    const NAME: &'static str;
    /// Whether its numbers are of `f32`.
    const NARROW: bool;

    /// What its layers are called where they are to be called so.
    fn names(layers: [&str; 2]) -> [String; 2] {
        layers.map(str::to_owned)
    }

    fn net(layers: [&str; 2], widths: [usize; 3], seed: u64) -> Self::Net;

    /// One batch by standard PC and plain descent.
    fn learn(net: &mut Self::Net, batch: usize);
}

/// What is done with two of them.
pub(crate) trait Check {
    fn pair<A: Side, B: Side>();
}

/// Does it with every two, and with each and itself.
pub(crate) fn all<C: Check>() {
    fn from<C: Check, A: Side>() {
        C::pair::<A, HostWide>();
        C::pair::<A, HostNarrow>();
        C::pair::<A, BurnWide>();
        C::pair::<A, BurnNarrow>();
        C::pair::<A, OnDevice>();
        C::pair::<A, Fused>();
        #[cfg(feature = "dfdx")]
        C::pair::<A, super::dfdx::Read>();
    }
    from::<C, HostWide>();
    from::<C, HostNarrow>();
    from::<C, BurnWide>();
    from::<C, BurnNarrow>();
    from::<C, OnDevice>();
    from::<C, Fused>();
    #[cfg(feature = "dfdx")]
    from::<C, super::dfdx::Read>();
}

/// So many numbers that `f32` holds.
fn wave(count: usize, phase: f64) -> Vec<f64> {
    (0..count).map(|k| f64::from((0.8 * (1.7 * k as f64 + phase).sin()) as f32)).collect()
}

/// What is held of a batch: the first vertex, and the last.
fn clamps<T: Tensor>(
    graph: &pc_core::Topology,
    widths: [usize; 2],
    batch: usize,
    of: impl Fn(&[usize], &[f64]) -> T,
) -> Clamps<T> {
    let vertices: Vec<_> = graph.vertices().collect();
    let ends = [vertices[0], vertices[vertices.len() - 1]];
    ends.into_iter().zip(widths).fold(Clamps::new(), |clamps, (vertex, width)| {
        let phase = batch as f64 + width as f64 / 10.0;
        clamps.hold(vertex, of(&[2, width], &wave(2 * width, phase)))
    })
}

fn schedule() -> Schedule {
    Schedule::standard(0.1, 4).unwrap()
}

pub(crate) fn learn<T: GraphTensor>(
    graph: &mut Graph<T>,
    batch: usize,
    of: impl Fn(&[usize], &[f64]) -> T,
) {
    let clamps = clamps(graph.topology(), [WIDE[0], WIDE[2]], batch, of);
    let mut rule = Relaxation::new(graph, schedule()).unwrap();
    rule.train(graph, &clamps, |graph, by| {
        for (index, parameter) in graph.parameters_mut().iter_mut().enumerate() {
            if let Some(gradient) = by.get(ParamId::new(index)) {
                parameter.axpy(-RATE, gradient);
            }
        }
        Ok(())
    })
    .unwrap();
}

pub(crate) fn host<F: Element>(
    layers: [&str; 2],
    widths: [usize; 3],
    seed: u64,
) -> Graph<HostTensor<F>> {
    let mut init = Init::new(seed);
    let mut b = Graph::<HostTensor<F>>::builder();
    let x = b.input("x", &[widths[0]]).unwrap();
    let h = b.dense(layers[0], x, widths[1], Activation::Tanh, &mut init).unwrap();
    b.dense(layers[1], h, widths[2], Activation::Identity, &mut init).unwrap();
    b.build().unwrap()
}

pub(crate) fn of_host<F: Element>(shape: &[usize], numbers: &[f64]) -> HostTensor<F> {
    HostTensor::new(shape, numbers.iter().map(|x| F::of(*x)).collect()).unwrap()
}

pub(crate) struct HostWide;
pub(crate) struct HostNarrow;

macro_rules! host_side {
    ($side:ident, $element:ty, $name:literal, $narrow:literal) => {
        impl Side for $side {
            type Net = Graph<HostTensor<$element>>;
            const NAME: &'static str = $name;
            const NARROW: bool = $narrow;

            fn net(layers: [&str; 2], widths: [usize; 3], seed: u64) -> Self::Net {
                host(layers, widths, seed)
            }

            fn learn(net: &mut Self::Net, batch: usize) {
                learn(net, batch, of_host);
            }
        }
    };
}

host_side!(HostWide, f64, "the host in f64", false);
host_side!(HostNarrow, f32, "the host in f32", true);

/// Weights `[outputs, inputs]`, as the host has them.
pub(crate) struct BurnWide;
/// Weights `[inputs, outputs]`, as Burn's modules have them.
pub(crate) struct BurnNarrow;

fn of_burn(shape: &[usize], numbers: &[f64], dtype: DType) -> BurnTensor {
    BurnTensor::from_values(shape, numbers, &BurnDevice::flex(), dtype).unwrap()
}

fn burn(
    layers: [&str; 2],
    widths: [usize; 3],
    seed: u64,
    (dtype, transposed): (DType, bool),
) -> Graph<BurnTensor> {
    let mut b = Graph::<BurnTensor>::builder();
    let mut below = b.input("x", &[widths[0]]).unwrap();
    for (k, name) in layers.into_iter().enumerate() {
        let (inputs, outputs) = (widths[k], widths[k + 1]);
        let shape = if transposed { [outputs, inputs] } else { [inputs, outputs] };
        let phase = seed as f64 + 3.0 * k as f64;
        let weight = of_burn(&shape, &wave(inputs * outputs, phase), dtype);
        let weight = b.parameter(&format!("{name}.weight"), weight).unwrap();
        let bias = of_burn(&[outputs], &wave(outputs, phase + 1.0), dtype);
        let bias = b.parameter(&format!("{name}.bias"), bias).unwrap();
        let linear = explicit::Linear::new();
        let linear = if transposed { linear.transposed() } else { linear };
        let vertex: BurnVertex = if k == 0 {
            let activation = Box::new(explicit::Activate(Activation::Tanh));
            let links: Vec<BurnVertex> = vec![Box::new(linear), activation];
            Box::new(Chain::<BurnTensor>::new(links).unwrap())
        } else {
            Box::new(linear)
        };
        below = b.vertex(name, vertex, &[below], &[weight, bias]).unwrap();
    }
    b.build().unwrap()
}

macro_rules! burn_side {
    ($side:ident, $dtype:expr, $transposed:literal, $name:literal, $narrow:literal) => {
        impl Side for $side {
            type Net = Graph<BurnTensor>;
            const NAME: &'static str = $name;
            const NARROW: bool = $narrow;

            fn net(layers: [&str; 2], widths: [usize; 3], seed: u64) -> Self::Net {
                burn(layers, widths, seed, ($dtype, $transposed))
            }

            fn learn(net: &mut Self::Net, batch: usize) {
                learn(net, batch, |shape, numbers| of_burn(shape, numbers, $dtype));
            }
        }
    };
}

burn_side!(BurnWide, DType::F64, true, "Burn in f64", false);
burn_side!(BurnNarrow, DType::F32, false, "Burn in f32", true);

/// Step by step on a device.
pub(crate) struct OnDevice;
/// A chain whose relaxation is one launch.
pub(crate) struct Fused;

fn device(seed: u64) -> Device {
    Device::simulated(&Simulation::new(seed)).unwrap()
}

fn of_device(device: &Device, shape: &[usize], numbers: &[f64]) -> DeviceTensor {
    device.tensor(shape, &numbers.iter().map(|x| *x as f32).collect::<Vec<_>>()).unwrap()
}

impl Side for OnDevice {
    type Net = Graph<DeviceTensor>;
    const NAME: &'static str = "a device's graph";
    const NARROW: bool = true;

    fn net(layers: [&str; 2], widths: [usize; 3], seed: u64) -> Self::Net {
        graph_to_device(&host::<f32>(layers, widths, seed), &device(seed), Precision::F32).unwrap()
    }

    fn learn(net: &mut Self::Net, batch: usize) {
        let device = net.parameters()[0].device().clone();
        learn(net, batch, |shape, numbers| of_device(&device, shape, numbers));
    }
}

impl Side for Fused {
    type Net = FusedNet;
    const NAME: &'static str = "a fused net";
    const NARROW: bool = true;

    fn net(layers: [&str; 2], widths: [usize; 3], seed: u64) -> Self::Net {
        let graph = host::<f32>(layers, widths, seed);
        FusedNet::from_graph(&graph, &device(seed), Precision::F32).unwrap()
    }

    fn learn(net: &mut Self::Net, batch: usize) {
        let device = net.parameters()[0].device().clone();
        let of = |shape: &[usize], numbers: &[f64]| of_device(&device, shape, numbers);
        let clamps = clamps(pc_core::Network::topology(net), [WIDE[0], WIDE[2]], batch, of);
        let mut rule = Relaxation::new(net, schedule()).unwrap();
        let mut sgd = Sgd::new(RATE).unwrap();
        rule.train(net, &clamps, |net, by| sgd.step(net, by)).unwrap();
    }
}
