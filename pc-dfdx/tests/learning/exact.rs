//! Exact rules beside dfdx's own `backward()`.

use dfdx::{nn::builders::*, prelude::*};
use pc_core::{Evaluation, Schedule};
use pc_dfdx::{
    LossReduction, PredictiveCoding,
    builders::{Conv2d, FlattenTo, Lstm, MaxPool2d, Rnn},
};

use crate::common::{apart, apply, close, gradients};

/// Every way of being exact.
pub(crate) fn exact() -> Vec<Schedule> {
    let at_rate_one = || Schedule::fixed_prediction(1.0, 60).unwrap();
    vec![
        Schedule::backprop(),
        at_rate_one().evaluated_by(Evaluation::Simulate),
        at_rate_one().evaluated_by(Evaluation::Front),
        at_rate_one().evaluated_by(Evaluation::ClosedForm),
        Schedule::zil().evaluated_by(Evaluation::Simulate),
        Schedule::zil(),
    ]
}

/// Compares a model's gradients by every exact rule with those of dfdx's tape; and sees that a rule
/// that is not exact comes to others.
#[macro_export]
macro_rules! beside_backward {
    ($name:literal, $model:expr, $x:expr, $loss:expr) => {{
        use $crate::common::{apart, apply, close, gradients};
        let (mut model, x) = ($model, $x);
        let traced = x.clone().leaky_traced();
        let wanted = gradients(&model, &apply($loss, model.clone().forward_mut(traced)).backward());
        for schedule in $crate::exact::exact() {
            let what = format!("{}, {schedule}", $name);
            let mut pc = PredictiveCoding::new(schedule, LossReduction::Mean);
            for again in 0..2 {
                let learned = pc.learn(&mut model, x.clone(), $loss).unwrap();
                let found = gradients(&model, &learned.gradients);
                close(&found, &wanted, 1e-10, &format!("{what}, call {again}"));
            }
        }
        let mut pc =
            PredictiveCoding::new(Schedule::standard(0.2, 6).unwrap(), LossReduction::Mean);
        let learned = pc.learn(&mut model, x, $loss).unwrap();
        let off = apart(&gradients(&model, &learned.gradients), &wanted);
        assert!(off > 1e-6, "{}: standard PC is off by {off} alone", $name);
    }};
}

#[test]
fn an_mlp() {
    type Mlp = (Linear<5, 7>, Tanh, Linear<7, 6>, ReLU, Linear<6, 3>);
    let device = Cpu::seed_from_u64(1);
    let y: Tensor<Rank2<4, 3>, f64, _> = device.sample_normal();
    beside_backward!(
        "mlp",
        device.build_module::<Mlp, f64>(),
        device.sample_normal::<Rank2<4, 5>>(),
        {
            let y = y.clone();
            move |found| mse_loss(found, y.clone())
        }
    );
    beside_backward!(
        "mlp, cross-entropy",
        device.build_module::<Mlp, f64>(),
        device.sample_normal::<Rank2<4, 5>>(),
        {
            let y = y.clone().softmax::<Axis<1>>();
            move |found| cross_entropy_with_logits_loss(found, y.clone())
        }
    );
}

#[test]
fn a_batch_whose_size_is_known_at_run_time() {
    type Mlp = (Linear<5, 7>, Tanh, Linear<7, 3>);
    let device = Cpu::seed_from_u64(2);
    let x = device.sample_normal::<Rank2<4, 5>>().reshape_like(&(4, Const::<5>));
    let y = device.sample_normal::<Rank2<4, 3>>().reshape_like(&(4, Const::<3>));
    beside_backward!("runtime batch", device.build_module::<Mlp, f64>(), x, {
        let y = y.clone();
        move |found| mse_loss(found, y.clone())
    });
}

#[test]
fn residuals_and_repeats() {
    type Net = (
        Linear<5, 6>,
        Residual<(Linear<6, 6>, Tanh, Linear<6, 6>)>,
        ReLU,
        Repeated<Residual<(Linear<6, 6>, Sigmoid)>, 3>,
        GeneralizedResidual<(Linear<6, 4>, Tanh), UnbiasedLinear<6, 4>>,
        Linear<4, 2>,
    );
    let device = Cpu::seed_from_u64(3);
    let y: Tensor<Rank2<4, 2>, f64, _> = device.sample_normal();
    beside_backward!(
        "residual",
        device.build_module::<Net, f64>(),
        device.sample_normal::<Rank2<4, 5>>(),
        {
            let y = y.clone();
            move |found| mse_loss(found, y.clone())
        }
    );
}

