//! What a relaxation must leave alone, and what it must refuse.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use burn::{
    module::Module,
    optim::GradientsParams,
    tensor::{Device, Tensor, activation},
};
use pc_burn::{LossReduction, PredictiveCoding, named_vertex, vertex};
use pc_core::{ErrorKind, Evaluation, Schedule, Status};

use crate::{measure::*, models::*, support::parameters};

fn device() -> Device {
    let device = Device::flex().autodiff();
    device.seed(11);
    device
}

fn pc(schedule: Schedule) -> PredictiveCoding {
    PredictiveCoding::new(schedule, LossReduction::Mean)
}

fn standard() -> PredictiveCoding {
    pc(Schedule::standard(0.1, 6).unwrap())
}

#[test]
fn running_statistics_move_once_a_step() {
    let device = device();
    let (x, y) = (normal([16, 1, 8, 8], &device), targets(16, &device));
    let loss = |m: &Cnn| cross_entropy(m.forward(x.clone()), y.clone());
    let by_backprop = Cnn::new(&device);
    for schedule in [
        Schedule::backprop(),
        Schedule::fixed_prediction(0.5, 4).unwrap().evaluated_by(Evaluation::Simulate),
        Schedule::standard(0.1, 6).unwrap(),
    ] {
        let record = by_backprop.clone().into_record();
        let (theirs, ours) =
            (Cnn::new(&device).load_record(record.clone()), Cnn::new(&device).load_record(record));
        let start = ours.norm.running_mean.value().to_data();
        drop(loss(&theirs).backward());
        pc(schedule.clone()).learn(&ours, loss).unwrap();
        let once = |m: &Cnn| {
            m.norm.running_mean.value_sync().into_data().iter::<f64>().collect::<Vec<_>>()
        };
        let (ours, theirs) = (once(&ours), once(&theirs));
        assert_ne!(theirs, start.iter::<f64>().collect::<Vec<_>>());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            // The norm is before the first vertex, so that what it sees does not depend on the
            // states.
            assert!((ours - theirs).abs() <= 1e-7, "{schedule}: {ours} is not {theirs}");
        }
    }
}

#[test]
fn parameters_that_are_not_there_yet_are_made_first() {
    let device = device();
    let model = Mlp::new(&device);
    let (x, y) = (normal([4, 20], &device), targets(4, &device));
    let learned =
        standard().learn(&model, |m| cross_entropy(m.forward(x.clone()), y.clone())).unwrap();
    assert_eq!(learned.gradients.len(), 6);
    assert!(model.first.weight.is_require_grad(), "the model itself still learns");
    let backprop = GradientsParams::from_grads(
        cross_entropy(model.forward(x.clone()), y.clone()).backward(),
        &model,
    );
    assert_eq!(backprop.len(), 6);
}

#[test]
fn batches_of_other_sizes_are_no_error() {
    let device = device();
    let model = Mlp::new(&device);
    let mut pc = standard();
    let mut passes = Vec::new();
    for batch in [16, 16, 7, 16, 7] {
        let (x, y) = (normal([batch, 20], &device), targets(batch, &device));
        let learned = pc.learn(&model, |m| cross_entropy(m.forward(x.clone()), y.clone())).unwrap();
        let fresh =
            standard().learn(&model, |m| cross_entropy(m.forward(x.clone()), y.clone())).unwrap();
        for agreement in compare(&model, &learned.gradients, &fresh.gradients) {
            assert!(agreement.max_difference == 0.0, "{agreement:?}");
        }
        passes.push(learned.passes);
    }
    // Where the size changes one pass is lost.
    assert_eq!(passes, [7, 7, 8, 8, 8]);
}

/// What another thread draws from the process's generator while a program runs that draws nothing
/// itself.
#[test]
fn numbers_that_others_draw_repeat_no_pass() {
    let device = device();
    let model = Mlp::new(&device);
    let (x, y) = (normal([16, 20], &device), targets(16, &device));
    let calls = Cell::new(0);
    let learned = standard()
        .learn(&model, |m| {
            calls.set(calls.get() + 1);
            // In the first survey, and then while relaxing.
            if [1, 8].contains(&calls.get()) {
                let _others = normal([3], &device);
            }
            cross_entropy(m.forward(x.clone()), y.clone())
        })
        .unwrap();
    assert!(calls.get() > 8);
    assert_eq!(learned.passes, 7);
}

