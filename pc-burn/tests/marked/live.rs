//! Live schedules on a marked program against the same graph on the host backend, in f64.

use burn::{
    optim::SgdConfig,
    tensor::{Device, Tensor},
};
use pc_burn::{LossReduction, PredictiveCoding};
use pc_core::{
    Agreement, Clamps, Graph, Reduction, Relaxation, Schedule, Start, Tensor as _,
    host::{Activation, CrossEntropy, HostLayers, HostTensor, Init, Sgd},
};

use crate::{measure::read, models::*, support::parameters};

fn numbers<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    tensor.clone().into_data().iter::<f64>().collect()
}

struct Host {
    graph: Graph<HostTensor<f64>>,
    clamps: Clamps<HostTensor<f64>>,
}

/// The MLP with the same weights, the same batch held, and its output driven by the same loss,
/// summed.
fn host(model: &Mlp, x: &Tensor<2>) -> Host {
    let mut init = Init::new(1);
    let mut b = Graph::<HostTensor<f64>>::builder();
    let input = b.input("x", &[20]).unwrap();
    let first = b.dense("first", input, 32, Activation::Tanh, &mut init).unwrap();
    let second = b.dense("second", first, 24, Activation::Tanh, &mut init).unwrap();
    let third = b.dense("third", second, 5, Activation::Identity, &mut init).unwrap();
    let mut graph = b.build().unwrap();
    for (own, theirs) in graph.parameters_mut().iter_mut().zip(parameters(model)) {
        *own = HostTensor::new(&own.shape(), transposed(&own.shape(), &theirs)).unwrap();
    }
    let labels: Vec<usize> = (0..x.dims()[0]).map(|i| i % 5).collect();
    let clamps = Clamps::new()
        .hold(input, HostTensor::new(&x.dims(), numbers(x)).unwrap())
        .drive(third, CrossEntropy::labels(&labels, 5).unwrap());
    Host { graph, clamps }
}

/// Burn's layers hold their weights as [inputs, outputs], the host's as [outputs, inputs].
pub(crate) fn transposed(shape: &[usize], theirs: &[f64]) -> Vec<f64> {
    match shape {
        [outputs, inputs] => {
            (0..outputs * inputs).map(|i| theirs[(i % inputs) * outputs + i / inputs]).collect()
        }
        _ => theirs.to_vec(),
    }
}

fn setting() -> (Mlp, Tensor<2>, Tensor<1, burn::tensor::Int>) {
    let device = Device::flex().autodiff();
    device.seed(3);
    (Mlp::new(&device), normal([16, 20], &device), targets(16, &device))
}

fn like_the_host(schedule: Schedule, tolerance: f64) {
    let (model, x, y) = setting();
    let mut truth = host(&model, &x);
    let mut relaxation =
        Relaxation::new(&truth.graph, schedule.clone().reduced_by(Reduction::Mean)).unwrap();
    let expected = relaxation.run(&mut truth.graph, &truth.clamps).unwrap();
    let name = schedule.to_string();
    let learned = PredictiveCoding::new(schedule, LossReduction::Mean)
        .learn(&model, |m| cross_entropy(m.forward(x.clone()), y.clone()))
        .unwrap();
    assert_eq!(learned.outcome.steps, expected.steps, "{name}");
    assert_eq!(learned.outcome.status, expected.status, "{name}");
    let energies = (learned.outcome.energy.total(), expected.energy.total());
    assert!(
        (energies.0 - energies.1).abs() <= tolerance * energies.1.abs(),
        "{name}: {energies:?}"
    );
    for (index, (ours, (_, theirs))) in
        read(&model, &learned.gradients).iter().zip(relaxation.gradients().iter()).enumerate()
    {
        assert_eq!(ours.is_some(), theirs.is_some(), "{name}, parameter {index}");
        let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
        let agreement = Agreement::of_slices(&transposed(&theirs.shape(), ours), &theirs.to_vec());
        println!("{name}, parameter {index}: off by {:.1e}", agreement.relative_norm);
        assert!(agreement.relative_norm <= tolerance, "{name}, parameter {index}: {agreement:?}");
    }
}

#[test]
fn standard_pc() {
    like_the_host(Schedule::standard(0.1, 20).unwrap(), 1e-4);
}

#[test]
fn standard_pc_with_momentum() {
    like_the_host(Schedule::standard(0.1, 20).unwrap().with_momentum(0.5).unwrap(), 1e-4);
}

