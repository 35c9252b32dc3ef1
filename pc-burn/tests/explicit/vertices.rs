//! Vertices that the conformance suite does not reach, against the host backend in f64: standard
//! PC, so that differences, pullbacks and moving values all count.

use burn::{
    module::{Module, Param},
    nn::{BatchNorm, BatchNormConfig},
    tensor::{DType, Device, Tensor as BurnTensorOf},
};
use pc_burn::{
    BurnTensor,
    explicit::{
        AvgPool2d, BurnVertex, Concat, Embedding, Gated, LayerNorm, Linear, MatMul, MaxPool2d,
        ModuleGraph, Scale, Softmax, Split, Sum, SumOfProducts, SwapAxes,
    },
    with_operations_only,
};
use pc_core::{
    Agreement, Chain, Clamps, Graph, GraphBuilder, Map, Relaxation, Schedule, Tensor,
    backend::GraphTensor,
    host::{self, Activation, HostTensor, HostVertex, Probe},
};

use crate::common::wave;

/// What a case is made of: parents of these shapes, parameters of these, the vertex on either
/// backend.
struct Case {
    parents: &'static [&'static [usize]],
    parameters: &'static [&'static [usize]],
    burn: fn() -> BurnVertex,
    host: fn() -> HostVertex<f64>,
}

const BATCH: usize = 2;

/// Free vertices `p0, p1, ...`, each predicted as a scaled copy of a held input, predict the vertex
/// under test, which predicts a scaled output. Returns all gradients and the states at the end.
fn relax<T: GraphTensor + 'static>(
    case: &Case,
    vertex: T::Vertex,
    make: &dyn Fn(&[usize], &[f64]) -> T,
    follow: &dyn Fn() -> T::Vertex,
    schedule: &Schedule,
) -> Vec<Vec<f64>> {
    let mut b: GraphBuilder<T> = Graph::builder();
    let mut clamps = Clamps::new();
    let mut parents = Vec::new();
    for (k, shape) in case.parents.iter().enumerate() {
        let full: Vec<usize> = [BATCH].iter().chain(*shape).copied().collect();
        let x = b.input(&format!("x{k}"), shape).unwrap();
        clamps = clamps.hold(x, make(&full, &wave(full.iter().product(), 0.3 + k as f64)));
        parents.push(b.vertex(&format!("p{k}"), follow(), &[x], &[]).unwrap());
    }
    let mut parameters = Vec::new();
    for (k, shape) in case.parameters.iter().enumerate() {
        parameters.push(
            b.parameter(
                &format!("w{k}"),
                make(shape, &wave(shape.iter().product(), 2.0 + k as f64)),
            )
            .unwrap(),
        );
    }
    let v = b.vertex("v", vertex, &parents, &parameters).unwrap();
    let y = b.vertex("y", follow(), &[v], &[]).unwrap();
    let full: Vec<usize> = [BATCH].iter().chain(b.shape(y).unwrap()).copied().collect();
    clamps = clamps.hold(y, make(&full, &wave(full.iter().product(), 5.0)));
    let mut graph = b.build().unwrap();
    let mut relaxation = Relaxation::new(&graph, schedule.clone()).unwrap();
    for _ in 0..2 {
        relaxation.run(&mut graph, &clamps).unwrap();
    }
    let mut found: Vec<Vec<f64>> =
        parameters.iter().map(|p| relaxation.gradients().get(*p).unwrap().to_vec()).collect();
    found.extend(
        parents
            .iter()
            .chain([&v])
            .map(|vertex| relaxation.value(&graph, *vertex).unwrap().to_vec()),
    );
    found
}