#[test]
fn several_outputs_and_unmarked_ones() {
    let device = device();
    let model = Mlp::new(&device);
    let (x, y) = (normal([16, 20], &device), targets(16, &device));
    // A second head on the first vertex, and no mark on either output: what feeds the loss is held
    // by it.
    let two = |m: &Mlp| {
        let a = vertex(activation::tanh(m.first.forward(x.clone())));
        let b = vertex(activation::tanh(m.second.forward(a.clone())));
        cross_entropy(m.third.forward(b), y.clone()) + a.powf_scalar(2.0).mean()
    };
    let backprop = GradientsParams::from_grads(two(&model).backward(), &model);
    for schedule in [
        Schedule::backprop(),
        Schedule::fixed_prediction(1.0, 2).unwrap().evaluated_by(Evaluation::Simulate),
    ] {
        let learned = pc(schedule).learn(&model, two).unwrap();
        for agreement in compare(&model, &learned.gradients, &backprop) {
            assert!(agreement.relative_norm <= 1e-5, "{agreement:?}");
        }
    }
    // The last marks are held at their drive, and what follows them is the loss: the head is.
    let headless = |m: &Mlp| {
        let a = vertex(activation::tanh(m.first.forward(x.clone())));
        let b = vertex(activation::tanh(m.second.forward(a)));
        cross_entropy(m.third.forward(b), y.clone())
    };
    let marked = |m: &Mlp| {
        let a = vertex(activation::tanh(m.first.forward(x.clone())));
        let b = activation::tanh(m.second.forward(a));
        cross_entropy(vertex(m.third.forward(b)), y.clone())
    };
    let of = |schedule: Schedule, loss: &dyn Fn(&Mlp) -> Tensor<1>| {
        read(&model, &pc(schedule).learn(&model, loss).unwrap().gradients)
    };
    let live = Schedule::standard(0.1, 6).unwrap();
    assert_eq!(of(live.clone(), &headless), of(live, &marked));
}

/// Nothing is left to relax where no vertex depends on a mark: the gradients would be backprop's,
/// whatever the schedule says.
#[test]
fn programs_in_which_nothing_relaxes_are_refused() {
    let device = device();
    let model = Mlp::new(&device);
    let (x, y) = (normal([16, 20], &device), targets(16, &device));
    let hidden = |m: &Mlp| activation::tanh(m.second.forward(m.first.forward(x.clone())));
    let none = |m: &Mlp| cross_entropy(m.third.forward(hidden(m)), y.clone());
    let last = |m: &Mlp| cross_entropy(vertex(m.third.forward(hidden(m))), y.clone());
    let before = |m: &Mlp| cross_entropy(m.third.forward(vertex(hidden(m))), y.clone());
    // A mark that the loss does not see is none.
    let idle = |m: &Mlp| {
        let _other = vertex(m.first.forward(x.clone()));
        cross_entropy(vertex(m.third.forward(hidden(m))), y.clone())
    };
    let detached = |m: &Mlp| {
        let h = vertex(m.first.forward(x.clone())).detach();
        cross_entropy(m.third.forward(m.second.forward(h)), y.clone())
    };
    let full = |m: &Mlp| cross_entropy(m.forward(x.clone()), y.clone());
    type Program<'a> = &'a dyn Fn(&Mlp) -> Tensor<1>;
    let programs: [(&str, Program<'_>); 5] = [
        ("no mark", &none),
        ("one mark", &last),
        ("one mark", &before),
        ("2 marks", &idle),
        ("one mark", &detached),
    ];
    for (said, program) in programs {
        let backprop = GradientsParams::from_grads(program(&model).backward(), &model);
        let swept = pc(Schedule::backprop()).learn(&model, program).unwrap();
        assert_eq!(read(&model, &swept.gradients), read(&model, &backprop), "{said}");
        // With what is remembered of another program, too.
        let mut used = standard();
        used.learn(&model, full).unwrap();
        for pc in [&mut standard(), &mut used] {
            let error = pc.learn(&model, program).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Graph);
            let text = error.to_string();
            assert!(text.contains(said) && text.contains("nothing is left to relax"), "{text}");
        }
        used.learn(&model, full).unwrap();
    }
}

