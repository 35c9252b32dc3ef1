//! Weights and optimisers handed between the host, graphs on devices and fused nets.

use pc_core::{
    Clamps, Graph, HandOver, Relaxation, Result, Schedule, Tensor, VertexId,
    backend::GraphTensor,
    host::{self, Activation, HostTensor},
};
use pc_cuda::{AdamW, Device, DeviceTensor, FusedNet, Precision, Sgd, Simulation, graph_to_device};

use crate::{
    common::chain,
    graphs::{
        models::{MODELS, model, wide},
        upload,
    },
};

fn device(seed: u64) -> Device {
    Device::simulated(&Simulation::new(seed)).unwrap()
}

fn numbers(from: &impl HandOver) -> Vec<Vec<f64>> {
    from.named().1.iter().map(Tensor::to_vec).collect()
}

/// The largest difference, over the largest number.
fn distance(one: &impl HandOver, other: &impl HandOver) -> f64 {
    let (one, other) = (numbers(one).concat(), numbers(other).concat());
    assert_eq!(one.len(), other.len());
    pc_core::Agreement::of_slices(&one, &other).max_difference
}

fn clamps<T: GraphTensor>(
    held: &[(VertexId, HostTensor<f32>)],
    turn: f64,
    to: impl Fn(&HostTensor<f32>) -> T,
) -> Clamps<T> {
    held.iter().fold(Clamps::new(), |clamps, (vertex, value)| {
        let mut value = value.clone();
        // Indices stay what they are.
        if value.data().iter().any(|x| x.fract() != 0.0) {
            value.scale(turn);
        }
        clamps.hold(*vertex, to(&value))
    })
}

fn widened(value: &HostTensor<f32>) -> HostTensor<f64> {
    let numbers = value.data().iter().map(|x| f64::from(*x)).collect();
    HostTensor::new(value.dims(), numbers).unwrap()
}

/// One batch on the host.
fn here(
    graph: &mut Graph<HostTensor<f64>>,
    held: &[(VertexId, HostTensor<f32>)],
    turn: f64,
    schedule: &Schedule,
    sgd: &mut host::Sgd<f64>,
) -> Result<()> {
    let mut rule = Relaxation::new(graph, schedule.clone())?;
    let clamps = clamps(held, turn, widened);
    rule.train(graph, &clamps, |graph, by| sgd.step(graph.parameters_mut(), by))?;
    Ok(())
}

/// Every model learns two batches on the host, two on one device, two on another and two on the
/// host again, with momentum along, as on the host alone.
#[test]
fn training_goes_on_wherever_it_is_handed() {
    let schedules = [
        Schedule::backprop(),
        Schedule::standard(0.05, 6).unwrap(),
        Schedule::ipc(0.05, 3).unwrap(),
    ];
    for name in MODELS {
        for schedule in &schedules {
            let (mut graph, held) = {
                let model = wide(name).unwrap();
                (model.graph, model.held)
            };
            let mut whole = wide(name).unwrap().graph;
            // Not Adam: where a gradient is nothing but rounding, it goes by its sign.
            let sgd = || host::Sgd::<f64>::new(0.01).unwrap().with_momentum(0.9).unwrap();
            let there = || Sgd::new(0.01).unwrap().with_momentum(0.9).unwrap();
            let (mut one, mut other) = (sgd(), sgd());
            for batch in 0..8 {
                here(&mut whole, &held, 0.5 + 0.1 * f64::from(batch), schedule, &mut one).unwrap();
            }
            let on = |graph: &mut Graph<DeviceTensor>, sgd: &mut Sgd, first: i32| {
                let device = graph.parameters()[0].device().clone();
                let mut rule = Relaxation::new(graph, schedule.clone()).unwrap();
                for batch in first..first + 2 {
                    let to = |value: &HostTensor<f32>| upload(&device, value).unwrap();
                    let clamps = clamps(&held, 0.5 + 0.1 * f64::from(batch), to);
                    rule.train(graph, &clamps, |graph, by| sgd.step(graph, by)).unwrap();
                }
            };
            for batch in 0..2 {
                here(&mut graph, &held, 0.5 + 0.1 * f64::from(batch), schedule, &mut other)
                    .unwrap();
            }
            // Other weights, and an optimiser that has learned before.
            let other_weights = model::<f32>(name).unwrap().graph;
            let remade = |seed| graph_to_device(&other_weights, &device(seed), Precision::F32);
            let (mut first, mut second) = (remade(1).unwrap(), remade(2).unwrap());
            let (mut a, mut b) = (there(), there());
            on(&mut first, &mut a, 20);
            first.copy_training_from(&mut a, &graph, &other).unwrap();
            assert!(distance(&first, &graph) <= 1e-7, "{name}");
            on(&mut first, &mut a, 2);
            second.copy_training_from(&mut b, &first, &a).unwrap();
            assert_eq!(numbers(&second), numbers(&first), "{name}");
            on(&mut second, &mut b, 4);
            graph.copy_training_from(&mut other, &second, &b).unwrap();
            assert_eq!(numbers(&graph), numbers(&second), "{name}");
            for batch in 6..8 {
                here(&mut graph, &held, 0.5 + 0.1 * f64::from(batch), schedule, &mut other)
                    .unwrap();
            }
            let off = distance(&graph, &whole);
            println!("{name}, {schedule}: {off:.1e}");
            assert!(off <= 1e-5, "{name}, {schedule}: off by {off:.1e}");
        }
    }
}

