//! What cannot work says what is wrong, and touches no gradient.

use pc_tch::{
    Pc, PcOptimizer,
    pc_core::{ErrorKind, Evaluation, Schedule, Status},
};
use tch::{
    Kind, Tensor,
    nn::{self, Module, OptimizerConfig},
};

use crate::common::{device, seeded, tensor};

fn leaf() -> Tensor {
    tensor(&[0.5, -1.5]).set_requires_grad(true)
}

/// The message of a refusal, which has left the leaf alone.
fn refusal(pc: &Pc, loss: &Tensor, leaf: &Tensor) -> (ErrorKind, String) {
    let error = pc.f_backward(loss).unwrap_err();
    assert!(!leaf.grad().defined(), "a gradient was touched");
    (error.kind(), error.to_string())
}

#[test]
fn losses_that_cannot_be_pulled() {
    let _turn = seeded();
    let x = leaf();
    let (kind, message) = refusal(&Pc::exact(), &x.tanh(), &x);
    assert!(
        kind == ErrorKind::Shape && message.contains("[2]") && message.contains("sum or mean"),
        "{message}"
    );
    let (_, message) = refusal(&Pc::exact(), &x.detach().sum(Kind::Double), &x);
    assert!(message.contains("requires a gradient") && message.contains("detached"), "{message}");
    let (_, message) = refusal(&Pc::exact(), &tch::no_grad(|| x.tanh().sum(Kind::Double)), &x);
    assert!(message.contains("no_grad"), "{message}");
    let (_, message) = refusal(&Pc::exact(), &Tensor::new(), &x);
    assert!(message.contains("undefined"), "{message}");
    assert_eq!(pc_tch::live_graphs(), 0);
}

#[test]
fn graphs_that_were_freed_or_changed() {
    let _turn = seeded();
    let x = leaf();
    let loss = x.tanh().sum(Kind::Double);
    let pc = Pc::exact();
    pc.backward(&loss);
    let before = x.grad().copy();
    let error = pc.f_backward(&loss).unwrap_err().to_string();
    assert!(
        error.contains("freed") && error.contains("keep_graph") && error.contains("Tanh"),
        "{error}"
    );
    assert!(x.grad().equal(&before));

    let y = leaf();
    let mut middle = &y * 2.0;
    let loss = middle.tanh().square().sum(Kind::Double);
    loss.backward();
    let error = pc.f_backward(&loss).unwrap_err().to_string();
    assert!(error.contains("freed"), "freed by backprop: {error}");

    let z = leaf();
    middle = z.tanh();
    let loss = middle.square().sum(Kind::Double);
    let _ = middle.g_add_scalar_(1.0);
    let (kind, message) = refusal(&pc, &loss, &z);
    assert!(
        kind == ErrorKind::Backend
            && message.contains("in place")
            && message.contains("PowBackward0"),
        "{message}"
    );
}

/// libtorch throws where it is asked for the node of such a view: an error, and no exception
/// through Rust.
#[test]
fn an_output_that_is_a_view_of_what_was_changed_in_place() {
    let _turn = seeded();
    let x = leaf();
    let mut base = &x * 2.0;
    let views = base.unbind(0);
    let loss = (&views[0] * &views[1]).sum(Kind::Double);
    let _ = base.g_add_scalar_(1.0);
    let error = Pc::exact().f_backward_from(&loss, &[&views[0]]).unwrap_err();
    assert!(error.kind() == ErrorKind::Backend && error.to_string().contains("view"), "{error}");
    assert!(!x.grad().defined());
    assert_eq!(pc_tch::live_graphs(), 0);
}

#[test]
fn schedules_that_an_autograd_graph_cannot_do() {
    let _turn = seeded();
    let x = leaf();
    let loss = || x.tanh().sum(Kind::Double);
    for schedule in [
        Schedule::standard(0.1, 5).unwrap(),
        Schedule::zil(),
        Schedule::ipc(0.1, 5).unwrap(),
        Schedule::epc(0.1, 5).unwrap(),
    ] {
        let (kind, message) = refusal(&Pc::new(schedule.clone()), &loss(), &x);
        assert!(kind == ErrorKind::Unsupported && message.contains(schedule.name()), "{message}");
    }
    let fast = Schedule::fixed_prediction(1.5, 5).unwrap().evaluated_by(Evaluation::ClosedForm);
    let (_, message) = refusal(&Pc::new(fast), &loss(), &x);
    assert!(message.contains("closed form"), "{message}");
}

