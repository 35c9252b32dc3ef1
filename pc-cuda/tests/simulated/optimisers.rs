//! Losses and optimisers against the host's.

use pc_core::{
    Clamps, Evaluation, Linearise, Loss, Relaxation, Schedule, Tensor, VertexId,
    host::{Activation, Adam, CrossEntropy, HostTensor, Init, Sgd},
};
use pc_cuda::{AdamW, Device, DeviceTensor, FusedNet, Precision, Simulation, Strategy};

use crate::common::chain;

fn close(found: &[f64], wanted: &[f64], tolerance: f64) {
    let off = pc_core::Agreement::of_slices(found, wanted).max_difference;
    println!("off by {off:.1e}");
    assert!(off <= tolerance, "off by {off:.1e}");
}

fn upload(device: &Device, t: &HostTensor<f32>) -> DeviceTensor {
    device.tensor(t.dims(), t.data()).unwrap()
}

/// Trains both sides for some batches and compares all parameters.
fn train(schedule: &Schedule, strategy: Strategy, adam: bool, driven: bool) {
    println!("{schedule} {strategy:?} adam {adam} driven {driven}");
    let device = Device::simulated(&Simulation::new(3)).unwrap();
    let (mut graph, x, y) =
        chain(&[5, 17, 33, 3], Activation::Tanh, Activation::Identity, 4).unwrap();
    let mut net =
        FusedNet::from_graph(&graph, &device, Precision::F32).unwrap().relaxed_by(strategy);
    let mut init = Init::new(9);
    let (mut here, mut there) = (
        Relaxation::new(&net, schedule.clone()).unwrap(),
        Relaxation::new(&graph, schedule.clone()).unwrap(),
    );
    let mut sgd =
        pc_cuda::Sgd::new(0.01).unwrap().with_momentum(0.9).unwrap().with_decay(0.01).unwrap();
    let mut host_sgd =
        Sgd::new(0.01).unwrap().with_momentum(0.9).unwrap().with_decay(0.01).unwrap();
    let mut adam_w = AdamW::new(0.01).unwrap().with_decay(0.1).unwrap();
    let mut host_adam = Adam::new(0.01).unwrap().with_decay(0.1).unwrap();
    for batch in 0..4 {
        let input: HostTensor<f32> = init.uniform(&[7, 5], 1.0).unwrap();
        let labels: Vec<usize> = (0..7).map(|i| (i + batch) % 3).collect();
        let mut target = HostTensor::<f32>::zeroed(&[7, 3]).unwrap();
        labels.iter().enumerate().for_each(|(i, label)| target.data_mut()[3 * i + label] = 1.0);
        let (on, off) =
            (Clamps::new().hold(x, upload(&device, &input)), Clamps::new().hold(x, input));
        let (on, off) = if driven {
            (
                on.drive(y, pc_cuda::CrossEntropy::new(upload(&device, &target))),
                off.drive(y, CrossEntropy::new(target)),
            )
        } else {
            (on.hold(y, upload(&device, &target)), off.hold(y, target))
        };
        let found = here
            .train(
                &mut net,
                &on,
                |net, g| if adam { adam_w.step(net, g) } else { sgd.step(net, g) },
            )
            .unwrap();
        let wanted = there
            .train(&mut graph, &off, |graph, g| {
                if adam {
                    host_adam.step(graph.parameters_mut(), g)
                } else {
                    host_sgd.step(graph.parameters_mut(), g)
                }
            })
            .unwrap();
        close(&[found.energy.total()], &[wanted.energy.total()], 1e-4);
    }
    for (found, wanted) in net.parameters().iter().zip(graph.parameters()) {
        close(&found.to_vec(), &wanted.to_vec(), 1e-4);
    }
}

