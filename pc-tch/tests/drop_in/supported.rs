//! What a training program may do around the one changed line.

use pc_tch::{Pc, PcOptimizer, pc_core::Evaluation};
use tch::{
    Kind, Tensor,
    nn::{self, Module, OptimizerConfig},
};

use crate::{
    common::{backprop, device, double, seeded, take_gradients, tensor, worst},
    models,
};

fn leaf() -> Tensor {
    tensor(&[0.5, -1.5]).set_requires_grad(true)
}

fn close(a: &Tensor, b: &Tensor) {
    let off = (a - b).abs().max().double_value(&[]);
    assert!(off < 1e-14, "off by {off:e}");
}

#[test]
fn several_losses_on_one_graph() {
    let _turn = seeded();
    let (ours, theirs) = (leaf(), leaf());
    let losses = |x: &Tensor| {
        let hidden = x.tanh();
        [hidden.square().sum(Kind::Double), hidden.exp().sum(Kind::Double)]
    };
    let [a, b] = losses(&ours);
    Pc::exact().keep_graph().backward(&a);
    Pc::exact().backward(&b);
    let [a, b] = losses(&theirs);
    (a + b).backward();
    close(&ours.grad(), &theirs.grad());
}

#[test]
fn accumulation_over_micro_batches() {
    let _turn = seeded();
    let model = models::residual(Kind::Double);
    for pass in 0..3 {
        for evaluation in [Evaluation::Auto, Evaluation::Simulate] {
            Pc::exact().evaluated_by(evaluation).backward(&model.loss());
        }
        let _ = pass;
    }
    let ours = take_gradients(&model.store);
    let theirs: Vec<_> = backprop(&model, 7)
        .into_iter()
        .map(|(name, gradient)| (name, gradient.map(|gradient| gradient * 6.0)))
        .collect();
    assert!(worst(&ours, &theirs).0 < 1e-12);
}

#[test]
fn a_kept_graph_is_relaxed_again_and_a_frozen_parameter_is_left_alone() {
    let _turn = seeded();
    let mut model = models::tied(Kind::Double);
    let loss = model.loss();
    let first =
        Pc::exact().keep_graph().evaluated_by(Evaluation::Simulate).f_backward(&loss).unwrap();
    let ours = take_gradients(&model.store);
    let again =
        Pc::exact().keep_graph().evaluated_by(Evaluation::Simulate).f_backward(&loss).unwrap();
    assert_eq!(first, again);
    assert_eq!(worst(&take_gradients(&model.store), &ours).0, 0.0);
    drop(loss);
    model.store.freeze();
    assert!(Pc::exact().f_backward(&model.loss()).is_err());
}

#[test]
fn sparse_embeddings() {
    let _turn = seeded();
    let weight = Tensor::randn([10, 3], double()).set_requires_grad(true);
    let indices = tensor(&[1_i64, 4, 1]);
    let loss = |weight: &Tensor| {
        Tensor::embedding(weight, &indices, -1, false, true).tanh().square().sum(Kind::Double)
    };
    for evaluation in [Evaluation::Auto, Evaluation::Simulate] {
        let (ours, theirs) =
            (weight.detach().set_requires_grad(true), weight.detach().set_requires_grad(true));
        Pc::exact().evaluated_by(evaluation).backward(&loss(&ours));
        loss(&theirs).backward();
        assert!(ours.grad().is_sparse(), "it stays sparse");
        close(
            &ours.grad().to_dense(None::<Kind>, false),
            &theirs.grad().to_dense(None::<Kind>, false),
        );
    }
}

/// An operation that one path sends sparse errors to and a longer one dense ones, on their way.
#[test]
fn sparse_and_dense_errors_meet() {
    let _turn = seeded();
    let start = Tensor::randn([10, 3], double());
    let indices = tensor(&[1_i64, 4, 1]);
    let gradient = |sparse: bool| {
        let weight = start.detach().set_requires_grad(true);
        let inner = &weight * 1.5;
        let loss = Tensor::embedding(&inner, &indices, -1, false, sparse).sum(Kind::Double)
            + inner.tanh().square().sum(Kind::Double);
        Pc::fixed_prediction(0.5, 6)
            .unwrap()
            .evaluated_by(Evaluation::Simulate)
            .measured()
            .backward(&loss);
        weight.grad()
    };
    close(&gradient(true), &gradient(false));
}

/// Complex numbers on the way from real parameters to a real loss.
#[test]
fn complex_numbers() {
    let _turn = seeded();
    let x = Tensor::randn([6], double()).set_requires_grad(true);
    let loss = || x.tanh().fft_fft(None, 0, "ortho").abs().tanh().sum(Kind::Double);
    let outcome =
        Pc::exact().evaluated_by(Evaluation::Simulate).measured().f_backward(&loss()).unwrap();
    assert!(outcome.energy.unwrap().internal > 0.0);
    let ours = x.grad().copy();
    let _ = x.grad().zero_();
    loss().backward();
    close(&ours, &x.grad());
}

#[test]
fn layouts_of_gradients_are_libtorchs() {
    let _turn = seeded();
    let make = || Tensor::randn([4, 6], double()).tr().set_requires_grad(true);
    let x = make();
    Pc::exact().backward(&x.tanh().sum(Kind::Double));
    assert_eq!(x.grad().stride(), x.stride());
}