#[test]
fn outputs_that_do_not_stand_between() {
    let _turn = seeded();
    let x = leaf();
    let hidden = x.tanh();
    let output = &hidden * 2.0;
    let loss = output.square().sum(Kind::Double) + hidden.sum(Kind::Double);
    let message = |loss: &Tensor, outputs: &[&Tensor]| {
        Pc::exact().f_backward_from(loss, outputs).unwrap_err().to_string()
    };
    let past = message(&loss, &[&output]);
    assert!(past.contains("past the outputs") && past.contains("TanhBackward0"), "{past}");
    assert!(message(&loss, &[&output, &hidden]).contains("feeds another"));
    assert!(message(&loss, &[&leaf().tanh()]).contains("does not depend on output 0"));
    assert!(message(&loss, &[&output, &x]).contains("output 1 is a leaf"));
    assert!(!x.grad().defined());
    // Given an identity of its own it may be an output too.
    let tapped = &hidden * 1.0;
    let loss = || output.square().sum(Kind::Double) + tapped.sum(Kind::Double);
    Pc::exact().keep_graph().backward_from(&loss(), &[&output, &tapped]);
    let ours = x.grad().copy();
    let _ = x.grad().zero_();
    loss().backward();
    assert!((ours - x.grad()).abs().max().double_value(&[]) < 1e-15);
}

/// TorchScript: what it runs operation by operation works; what it has fused into one block is
/// refused by name.
#[test]
fn torchscript_works_unfused_and_is_refused_fused() {
    let _turn = seeded();
    let w = Tensor::randn([4, 4], (Kind::Double, device()));
    let input = Tensor::randn([3, 4], (Kind::Double, device())).set_requires_grad(true);
    let mut program = |inputs: &[Tensor]| vec![inputs[0].matmul(&w).tanh() * inputs[0].sigmoid()];
    let module =
        tch::CModule::create_by_tracing("net", "forward", &[input.detach()], &mut program).unwrap();
    let run = || {
        module.method_ts("forward", &[input.shallow_clone()]).unwrap().square().sum(Kind::Double)
    };
    let mut refused = 0;
    for _ in 0..4 {
        let loss = run();
        match Pc::exact().keep_graph().f_backward(&loss) {
            Ok(_) => {
                let ours = input.grad().copy();
                let _ = input.grad().zero_();
                loss.backward();
                assert!((&ours - input.grad()).abs().max().double_value(&[]) < 1e-12);
            }
            Err(error) => {
                assert!(
                    error.kind() == ErrorKind::Unsupported
                        && error.to_string().contains("TorchScript"),
                    "{error}"
                );
                refused += 1;
            }
        }
        if input.grad().defined() {
            let _ = input.grad().zero_();
        }
    }
    println!("TorchScript: {refused} of 4 runs were of fused blocks, and refused");
    assert!((1..4).contains(&refused), "{refused} of 4 runs were refused");
}

#[test]
fn numbers_that_are_not_finite() {
    let _turn = seeded();
    let x = leaf();
    let loss = || (&x * f64::INFINITY).sum(Kind::Double);
    let outcome = Pc::exact().measured().f_backward(&loss()).unwrap();
    assert_eq!(outcome.status, Status::Diverged);
    assert!(!x.grad().defined(), "a diverged relaxation touches nothing");
    // Unmeasured, they go where backprop's go.
    let outcome = Pc::exact().f_backward(&loss()).unwrap();
    assert_eq!(outcome.status, Status::Spent);
    assert!(!x.grad().isfinite().any().int64_value(&[]).eq(&1));

    let store = nn::VarStore::new(device());
    let net = nn::linear(store.root(), 2, 1, Default::default());
    let mut opt = nn::Sgd::default().build(&store, 0.1).unwrap();
    let before = net.ws.copy();
    let loss = (net.forward(&Tensor::ones([1, 2], (Kind::Float, device()))) * f64::INFINITY)
        .sum(Kind::Float);
    let outcome = opt.f_pc_step(&loss, &Pc::exact().measured()).unwrap();
    assert!(outcome.status == Status::Diverged && net.ws.equal(&before), "no step is taken");
}