/// A fused net's recordings see weights that were handed to it, momentum's state goes along, and a
/// chain on a device step by step goes on as the fused net would have.
#[test]
fn fused_nets_take_part() {
    let widths = [5, 8, 3];
    let build = |seed| chain(&widths, Activation::Tanh, Activation::Identity, seed).unwrap();
    let (graph, x, y) = build(1);
    let (other, ..) = build(2);
    let sgd = || Sgd::new(0.05).unwrap().with_momentum(0.9).unwrap();
    let (one, two) = (device(3), device(4));
    let held = |on: &Device, k: usize| {
        let of = |count: usize, by: f32| -> Vec<f32> {
            (0..count).map(|i| ((i * 7 + k) as f32 * by).sin()).collect()
        };
        Clamps::new()
            .hold(x, on.tensor(&[2, 5], &of(10, 0.3)).unwrap())
            .hold(y, on.tensor(&[2, 3], &of(6, 0.7)).unwrap())
    };
    for schedule in [Schedule::standard(0.1, 6).unwrap(), Schedule::ipc(0.1, 3).unwrap()] {
        let mut whole = FusedNet::from_graph(&graph, &one, Precision::F32).unwrap();
        let mut part = FusedNet::from_graph(&other, &two, Precision::F32).unwrap();
        let (mut first, mut second, mut third) = (sgd(), sgd(), sgd());
        let mut rule = Relaxation::new(&whole, schedule.clone()).unwrap();
        let mut again = Relaxation::new(&part, schedule.clone()).unwrap();
        let mut learn = |net: &mut FusedNet, sgd: &mut Sgd, k| {
            rule.train(net, &held(&one, k), |net, by| sgd.step(net, by)).unwrap();
        };
        // The second has recorded its kernels, with weights and momentum of its own.
        again.train(&mut part, &held(&two, 9), |net, by| second.step(net, by)).unwrap();
        learn(&mut whole, &mut first, 0);
        part.copy_training_from(&mut second, &whole, &first).unwrap();
        again.train(&mut part, &held(&two, 1), |net, by| second.step(net, by)).unwrap();
        learn(&mut whole, &mut first, 1);
        assert_eq!(numbers(&part), numbers(&whole), "{schedule}");
        let mut steps = graph_to_device(&other, &two, Precision::F32).unwrap();
        steps.copy_training_from(&mut third, &part, &second).unwrap();
        let mut rule = Relaxation::new(&steps, schedule.clone()).unwrap();
        rule.train(&mut steps, &held(&two, 2), |net, by| third.step(net, by)).unwrap();
        learn(&mut whole, &mut first, 2);
        let off = distance(&steps, &whole);
        assert!(off <= 1e-5, "{schedule}: off by {off:.1e}");
    }
}

