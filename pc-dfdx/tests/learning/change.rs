//! What changes over time: batches, weights, statistics; and rules beside the host's.

use dfdx::{
    nn::{builders::*, modules},
    optim::{Adam, Sgd, SgdConfig},
    prelude::*,
};
use pc_core::{Evaluation, Schedule, Start, Status};
use pc_dfdx::{Granularity, LossReduction, PredictiveCoding};
use serde_json::Value;

use crate::common::{apart, close, gradients, numbers};

type Mlp = (Linear<5, 7>, Tanh, Residual<(Linear<7, 7>, Sigmoid)>, Linear<7, 3>);

fn schedules() -> Vec<Schedule> {
    let standard = || Schedule::standard(0.1, 8).unwrap();
    vec![
        Schedule::backprop(),
        Schedule::fixed_prediction(0.3, 6).unwrap(),
        Schedule::fixed_prediction(0.3, 6).unwrap().evaluated_by(Evaluation::Simulate),
        Schedule::zil(),
        Schedule::zil().even_unlevelled(),
        standard(),
        standard().with_momentum(0.5).unwrap(),
        standard().adaptive(),
        standard().starting(Start::Zero),
        Schedule::epc(0.1, 6).unwrap(),
    ]
}

/// Every schedule, twice with something changed in between: what comes out is what a new
/// [`PredictiveCoding`] gives.
#[test]
fn nothing_is_left_of_the_last_call() {
    let device = Cpu::seed_from_u64(21);
    let batch = |samples: usize| {
        let numbers = |width: usize, phase: f64| -> Vec<f64> {
            (0..samples * width).map(|k| (k as f64 * 1.3 + phase).sin()).collect()
        };
        let x = device.tensor_from_vec(numbers(5, 0.2), (samples, Const::<5>));
        let y = device.tensor_from_vec(numbers(3, 0.9), (samples, Const::<3>));
        (x, y)
    };
    // Noise counts the batches that a relaxation has seen.
    let noise = Schedule::standard(0.1, 8).unwrap().with_noise(0.01, 3).unwrap();
    let all = schedules().into_iter().map(|schedule| (schedule, false));
    for (schedule, noisy) in all.chain([(noise, true)]) {
        let new = || PredictiveCoding::new(schedule.clone(), LossReduction::Mean);
        let mut kept = new();
        let mut one = device.build_module::<Mlp, f64>();
        let mut two = device.build_module::<Mlp, f64>();
        for (call, samples) in [4, 4, 2, 4, 1, 4].into_iter().enumerate() {
            let (x, y) = batch(samples);
            let model = if call % 2 == 0 { &mut one } else { &mut two };
            if noisy {
                kept = new();
            }
            let loss = |y: &Tensor<(usize, Const<3>), f64, Cpu>| {
                let y = y.clone();
                move |found| mse_loss(found, y.clone())
            };
            let found = kept.learn(model, x.clone(), loss(&y)).unwrap();
            let wanted = new().learn(model, x.clone(), loss(&y)).unwrap();
            assert_eq!(found.loss.to_bits(), wanted.loss.to_bits(), "{schedule}, call {call}");
            let of = |learned: &pc_dfdx::Learned<f64>| gradients(model, &learned.gradients);
            assert_eq!(of(&found), of(&wanted), "{schedule}, call {call}");
            let mut optimiser = Sgd::new(model, SgdConfig { lr: 0.1, ..Default::default() });
            optimiser.update(model, &found.gradients).unwrap();
        }
    }
}

#[test]
fn what_is_one_vertex_counts_below_rate_one() {
    let device = Cpu::seed_from_u64(22);
    let mut model = device.build_module::<Mlp, f64>();
    let x: Tensor<Rank2<4, 5>, f64, _> = device.sample_normal();
    type Built = <Mlp as BuildOnDevice<Cpu, f64>>::Built;
    let found = |granularity, schedule: &Schedule, model: &mut Built| {
        let mut pc =
            PredictiveCoding::new(schedule.clone(), LossReduction::Mean).of_vertices(granularity);
        let learned = pc.learn(model, x.clone(), |found| found.square().mean()).unwrap();
        gradients(model, &learned.gradients)
    };
    for (schedule, differs) in
        [(Schedule::backprop(), false), (Schedule::standard(0.1, 8).unwrap(), true)]
    {
        let layers = found(Granularity::Layers, &schedule, &mut model);
        let modules = found(Granularity::Modules, &schedule, &mut model);
        assert_eq!(apart(&layers, &modules) > 1e-6, differs, "{schedule}");
    }
}

