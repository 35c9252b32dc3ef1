//! Dropout under relaxation. Burn's generator belongs to the process, so this is one test in a
//! process of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
#[path = "marked/measure.rs"]
mod measure;
#[allow(dead_code)]
#[path = "marked/models.rs"]
mod models;

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use pc_burn::{LossReduction, PredictiveCoding};
use pc_core::{Evaluation, Schedule};

use measure::compare;
use models::*;

fn pc(schedule: Schedule) -> PredictiveCoding {
    PredictiveCoding::new(schedule, LossReduction::Mean)
}

#[test]
fn dropout_draws_one_mask_a_step() {
    let device = Device::flex().autodiff();
    device.seed(11);
    let (x, y) = (normal([16, 20], &device), targets(16, &device));
    let model = Residual::new(&device, 0.5);
    let loss = |m: &Residual| cross_entropy(m.forward(x.clone()), y.clone());
    // The simulation runs the program five times, the sweep once: only with the same mask
    // throughout do they agree.
    let mut simulated =
        pc(Schedule::fixed_prediction(1.0, 4).unwrap().evaluated_by(Evaluation::Simulate));
    let mut swept = pc(Schedule::backprop());
    // Both have seen the program once: what a survey draws is drawn.
    simulated.learn(&model, loss).unwrap();
    swept.learn(&model, loss).unwrap();
    let mut masks = Vec::new();
    for seed in [1, 2] {
        device.seed(seed);
        let simulated = simulated.learn(&model, loss).unwrap();
        device.seed(seed);
        let swept = swept.learn(&model, loss).unwrap();
        assert_eq!(simulated.passes, 5);
        for agreement in compare(&model, &simulated.gradients, &swept.gradients) {
            assert!(agreement.relative_norm <= 1e-5, "{agreement:?}");
        }
        masks.push(swept.loss);
    }
    assert_ne!(masks[0], masks[1], "every step draws another mask");
    let next = swept.learn(&model, loss).unwrap();
    assert_ne!(masks[1], next.loss, "and goes on drawing without being seeded");

    // Another thread that draws meanwhile is noticed: a pass that it disturbed is run again, or an
    // error says so; never is it passed over.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                drop(normal([4], &Device::flex()));
                std::thread::sleep(std::time::Duration::from_millis(3));
            }
        });
        let mut simulation =
            pc(Schedule::fixed_prediction(1.0, 4).unwrap().evaluated_by(Evaluation::Simulate))
                .compared_every(1);
        for _ in 0..20 {
            match simulation.learn(&model, loss) {
                Ok(learned) => {
                    for (name, agreement) in learned.agreement.unwrap() {
                        assert!(agreement.relative_norm <= 1e-5, "{name}: {agreement:?}");
                    }
                }
                Err(error) => assert!(error.to_string().contains("another thread"), "{error}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}