fn agrees(name: &str, case: &Case) {
    for schedule in
        [Schedule::standard(0.1, 20).unwrap(), Schedule::fixed_prediction(0.3, 7).unwrap()]
    {
        let expected = relax::<HostTensor<f64>>(
            case,
            (case.host)(),
            &|shape, values| {
                HostTensor::new(shape, values.iter().map(|x| f64::from(*x as f32)).collect())
                    .unwrap()
            },
            &|| Box::new(host::Scale(0.8)),
            &schedule,
        );
        for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 1e-5)] {
            for alone in [false, true] {
                let run = || {
                    relax::<BurnTensor>(
                        case,
                        (case.burn)(),
                        &|shape, values| {
                            let values: Vec<f64> =
                                values.iter().map(|x| f64::from(*x as f32)).collect();
                            BurnTensor::from_values(shape, &values, &Device::flex(), dtype).unwrap()
                        },
                        &|| Box::new(Scale(0.8)),
                        &schedule,
                    )
                };
                let found = if alone { with_operations_only(run) } else { run() };
                for (k, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let off = Agreement::of_slices(found, expected).max_difference;
                    assert!(
                        off <= tolerance,
                        "{name}, {schedule}, {dtype:?}, operations only: {alone}: tensor {k} is \
                         off by {off:.1e}"
                    );
                }
            }
        }
    }
}

macro_rules! cases {
    ($($name:ident: $parents:expr, $parameters:expr, $burn:expr, $host:expr;)+) => {
        $(
            #[test]
            fn $name() {
                agrees(stringify!($name), &Case { parents: $parents, parameters: $parameters,
                burn: || Box::new($burn), host: || Box::new($host) });
            }
        )+
    };
}

cases! {
    linear: &[&[3, 4]], &[&[5, 4], &[5]], Linear::new().transposed(), host::Linear::new();
    softmax: &[&[3, 5]], &[], Softmax::new(), host::Softmax::new();
    causal_softmax: &[&[2, 3, 5]], &[], Softmax::causal(), host::Softmax::causal();
    layer_norm: &[&[3, 6]], &[&[6], &[6]], LayerNorm::new(1e-5, true), host::LayerNorm::default();
    gated: &[&[4], &[4]], &[], Gated(Activation::Tanh), host::Gated(Activation::Tanh);
    sum_of_products: &[&[4], &[4], &[4], &[4]], &[], SumOfProducts, host::SumOfProducts;
    matmul: &[&[2, 3, 4], &[2, 4, 5]], &[], MatMul { transpose_b: false, scale: 0.7 },
    host::MatMul { transpose_b: false, scale: 0.7 };
    matmul_transposed: &[&[2, 3, 4], &[2, 5, 4]], &[], MatMul { transpose_b: true, scale: 0.7 },
    host::MatMul { transpose_b: true, scale: 0.7 };
    concat: &[&[2, 3], &[2, 4]], &[], Concat { axis: 1 }, host::Concat { axis: 1 };
    split: &[&[5, 3]], &[], Split { axis: 0, start: 1, length: 2 }, host::Split { axis: 0,
    start: 1, length: 2 };
    swap_axes: &[&[2, 3, 4]], &[], SwapAxes, host::SwapAxes;
    weighted_sum: &[&[4], &[4]], &[], Sum::weighted(&[0.5, -2.0]), host::Sum::weighted(&[0.5,
    -2.0]);
    max_pool: &[&[2, 5, 6]], &[], MaxPool2d::new(3, 2), host::MaxPool2d { size: 3, stride: 2 };
    avg_pool: &[&[2, 5, 6]], &[], AvgPool2d::new(2, 1), host::AvgPool2d { size: 2, stride: 1 };
    leaky: &[&[6]], &[], pc_burn::explicit::Activate(Activation::LeakyRelu(0.1)),
    host::Activate(Activation::LeakyRelu(0.1));
    hard_tanh: &[&[6]], &[], Chain::<BurnTensor>::new(vec![Box::new(Scale(4.0)),
    Box::new(pc_burn::explicit::Activate(Activation::HardTanh))]).unwrap(),
    host::HostChain::<f64>::new(vec![Box::new(host::Scale(4.0)),
    Box::new(host::Activate(Activation::HardTanh))]).unwrap();
    residual: &[&[4]], &[&[4, 4]], pc_core::Residual::new(Linear::without_bias().transposed()),
    pc_core::Residual::new(host::Linear::without_bias());
    map: &[&[4]], &[], sine(), sine();
    silu: &[&[6]], &[], pc_burn::explicit::Activate(Activation::Silu),
    host::Activate(Activation::Silu);
    softplus: &[&[6]], &[], pc_burn::explicit::Activate(Activation::Softplus),
    host::Activate(Activation::Softplus);
}

