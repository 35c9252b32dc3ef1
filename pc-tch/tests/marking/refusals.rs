//! What is refused, and by which words.

use std::cell::Cell;

use pc_tch::{
    PredictiveCoding, named_vertex,
    pc_core::{Evaluation, Schedule},
    vertex,
};
use tch::{
    Kind, Tensor,
    nn::{self, Module, OptimizerConfig, VarStore},
};

use crate::common::{cross_entropy, device, seeded, take_gradients};

struct Setting {
    store: VarStore,
    first: nn::Linear,
    second: nn::Linear,
    x: Tensor,
    y: Tensor,
}

fn setting() -> Setting {
    let store = VarStore::new(device());
    let first = nn::linear(store.root() / "first", 4, 6, Default::default());
    let second = nn::linear(store.root() / "second", 6, 3, Default::default());
    let x = Tensor::randn([5, 4], (Kind::Float, device()));
    let y = Tensor::randint(3, [5], (Kind::Int64, device()));
    Setting { store, first, second, x, y }
}

fn standard() -> Schedule {
    Schedule::standard(0.1, 4).unwrap()
}

/// A program that is refused, in these words, by every schedule of a list, without touching a
/// gradient.
fn refuses(s: &Setting, words: &[&str], schedules: &[Schedule], loss: impl Fn() -> Tensor) {
    for schedule in schedules {
        let refused = PredictiveCoding::new(schedule.clone()).backward(&loss);
        let message = refused.expect_err("it is refused").to_string();
        for word in words {
            assert!(message.contains(word), "{schedule}: `{word}` is not in: {message}");
        }
        for (name, gradient) in take_gradients(&s.store) {
            let touched = gradient.is_some_and(|own| own.abs().max().double_value(&[]) != 0.0);
            assert!(!touched, "{schedule}: {name}");
        }
        assert_eq!(pc_tch::live_graphs(), 0);
    }
}

#[test]
fn programs_that_cannot_be_relaxed() {
    let _turn = seeded();
    let s = setting();
    let all = [standard(), Schedule::backprop(), Schedule::zil(), Schedule::epc(0.1, 3).unwrap()];
    let h = || s.first.forward(&s.x).tanh();
    let end = |h: &Tensor| cross_entropy(&vertex(&s.second.forward(h)), &s.y);
    refuses(&s, &["marks 0 values", "pc_tch::vertex"], &all, || {
        cross_entropy(&s.second.forward(&h()), &s.y)
    });
    refuses(&s, &["marks 1 values", "would be backprop"], &all, || end(&h()));
    refuses(&s, &["labels", "Int64", "real numbers"], &all, || {
        let _labels = named_vertex("labels", &s.y);
        end(&vertex(&h()))
    });
    refuses(&s, &["must be one number", "[5, 3]"], &all, || {
        vertex(&s.second.forward(&vertex(&h())))
    });
    refuses(&s, &["requires a gradient"], &all, || end(&vertex(&h())).detach());
    let inner = std::cell::RefCell::new(String::new());
    PredictiveCoding::new(standard())
        .backward(|| {
            let nested = PredictiveCoding::new(standard()).backward(|| end(&vertex(&h())));
            *inner.borrow_mut() = nested.unwrap_err().to_string();
            end(&vertex(&h()))
        })
        .unwrap();
    assert!(inner.borrow().contains("within a forward pass of another"), "{}", inner.borrow());
    let off = tch::no_grad(|| {
        PredictiveCoding::new(standard()).backward(|| end(&vertex(&h()))).unwrap_err()
    });
    assert!(off.to_string().contains("no_grad"), "{off}");
}

#[test]
fn frozen_parameters_and_foreign_optimisers() {
    let _turn = seeded();
    let mut s = setting();
    let other = VarStore::new(device());
    let _unused = nn::linear(other.root(), 2, 2, Default::default());
    let mut foreign = nn::Sgd::default().build(&other, 0.1).unwrap();
    let loss = |s: &Setting| {
        let h = vertex(&s.first.forward(&s.x).tanh());
        cross_entropy(&vertex(&s.second.forward(&h)), &s.y)
    };
    for schedule in [standard(), Schedule::ipc(0.1, 3).unwrap()] {
        let error = PredictiveCoding::new(schedule).learn(&mut foreign, || loss(&s)).unwrap_err();
        assert!(error.to_string().contains("another `VarStore`"), "{error}");
    }
    s.store.freeze();
    for schedule in [standard(), Schedule::backprop(), Schedule::zil()] {
        let error = PredictiveCoding::new(schedule).backward(|| loss(&s)).unwrap_err();
        assert!(error.to_string().contains("frozen"), "{error}");
    }
    s.store.unfreeze();
    PredictiveCoding::new(standard()).backward(|| loss(&s)).unwrap();
}

