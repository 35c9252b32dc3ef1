//! At rate 1, with as many steps as the graph is deep, every gradient is backprop's.

use pc_tch::{
    Pc,
    pc_core::{Evaluation, Schedule},
};
use tch::Kind;

use crate::{
    common::{backprop, seeded, take_gradients, worst},
    models::MODELS,
};

fn exact(kind: Kind, tolerance: f64) {
    let _turn = seeded();
    for make in MODELS {
        let model = make(kind);
        let theirs = backprop(&model, 7);
        assert!(theirs.iter().all(|(_, gradient)| gradient.is_some()));
        for evaluation in [Evaluation::Simulate, Evaluation::Front, Evaluation::Auto] {
            tch::manual_seed(7);
            let loss = model.loss();
            let outcome = Pc::exact().evaluated_by(evaluation).f_backward(&loss).unwrap();
            let ours = take_gradients(&model.store);
            let (off, whose) = worst(&ours, &theirs);
            println!("{:<28} {kind:?} {evaluation:?}: off by {off:.1e}; {outcome}", model.name);
            assert!(off <= tolerance, "{}, {evaluation:?}: {whose} is off by {off:e}", model.name);
            assert!(!outcome.shallow);
            if evaluation == Evaluation::Auto {
                assert_eq!(outcome.pulls, outcome.vertices, "one pull an operation");
            } else {
                assert_eq!(outcome.steps, outcome.depth);
                assert!(outcome.pulls >= outcome.vertices);
            }
        }
    }
    assert_eq!(pc_tch::live_graphs(), 0);
}

#[test]
fn in_f64() {
    exact(Kind::Double, 1e-12);
}

#[test]
fn in_f32() {
    exact(Kind::Float, 1e-5);
}

/// One step too few leaves the first operation without an error, its leaves' gradients undefined,
/// and the outcome says so.
#[test]
fn fewer_steps_are_not_enough() {
    let _turn = seeded();
    let model = crate::models::lenet(Kind::Double);
    let loss = model.loss();
    let depth = pc_tch::depth(&loss).unwrap();
    let schedule =
        Schedule::fixed_prediction(1.0, depth - 1).unwrap().evaluated_by(Evaluation::Simulate);
    let outcome = Pc::new(schedule.clone()).f_backward(&loss).unwrap_err();
    assert!(outcome.to_string().contains("even_shallow"), "{outcome}");
    let outcome = Pc::new(schedule).even_shallow().f_backward(&loss).unwrap();
    assert!(outcome.shallow && outcome.depth == depth);
    for (name, gradient) in take_gradients(&model.store) {
        assert_eq!(gradient.is_none(), name.starts_with("conv1"), "{name}");
    }
}