#[test]
fn standard_pc_until_it_converges() {
    like_the_host(Schedule::standard(0.2, 400).unwrap().until(1e-2).unwrap(), 1e-3);
}

#[test]
fn standard_pc_from_zero() {
    like_the_host(Schedule::standard(0.1, 20).unwrap().starting(Start::Zero), 1e-4);
}

#[test]
fn error_based_pc() {
    like_the_host(Schedule::epc(0.1, 10).unwrap(), 1e-4);
}

#[test]
fn a_step_of_no_relaxation() {
    like_the_host(Schedule::standard(0.1, 20).unwrap().unrelaxed(), 1e-5);
}

#[test]
fn frozen_with_momentum() {
    like_the_host(Schedule::fixed_prediction(0.2, 9).unwrap().with_momentum(0.4).unwrap(), 1e-4);
}

#[test]
fn z_il() {
    like_the_host(Schedule::zil(), 1e-5);
}

#[test]
fn weak_losses() {
    let (model, x, y) = setting();
    let mut truth = host(&model, &x);
    let third = truth.graph.topology().vertex("third").unwrap();
    let labels: Vec<usize> = (0..16).map(|i| i % 5).collect();
    let clamps =
        truth.clamps.clone().weak_loss(third, CrossEntropy::labels(&labels, 5).unwrap(), 0.25);
    let schedule = Schedule::standard(0.1, 20).unwrap();
    let mut relaxation =
        Relaxation::new(&truth.graph, schedule.clone().reduced_by(Reduction::Mean)).unwrap();
    relaxation.run(&mut truth.graph, &clamps).unwrap();
    let mut pc = PredictiveCoding::new(schedule, LossReduction::Mean).with_weak_loss(0.25).unwrap();
    let learned = pc.learn(&model, |m| cross_entropy(m.forward(x.clone()), y.clone())).unwrap();
    for (ours, (_, theirs)) in
        read(&model, &learned.gradients).iter().zip(relaxation.gradients().iter())
    {
        let (ours, theirs) = (ours.as_ref().unwrap(), theirs.unwrap());
        let agreement = Agreement::of_slices(&transposed(&theirs.shape(), ours), &theirs.to_vec());
        assert!(agreement.relative_norm <= 1e-4, "{agreement:?}");
    }
}

/// Weights that move at every step, by Burn's optimiser and by the host's.
#[test]
fn incremental_pc() {
    let (mut model, x, y) = setting();
    let mut truth = host(&model, &x);
    let schedule = Schedule::ipc(0.1, 12).unwrap();
    let mut relaxation =
        Relaxation::new(&truth.graph, schedule.clone().reduced_by(Reduction::Mean)).unwrap();
    let mut sgd = Sgd::new(0.05).unwrap();
    let mut events = 0;
    relaxation
        .train(&mut truth.graph, &truth.clamps, |graph, gradients| {
            sgd.step(graph.parameters_mut(), gradients)
        })
        .unwrap();
    let mut optimiser = SgdConfig::new().init();
    let before = parameters(&model);
    let mut pc = PredictiveCoding::new(schedule, LossReduction::Mean);
    let learned = pc
        .train(
            &mut model,
            |m| cross_entropy(m.forward(x.clone()), y.clone()),
            |model, gradients| {
                events += 1;
                optimiser.step(0.05, model, gradients)
            },
        )
        .unwrap();
    assert_eq!(events, 12);
    assert_eq!(learned.outcome.steps, 12);
    for ((own, theirs), before) in
        parameters(&model).iter().zip(truth.graph.parameters()).zip(&before)
    {
        let theirs_moved: Vec<f64> = theirs
            .to_vec()
            .iter()
            .zip(transposed(&theirs.shape(), before))
            .map(|(a, b)| a - b)
            .collect();
        let moved: Vec<f64> = own.iter().zip(before).map(|(a, b)| a - b).collect();
        let agreement = Agreement::of_slices(&transposed(&theirs.shape(), &moved), &theirs_moved);
        assert!(agreement.relative_norm <= 1e-3, "{agreement:?}");
    }
    // `learn` has no optimiser to give.
    let error = pc.learn(&model, |m| cross_entropy(m.forward(x.clone()), y.clone())).unwrap_err();
    assert!(error.to_string().contains("PredictiveCoding::train"), "{error}");
}