/// The weak loss and the reduction: a mean over the batch changes no state.
#[test]
fn a_mean_divides_gradients_and_not_states() {
    let device = Cpu::seed_from_u64(23);
    let mut model = device.build_module::<Mlp, f64>();
    let x: Tensor<Rank2<4, 5>, f64, _> = device.sample_normal();
    let schedule = || Schedule::standard(0.1, 8).unwrap();
    let mut sum = PredictiveCoding::new(schedule(), LossReduction::Sum);
    let summed = sum.learn(&mut model, x.clone(), |f| f.square().sum::<Rank0, _>()).unwrap();
    let mean =
        |f: Tensor<Rank2<4, 3>, f64, Cpu, OwnedTape<f64, Cpu>>| f.square().sum::<Rank0, _>() / 4.0;
    for reduction in [LossReduction::Mean, LossReduction::MeanOver(4)] {
        let mut pc = PredictiveCoding::new(schedule(), reduction);
        let learned = pc.learn(&mut model, x.clone(), mean).unwrap();
        let mut found = gradients(&model, &learned.gradients);
        found.iter_mut().flatten().for_each(|x| *x *= 4.0);
        close(&found, &gradients(&model, &summed.gradients), 1e-13, &format!("{reduction:?}"));
        let (a, b) = (learned.outcome.energy.total(), summed.outcome.energy.total());
        assert!((a - b).abs() <= 1e-12 * b, "{a} {b}");
    }
    let mut weak =
        PredictiveCoding::new(schedule(), LossReduction::Sum).with_weak_loss(1e-3).unwrap();
    let weakly = weak.learn(&mut model, x, |f| f.square().sum::<Rank0, _>()).unwrap();
    let off = apart(&gradients(&model, &weakly.gradients), &gradients(&model, &summed.gradients));
    assert!(off > 0.9, "{off}");
}

#[test]
fn running_statistics_move_once_in_a_step() {
    type Net = (Linear<4, 6>, BatchNorm1D<6>, Tanh, Linear<6, 2>);
    let device = Cpu::seed_from_u64(24);
    let x: Tensor<Rank2<5, 4>, f64, _> = device.sample_normal();
    for schedule in schedules().into_iter().filter(|s| s.start() == Start::Forward) {
        let mut model = device.build_module::<Net, f64>();
        let mut by_tape = model.clone();
        let _ = by_tape.forward_mut(x.leaky_trace());
        let before = model.1.running_mean.array();
        let mut pc = PredictiveCoding::new(schedule.clone(), LossReduction::Mean);
        for _ in 0..2 {
            pc.learn(&mut model, x.clone(), |found| found.square().mean()).unwrap();
        }
        let _ = by_tape.forward_mut(x.leaky_trace());
        assert_ne!(model.1.running_mean.array(), before);
        close(&numbers(&model), &numbers(&by_tape), 1e-14, &schedule.to_string());
    }
}

/// A tensor and its clone share a gradient in dfdx, which is the sum of both.
#[test]
fn clones_share_a_gradient() {
    let device = Cpu::seed_from_u64(25);
    let layer = device.build_module::<Linear<4, 4>, f64>();
    let mut model = (layer.clone(), modules::Tanh, layer);
    let x: Tensor<Rank2<3, 4>, f64, _> = device.sample_normal();
    let wanted = model.forward(x.leaky_trace()).square().mean().backward();
    let mut pc =
        PredictiveCoding::new(Schedule::fixed_prediction(1.0, 5).unwrap(), LossReduction::Mean);
    let learned = pc.learn(&mut model, x, |found| found.square().mean()).unwrap();
    close(&gradients(&model, &learned.gradients), &gradients(&model, &wanted), 1e-12, "clones");
}

/// What no error reaches has zeros, and the optimiser takes them.
#[test]
fn zeros_where_no_error_arrives() {
    let device = Cpu::seed_from_u64(26);
    let mut model = device.build_module::<(Linear<4, 4>, Tanh, Linear<4, 2>), f64>();
    let x: Tensor<Rank2<3, 4>, f64, _> = device.sample_normal();
    let mut pc =
        PredictiveCoding::new(Schedule::standard(0.1, 3).unwrap().unrelaxed(), LossReduction::Mean);
    let learned = pc.learn(&mut model, x, |found| found.square().mean()).unwrap();
    assert_eq!(learned.gradients.get(&model.0.weight).array(), [[0.0; 4]; 4]);
    assert_ne!(learned.gradients.get(&model.2.bias).array(), [0.0; 2]);
    Adam::new(&model, Default::default()).update(&mut model, &learned.gradients).unwrap();
}

