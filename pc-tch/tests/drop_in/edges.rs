//! Programs at the edge of what libtorch itself takes, and what must not cost more than it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pc_tch::{Pc, PcOptimizer, pc_core::ErrorKind};
use tch::{
    Kind, Tensor,
    nn::{self, Module, OptimizerConfig},
};

use crate::common::{device, seeded, tensor};

fn leaf(numbers: &[f64]) -> Tensor {
    tensor(numbers).to_device(device()).set_requires_grad(true)
}

/// The gradients of a leaf by backprop and by the exact rule, from two graphs.
fn both(x: &Tensor, loss: impl Fn() -> Tensor) -> [Tensor; 2] {
    let take = |x: &Tensor| {
        let gradient = x.grad().copy();
        let _ = x.grad().zero_();
        gradient
    };
    loss().backward();
    let theirs = take(x);
    Pc::exact().backward(&loss());
    [take(x), theirs]
}

/// A program of four operations, of which one step reaches the last alone.
fn deep(store: &nn::VarStore) -> (Tensor, nn::Linear) {
    let net = nn::linear(store.root(), 3, 1, Default::default());
    let x = Tensor::ones([2, 3], (Kind::Float, device()));
    (net.forward(&x).tanh().exp().sigmoid().sum(Kind::Float), net)
}

/// Where no gradient has come there is nothing to clip, and a step is no error.
#[test]
fn clipping_without_gradients() {
    let _turn = seeded();
    let store = nn::VarStore::new(device());
    let (loss, net) = deep(&store);
    let mut opt = nn::Sgd::default().build(&store, 0.1).unwrap();
    let before = net.ws.copy();
    let pc = Pc::fixed_prediction(0.5, 1).unwrap();
    let error = opt.f_pc_step_clip_norm(&loss, &pc, 1.0).unwrap_err();
    assert!(
        error.kind() == ErrorKind::Schedule
            && ["even_shallow", "vertex", "4 deep"].iter().all(|w| error.to_string().contains(w)),
        "{error}"
    );
    let outcome = opt.f_pc_step_clip_norm(&loss, &pc.even_shallow(), 1.0).unwrap();
    assert!(outcome.shallow && net.ws.equal(&before) && !net.ws.grad().defined(), "{outcome}");
    assert!((&net.ws * 2.0).requires_grad(), "gradients are on");
}

/// tch's own manner: without `f_` an error is a panic. It leaves nothing switched off.
#[test]
fn plain_methods_panic_and_leave_the_mode_alone() {
    let _turn = seeded();
    let store = nn::VarStore::new(device());
    let net = nn::linear(store.root(), 3, 1, Default::default());
    let mut opt = nn::Sgd::default().build(&store, 0.1).unwrap();
    let x = Tensor::ones([2, 3], (Kind::Float, device()));
    let message = |work: &mut dyn FnMut()| {
        let panic = catch_unwind(AssertUnwindSafe(work)).unwrap_err();
        assert!((&net.ws * 2.0).requires_grad(), "gradients are on");
        assert_eq!(pc_tch::live_graphs(), 0);
        panic.downcast_ref::<String>().cloned().unwrap_or_default()
    };
    let pc = Pc::exact();
    let said = message(&mut || opt.pc_step(&net.forward(&x), &pc));
    assert!(said.contains("one number"), "{said}");
    let said = message(&mut || pc.backward(&net.forward(&x)));
    assert!(said.contains("one number"), "{said}");
    let far = || (net.forward(&x) * f64::INFINITY).sum(Kind::Float);
    let measured = Pc::exact().measured();
    let before = net.ws.copy();
    let said = message(&mut || opt.pc_step_clip_norm(&far(), &measured, 1.0));
    assert!(said.contains("diverged") && net.ws.equal(&before), "{said}");
    // In a thread that wants no gradients nothing is switched on either.
    let _off = tch::no_grad_guard();
    let loss = tch::with_grad(|| net.forward(&x).square().sum(Kind::Float));
    opt.pc_step(&loss, &pc);
    assert!(!(&net.ws * 2.0).requires_grad() && !net.ws.equal(&before));
}

#[test]
fn losses_that_libtorch_refuses() {
    let _turn = seeded();
    let x = leaf(&[0.5, -1.5]);
    let loss = x.tanh().to_kind(Kind::ComplexDouble).sum(Kind::ComplexDouble);
    assert!(loss.f_backward().is_err(), "libtorch refuses it");
    for pc in [Pc::exact(), Pc::exact().measured()] {
        let error = pc.f_backward(&loss).unwrap_err();
        assert!(
            error.kind() == ErrorKind::Misuse && error.to_string().contains("complex"),
            "{error}"
        );
    }
    assert!(!x.grad().defined());
}

