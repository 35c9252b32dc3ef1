//! One batch on several devices, against the same training on one.

use std::ops::Range;

use pc_core::{
    Agreement, Clamps, ErrorKind, ErrorStart, Graph, HandOver, Network, Outcome, ParamId,
    Reduction, Relaxation, Result, Schedule, Start, Status, Tensor, VertexId,
    host::{Activation, HostTensor},
    rule,
};
use pc_cuda::{
    AdamW, AllReduce, CrossEntropy, DataParallel, Device, DeviceTensor, FusedNet, Nccl, OnDevice,
    Precision, Sgd, Simulation, ThroughHost, graph_to_device,
};

use crate::{
    common::chain,
    graphs::models::{MODELS, model},
};

fn device(seed: usize) -> Device {
    Device::simulated(&Simulation::new(seed as u64)).unwrap()
}

/// What a graph is fed: vertices with their shapes, the last driven by a loss where it says so.
#[derive(Clone)]
struct Feed {
    held: Vec<(VertexId, Vec<usize>)>,
    tokens: bool,
    entropy: bool,
}

impl Feed {
    /// The samples of a range, of the batch of this number.
    fn clamps(
        &self,
        device: &Device,
        own: Range<usize>,
        batch: usize,
    ) -> Result<Clamps<DeviceTensor>> {
        let mut clamps = Clamps::new();
        for (k, (vertex, shape)) in self.held.iter().enumerate() {
            let each: usize = shape.iter().product();
            let last = k + 1 == self.held.len();
            let number = |i: usize| match (self.tokens && k == 0, self.entropy && last) {
                (true, _) => ((i * 5 + batch) % 7) as f32,
                (_, true) => f32::from((i + i / each + batch).is_multiple_of(each)),
                _ => ((i * (3 + k) + 11 * batch + k) as f32 * 0.37).sin(),
            };
            let numbers: Vec<f32> = (own.start * each..own.end * each).map(number).collect();
            let shape: Vec<usize> =
                std::iter::once(own.len()).chain(shape.iter().copied()).collect();
            let tensor = device.tensor(&shape, &numbers)?;
            clamps = if self.entropy && last {
                clamps.drive(*vertex, CrossEntropy::new(tensor))
            } else {
                clamps.hold(*vertex, tensor)
            };
        }
        Ok(clamps)
    }
}

/// Sizes that divide, that do not, that leave a device of three without samples, and all but one.
const BATCHES: [usize; 5] = [6, 7, 2, 1, 5];

/// A device's optimiser.
enum Optimiser {
    Sgd(Sgd),
    Adam(AdamW),
}

impl Optimiser {
    fn new(adam: bool) -> Self {
        if adam {
            Self::Adam(AdamW::new(0.003).unwrap())
        } else {
            Self::Sgd(Sgd::new(0.01).unwrap().with_momentum(0.9).unwrap())
        }
    }

    fn step(
        &mut self,
        net: &mut impl OnDevice,
        by: &pc_core::Gradients<DeviceTensor>,
    ) -> Result<()> {
        match self {
            Self::Sgd(sgd) => sgd.step(net, by),
            Self::Adam(adam) => adam.step(net, by),
        }
    }
}

/// What training has come to: all weights, and the energy of every batch.
struct Run {
    weights: Vec<f64>,
    energies: Vec<f64>,
    agree: bool,
}

impl Run {
    /// How far this is from another, over its scale; infinite where the nets differ.
    fn from(&self, other: &Run) -> f64 {
        if !self.agree {
            return f64::INFINITY;
        }
        let off = |a: &[f64], b: &[f64]| Agreement::of_slices(a, b).max_difference;
        let (weights, energies) =
            (off(&self.weights, &other.weights), off(&self.energies, &other.energies));
        // A NaN stays.
        if weights <= energies { energies } else { weights }
    }
}

fn weights(of: &impl HandOver) -> Vec<f64> {
    of.named().1.iter().flat_map(Tensor::to_vec).collect()
}