#[test]
fn heads_and_sums_of_inputs() {
    type Split = (Linear<5, 6>, Tanh, SplitInto<((Linear<6, 3>, Tanh), Linear<6, 2>)>);
    let device = Cpu::seed_from_u64(4);
    let (y, z) = (device.sample_normal::<Rank2<4, 3>>(), device.sample_normal::<Rank2<4, 2>>());
    beside_backward!(
        "split",
        device.build_module::<Split, f64>(),
        device.sample_normal::<Rank2<4, 5>>(),
        {
            let (y, z) = (y.clone(), z.clone());
            move |(a, b)| mse_loss(a, y.clone()) + mse_loss(b, z.clone()) * 0.5
        }
    );
    type Joined = (SplitInto<(Linear<5, 6>, Linear<5, 3>)>, AddInto<(Linear<6, 3>, Tanh)>);
    beside_backward!(
        "split and joined",
        device.build_module::<Joined, f64>(),
        device.sample_normal::<Rank2<4, 5>>(),
        {
            let y = y.clone();
            move |found| mse_loss(found, y.clone())
        }
    );
}

#[test]
fn an_output_that_is_used_further_on() {
    // The first output is the parent of the second.
    let device = Cpu::seed_from_u64(5);
    let (y, z) = (device.sample_normal::<Rank2<4, 4>>(), device.sample_normal::<Rank2<4, 2>>());
    beside_backward!(
        "output used",
        {
            // dfdx builds no module with a `()` in it.
            let first = device.build_module::<(Linear<5, 4>, Tanh), f64>();
            (first, SplitInto(((), device.build_module::<Linear<4, 2>, f64>())))
        },
        device.sample_normal::<Rank2<4, 5>>(),
        {
            let (y, z) = (y.clone(), z.clone());
            move |(a, b)| mse_loss(a, y.clone()) + mse_loss(b, z.clone())
        }
    );
}

#[test]
fn a_cnn() {
    type Net = (
        (Conv2d<1, 3, 3, 1, 1>, Bias2D<3>, Tanh, MaxPool2d<2, 2>),
        (Conv2d<3, 4, 2>, Bias2D<4>, ReLU),
        FlattenTo<36>,
        (Linear<36, 6>, Tanh),
        Linear<6, 3>,
    );
    let device = Cpu::seed_from_u64(7);
    let y: Tensor<Rank2<4, 3>, f64, _> = device.sample_normal();
    beside_backward!(
        "cnn",
        device.build_module::<Net, f64>(),
        device.sample_normal::<Rank4<4, 1, 8, 8>>(),
        {
            let y = y.clone();
            move |found| mse_loss(found, y.clone())
        }
    );
}

#[test]
fn recurrent_nets() {
    let device = Cpu::seed_from_u64(8);
    let y: Tensor<Rank2<4, 3>, f64, _> = device.sample_normal();
    beside_backward!(
        "rnn",
        device.build_module::<(Rnn<5, 6>, Linear<6, 3>), f64>(),
        device.sample_normal::<Rank3<4, 6, 5>>(),
        {
            let y = y.clone();
            move |found| mse_loss(found, y.clone())
        }
    );
    beside_backward!(
        "lstm",
        device.build_module::<(Lstm<5, 4>, Linear<4, 3>), f64>(),
        device.sample_normal::<Rank3<4, 5, 5>>(),
        {
            let y = y.clone();
            move |found| mse_loss(found, y.clone())
        }
    );
}

#[test]
fn a_transformer_encoder() {
    type Net =
        (Embedding<11, 8>, TransformerEncoder<8, 2, 12, 2>, Reshape<Rank2<3, 40>>, Linear<40, 4>);
    let device = Cpu::seed_from_u64(6);
    let y: Tensor<Rank2<3, 4>, f64, _> = device.sample_normal();
    let x: Tensor<Rank2<3, 5>, usize, _> =
        device.tensor([[1, 2, 10, 4, 0], [3, 3, 9, 1, 2], [7, 0, 0, 5, 6]]);
    let mut model = device.build_module::<Net, f64>();
    let loss = || {
        let y = y.clone();
        move |found| mse_loss(found, y.clone())
    };
    // Indices are not traced; the tape begins at the weight.
    let traced = x.clone().put_tape(OwnedTape::<f64, Cpu>::default());
    let wanted = gradients(&model, &apply(loss(), model.forward(traced)).backward());
    for schedule in exact() {
        let mut pc = PredictiveCoding::new(schedule.clone(), LossReduction::Mean);
        let learned = pc.learn(&mut model, x.clone(), loss()).unwrap();
        close(&gradients(&model, &learned.gradients), &wanted, 1e-10, &schedule.to_string());
    }
    let mut pc = PredictiveCoding::new(Schedule::standard(0.2, 6).unwrap(), LossReduction::Mean);
    let learned = pc.learn(&mut model, x, loss()).unwrap();
    assert!(apart(&gradients(&model, &learned.gradients), &wanted) > 1e-6);
}