/// The loss is the second thing that its operation returns.
#[test]
fn a_loss_that_is_not_its_operations_first_output() {
    let _turn = seeded();
    let x = leaf(&[0.5, -1.5, 2.0]);
    let loss = || x.tanh().std_mean(true).1;
    let [ours, theirs] = both(&x, loss);
    assert!(ours.equal(&theirs), "{ours} is not {theirs}");
    for pc in [Pc::exact().measured(), Pc::fixed_prediction(1.0, 5).unwrap()] {
        pc.backward(&loss());
        assert!(x.grad().allclose(&theirs, 1e-12, 0.0, false), "{pc:?}");
        let _ = x.grad().zero_();
    }
}

/// Views and concatenations that nest at a named output: every level has eight ways to the next, so
/// that whoever goes each way alone never ends.
#[test]
fn nested_views_at_an_output() {
    let _turn = seeded();
    let x = Tensor::randn([64], (Kind::Double, device())).set_requires_grad(true);
    let output = || {
        (0..40).fold(x.tanh(), |h, _| {
            let mut parts = h.chunk(8, 0);
            parts.reverse();
            Tensor::cat(&parts, 0)
        })
    };
    let loss = |output: &Tensor| (output * output).sum(Kind::Double);
    let [_, theirs] = both(&x, || loss(&output()));
    let named = output();
    let outcome = Pc::exact().f_backward_from(&loss(&named), &[&named]).unwrap();
    assert!(x.grad().allclose(&theirs, 1e-12, 0.0, false));
    assert_eq!((outcome.vertices, outcome.depth), (1, 0), "{outcome}");
}

/// A concatenation that grows in a loop, each of which the loss reaches through the next alone.
#[test]
fn a_growing_concatenation() {
    let _turn = seeded();
    let x = Tensor::randn([2], (Kind::Double, device())).set_requires_grad(true);
    let loss = || {
        let mut h = x.tanh();
        for _ in 0..300 {
            h = Tensor::cat(&[&h, &(&x * 0.5)], 0);
        }
        h.square().sum(Kind::Double)
    };
    let [ours, theirs] = both(&x, loss);
    assert!(ours.equal(&theirs));
    let outcome = Pc::fixed_prediction(0.5, 60).unwrap().f_backward(&loss()).unwrap();
    assert_eq!((outcome.vertices, outcome.depth), (303, 2), "{outcome}");
    assert!(x.grad().allclose(&theirs, 1e-9, 0.0, false));
}

/// The outcome says how little comes to the first operations, what it cost, and what to do.
#[test]
fn what_an_outcome_says() {
    let _turn = seeded();
    let x = leaf(&[0.5, -0.25]);
    let chain = (0..40).fold(x.tanh(), |h, _| h.sin()).sum(Kind::Double);
    let outcome = Pc::fixed_prediction(0.1, 100).unwrap().f_backward(&chain).unwrap();
    let share = outcome.furthest_share.unwrap();
    // P[Binomial(100, 0.1) >= 41].
    assert!(share > 0.0 && share < 1e-12 && !outcome.shallow, "{share:e}");
    assert!(outcome.to_string().contains("pc_tch::vertex"), "{outcome}");
    assert!(outcome.passes() <= 1.0);

    let ladder = (0..40).fold(x.tanh(), |h, _| &h + h.sin()).sum(Kind::Double);
    let outcome = Pc::fixed_prediction(0.5, 200).unwrap().f_backward(&ladder).unwrap();
    assert!(outcome.passes() > 3.0 && outcome.to_string().contains("backward_from"), "{outcome}");
    let exact = Pc::exact().f_backward(&x.tanh().sum(Kind::Double)).unwrap();
    assert_eq!((exact.furthest_share, exact.passes()), (Some(1.0), 1.0));
    assert!(!exact.to_string().contains("vertex"), "{exact}");
}

/// TorchScript trains once its optimiser is off, as the refusal says.
#[test]
fn torchscript_trains_after_the_call_that_is_named() {
    let _turn = seeded();
    let w = Tensor::randn([4, 4], (Kind::Double, device()));
    let input = Tensor::randn([3, 4], (Kind::Double, device())).set_requires_grad(true);
    let mut program = |inputs: &[Tensor]| vec![inputs[0].matmul(&w).tanh() * inputs[0].sigmoid()];
    let trace = [input.detach()];
    let module = tch::CModule::create_by_tracing("net", "forward", &trace, &mut program).unwrap();
    let run = || {
        module.method_ts("forward", &[input.shallow_clone()]).unwrap().square().sum(Kind::Double)
    };
    tch::jit::set_graph_executor_optimize(false);
    let found = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..5 {
            let [ours, theirs] = both(&input, run);
            assert!(ours.allclose(&theirs, 1e-12, 0.0, false));
        }
    }));
    tch::jit::set_graph_executor_optimize(true);
    found.unwrap();
}
