//! The adapter, on the host layer: the same kernels without a GPU.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::panic)]

use pc_core::{
    Agreement, Evaluation, Schedule, Tensor,
    host::{Activation, HostTensor, Init},
};

use super::Cuda;
use crate::{
    backends::host::Host,
    contract::{
        Adapter, OptimiserKind, ScheduleKind,
        check::{LossKind, Subject},
        details::Details,
        gradients::{LayerChain, Ways},
        speed::{Case, ContenderRole},
        train::{Batch, Inputs, Task, Trainee},
    },
    data::{Data, Kind, load},
    models::{InputShape, ModelKind},
};

#[test]
fn gradients_are_the_hosts() {
    let subjects = ModelKind::ALL.into_iter().flat_map(|model| LossKind::ALL.map(|l| (model, l)));
    for (model, loss) in subjects {
        let subject = Subject::<f32>::new(model, loss, 3).unwrap();
        let (mut here, mut there) =
            (Cuda::checked(&subject).unwrap(), Host::checked(&subject).unwrap());
        assert_eq!(here.depth(), there.depth());
        let fused = !here.structure().unwrap().contains("step by step");
        assert_eq!(fused, model == ModelKind::Mlp, "{model}");
        let schedules = [
            Schedule::backprop(),
            Schedule::fixed_prediction(1.0, 4).unwrap().evaluated_by(Evaluation::Simulate),
            Schedule::zil(),
            Schedule::standard(0.1, 8).unwrap(),
        ];
        for schedule in schedules {
            let (found, wanted) = (
                here.gradients(schedule.clone()).unwrap(),
                there.gradients(schedule.clone()).unwrap(),
            );
            let size = |g: &[f64]| g.iter().fold(0f64, |most, x| most.max(x.abs()));
            let largest = wanted.iter().map(|g| size(g)).fold(0f64, f64::max);
            for (found, wanted) in found.iter().zip(&wanted) {
                // What is zero but for rounding (a bias that softmax ignores) is measured against
                // the net's largest gradient, as `check` does.
                let off = if !fused && size(wanted) <= 1e-6 * largest {
                    size(found) / largest
                } else {
                    Agreement::of_slices(found, wanted).max_difference
                };
                // As `check` has it, on graphs.
                let standard = schedule == Schedule::standard(0.1, 8).unwrap();
                let limit = if standard && !fused { 1e-4 } else { 1e-5 };
                assert!(off <= limit, "{model}, {schedule}, {loss:?}: off by {off:.1e}");
            }
        }
    }
}

/// Two batches of a dozen digits.
fn batches() -> Vec<Batch> {
    let Data::Images(split) = load(Kind::Digits, None, 1).unwrap() else { panic!("pictures") };
    let chosen: Vec<usize> = (0..24).collect();
    let batch = |chosen: &[usize]| {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        split.train.gather(chosen, &mut pixels, &mut labels).unwrap();
        Batch { inputs: Inputs::Pixels(pixels), labels, samples: chosen.len() }
    };
    chosen.chunks(12).map(batch).collect()
}