/// Operations under autocast leave casts in the graph, which cost no step.
#[test]
fn autocast() {
    let _turn = seeded();
    let weight = Tensor::randn([5, 5], (Kind::Float, device())).set_requires_grad(true);
    let x = Tensor::randn([3, 5], (Kind::Float, device()));
    let loss = || {
        tch::autocast(true, || x.matmul(&weight).tanh())
            .to_kind(Kind::Float)
            .square()
            .sum(Kind::Float)
    };
    Pc::exact().backward(&loss());
    let ours = weight.grad().copy();
    let _ = weight.grad().zero_();
    loss().backward();
    assert!(ours.equal(&weight.grad()));
}

/// A cast to bf16 in the middle of an f32 model.
#[test]
fn casts_cost_no_step() {
    let _turn = seeded();
    let x = tensor(&[0.5_f32, -1.5]).set_requires_grad(true);
    let loss = || (x.to_kind(Kind::BFloat16) * 3.0).tanh().to_kind(Kind::Float).sum(Kind::Float);
    let outcome = Pc::exact().evaluated_by(Evaluation::Simulate).f_backward(&loss()).unwrap();
    assert_eq!((outcome.vertices, outcome.depth), (3, 2));
    let ours = x.grad().copy();
    let _ = x.grad().zero_();
    loss().backward();
    assert!(ours.equal(&x.grad()));
}

#[test]
fn a_leaf_as_the_loss_and_a_regulariser_past_the_outputs() {
    let _turn = seeded();
    let x = Tensor::from(2.0).set_requires_grad(true);
    let outcome = Pc::exact().measured().f_backward(&x).unwrap();
    assert_eq!(
        (x.grad().double_value(&[]), outcome.steps, outcome.energy.unwrap().loss),
        (1.0, 0, 2.0)
    );

    let weight = leaf();
    let output = (&weight * 3.0).tanh();
    let loss = || output.sum(Kind::Double) + weight.square().sum(Kind::Double) * 0.1;
    let few = Pc::fixed_prediction(0.5, 1).unwrap().even_shallow().keep_graph();
    few.backward_from(&loss(), &[&output]);
    // The output's operation is tanh: after one step at one half, half of the error has come to the
    // product; the regulariser's gradient is whole.
    let expected: Tensor = (1.0 - output.square()) * 3.0 * 0.5 + &weight * 0.2;
    close(&weight.grad(), &expected.detach());
}

#[test]
fn the_energy_is_that_of_the_frozen_problem() {
    let _turn = seeded();
    let x = leaf();
    let loss = || {
        let output = (&x * 3.0).tanh();
        (output.shallow_clone(), output.square().sum(Kind::Double) * 0.5)
    };
    let (output, value) = loss();
    let outcome = Pc::exact().measured().f_backward_from(&value, &[&output]).unwrap();
    let pulled: Tensor = &output * (1.0 - output.square());
    let energy = outcome.energy.unwrap();
    assert!(
        (energy.internal - 0.5 * pulled.square().sum(Kind::Double).double_value(&[])).abs() < 1e-15
    );
    assert_eq!(energy.loss, value.double_value(&[]));
    assert_eq!(outcome.evaluation, "reverse sweep");
}

/// Steps of an optimiser by backprop and by predictive coding at rate 1, with clipping, give the
/// same weights.
#[test]
fn training_steps_are_those_of_backprop() {
    let _turn = seeded();
    let data = (Tensor::randn([32, 6], double()), Tensor::randn([32, 1], double()));
    let train = |pc: Option<Pc>| {
        tch::manual_seed(3);
        let mut store = nn::VarStore::new(device());
        let net = nn::seq()
            .add(nn::linear(store.root() / "a", 6, 8, Default::default()))
            .add_fn(Tensor::tanh)
            .add(nn::linear(store.root() / "b", 8, 1, Default::default()));
        store.double();
        let mut opt = nn::Adam::default().build(&store, 0.02).unwrap();
        for step in 0..30 {
            let loss = net.forward(&data.0).mse_loss(&data.1, tch::Reduction::Mean);
            match (&pc, step % 3) {
                (None, 0) => opt.backward_step(&loss),
                (None, 1) => opt.backward_step_clip(&loss, 0.05),
                (None, _) => opt.backward_step_clip_norm(&loss, 0.1),
                (Some(pc), 0) => opt.pc_step(&loss, pc),
                (Some(pc), 1) => opt.pc_step_clip(&loss, pc, 0.05),
                (Some(pc), _) => opt.pc_step_clip_norm(&loss, pc, 0.1),
            }
        }
        net.forward(&data.0)
    };
    assert!(train(None).equal(&train(Some(Pc::exact()))), "bit for bit");
}

#[allow(dead_code)]
#[path = "../../examples/digits.rs"]
mod digits;

/// The example learns what it is said to learn.
#[test]
fn the_example_learns() {
    let _turn = seeded();
    let share = digits::train(digits::EPOCHS, &Pc::exact()).unwrap();
    println!("the example: {share:.3}");
    assert!(share > 0.95, "{share}");
}