/// A user's own function, by one implementation on either backend.
fn sine() -> Map {
    Map::new("sine", f64::sin, f64::cos)
        .with_difference(|a, d| 2.0 * (a + 0.5 * d).cos() * (0.5 * d).sin())
}

/// Hard tanh between and at its kinks, from every side to every side, by operations and by slices.
#[test]
fn hard_tanh_between_its_sides() {
    let points = [-3.0, -1.5, -1.0, -0.75, 0.0, 0.5, 1.0, 1.25, 4.0];
    let tensor = |values: &[f64], dtype| {
        BurnTensor::from_values(&[1, values.len()], values, &Device::flex(), dtype).unwrap()
    };
    let starts: Vec<f64> = points.iter().flat_map(|a| [*a; 9]).collect();
    let steps: Vec<f64> = points.iter().flat_map(|a| points.map(|x| x - a)).collect();
    let ends = || points.repeat(9).into_iter();
    let bounded = |x: f64| x.clamp(-1.0, 1.0);
    let expected: Vec<f64> = ends().zip(&starts).map(|(x, a)| bounded(x) - bounded(*a)).collect();
    let slopes: Vec<f64> = ends().map(|x| if x.abs() < 1.0 { 1.0 } else { 0.0 }).collect();
    for dtype in [DType::F64, DType::F32] {
        for alone in [false, true] {
            let run = || {
                let vertex = Box::new(pc_burn::explicit::Activate(Activation::HardTanh));
                let mut probe =
                    Probe::<BurnTensor>::new(vertex, vec![tensor(&starts, dtype)], vec![]).unwrap();
                let predicted = probe.predict().unwrap().to_vec();
                let at: Vec<f64> = starts.iter().map(|a| bounded(*a)).collect();
                assert_eq!(predicted, at, "{dtype:?}, operations only: {alone}");
                probe.displace(0, &tensor(&steps, dtype)).unwrap();
                let change = probe.change().unwrap().to_vec();
                assert_eq!(change, expected, "{dtype:?}, operations only: {alone}");
                probe.pull(&tensor(&[1.0; 81], dtype), 1.0).unwrap();
                assert_eq!(probe.force(0).unwrap().to_vec(), slopes);
                // A step that the sum of it and the value rounds away.
                probe.displace(0, &tensor(&[-1e-12; 81], dtype)).unwrap();
                let found = probe.change().unwrap().to_vec()[6 * 9];
                assert!((found + 1e-12).abs() <= 1e-18, "from the kink: {found:e}");
            };
            if alone { with_operations_only(run) } else { run() }
        }
    }
}

#[test]
fn embedding() {
    let run = |burn: bool| {
        let (words, weights) = (vec![0.0, 3.0, 3.0, 1.0, 0.0, 2.0], wave(12, 0.4));
        let target = wave(18, 0.9);
        fn gradients<T: GraphTensor + 'static>(
            vertex: T::Vertex,
            [words, weights, target]: [T; 3],
        ) -> Vec<f64> {
            let mut b: GraphBuilder<T> = Graph::builder();
            let x = b.input("x", &[3]).unwrap();
            let w = b.parameter("w", weights).unwrap();
            let y = b.vertex("y", vertex, &[x], &[w]).unwrap();
            let mut graph = b.build().unwrap();
            let mut relaxation =
                Relaxation::new(&graph, Schedule::standard(0.1, 5).unwrap()).unwrap();
            relaxation.run(&mut graph, &Clamps::new().hold(x, words).hold(y, target)).unwrap();
            relaxation.gradients().get(w).unwrap().to_vec()
        }
        if burn {
            let make = |shape: &[usize], values: &[f64]| {
                BurnTensor::from_values(shape, values, &Device::flex(), DType::F64).unwrap()
            };
            gradients::<BurnTensor>(
                Box::new(Embedding),
                [make(&[2, 3], &words), make(&[4, 3], &weights), make(&[2, 3, 3], &target)],
            )
        } else {
            let make = |shape: &[usize], values: &[f64]| {
                HostTensor::<f64>::new(shape, values.to_vec()).unwrap()
            };
            gradients::<HostTensor<f64>>(
                Box::new(host::Embedding),
                [make(&[2, 3], &words), make(&[4, 3], &weights), make(&[2, 3, 3], &target)],
            )
        }
    };
    assert!(Agreement::of_slices(&run(true), &run(false)).max_difference <= 1e-12);
}