#[test]
fn programs_that_change_within_a_step() {
    let _turn = seeded();
    let s = setting();
    let passes = Cell::new(0_usize);
    let first = || passes.replace(passes.get() + 1) == 0;
    let h = |name: &str| named_vertex(name, &s.first.forward(&s.x).tanh());
    let end = |h: &Tensor| cross_entropy(&vertex(&s.second.forward(h)), &s.y);
    let live = [standard(), Schedule::epc(0.1, 3).unwrap()];
    let refuses = |words: &[&str], loss: &dyn Fn() -> Tensor| {
        for schedule in &live {
            passes.set(0);
            refuses(&s, words, std::slice::from_ref(schedule), loss);
        }
    };
    refuses(&["marked 2 values, and 3"], &|| {
        let out = s.second.forward(&vertex(&h("h").sin()));
        cross_entropy(&if first() { vertex(&out) } else { out }, &s.y)
    });
    refuses(&["marks more values"], &|| {
        let out = s.second.forward(&vertex(&h("h").sin()));
        cross_entropy(&if first() { out } else { vertex(&out) }, &s.y)
    });
    refuses(&["b (0)", "marked `a (0)`"], &|| end(&h(if first() { "a" } else { "b" })));
    refuses(&["h (0)", "was [5, 6]"], &|| {
        let rows = if first() { 5 } else { 4 };
        let x = s.x.narrow(0, 0, rows);
        let h = named_vertex("h", &s.first.forward(&x).tanh());
        cross_entropy(&vertex(&s.second.forward(&h)), &s.y.narrow(0, 0, rows))
    });
    // Another graph behind equal marks.
    refuses(&["depends on other vertices or parameters"], &|| {
        let a = h("a");
        let b = vertex(&if first() { a.sin() } else { s.first.forward(&s.x).sin() });
        end(&(a + b))
    });
    refuses(&["must be one number"], &|| {
        let h = h("h");
        if first() { end(&h) } else { h }
    });
    // Frozen predictions take one pass, and never see it.
    passes.set(0);
    let learned = PredictiveCoding::new(Schedule::fixed_prediction(0.2, 4).unwrap())
        .backward(|| end(&h(if first() { "a" } else { "b" })))
        .unwrap();
    assert_eq!((learned.passes, passes.get()), (1, 1));
}

#[test]
fn schedules_that_marks_cannot_have() {
    let _turn = seeded();
    let s = setting();
    let loss = || {
        let h = vertex(&s.first.forward(&s.x).tanh());
        let skip = h.narrow(1, 0, 6);
        let inner = vertex(&vertex(&h.sin()).cos());
        cross_entropy(&vertex(&s.second.forward(&(inner + skip))), &s.y)
    };
    // Weights that move need an optimiser.
    let error = PredictiveCoding::new(Schedule::ipc(0.1, 3).unwrap()).backward(loss).unwrap_err();
    assert!(error.to_string().contains("PredictiveCoding::learn"), "{error}");
    // Z-IL goes level by level over shortcuts, and cannot simulate them.
    PredictiveCoding::new(Schedule::zil()).backward(loss).unwrap();
    take_gradients(&s.store);
    let whole = Schedule::zil().evaluated_by(Evaluation::Simulate);
    refuses(&s, &["mark the shorter ways"], &[whole], loss);
    let beyond = [
        Schedule::standard(0.1, 4).unwrap().evaluated_by(Evaluation::ClosedForm),
        Schedule::fixed_prediction(0.1, 4).unwrap().adaptive(),
        Schedule::fixed_prediction(0.1, 4).unwrap().with_noise(0.1, 1).unwrap(),
        Schedule::zil().with_momentum(0.5).unwrap(),
        Schedule::backprop().traced(),
    ];
    for schedule in beyond {
        let name = schedule.name();
        refuses(&s, &[name], &[schedule], loss);
    }
}