#[test]
fn models_that_cannot_learn_are_refused_with_the_reason() {
    let device = device();
    let model = Mlp::new(&device);
    let (x, y) = (normal([16, 20], &device), targets(16, &device));
    let loss = |m: &Mlp| cross_entropy(m.forward(x.clone()), y.clone());
    let inner = |m: &Mlp| cross_entropy(m.forward(x.clone().inner()), y.clone().inner());
    let other = model.clone();
    let captured = |_: &Mlp| cross_entropy(other.forward(x.clone()), y.clone());
    let stranger = Mlp::new(&device);
    let foreign = |_: &Mlp| cross_entropy(stranger.forward(x.clone()), y.clone());
    let cut = |m: &Mlp| cross_entropy(m.forward(x.clone()).detach(), y.clone());
    let halves = |m: &Mlp| {
        let h = m.second.forward(m.first.forward(x.clone())).detach();
        cross_entropy(m.third.forward(h), y.clone())
    };
    let frozen = Mlp { third: model.third.clone().no_grad(), ..model.clone() };
    type Loss<'a> = &'a dyn Fn(&Mlp) -> Tensor<1>;
    let cases: [(&str, Mlp, Loss<'_>); 6] = [
        ("`valid()`", model.valid(), &inner),
        ("`valid()`", model.valid(), &loss),
        ("frozen", model.clone().no_grad(), &loss),
        ("depends on none", model.clone(), &foreign),
        ("depends on none", model.clone(), &cut),
        ("depends on none", frozen, &halves),
    ];
    for schedule in [
        Schedule::backprop(),
        Schedule::zil(),
        Schedule::fixed_prediction(0.1, 5).unwrap(),
        Schedule::standard(0.1, 5).unwrap(),
        Schedule::epc(0.1, 5).unwrap(),
    ] {
        let mut used = pc(schedule.clone());
        for (said, model, loss) in &cases {
            let fresh = pc(schedule.clone()).learn(model, loss).unwrap_err();
            assert!(fresh.to_string().contains(said), "{schedule}: {fresh}");
            let again = used.learn(model, loss).unwrap_err();
            assert!(again.to_string().contains(said), "{schedule}: {again}");
        }
        // A copy that has been captured is another model than the one that is given.
        let error = pc(schedule.clone()).learn(&model, captured).unwrap_err();
        assert!(error.to_string().contains("depends on none"), "{schedule}: {error}");
        used.learn(&model, loss).unwrap();
    }
}

#[test]
fn marks_that_change_between_passes_are_refused() {
    let device = device();
    let model = Mlp::new(&device);
    let (x, y) = (normal([16, 20], &device), targets(16, &device));
    let calls = Cell::new(0);
    // What a program does at every other call; in the middle of a step, and from its beginning.
    type What = fn(&Mlp, Tensor<2>) -> Tensor<2>;
    let plain: What = |m, x| m.forward(x);
    let more: What = |m, x| m.forward(named_vertex("input", x));
    let order: What = |m, x| {
        let x = named_vertex("second", activation::tanh(m.first.forward(x)));
        let x = named_vertex("first", activation::tanh(m.second.forward(x)));
        named_vertex("third", m.third.forward(x))
    };
    let fewer: What = |m, x| {
        let x = named_vertex("first", activation::tanh(m.first.forward(x)));
        named_vertex("second", m.third.forward(activation::tanh(m.second.forward(x))))
    };
    for (what, said) in [(more, "input"), (order, "order"), (fewer, "shape")] {
        for from in [2, 3, 4, 5] {
            calls.set(0);
            let error = standard()
                .learn(&model, |m| {
                    calls.set(calls.get() + 1);
                    let odd = calls.get() >= from && calls.get() % 2 == 0;
                    let forward = if odd { what } else { plain };
                    cross_entropy(forward(m, x.clone()), y.clone())
                })
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Graph, "{error}");
            let text = error.to_string();
            assert!(text.contains(said) || text.contains("before"), "{said}, {from}: {text}");
        }
    }
}

#[test]
fn a_loss_that_is_not_one_number_is_refused() {
    let device = device();
    let model = Mlp::new(&device);
    let x = normal([16, 20], &device);
    let error =
        standard().learn(&model, |m| m.forward(x.clone()).sum_dim(1).squeeze_dim(1)).unwrap_err();
    assert!(error.to_string().contains("one number"), "{error}");
}

#[test]
fn numbers_that_are_not_finite_end_it() {
    let device = device();
    let model = Mlp::new(&device);
    let (x, y) = (normal([16, 20], &device) / 0.0, targets(16, &device));
    let learned = standard()
        .learn(&model, |m| cross_entropy(m.forward(x.clone()) * f32::NAN, y.clone()))
        .unwrap();
    assert_eq!(learned.outcome.status, Status::Diverged);
    assert!(learned.gradients.is_empty());
}