fn alone<N>(make: impl Fn(&Device) -> N, feed: &Feed, schedule: &Schedule, adam: bool) -> Run
where
    N: Network<Tensor = DeviceTensor> + HandOver<Tensor = DeviceTensor> + OnDevice,
{
    let device = device(0);
    let (mut net, mut optimiser) = (make(&device), Optimiser::new(adam));
    let mut rule = Relaxation::new(&net, schedule.clone()).unwrap();
    let mut energies = Vec::new();
    for (batch, samples) in BATCHES.into_iter().enumerate() {
        let clamps = feed.clamps(&device, 0..samples, batch).unwrap();
        let outcome = rule.train(&mut net, &clamps, |net, by| optimiser.step(net, by)).unwrap();
        energies.push(outcome.energy.total());
    }
    Run { weights: weights(&net), energies, agree: true }
}

fn shared<N>(
    make: impl Fn(&Device) -> N,
    feed: &Feed,
    schedule: &Schedule,
    (adam, devices): (bool, usize),
    sums: impl AllReduce + 'static,
) -> Run
where
    N: Network<Tensor = DeviceTensor> + HandOver<Tensor = DeviceTensor> + OnDevice,
{
    let nets: Vec<N> = (0..devices).map(|seed| make(&device(seed + 1))).collect();
    let mut all = DataParallel::new(nets, schedule, sums).unwrap();
    let mut optimisers: Vec<Optimiser> = (0..devices).map(|_| Optimiser::new(adam)).collect();
    let mut energies = Vec::new();
    for (batch, samples) in BATCHES.into_iter().enumerate() {
        let mut seen = Vec::new();
        let outcome = all
            .train(
                samples,
                |device, own| {
                    seen.extend(own.clone());
                    feed.clamps(device, own, batch)
                },
                |index, net, by| optimisers[index].step(net, by),
            )
            .unwrap();
        assert_eq!(seen, (0..samples).collect::<Vec<_>>());
        energies.push(outcome.energy.total());
    }
    Run { weights: weights(&all), energies, agree: all.agree().unwrap() }
}

fn schedules() -> Vec<Schedule> {
    vec![
        Schedule::backprop(),
        Schedule::backprop().reduced_by(Reduction::Mean),
        Schedule::fixed_prediction(0.3, 7).unwrap(),
        Schedule::standard(0.05, 8).unwrap(),
        Schedule::standard(0.05, 6).unwrap().with_momentum(0.5).unwrap(),
        Schedule::standard(0.05, 6).unwrap().reduced_by(Reduction::Mean).starting(Start::Zero),
        Schedule::ipc(0.05, 4).unwrap(),
        Schedule::ipc(0.05, 4).unwrap().reduced_by(Reduction::Mean),
        Schedule::epc(0.05, 6).unwrap(),
    ]
}

fn chains(entropy: bool) -> (Graph<HostTensor<f32>>, Feed) {
    let (graph, x, y) = chain(&[5, 9, 6, 3], Activation::Tanh, Activation::Identity, 3).unwrap();
    (graph, Feed { held: vec![(x, vec![5]), (y, vec![3])], tokens: false, entropy })
}

/// Chains as fused nets, by every schedule, both optimisers, held and driven outputs, and one, two
/// and three devices.
#[test]
fn fused_nets_learn_together_as_one_would() {
    let mut zil = vec![Schedule::zil()];
    zil.extend(schedules());
    for entropy in [false, true] {
        let (graph, feed) = chains(entropy);
        let make = |device: &Device| FusedNet::from_graph(&graph, device, Precision::F32).unwrap();
        for schedule in &zil {
            for adam in [false, true] {
                let one = alone(make, &feed, schedule, adam);
                assert!(one.weights != weights(&make(&device(0))), "{schedule}");
                for devices in [1, 2, 3] {
                    let run = shared(make, &feed, schedule, (adam, devices), ThroughHost);
                    let off = run.from(&one);
                    assert!(off <= 1e-5, "{schedule} on {devices} devices is off by {off:.1e}");
                }
            }
        }
    }
}