/// Every rule in its own way, on a fused net and on graphs: fixed prediction in closed form,
/// standard PC in one launch with cross-entropy in it, iPC one recording a step, and what goes
/// through the engine.
#[test]
fn training_goes_as_on_the_host() {
    for (model, schedule) in [
        (ModelKind::Mlp, ScheduleKind::Backprop),
        (ModelKind::Mlp, ScheduleKind::FixedPrediction),
        (ModelKind::Mlp, ScheduleKind::Standard),
        (ModelKind::Mlp, ScheduleKind::Ipc),
        (ModelKind::Mlp, ScheduleKind::Epc),
        (ModelKind::Cnn, ScheduleKind::Standard),
        (ModelKind::Rnn, ScheduleKind::Ipc),
        (ModelKind::Attention, ScheduleKind::FixedPrediction),
    ] {
        let task = Task {
            model,
            data: Kind::Digits,
            rule: schedule,
            schedule: schedule.schedule(0.1, 6).unwrap(),
            optimiser: OptimiserKind::Sgd,
            learning_rate: 0.002,
            seed: 1,
            shape: InputShape::Image([1, 8, 8]),
            classes: 10,
            per_step: false,
            details: Details::default(),
        };
        let (mut here, mut there) =
            (Cuda::trainee::<f32>(&task).unwrap(), Host::trainee::<f32>(&task).unwrap());
        for batch in batches() {
            let (found, wanted) = (here.learn(&batch).unwrap(), there.learn(&batch).unwrap());
            assert!((found / wanted - 1.0).abs() <= 1e-4, "{schedule}: {found} is not {wanted}");
            let (found, wanted) = (here.score(&batch).unwrap(), there.score(&batch).unwrap());
            assert_eq!((found.correct, found.count), (wanted.correct, wanted.count), "{schedule}");
            assert!(
                (found.loss / wanted.loss - 1.0).abs() <= 1e-5,
                "{schedule}: {found:?} is not {wanted:?}"
            );
        }
        if schedule != ScheduleKind::Backprop {
            let batch = &batches()[0];
            let energies = |trainee: &mut dyn Trainee<f32>| {
                trainee.energies(batch, task.schedule.clone()).unwrap()
            };
            let (found, wanted) = (energies(here.as_mut()), energies(there.as_mut()));
            assert_eq!(found.len(), wanted.len(), "{schedule}");
            for (found, wanted) in found.iter().zip(&wanted) {
                assert_eq!((&found.name, found.energy.len()), (&wanted.name, 7), "{schedule}");
                let off = Agreement::of_slices(&found.energy, &wanted.energy).max_difference;
                assert!(off <= 1e-4, "{schedule}, {}: off by {off:.1e}", found.name);
            }
        }
        let size = |g: &[f64]| g.iter().fold(0f64, |most, x| most.max(x.abs()));
        let wanted = there.parameters().unwrap();
        let largest = wanted.iter().map(|(_, p)| size(&p.to_vec())).fold(0f64, f64::max);
        for ((name, found), (_, wanted)) in here.parameters().unwrap().iter().zip(wanted) {
            let (found, wanted) = (found.to_vec(), wanted.to_vec());
            let apart: Vec<f64> = found.iter().zip(&wanted).map(|(a, b)| a - b).collect();
            // On graphs a bias that began at 0 is hardly anything yet, and both are f32, each
            // within 1e-5 of what is exact.
            let (floor, limit) =
                if model == ModelKind::Mlp { (0.0, 1e-5) } else { (0.01 * largest, 2e-5) };
            let off = size(&apart) / size(&wanted).max(floor);
            assert!(off <= limit, "{model}, {schedule}, {name}: off by {off:.1e}");
        }
    }
}

#[test]
fn the_gradients_of_a_net_of_ones_own_are_the_hosts() {
    let net = || {
        let mut init = Init::new(4);
        LayerChain::<f32> {
            layers: vec![
                (init.uniform(&[9, 5], 0.5).unwrap(), init.uniform(&[9], 0.2).unwrap()),
                (init.uniform(&[3, 9], 0.5).unwrap(), init.uniform(&[3], 0.2).unwrap()),
            ],
            x: init.uniform(&[7, 5], 1.0).unwrap(),
            y: init.uniform(&[7, 3], 1.0).unwrap(),
            ignored: Vec::new(),
        }
    };
    for watched in [None, Some(Schedule::standard(0.1, 8).unwrap().traced())] {
        let ways = Ways {
            gradients: Schedule::standard(0.1, 8).unwrap(),
            watched,
            activation: Activation::Tanh,
        };
        let found = Cuda::gradients(net(), &ways).unwrap();
        let wanted = Host::gradients(net(), &ways).unwrap();
        let close = |a: &HostTensor<f32>, b: &HostTensor<f32>| {
            let off = Agreement::of_slices(&a.to_vec(), &b.to_vec()).max_difference;
            assert!(off <= 1e-5, "off by {off:.1e}");
        };
        for ((w, b), (host_w, host_b)) in found.gradients.iter().zip(&wanted.gradients) {
            close(w, host_w);
            close(b, host_b);
        }
        assert_eq!(
            (found.values.len(), found.energy.len()),
            (wanted.values.len(), wanted.energy.len())
        );
        found.values.iter().zip(&wanted.values).for_each(|(a, b)| close(a, b));
        assert!(Agreement::of_slices(&found.energy, &wanted.energy).max_difference <= 1e-5);
    }
}

#[test]
fn contenders_are_timed_without_watchers() {
    let mut timed =
        Cuda::timed::<f32>(&Case::new(ModelKind::Mlp, 2), &[ScheduleKind::FixedPrediction])
            .unwrap();
    let contenders = timed.contenders();
    assert_eq!(contenders[0].name, "backprop");
    assert!(contenders.iter().all(|one| one.role != ContenderRole::Watched));
    assert!(timed.step(0).unwrap().total > 0.0);
    assert!(timed.description().contains("relax_"), "{}", timed.description());
}