#[test]
fn a_panic_leaves_nothing_behind() {
    let device = device();
    let model = Mlp::new(&device);
    let (x, y) = (normal([16, 20], &device), targets(16, &device));
    let mut pc = standard();
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let calls = Cell::new(0);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        pc.learn(&model, |m| {
            let out = m.forward(x.clone());
            calls.set(calls.get() + 1);
            assert!(calls.get() < 6, "the user's own mistake");
            cross_entropy(out, y.clone())
        })
    }));
    std::panic::set_hook(quiet);
    assert!(panicked.is_err());
    // Marks are the identity again: this is backprop.
    let plain = GradientsParams::from_grads(
        cross_entropy(model.forward(x.clone()), y.clone()).backward(),
        &model,
    );
    let swept = PredictiveCoding::new(Schedule::backprop(), LossReduction::Mean)
        .learn(&model, |m| cross_entropy(m.forward(x.clone()), y.clone()))
        .unwrap();
    assert_eq!(read(&model, &plain), read(&model, &swept.gradients));
    // And the same relaxation can be asked again.
    pc.learn(&model, |m| cross_entropy(m.forward(x.clone()), y.clone())).unwrap();
}

#[test]
fn two_threads_do_not_disturb_each_other() {
    let device = device();
    let setting = |seed: u64, batch: usize| {
        device.seed(seed);
        (Residual::new(&device, 0.0), normal([batch, 20], &device), targets(batch, &device))
    };
    let settings = [setting(1, 16), setting(2, 9)];
    for (model, ..) in &settings {
        parameters(model);
    }
    let learn = |index: usize| {
        let (model, x, y) = &settings[index];
        let learned =
            standard().learn(model, |m| cross_entropy(m.forward(x.clone()), y.clone())).unwrap();
        read(model, &learned.gradients)
    };
    let alone = [learn(0), learn(1)];
    for _ in 0..5 {
        let together = std::thread::scope(|scope| {
            let threads = [0, 1].map(|index| {
                let (model, x, y) = settings[index].clone();
                scope.spawn(move || {
                    let learned = standard()
                        .learn(&model, |m| cross_entropy(m.forward(x.clone()), y.clone()))
                        .unwrap();
                    read(&model, &learned.gradients)
                })
            });
            threads.map(|thread| thread.join().unwrap())
        });
        assert_eq!(together, alone);
    }
}

#[test]
fn gradient_checkpointing_is_kept() {
    let device = Device::flex().autodiff().gradient_checkpointing();
    device.seed(5);
    let model = Cnn::new(&device);
    let (x, y) = (normal([8, 1, 8, 8], &device), targets(8, &device));
    let loss = |m: &Cnn| cross_entropy(m.forward(x.clone()), y.clone());
    let backprop = GradientsParams::from_grads(loss(&model).backward(), &model);
    for schedule in [
        Schedule::backprop(),
        Schedule::fixed_prediction(1.0, 3).unwrap().evaluated_by(Evaluation::Simulate),
    ] {
        let learned = pc(schedule).learn(&model, loss).unwrap();
        for agreement in compare(&model, &learned.gradients, &backprop) {
            assert!(agreement.relative_norm <= 1e-5, "{agreement:?}");
        }
    }
}

#[test]
fn agreement_with_backprop_is_reported_when_asked() {
    let device = device();
    let model = Mlp::new(&device);
    let (x, y) = (normal([16, 20], &device), targets(16, &device));
    let mut pc = pc(Schedule::fixed_prediction(0.1, 7).unwrap()).compared_every(2);
    let reports = [0, 1, 2].map(|_| {
        pc.learn(&model, |m| cross_entropy(m.forward(x.clone()), y.clone())).unwrap().agreement
    });
    assert!(reports[1].is_none() && reports[2].is_some());
    let report = reports[0].as_ref().unwrap();
    let names: Vec<&str> = report.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "first.weight",
            "first.bias",
            "second.weight",
            "second.bias",
            "third.weight",
            "third.bias"
        ]
    );
    for ((_, agreement), length) in report.iter().zip([2, 2, 1, 1, 0, 0]) {
        assert!((agreement.norm_ratio / tail(7, 0.1, length) - 1.0).abs() <= 1e-5, "{agreement:?}");
    }
}