/// Graphs of every kind of layer, step by step, with a parameter frozen in half of the cases.
#[test]
fn graphs_learn_together_as_one_would() {
    for name in MODELS {
        let host = model::<f32>(name).unwrap();
        let own =
            |(vertex, value): &(VertexId, HostTensor<f32>)| (*vertex, value.dims()[1..].to_vec());
        let held = host.held.iter().map(own).collect();
        let feed = Feed { held, tokens: name == "attention", entropy: false };
        for (index, schedule) in schedules().iter().enumerate() {
            let frozen = index % 2 == 0;
            let make = |device: &Device| {
                let mut graph = graph_to_device(&host.graph, device, Precision::F32).unwrap();
                graph.freeze(ParamId::new(0), frozen).unwrap();
                graph
            };
            let one = alone(make, &feed, schedule, false);
            let before = weights(&make(&device(0)));
            assert!(one.weights != before, "{name}, {schedule}");
            assert!(!frozen || one.weights[0] == before[0], "{name}, {schedule}");
            for devices in [2, 3] {
                let run = shared(make, &feed, schedule, (false, devices), ThroughHost);
                let off = run.from(&one);
                assert!(off <= 1e-5, "{name}, {schedule}, {devices} devices: off by {off:.1e}");
            }
        }
    }
}

/// Sums that are wrong in one way each.
#[derive(Clone, Copy, Debug)]
enum Broken {
    NoSum,
    WithoutTheLast,
    TheFirstAlone,
    Twice,
    WithoutTheLastTensor,
}

impl AllReduce for Broken {
    fn sum(&mut self, parts: &mut [Vec<&mut DeviceTensor>]) -> Result<()> {
        let last = parts.len() - 1;
        match self {
            Self::NoSum => Ok(()),
            Self::WithoutTheLast => {
                parts[last].iter_mut().for_each(|tensor| tensor.fill(0.0));
                ThroughHost.sum(parts)
            }
            Self::TheFirstAlone => {
                let kept: Vec<Vec<f32>> =
                    parts[last].iter().map(|tensor| tensor.numbers().unwrap()).collect();
                ThroughHost.sum(parts)?;
                parts[last].iter_mut().zip(kept).try_for_each(|(to, own)| to.set_numbers(&own))
            }
            Self::Twice => {
                ThroughHost.sum(parts)?;
                ThroughHost.sum(parts)
            }
            Self::WithoutTheLastTensor => {
                let mut short: Vec<Vec<&mut DeviceTensor>> = parts
                    .iter_mut()
                    .map(|part| {
                        let count = part.len() - 1;
                        part.iter_mut().take(count).map(|tensor| &mut **tensor).collect()
                    })
                    .collect();
                ThroughHost.sum(&mut short)
            }
        }
    }
}

#[test]
fn a_broken_sum_is_seen() {
    let (graph, feed) = chains(false);
    let make = |device: &Device| FusedNet::from_graph(&graph, device, Precision::F32).unwrap();
    for schedule in [Schedule::standard(0.05, 8).unwrap(), Schedule::ipc(0.05, 4).unwrap()] {
        let one = alone(make, &feed, &schedule, false);
        for devices in [2, 3] {
            for broken in [
                Broken::NoSum,
                Broken::WithoutTheLast,
                Broken::TheFirstAlone,
                Broken::Twice,
                Broken::WithoutTheLastTensor,
            ] {
                let off = shared(make, &feed, &schedule, (false, devices), broken).from(&one);
                assert!(off > 1e-3, "{schedule}, {devices} devices, {broken:?}: off by {off:.1e}");
            }
        }
    }
}

fn fused(seed: u64, widths: &[usize], device: &Device) -> FusedNet {
    let (graph, ..) = chain(widths, Activation::Tanh, Activation::Identity, seed).unwrap();
    FusedNet::from_graph(&graph, device, Precision::F32).unwrap()
}

