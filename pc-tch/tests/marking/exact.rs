//! Exact rules: marks change nothing that they find.

use pc_tch::{
    PredictiveCoding,
    pc_core::{Evaluation, Schedule},
};
use tch::Kind;

use crate::{
    common::{Model, parameters, seeded, take_gradients, worst},
    models::MODELS,
};

/// The buffers: running statistics.
fn buffers(model: &Model) -> Vec<(String, tch::Tensor)> {
    let mut all: Vec<_> = model
        .store
        .variables()
        .into_iter()
        .filter(|(_, tensor)| !tensor.requires_grad())
        .map(|(name, tensor)| (name, tensor.copy()))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// One pass by `backward()`, and one by a schedule from the same place: gradients, statistics and
/// what the generator draws next are the same.
fn is_backprop(make: fn(Kind) -> Model, schedule: impl Fn(usize) -> Schedule, tolerance: f64) {
    let _turn = seeded();
    let theirs = make(Kind::Double);
    tch::manual_seed(7);
    theirs.loss().backward();
    let drawn = tch::Tensor::rand([4], (Kind::Double, tch::Device::Cpu));
    let expected = take_gradients(&theirs.store);
    assert!(expected.iter().all(|(_, gradient)| gradient.is_some()));

    tch::manual_seed(0);
    let ours = make(Kind::Double);
    for ((name, a), (_, b)) in parameters(&ours.store).iter().zip(parameters(&theirs.store)) {
        assert_eq!(*a, b, "{}: {name}", ours.name);
    }
    let depth = {
        let mut pc = PredictiveCoding::new(Schedule::backprop());
        let mut probe = make(Kind::Double);
        probe.store.double();
        pc.backward(|| probe.loss()).unwrap().depth
    };
    let schedule = schedule(depth);
    let name = format!("{}, {schedule}", ours.name);
    tch::manual_seed(7);
    let learned = PredictiveCoding::new(schedule).backward(|| ours.loss()).unwrap();
    let next = tch::Tensor::rand([4], (Kind::Double, tch::Device::Cpu));
    assert_eq!(next, drawn, "{name}: the generator went on");
    let found = take_gradients(&ours.store);
    let (off, whose) = worst(&found, &expected);
    println!("{name}: {} vertices, {} passes, off by {off:.1e}", learned.vertices, learned.passes);
    assert!(off <= tolerance, "{name}: {whose} is off by {off:e}");
    for ((name, a), (_, b)) in buffers(&ours).iter().zip(buffers(&theirs)) {
        assert_eq!(*a, b, "{name} moved once");
    }
    assert_eq!(pc_tch::live_graphs(), 0);
}

#[test]
fn backprop_by_marks_is_backward() {
    for make in MODELS {
        is_backprop(make, |_| Schedule::backprop(), 1e-12);
    }
}

#[test]
fn fixed_prediction_at_rate_1_is_backward() {
    for make in MODELS {
        for evaluation in [Evaluation::Auto, Evaluation::Simulate, Evaluation::Front] {
            let schedule =
                |depth| Schedule::fixed_prediction(1.0, depth).unwrap().evaluated_by(evaluation);
            is_backprop(make, schedule, 1e-12);
        }
    }
}

#[test]
fn z_il_is_backward() {
    for make in MODELS {
        is_backprop(make, |_| Schedule::zil(), 1e-12);
    }
}