/// A batch norm whose running statistics are these.
fn normalised(device: &Device) -> BatchNorm {
    let mut module = BatchNormConfig::new(3).init(device);
    module.gamma = Param::from_tensor(BurnTensorOf::from_floats([0.5, 2.0, -1.0], device));
    module.running_mean.update(BurnTensorOf::from_floats([0.1, -0.3, 0.2], device));
    module.running_var.update(BurnTensorOf::from_floats([0.5, 2.0, 1.5], device));
    module
}

#[test]
fn running_statistics_move_once_a_step_as_burns_do() {
    let device = Device::flex().autodiff();
    let (ours, burns) =
        (BatchNormConfig::new(3).init(&device), BatchNormConfig::new(3).init(&device));
    let x = crate::common::tensor::<4>([4, 3, 2, 2], 0.2, &device);
    burns.forward(x.clone());
    let mut b = ModuleGraph::new();
    let input = b.input("x", &[3, 2, 2]).unwrap();
    let h = b.batch_norm("h", input, &ours).unwrap();
    let y = b.activate("y", h, Activation::Tanh).unwrap();
    let (mut graph, _) = b.build().unwrap();
    let clamps = Clamps::new()
        .hold(input, BurnTensor::new(x.clone()).unwrap())
        .hold(y, BurnTensor::new(x).unwrap());
    Relaxation::new(&graph, Schedule::standard(0.1, 20).unwrap())
        .unwrap()
        .run(&mut graph, &clamps)
        .unwrap();
    let numbers = |t: BurnTensorOf<1>| BurnTensor::new(t).unwrap().to_vec();
    for (ours, burns) in
        [(&ours.running_mean, &burns.running_mean), (&ours.running_var, &burns.running_var)]
    {
        let off = Agreement::of_slices(&numbers(ours.value_sync()), &numbers(burns.value_sync()))
            .max_difference;
        assert!(off <= 1e-6, "{off:.1e}");
    }
}

#[test]
fn frozen_batch_norm_is_burns_outside_training() {
    let device = Device::flex();
    let module = normalised(&device);
    let x = crate::common::tensor::<3>([2, 3, 4], 0.2, &device);
    let expected = BurnTensor::new(module.valid().forward(x.clone())).unwrap().to_vec();
    let mut b = ModuleGraph::new();
    let input = b.input("x", &[3, 4]).unwrap();
    let h = b.frozen_batch_norm("h", input, &module).unwrap();
    let y = b.identity("y", h).unwrap();
    let (mut graph, parameters) = b.build().unwrap();
    let x = BurnTensor::new(x).unwrap();
    let clamps = Clamps::new().hold(input, x.clone()).hold(y, x.clone());
    let mut relaxation = Relaxation::new(&graph, Schedule::standard(1e-9, 1).unwrap()).unwrap();
    relaxation.run(&mut graph, &clamps).unwrap();
    let off = Agreement::of_slices(&relaxation.value(&graph, h).unwrap().to_vec(), &expected)
        .max_difference;
    assert!(off <= 1e-6, "{off:.1e}");
    // At the fixed point the bias's gradient is the sum of prediction minus target, channel by
    // channel.
    let mut exact = Relaxation::new(&graph, Schedule::fixed_prediction(1.0, 2).unwrap()).unwrap();
    exact.run(&mut graph, &clamps).unwrap();
    let beta = exact.gradients().get(parameters.of(module.beta.id).unwrap()).unwrap().to_vec();
    let x = x.to_vec();
    for (channel, beta) in beta.iter().enumerate() {
        let sum: f64 =
            (0..8).map(|k| (k / 4 * 12) + channel * 4 + k % 4).map(|k| expected[k] - x[k]).sum();
        assert!((beta - sum).abs() <= 1e-5 * sum.abs().max(1.0), "{beta} {sum}");
    }
}
