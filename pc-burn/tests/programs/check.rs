//! What is asked of every program.

use burn::{
    module::{Module, ModuleMapper, Param},
    optim::{AdamConfig, GradientsParams},
    tensor::{Device, Tensor, TensorData},
};
use pc_burn::{LossReduction, PredictiveCoding};
use pc_core::{Evaluation, Schedule, Status};

use crate::support::worst;

/// Gradients below this share of the largest are zero but for rounding.
const NEGLIGIBLE: f64 = 1e-4;

pub(crate) fn device() -> Device {
    Device::flex().autodiff()
}

/// Weights of a fixed kind, of the size that suits a layer: tests that run beside each other share
/// no generator.
pub(crate) fn fixed<M: Module>(model: M) -> M {
    struct Fixed(f32);
    impl ModuleMapper for Fixed {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let (id, tensor, mapper) = param.consume();
            let (shape, device) = (tensor.shape(), tensor.device());
            // Gains of normalisations are near 1, and all else is small and of both signs.
            let middle = if D == 1 { tensor.mean().into_scalar::<f32>().round() } else { 0.0 };
            let fans: usize = if D == 1 { 16 } else { shape.num_elements() / shape[D - 1].max(1) };
            let size = (1.0 / fans.max(4) as f32).sqrt();
            let values: Vec<f32> = (0..shape.num_elements())
                .map(|_| {
                    self.0 += 1.0;
                    middle + (self.0 * 2.399 + (self.0 * 0.01).sin()).sin() * size
                })
                .collect();
            let tensor =
                Tensor::<D>::from_data(TensorData::new(values, shape), &device).require_grad();
            Param::from_mapped_value(id, tensor, mapper)
        }
    }
    model.map(&mut Fixed(0.0))
}

/// Exact rules give Burn's own gradients: of the first batch, of another, and of the first again,
/// by one `PredictiveCoding`.
pub(crate) fn exact<M: Module, B>(
    model: &M,
    batches: &[B],
    reduction: LossReduction,
    loss: impl Fn(&M, &B) -> Tensor<1>,
) {
    let fixed = Schedule::fixed_prediction(1.0, 60).unwrap();
    let (first, second) = (&batches[0], &batches[1]);
    for schedule in [Schedule::backprop(), fixed.clone(), fixed.evaluated_by(Evaluation::Simulate)]
    {
        let mut pc = PredictiveCoding::new(schedule.clone(), reduction);
        for batch in [first, second, first] {
            let burns = GradientsParams::from_grads(loss(model, batch).backward(), model);
            let ours = pc.learn(model, |model| loss(model, batch)).unwrap().gradients;
            let (off, count) = worst(model, &ours, &burns, NEGLIGIBLE);
            println!("{schedule}: {count} gradients, off by {off:.1e}");
            assert!(count > 3 && count == burns.len(), "{count} of {}", burns.len());
            assert!(off <= 2e-5, "{schedule}: {off:e}");
        }
    }
    // Standard PC is another rule: the comparison can fail.
    let ours = PredictiveCoding::new(standard(), reduction)
        .learn(model, |model| loss(model, first))
        .unwrap()
        .gradients;
    let burns = GradientsParams::from_grads(loss(model, first).backward(), model);
    let (off, _) = worst(model, &ours, &burns, NEGLIGIBLE);
    assert!(off > 1e-2, "standard PC is backprop: is anything marked? {off:e}");
}

/// Standard PC as papers run it.
pub(crate) fn standard() -> Schedule {
    Schedule::standard(0.1, 20).unwrap()
}

/// Trains by Adam, and gives the losses of all steps.
pub(crate) fn train<M: Module, B>(
    mut model: M,
    batches: &[B],
    schedule: Option<Schedule>,
    reduction: LossReduction,
    rate: f64,
    epochs: usize,
    loss: impl Fn(&M, &B) -> Tensor<1>,
) -> Vec<f64> {
    let mut optimiser = AdamConfig::new().init();
    let mut pc = schedule.map(|schedule| PredictiveCoding::new(schedule, reduction));
    let mut losses = Vec::new();
    for _ in 0..epochs {
        for batch in batches {
            let gradients = match &mut pc {
                Some(pc) => {
                    let learned = pc.learn(&model, |model| loss(model, batch)).unwrap();
                    assert_ne!(learned.outcome.status, Status::Diverged, "{:?}", learned.outcome);
                    losses.push(learned.loss);
                    learned.gradients
                }
                None => {
                    let value = loss(&model, batch);
                    losses.push(value.clone().into_scalar::<f64>());
                    GradientsParams::from_grads(value.backward(), &model)
                }
            };
            model = optimiser.step(rate, model, gradients);
        }
    }
    losses
}

/// Trains by backprop, by an exact rule and by a schedule of standard PC from the same weights: the
/// exact rule has backprop's losses, and all come below `wanted`, a share of where they began.
pub(crate) fn trains<M: Module, B>(
    model: &M,
    batches: &[B],
    reduction: LossReduction,
    (rate, epochs): (f64, usize),
    standard: Schedule,
    wanted: f64,
    loss: impl Fn(&M, &B) -> Tensor<1>,
) {
    let run = |schedule| train(model.clone(), batches, schedule, reduction, rate, epochs, &loss);
    let backprop = run(None);
    let exact = run(Some(Schedule::fixed_prediction(1.0, 60).unwrap()));
    let standard = run(Some(standard));
    let last = |losses: &[f64]| {
        let last = &losses[losses.len() - batches.len()..];
        last.iter().sum::<f64>() / last.len() as f64
    };
    println!(
        "{:.3} to {:.4} by backprop, {:.4} by fixed prediction, {:.4} by standard PC",
        backprop[0],
        last(&backprop),
        last(&exact),
        last(&standard)
    );
    // Until rounding has grown by training.
    for (step, (ours, theirs)) in exact.iter().zip(&backprop).take(5).enumerate() {
        assert!((ours - theirs).abs() <= 1e-4 * theirs.abs(), "step {step}: {ours} {theirs}");
    }
    for (rule, losses) in [("backprop", backprop), ("exact", exact), ("standard", standard)] {
        let reached = last(&losses) / losses[0];
        assert!(reached < wanted, "{rule}: {reached:.3} of the loss is left");
    }
}