/// Adam's averages and counts of steps go along.
#[test]
fn adam_goes_on_on_the_device_and_back() {
    let (mut graph, x, y) = chain(&[5, 8, 3], Activation::Tanh, Activation::Identity, 1).unwrap();
    let (mut whole, ..) = chain(&[5, 8, 3], Activation::Tanh, Activation::Identity, 1).unwrap();
    let schedule = Schedule::standard(0.1, 6).unwrap();
    let adam = || host::Adam::<f32>::new(0.01).unwrap().with_decay(0.1).unwrap();
    let (mut one, mut other) = (adam(), adam());
    let mut there = AdamW::new(0.01).unwrap().with_decay(0.1).unwrap();
    let held = |k: usize| {
        let of = |count: usize, by: f32| -> Vec<f32> {
            (0..count).map(|i| ((i * 7 + k) as f32 * by).sin()).collect()
        };
        [
            (x, HostTensor::new(&[2, 5], of(10, 0.3)).unwrap()),
            (y, HostTensor::new(&[2, 3], of(6, 0.7)).unwrap()),
        ]
    };
    let learn = |graph: &mut Graph<HostTensor<f32>>, adam: &mut host::Adam<f32>, k| {
        let mut rule = Relaxation::new(graph, schedule.clone()).unwrap();
        let clamps = clamps(&held(k), 1.0, HostTensor::clone);
        rule.train(graph, &clamps, |graph, by| adam.step(graph.parameters_mut(), by)).unwrap();
    };
    (0..9).for_each(|k| learn(&mut whole, &mut one, k));
    (0..3).for_each(|k| learn(&mut graph, &mut other, k));
    let device = device(5);
    let mut net = FusedNet::from_graph(&graph, &device, Precision::F32).unwrap();
    net.copy_training_from(&mut there, &graph, &other).unwrap();
    let mut rule = Relaxation::new(&net, schedule.clone()).unwrap();
    for k in 3..6 {
        let clamps = clamps(&held(k), 1.0, |value| upload(&device, value).unwrap());
        rule.train(&mut net, &clamps, |net, by| there.step(net, by)).unwrap();
    }
    graph.copy_training_from(&mut other, &net, &there).unwrap();
    (6..9).for_each(|k| learn(&mut graph, &mut other, k));
    let off = distance(&graph, &whole);
    assert!(off <= 1e-5, "off by {off:.1e}");
    // Without the counts the first steps are others.
    let mut fresh = adam();
    learn(&mut graph, &mut fresh, 9);
    learn(&mut whole, &mut one, 9);
    assert!(distance(&graph, &whole) > 1e-4);
}

/// A device that fails while it is read, or while it is written, is an error; what is lost is never
/// taken for numbers.
#[test]
fn a_device_that_is_lost_hands_nothing_over() {
    let (mut graph, ..) = chain(&[3, 4, 2], Activation::Tanh, Activation::Identity, 1).unwrap();
    let mut calls = 0;
    let mut failed = 0;
    loop {
        let lost = Device::simulated(&Simulation::new(0).lost_after(calls)).unwrap();
        calls += 1;
        let Ok(mut net) = FusedNet::from_graph(&graph, &lost, Precision::F32) else { continue };
        let before = numbers(&graph);
        let (back, to) = (graph.copy_parameters_from(&net), net.copy_parameters_from(&graph));
        assert_eq!(numbers(&graph), before);
        for result in [&back, &to] {
            if let Err(error) = result {
                assert!(error.to_string().contains("the device is lost"), "{error}");
                failed += 1;
            }
        }
        if back.is_ok() && to.is_ok() {
            break;
        }
    }
    assert!(failed > 4, "{failed}");
    let (narrow, ..) = chain(&[3, 5, 2], Activation::Tanh, Activation::Identity, 1).unwrap();
    let mut net = FusedNet::from_graph(&graph, &device(0), Precision::F32).unwrap();
    let before = numbers(&net);
    let error = net.copy_parameters_from(&narrow).unwrap_err().to_string();
    assert!(error.contains("`l1.weight` has shape [5, 3], and the graph's has [4, 3]"), "{error}");
    assert_eq!(numbers(&net), before);
}
