//! Exact schedules give Burn's own gradients, and cost what a backprop step costs.

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use pc_burn::{Learned, LossReduction, PredictiveCoding};
use pc_core::{Evaluation, Schedule};

use crate::{measure::*, models::*};

fn device() -> Device {
    let device = Device::flex().autodiff();
    device.seed(7);
    device
}

fn learn<M: Module>(schedule: Schedule, model: &M, loss: impl Fn(&M) -> Tensor<1>) -> Learned {
    PredictiveCoding::new(schedule, LossReduction::Mean).learn(model, loss).unwrap()
}

/// All the ways to compute what is exact, against Burn's backward.
fn exact<M: Module>(name: &str, model: &M, depth: usize, loss: impl Fn(&M) -> Tensor<1>) {
    let backprop = GradientsParams::from_grads(loss(model).backward(), model);
    let sweep = Schedule::fixed_prediction(1.0, depth).unwrap();
    for (way, schedule) in [
        ("sweep", Schedule::backprop()),
        ("closed form", sweep.clone()),
        ("simulation", sweep.clone().evaluated_by(Evaluation::Simulate)),
    ] {
        let learned = learn(schedule, model, &loss);
        let worst = compare(model, &learned.gradients, &backprop)
            .iter()
            .map(|a| a.relative_norm)
            .fold(0.0, f64::max);
        println!("{name}, {way}: off by {worst:.1e} in {} passes", learned.passes);
        for agreement in compare(model, &learned.gradients, &backprop) {
            assert!(agreement.relative_norm <= 1e-5, "{name}, {way}: {agreement:?}");
        }
        assert!(!learned.outcome.shallow, "{name}, {way}");
        let passes = if way == "simulation" { depth + 1 } else { 1 };
        assert_eq!(learned.passes, passes, "{name}, {way}");
    }
    // Half the steps, and the first vertices have learned little or nothing.
    let short = learn(
        Schedule::fixed_prediction(1.0, depth / 2).unwrap().evaluated_by(Evaluation::Simulate),
        model,
        &loss,
    );
    assert!(short.outcome.shallow, "{name}");
    assert!(
        compare(model, &short.gradients, &backprop).iter().any(|a| !(a.relative_norm <= 1e-2)),
        "{name}"
    );
}

#[test]
fn a_chain() {
    let device = device();
    let (x, y) = (normal([16, 20], &device), targets(16, &device));
    exact("mlp", &Mlp::new(&device), 2, |m: &Mlp| cross_entropy(m.forward(x.clone()), y.clone()));
}

#[test]
fn batch_norm_skip_and_pooling() {
    let device = device();
    let (x, y) = (normal([16, 1, 8, 8], &device), targets(16, &device));
    exact("cnn", &Cnn::new(&device), 3, |m: &Cnn| cross_entropy(m.forward(x.clone()), y.clone()));
}

#[test]
fn ties_and_paths_of_several_lengths() {
    let device = device();
    let (x, y) = (normal([16, 20], &device), targets(16, &device));
    exact("residual", &Residual::new(&device, 0.0), 3, |m: &Residual| {
        cross_entropy(m.forward(x.clone()), y.clone())
    });
}

#[test]
fn an_lstm() {
    let device = device();
    let (x, y) = (tokens(9, 6, &device), targets(9, &device));
    exact("lstm", &Lstm::new(&device), 19, |m: &Lstm| {
        cross_entropy(m.forward(x.clone()), y.clone())
    });
}

#[test]
fn attention() {
    let device = device();
    let (x, y) = (normal([7, 4, 8], &device), targets(7, &device));
    exact("attention", &Attention::new(&device), 4, |m: &Attention| {
        cross_entropy(m.forward(x.clone()), y.clone())
    });
}

#[test]
fn chains_follow_the_binomial_law() {
    let device = device();
    let model = Mlp::new(&device);
    let (x, y) = (normal([16, 20], &device), targets(16, &device));
    let loss = |m: &Mlp| cross_entropy(m.forward(x.clone()), y.clone());
    let backprop = GradientsParams::from_grads(loss(&model).backward(), &model);
    for steps in [7, 50] {
        for evaluation in [Evaluation::Auto, Evaluation::Simulate] {
            let schedule = Schedule::fixed_prediction(0.1, steps).unwrap().evaluated_by(evaluation);
            let learned = learn(schedule, &model, loss);
            assert_eq!(learned.passes, if evaluation == Evaluation::Auto { 1 } else { steps + 1 });
            for (agreement, length) in
                compare(&model, &learned.gradients, &backprop).iter().zip([2, 2, 1, 1, 0, 0])
            {
                let scale = tail(steps, 0.1, length);
                assert!(
                    (agreement.norm_ratio / scale - 1.0).abs() <= 1e-5,
                    "{steps} steps, {length} edges: {agreement:?}, not {scale}"
                );
                assert!(agreement.cosine > 1.0 - 1e-6, "{agreement:?}");
            }
        }
    }
}
