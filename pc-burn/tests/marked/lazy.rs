//! Marks of functions: the same numbers to the last bit by every schedule, with fewer calls.

use std::cell::Cell;

use burn::{
    module::Module,
    optim::SgdConfig,
    tensor::{Device, Distribution, Tensor, activation::tanh},
};
use pc_burn::{LossReduction, PredictiveCoding, drawn, named_vertex, named_vertex_of, vertex};
use pc_core::Schedule;

use crate::{alone::alone, changes::schedules, measure::read, models::*, support::parameters};

/// Random numbers that a program draws.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Draws {
    None,
    Step,
    Process,
}

#[test]
fn functions_that_are_not_asked_change_nothing() {
    alone("lazy::functions_that_are_not_asked_change_nothing", || {
        let device = Device::flex().autodiff();
        device.seed(41);
        let (x, y): (Tensor<2>, _) = (normal([16, 20], &device), targets(16, &device));
        let model = Mlp::new(&device);
        parameters(&model);
        let mut spared = 0;
        for schedule in schedules() {
            for draws in [Draws::None, Draws::Step, Draws::Process] {
                let run = |lazy: bool| {
                    device.seed(5);
                    let calls = Cell::new([0; 3]);
                    let call = |index: usize| {
                        let mut now = calls.get();
                        now[index] += 1;
                        calls.set(now);
                    };
                    let noise = |x: &Tensor<2>| match draws {
                        Draws::None => x.zeros_like(),
                        Draws::Step => drawn(|| x.random_like(Distribution::Normal(0.0, 0.1))),
                        Draws::Process => x.random_like(Distribution::Normal(0.0, 0.1)),
                    };
                    let mark = |name, predict: &dyn Fn() -> Tensor<2>| {
                        if lazy {
                            named_vertex_of(name, predict)
                        } else {
                            named_vertex(name, predict())
                        }
                    };
                    let loss = |m: &Mlp| {
                        let a = mark("a", &|| {
                            call(0);
                            tanh(m.first.forward(x.clone() + noise(&x)))
                        });
                        let b = mark("b", &|| {
                            call(1);
                            tanh(m.second.forward(a.clone() + noise(&a)))
                        });
                        let c = mark("c", &|| {
                            call(2);
                            m.third.forward(b.clone())
                        });
                        cross_entropy(c, y.clone())
                    };
                    let mut pc = PredictiveCoding::new(schedule.clone(), LossReduction::Mean);
                    let mut found = Vec::new();
                    let mut model = model.clone();
                    for _ in 0..2 {
                        let mut optimiser = SgdConfig::new().init();
                        let learned =
                            pc.train(&mut model, loss, |m, g| optimiser.step(0.05, m, g)).unwrap();
                        let energy = learned.outcome.energy.total();
                        found.push((read(&model, &learned.gradients), energy, learned.loss));
                    }
                    (found, parameters(&model), calls.get())
                };
                let (plain, moved, all) = run(false);
                let (lazy, moved_lazily, asked) = run(true);
                assert_eq!((plain, moved), (lazy, moved_lazily), "{schedule}, {draws:?}");
                assert!(asked.iter().zip(all).all(|(asked, all)| *asked <= all));
                if draws == Draws::None {
                    spared += usize::from(asked[0] < all[0]);
                } else {
                    // Every pass asks every function.
                    assert!(asked.iter().all(|calls| *calls == asked[0]), "{schedule}: {asked:?}");
                }
            }
        }
        // Standard PC in its variants.
        assert!(spared >= 5, "{spared}");
    });
}

#[test]
fn the_first_layer_is_predicted_once() {
    alone("lazy::the_first_layer_is_predicted_once", || {
        let device = Device::flex().autodiff();
        device.seed(42);
        let (x, y): (Tensor<2>, _) = (normal([16, 20], &device), targets(16, &device));
        let model = Mlp::new(&device);
        let calls = Cell::new(0);
        let loss = |m: &Mlp| {
            let a = named_vertex_of("a", || {
                calls.set(calls.get() + 1);
                tanh(m.first.forward(x.clone()))
            });
            let b = named_vertex("b", tanh(m.second.forward(a)));
            cross_entropy(m.third.forward(b), y.clone())
        };
        let mut pc =
            PredictiveCoding::new(Schedule::standard(0.1, 20).unwrap(), LossReduction::Mean);
        pc.learn(&model, loss).unwrap();
        calls.set(0);
        let learned = pc.learn(&model, loss).unwrap();
        // In the first of 21 passes, and in the last, which learns.
        assert_eq!((learned.passes, calls.get()), (21, 2));
        // A function with a mark in it is refused.
        let text = pc
            .learn(&model, |m: &Mlp| {
                let b = named_vertex_of("outer", || {
                    tanh(m.second.forward(vertex(tanh(m.first.forward(x.clone())))))
                });
                cross_entropy(m.third.forward(b), y.clone())
            })
            .unwrap_err()
            .to_string();
        assert!(text.contains("outer") && text.contains("marks of its own"), "{text}");
        // Outside of a relaxation, and without autodiff, it is what the function gives.
        let plain = model.valid();
        let out = named_vertex_of("a", || plain.forward(x.clone().inner()));
        assert_eq!(out.to_data(), plain.forward(x.clone().inner()).to_data());
    });
}