#[test]
fn what_cannot_be_shared_out_is_refused_by_name() {
    let widths = [5, 9, 6, 3];
    let nets = || (0..2).map(|k| fused(1, &widths, &device(k))).collect::<Vec<_>>();
    let standard = || Schedule::standard(0.05, 4).unwrap();
    let noise = Start::Noise { deviation: 0.1, seed: 1 };
    let errors = ErrorStart::Noise { deviation: 0.1, seed: 1 };
    let refused = [
        (standard().until(1e-6).unwrap(), "tolerance"),
        (standard().adaptive(), "adaptive"),
        (standard().ruled_by(rule::Anderson::new(3).unwrap()), "Anderson"),
        (standard().with_noise(0.1, 1).unwrap(), "noise"),
        (standard().starting(noise), "drawn for a whole batch"),
        (standard().starting(Start::Carried), "last batch"),
        (Schedule::epc(0.05, 4).unwrap().errors_from(errors).unwrap(), "drawn for a whole batch"),
    ];
    for (schedule, says) in refused {
        let error = DataParallel::new(nets(), &schedule, ThroughHost).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.to_string().contains(schedule.name()), "{error}");
    }
    let one = device(0);
    let twice = vec![fused(1, &widths, &one), fused(1, &widths, &one)];
    let others = vec![fused(1, &widths, &one), fused(1, &[5, 8, 6, 3], &device(1))];
    for (nets, says) in [
        (Vec::new(), "no nets"),
        (twice, "nets 0 and 1 lie on one device"),
        (others, "net 1 is of another graph"),
    ] {
        let error = DataParallel::new(nets, &standard(), ThroughHost).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let error = Nccl::new(&[device(0), device(1)]).unwrap_err().to_string();
    assert!(error.contains("NCCL"), "{error}");
}

#[test]
fn batches_that_do_not_fit_are_refused_and_training_goes_on() {
    let (graph, feed) = chains(false);
    let make = |k| FusedNet::from_graph(&graph, &device(k), Precision::F32).unwrap();
    let schedule = Schedule::standard(0.05, 4).unwrap();
    let mut all = DataParallel::new(vec![make(0), make(1)], &schedule, ThroughHost).unwrap();
    let before = weights(&all);
    let mut optimisers = [Optimiser::new(false), Optimiser::new(false)];
    let mut train = |all: &mut DataParallel<FusedNet>, samples, more: usize| -> Result<Outcome> {
        all.train(
            samples,
            |device, own| feed.clamps(device, own.start..own.end + more, 0),
            |index, net, by| optimisers[index].step(net, by),
        )
    };
    let error = train(&mut all, 0, 0).unwrap_err();
    assert!(error.to_string().contains("empty batch"), "{error}");
    let error = train(&mut all, 3, 1).unwrap_err();
    assert!(error.to_string().contains("samples 0..2 have a batch of 3, not 2"), "{error}");
    assert_eq!(weights(&all), before);
    train(&mut all, 3, 0).unwrap();
    assert!(weights(&all) != before && all.agree().unwrap());

    let observed = Schedule::standard(0.05, 4).unwrap().observed();
    let mut watched = DataParallel::new(vec![make(2), make(3)], &observed, ThroughHost).unwrap();
    let error = train(&mut watched, 3, 0).unwrap_err();
    assert!(error.to_string().contains("observed"), "{error}");
}

/// A parameter that is frozen on one device alone is named, and on all of them it stays.
#[test]
fn freezing_one_of_the_nets_is_an_error() {
    let (host, feed) = chains(false);
    let make = |k| graph_to_device(&host, &device(k), Precision::F32).unwrap();
    let schedule = Schedule::standard(0.05, 4).unwrap();
    let mut nets = vec![make(0), make(1)];
    nets[1].freeze(ParamId::new(2), true).unwrap();
    let mut all = DataParallel::new(nets, &schedule, ThroughHost).unwrap();
    let mut optimisers = [Optimiser::new(true), Optimiser::new(true)];
    let mut train = |all: &mut DataParallel<Graph<DeviceTensor>>| {
        all.train(
            4,
            |device, own| feed.clamps(device, own, 0),
            |index, net, by| optimisers[index].step(net, by),
        )
    };
    let before = weights(&all);
    let error = train(&mut all).unwrap_err();
    assert!(error.to_string().contains("a gradient of parameter 2"), "{error}");
    assert_eq!(weights(&all), before);
    all.on_each(|net| net.freeze(ParamId::new(2), true)).unwrap();
    let frozen = all.named().1[2].numbers().unwrap();
    train(&mut all).unwrap();
    assert_eq!(all.named().1[2].numbers().unwrap(), frozen);
    assert!(weights(&all) != before && all.agree().unwrap());
}