#[test]
fn training_goes_as_on_the_host() {
    let schedules = [
        Schedule::standard(0.1, 8).unwrap(),
        Schedule::fixed_prediction(0.1, 8).unwrap(),
        Schedule::ipc(0.2, 5).unwrap(),
        Schedule::backprop(),
        Schedule::epc(0.1, 5).unwrap(),
    ];
    for schedule in &schedules {
        for (adam, driven) in [(false, false), (true, true), (false, true)] {
            train(schedule, Strategy::Fastest, adam, driven);
        }
    }
}

/// What was recorded for the first batch is replayed for the others, and must have nothing of the
/// first in it.
#[test]
fn recordings_are_replayed_for_further_batches() {
    for schedule in [
        Schedule::standard(0.1, 8).unwrap(),
        Schedule::fixed_prediction(0.1, 8).unwrap(),
        Schedule::ipc(0.2, 5).unwrap(),
    ] {
        for driven in [false, true] {
            let schedule =
                schedule.clone().evaluated_by(if schedule.name() == "fixed prediction" {
                    Evaluation::Simulate
                } else {
                    Evaluation::Auto
                });
            train(&schedule, Strategy::Graph, false, driven);
        }
    }
}

#[test]
fn cross_entropy_is_the_hosts() {
    let device = Device::simulated(&Simulation::new(1)).unwrap();
    let mut init = Init::new(2);
    for (rows, classes) in [(1, 2), (9, 10), (3, 33), (17, 70)] {
        let mu: HostTensor<f32> = init.uniform(&[rows, classes], 30.0).unwrap();
        let mut target: HostTensor<f32> = init.uniform(&[rows, classes], 0.5).unwrap();
        target.data_mut().iter_mut().for_each(|x| *x = x.abs());
        let (mut on, mut off) = (upload(&device, &mu), mu.clone());
        let found = pc_cuda::CrossEntropy::new(upload(&device, &target))
            .evaluate(&upload(&device, &mu), &mut on)
            .unwrap();
        let wanted = CrossEntropy::new(target).evaluate(&mu, &mut off).unwrap();
        close(&[found], &[wanted], 1e-5);
        close(&on.to_vec(), &off.to_vec(), 1e-5);
    }
}

/// A recording has addresses built in: parameters that were replaced by other tensors have others.
#[test]
fn parameters_that_are_replaced_are_followed() {
    let run = |replace: bool| -> Vec<u32> {
        let device = Device::simulated(&Simulation::new(4)).unwrap();
        let (graph, x, y) = chain(&[5, 9, 3], Activation::Tanh, Activation::Identity, 6).unwrap();
        let mut net = FusedNet::from_graph(&graph, &device, Precision::F32)
            .unwrap()
            .relaxed_by(Strategy::Graph);
        let mut init = Init::new(1);
        let (input, target) =
            (init.uniform(&[4, 5], 1.0).unwrap(), init.uniform(&[4, 3], 1.0).unwrap());
        let clamps =
            Clamps::new().hold(x, upload(&device, &input)).hold(y, upload(&device, &target));
        let mut rule = Relaxation::new(&net, Schedule::ipc(0.2, 5).unwrap()).unwrap();
        let mut sgd = pc_cuda::Sgd::new(0.01).unwrap();
        let mut kept = Vec::new();
        for index in 0..4 {
            let held = net.parameters()[index].numbers().unwrap();
            rule.train(&mut net, &clamps, |net, g| sgd.step(net, g)).unwrap();
            let parameter = &mut net.parameters_mut()[index];
            if replace {
                let other = device.tensor(parameter.dims(), &held).unwrap();
                // The old one stays, so that the new one lies elsewhere.
                kept.push(std::mem::replace(parameter, other));
            } else {
                parameter.set_numbers(&held).unwrap();
            }
        }
        rule.train(&mut net, &clamps, |net, g| sgd.step(net, g)).unwrap();
        net.parameters().iter().flat_map(|p| p.numbers().unwrap()).map(f32::to_bits).collect()
    };
    assert_eq!(run(true), run(false));
}