/// A step of training by incremental PC moves the weights at every step of the relaxation.
#[test]
fn incremental_pc_trains_with_dfdx_optimisers() {
    let device = Cpu::seed_from_u64(27);
    let x: Tensor<Rank2<6, 5>, f64, _> = device.sample_normal();
    let start = device.build_module::<Mlp, f64>();
    let config = SgdConfig { lr: 0.02, momentum: None, weight_decay: None };
    let train = |schedule: Schedule| {
        let mut model = start.clone();
        let mut optimiser = Sgd::new(&model, config);
        let mut pc = PredictiveCoding::new(schedule, LossReduction::Mean);
        let mut losses = Vec::new();
        for _ in 0..5 {
            let loss =
                |found: Tensor<Rank2<6, 3>, f64, Cpu, OwnedTape<f64, Cpu>>| found.square().mean();
            let learned = pc.train(&mut model, &mut optimiser, x.clone(), loss).unwrap();
            assert_ne!(learned.outcome.status, Status::Diverged);
            losses.push(learned.loss);
        }
        (numbers(&model), losses)
    };
    let (standard, _) = train(Schedule::standard(0.2, 8).unwrap());
    let (incremental, losses) = train(Schedule::ipc(0.2, 8).unwrap());
    assert!(losses.windows(2).all(|pair| pair[1] < pair[0]), "{losses:?}");
    let moved = |to: &[Vec<f64>]| apart(to, &numbers(&start));
    assert!(moved(&incremental) > 2.0 * moved(&standard));
}

const FIXTURE: &str = include_str!("../../../pc-core/tests/engine/golden.json");

fn list(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(list).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

/// The fixture on which five other libraries agree.
#[test]
fn the_golden_fixture() {
    type Net = (Linear<6, 5>, Tanh, Linear<5, 4>, Tanh, Linear<4, 3>);
    let fixture: Value = serde_json::from_str(FIXTURE).unwrap();
    let device = Cpu::default();
    let mut model = device.build_module::<Net, f64>();
    model.0.weight.copy_from(&list(&fixture["W"][0]));
    model.0.bias.copy_from(&list(&fixture["b"][0]));
    model.2.weight.copy_from(&list(&fixture["W"][1]));
    model.2.bias.copy_from(&list(&fixture["b"][1]));
    model.4.weight.copy_from(&list(&fixture["W"][2]));
    model.4.bias.copy_from(&list(&fixture["b"][2]));
    let x = device.tensor_from_vec(list(&fixture["X"]), (4, Const::<6>));
    let y = device.tensor_from_vec(list(&fixture["Y"]), (4, Const::<3>));
    let fixed = |rate, steps| Schedule::fixed_prediction(rate, steps).unwrap();
    let standard = |steps| Schedule::standard(0.1, steps).unwrap();
    for (name, schedule) in [
        ("backprop", Schedule::backprop()),
        ("fixed_pred_gamma1_T3", fixed(1.0, 3)),
        ("fixed_pred_gamma0.1_T20", fixed(0.1, 20)),
        ("fixed_pred_gamma0.1_T100", fixed(0.1, 100).evaluated_by(Evaluation::Simulate)),
        ("fixed_pred_gamma0.5_T20", fixed(0.5, 20).evaluated_by(Evaluation::Front)),
        ("standard_pc_gamma0.1_T0", standard(1).unrelaxed()),
        ("standard_pc_gamma0.1_T1", standard(1)),
        ("standard_pc_gamma0.1_T20", standard(20)),
        ("standard_pc_equilibrium", standard(20_000)),
        ("zil", Schedule::zil()),
    ] {
        let mut pc = PredictiveCoding::new(schedule, LossReduction::Sum);
        let y = y.clone();
        let learned = pc
            .learn(&mut model, x.clone(), move |found| {
                (found - y.clone()).square().sum::<Rank0, _>() * 0.5
            })
            .unwrap();
        let row = &fixture["results"][name];
        let wanted: Vec<Vec<f64>> =
            (0..3).flat_map(|l| [list(&row["dW"][l]), list(&row["db"][l])]).collect();
        close(&gradients(&model, &learned.gradients), &wanted, 1e-12, name);
        if let Some(energy) = row["energy"].as_f64() {
            let found = learned.outcome.energy.total();
            assert!((found - energy).abs() <= 1e-12 * energy, "{name}: {found}, not {energy}");
        }
    }
}