/// Nets that differ since an optimiser failed do not train on; weights handed over mend them.
#[test]
fn an_optimiser_that_fails_on_one_device_tears_the_nets_apart() {
    let (mut graph, feed) = chains(false);
    let make = |k| FusedNet::from_graph(&graph, &device(k), Precision::F32).unwrap();
    let schedule = Schedule::standard(0.05, 4).unwrap();
    let mut all = DataParallel::new(vec![make(0), make(1)], &schedule, ThroughHost).unwrap();
    let fresh = || [Optimiser::new(false), Optimiser::new(false)];
    let mut optimisers = fresh();
    let train = |all: &mut DataParallel<FusedNet>, own: &mut [Optimiser; 2], fails: bool| {
        all.train(
            4,
            |device, own| feed.clamps(device, own, 0),
            |index, net, by| {
                if fails && index == 1 {
                    return Err(pc_core::Error::new(ErrorKind::Backend, "on purpose"));
                }
                own[index].step(net, by)
            },
        )
    };
    train(&mut all, &mut optimisers, false).unwrap();
    graph.copy_parameters_from(&all).unwrap();
    let good = weights(&all);
    assert_eq!(good, weights(&graph));
    let error = train(&mut all, &mut optimisers, true).unwrap_err();
    assert!(error.to_string().contains("on purpose"));
    assert!(!all.agree().unwrap());
    let error = train(&mut all, &mut optimisers, false).unwrap_err();
    assert!(error.to_string().contains("the nets differ"), "{error}");
    all.copy_parameters_from(&graph).unwrap();
    assert!(all.agree().unwrap());
    assert_eq!(weights(&all), good);
    // The first optimiser has made a step that the second has not.
    train(&mut all, &mut fresh(), false).unwrap();
    assert!(weights(&all) != good && all.agree().unwrap());
}

/// A share that diverges is the batch's outcome, and no weight moves.
#[test]
fn a_share_that_diverges_ends_the_batch() {
    let (graph, feed) = chains(false);
    let make = |k| FusedNet::from_graph(&graph, &device(k), Precision::F32).unwrap();
    let schedule = Schedule::standard(0.05, 4).unwrap().diverged_beyond(2.0).unwrap();
    let mut all = DataParallel::new(vec![make(0), make(1)], &schedule, ThroughHost).unwrap();
    let before = weights(&all);
    let wild = Schedule::standard(40.0, 8).unwrap();
    let mut other = DataParallel::new(vec![make(2), make(3)], &wild, ThroughHost).unwrap();
    let never = |_, _: &mut FusedNet, _: &_| -> Result<()> { panic!("it has learned") };
    let outcome = other.train(4, |device, own| feed.clamps(device, own, 0), never).unwrap();
    assert_eq!(outcome.status, Status::Diverged);
    assert_eq!(weights(&other), before);
    let mut learned = 0;
    let outcome = all
        .train(
            4,
            |device, own| feed.clamps(device, own, 0),
            |_, _, _| {
                learned += 1;
                Ok(())
            },
        )
        .unwrap();
    assert_eq!((outcome.status, learned), (Status::Spent, 2));
}

/// Whichever call of the second device is the first that fails, it is an error that says so.
#[test]
fn a_device_that_is_lost_is_an_error_wherever_it_happens() {
    let (graph, feed) = chains(false);
    for schedule in [Schedule::standard(0.05, 3).unwrap(), Schedule::ipc(0.05, 2).unwrap()] {
        let run = |calls: u64| -> Result<()> {
            let lost = Device::simulated(&Simulation::new(1).lost_after(calls))?;
            let nets = vec![
                FusedNet::from_graph(&graph, &device(0), Precision::F32)?,
                FusedNet::from_graph(&graph, &lost, Precision::F32)?,
            ];
            let mut all = DataParallel::new(nets, &schedule, ThroughHost)?;
            let mut optimisers = [Optimiser::new(true), Optimiser::new(true)];
            for batch in 0..2 {
                all.train(
                    3,
                    |device, own| feed.clamps(device, own, batch),
                    |index, net, by| optimisers[index].step(net, by),
                )?;
            }
            assert!(all.agree()?);
            Ok(())
        };
        let mut calls = 0;
        while let Err(error) = run(calls) {
            assert!(error.to_string().contains("the device is lost"), "{calls}: {error}");
            calls += 1;
        }
        assert!(calls > 40, "{calls}");
    }
}