/// Clamps and schedules that kernels do not take over run in the engine's loop, on the device.
#[test]
fn what_is_not_fused_goes_as_on_the_host() {
    type Clamped<T> = fn(Clamps<T>, VertexId, VertexId, [T; 4]) -> Clamps<T>;
    // The same clamps on both sides: x, y, and tensors of an input, a target, zeros and ones in the
    // target's shape, and a free input.
    macro_rules! kinds {
        ($tensor:ty) => {{
            let kinds: [(&str, Clamped<$tensor>); 5] = [
                ("masked", |clamps, x, y, [input, target, mask, _]| {
                    clamps.hold(x, input).mask(y, target, mask)
                }),
                ("nudged", |clamps, x, y, [input, target, ..]| {
                    clamps.hold(x, input).nudge(y, target, 0.3)
                }),
                ("free input", |clamps, x, y, [_, target, _, start]| {
                    clamps.free(x, start).hold(y, target)
                }),
                ("driven by a closure", |clamps, x, y, [input, target, ..]| {
                    clamps.hold(x, input).drive(y, move |mu: &$tensor, drive: &mut $tensor| {
                        drive.set_difference(&target, mu);
                        Ok(0.5 * drive.norm_squared())
                    })
                }),
                ("held", |clamps, x, y, [input, target, ..]| clamps.hold(x, input).hold(y, target)),
            ];
            kinds
        }};
    }
    let device = Device::simulated(&Simulation::new(5)).unwrap();
    let (mut graph, x, y) = chain(&[5, 17, 9, 3], Activation::Tanh, Activation::Tanh, 4).unwrap();
    let mut init = Init::new(3);
    let (input, target, start) = (
        init.uniform(&[7, 5], 1.0).unwrap(),
        init.uniform(&[7, 3], 0.7).unwrap(),
        init.uniform(&[7, 5], 0.3).unwrap(),
    );
    let mut mask = HostTensor::<f32>::zeroed(&[7, 3]).unwrap();
    mask.data_mut().iter_mut().step_by(2).for_each(|x| *x = 1.0);
    let tensors = [input, target, mask, start];
    let plain = Schedule::standard(0.1, 8).unwrap();
    let schedules = [
        plain.clone(),
        plain.clone().with_momentum(0.5).unwrap(),
        plain.clone().with_noise(0.01, 7).unwrap(),
        plain.clone().adaptive(),
        plain.traced(),
        Schedule::fixed_prediction(0.1, 8).unwrap().evaluated_by(Evaluation::Simulate),
    ];
    for ((name, on), (_, off)) in kinds!(DeviceTensor).into_iter().zip(kinds!(HostTensor<f32>)) {
        for schedule in &schedules {
            let mut net = FusedNet::from_graph(&graph, &device, Precision::F32).unwrap();
            let (mut here, mut there) = (
                Relaxation::new(&net, schedule.clone()).unwrap(),
                Relaxation::new(&graph, schedule.clone()).unwrap(),
            );
            let uploaded = tensors.each_ref().map(|t| upload(&device, t));
            let found = here.run(&mut net, &on(Clamps::new(), x, y, uploaded));
            let wanted = there.run(&mut graph, &off(Clamps::new(), x, y, tensors.clone()));
            if name == "free input" && schedule.linearisation() == Linearise::Frozen {
                // Frozen predictions infer no input: refused by both, in the same words.
                assert_eq!(found.unwrap_err(), wanted.unwrap_err());
                continue;
            }
            let (found, wanted) = (found.unwrap(), wanted.unwrap());
            println!("{name}, {schedule}: {:?} and {:?}", found.energy, wanted.energy);
            close(&[found.energy.total()], &[wanted.energy.total()], 1e-5);
            for ((_, found), (_, wanted)) in here.gradients().iter().zip(there.gradients().iter()) {
                close(&found.unwrap().to_vec(), &wanted.unwrap().to_vec(), 1e-5);
            }
        }
    }
}
