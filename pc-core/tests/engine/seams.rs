//! Where two of the things that a graph can say meet, and what changes between two calls.

use pc_core::{
    Activation, Clamps, Graph, Identity, Interval, Laplace, LearnedDiagonalPrecision, Prior,
    Relaxation, Schedule, SquaredError, Status, Tensor, VertexId, ZeroDiagonal,
    host::{HostLayers, HostTensor, Init, Linear, Scale},
};

use crate::common::{close, tensor};

type T = HostTensor<f64>;

fn gradients(relaxation: &Relaxation<Graph<T>>) -> Vec<Option<Vec<f64>>> {
    relaxation.gradients().iter().map(|(_, g)| g.map(|g| g.to_vec())).collect()
}

/// `x -> h -> y` by one number each.
fn numbers(w1: f64, w2: f64) -> (pc_core::GraphBuilder<T>, [VertexId; 3]) {
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[1]).unwrap();
    let first = b.parameter("w1", tensor(&[1, 1], &[w1])).unwrap();
    let second = b.parameter("w2", tensor(&[1, 1], &[w2])).unwrap();
    let h = b.vertex("h", Box::new(Linear::without_bias()), &[x], &[first]).unwrap();
    let y = b.vertex("y", Box::new(Linear::without_bias()), &[h], &[second]).unwrap();
    (b, [x, h, y])
}

#[test]
fn a_loss_that_is_a_term_reaches_the_first_layer() {
    let (mut b, [x, _, y]) = numbers(2.0, 3.0);
    b.term("loss", 1.0, Box::new(Identity), &[y], &[]).unwrap();
    let mut graph = b.build().unwrap();
    let depth = graph.topology().depth().unwrap();
    let clamps = Clamps::new().hold(x, tensor(&[1, 1], &[1.0]));
    for schedule in [Schedule::backprop(), Schedule::fixed_prediction(1.0, depth).unwrap()] {
        let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
        relaxation.ask_forces(&graph, &[x]).unwrap();
        let outcome = relaxation.run(&mut graph, &clamps).unwrap();
        // d(w2 w1 x): 3 and 2, and -6 on x.
        assert_eq!(gradients(&relaxation), [Some(vec![3.0]), Some(vec![2.0])]);
        assert_eq!(relaxation.force(x).unwrap().to_vec(), [-6.0]);
        assert!(!outcome.shallow);
    }
}

#[test]
fn levels_refuse_a_cut_way_whose_parent_moves_too_early() {
    // x -> a -> y, and a -cut-> c -> y.
    let mut b = Graph::<T>::builder();
    let mut init = Init::new(1);
    let x = b.input("x", &[2]).unwrap();
    let a = b.dense("a", x, 2, Activation::Tanh, &mut init).unwrap();
    let c = b.dense("c", a, 2, Activation::Tanh, &mut init).unwrap();
    b.cut(b.prediction_of(c).unwrap(), &[a]).unwrap();
    b.sum("y", &[a, c]).unwrap();
    let graph = b.build().unwrap().levelled().unwrap();
    let error = Relaxation::new(&graph, Schedule::zil()).unwrap_err();
    assert!(error.to_string().contains("cut"), "{error}");
}

#[test]
fn an_energy_that_starts_below_zero_can_diverge_too() {
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[1]).unwrap();
    let mean = b.parameter("mean", tensor(&[1], &[0.0])).unwrap();
    b.predict(x, Box::new(Prior), &[], &[mean], 1.0).unwrap();
    let logs = b.parameter("logs", tensor(&[1], &[3.0])).unwrap();
    b.energy(b.prediction_of(x).unwrap(), LearnedDiagonalPrecision, &[logs]).unwrap();
    let mut graph = b.build().unwrap();
    let clamps = Clamps::new().free(x, tensor(&[1, 1], &[0.1]));
    for schedule in [
        Schedule::standard(0.5, 100).unwrap(),
        Schedule::standard(0.5, 100).unwrap().diverged_beyond(2.0).unwrap(),
    ] {
        let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
        let outcome = relaxation.run(&mut graph, &clamps).unwrap();
        assert_eq!(outcome.status, Status::Diverged, "{outcome:?}");
        assert!(gradients(&relaxation).iter().all(Option::is_none));
    }
}

#[test]
fn a_loaded_parameter_keeps_its_constraints() {
    let build = |constrained: bool| {
        let mut b = Graph::<T>::builder();
        let x = b.input("x", &[2]).unwrap();
        let w = b.parameter("w", tensor(&[2, 2], &[1.0, 2.0, 3.0, 4.0])).unwrap();
        b.vertex("y", Box::new(Linear::without_bias()), &[x], &[w]).unwrap();
        b.buffer("kept", tensor(&[1], &[5.0])).unwrap();
        if constrained {
            b.constrain(w, ZeroDiagonal).unwrap();
        }
        b.build().unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("net.safetensors");
    build(false).save(&file).unwrap();
    let mut graph = build(true);
    graph.load(&file).unwrap();
    assert_eq!(graph.parameters()[0].to_vec(), [0.0, 2.0, 3.0, 0.0]);
    assert_eq!(graph.parameters()[1].to_vec(), [5.0]);
}

#[test]
fn a_relaxation_tells_graphs_of_other_energies_apart() {
    let build = |which: usize| {
        let (mut b, [_, h, _]) = numbers(1.0, 1.0);
        match which {
            1 => b.energy(b.prediction_of(h).unwrap(), Laplace::new(1.0).unwrap(), &[]).unwrap(),
            2 => b.energy(b.prediction_of(h).unwrap(), Laplace::new(2.0).unwrap(), &[]).unwrap(),
            3 => b.project(h, Interval::non_negative()).unwrap(),
            _ => {}
        }
        b.build().unwrap()
    };
    let clamps = Clamps::new().hold(VertexId::new(0), tensor(&[1, 1], &[1.0]));
    for made_for in 0..4 {
        let mut relaxation =
            Relaxation::new(&build(made_for), Schedule::standard(0.1, 2).unwrap()).unwrap();
        for other in 0..4 {
            let run = relaxation.run(&mut build(other), &clamps);
            assert_eq!(run.is_ok(), made_for == other, "{made_for} {other}");
        }
    }
}

#[test]
fn rates_by_precision_follow_precisions_that_are_set_anew() {
    let (b, [x, h, y]) = numbers(1.0, 2.0);
    let mut graph = b.build().unwrap();
    let clamps = Clamps::new().hold(x, tensor(&[1, 1], &[1.0])).hold(y, tensor(&[1, 1], &[3.0]));
    let schedule = Schedule::standard(0.1, 5).unwrap().rate_by_precision();
    let mut kept = Relaxation::new(&graph, schedule.clone()).unwrap();
    kept.run(&mut graph, &clamps).unwrap();
    graph.set_precision(graph.topology().predictions_of(y).unwrap()[0], 10.0).unwrap();
    let mut fresh = Relaxation::new(&graph, schedule).unwrap();
    kept.run(&mut graph, &clamps).unwrap();
    fresh.run(&mut graph, &clamps).unwrap();
    assert_eq!(kept.value(&graph, h), fresh.value(&graph, h));
}

#[test]
fn a_force_along_ways_that_are_all_cut_is_none_at_all() {
    let (mut b, [x, h, y]) = numbers(1.0, 2.0);
    b.cut(b.prediction_of(h).unwrap(), &[x]).unwrap();
    let mut graph = b.build().unwrap();
    let clamps = Clamps::new().hold(x, tensor(&[1, 1], &[1.0])).hold(y, tensor(&[1, 1], &[3.0]));
    for schedule in [
        Schedule::backprop(),
        Schedule::zil(),
        Schedule::fixed_prediction(0.5, 3).unwrap(),
        Schedule::standard(0.1, 3).unwrap(),
        Schedule::epc(0.1, 3).unwrap(),
    ] {
        let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
        relaxation.ask_forces(&graph, &[x]).unwrap();
        relaxation.run(&mut graph, &clamps).unwrap();
        assert_eq!(relaxation.force(x).unwrap().to_vec(), [0.0]);
    }
}

#[test]
fn of_a_term_nothing_else_can_be_said() {
    let (mut b, [x, _, y]) = numbers(1.0, 1.0);
    let term = b.term("term", 1.0, Box::new(Identity), &[y], &[]).unwrap();
    let own = b.prediction_of(term).unwrap();
    let refused = [
        b.vertex("above", Box::new(Scale(2.0)), &[term], &[]).map(|_| ()),
        b.predict(term, Box::new(Identity), &[x], &[], 1.0).map(|_| ()),
        b.precision(term, 2.0),
        b.precision_of(own, 2.0),
        b.project(term, Interval::non_negative()),
        b.energy(own, Laplace::new(1.0).unwrap(), &[]),
    ];
    for (k, result) in refused.into_iter().enumerate() {
        assert!(result.unwrap_err().to_string().contains("term"), "{k}");
    }
    let mut graph = b.build().unwrap();
    assert!(graph.set_precision(own, 2.0).is_err());
}

#[test]
fn masks_in_a_chain_are_settled_one_after_the_other() {
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[1]).unwrap();
    let mut at = x;
    let chain = ["a", "b", "c"].map(|name| {
        at = b.vertex(name, Box::new(Identity), &[at], &[]).unwrap();
        at
    });
    let mut graph = b.build().unwrap();
    let one = |x: f64| tensor(&[1, 1], &[x]);
    let clamps = Clamps::new()
        .hold(x, one(1.0))
        .mask(chain[0], one(5.0), one(1.0))
        .mask(chain[1], one(9.0), one(0.0))
        .nudge(chain[2], one(7.0), 0.5);
    let schedule = Schedule::standard(0.1, 1).unwrap().unrelaxed();
    let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
    let outcome = relaxation.run(&mut graph, &clamps).unwrap();
    let found = chain.map(|v| relaxation.value(&graph, v).unwrap().to_vec()[0]);
    assert_eq!(found, [5.0, 5.0, 6.0]);
    assert_eq!(outcome.energy.total(), 0.5 * (16.0 + 1.0));
}

#[test]
fn phases_are_of_one_batch_size_and_only_states_are_projected() {
    let (b, [x, _, y]) = numbers(1.0, 1.0);
    let mut graph = b.build().unwrap();
    let schedule = Schedule::standard(0.1, 3).unwrap();
    let mut relaxation = Relaxation::new(&graph, schedule.clone()).unwrap();
    let of = |batch: usize| Clamps::new().hold(x, tensor(&[batch, 1], &vec![1.0; batch]));
    let error = relaxation.run_phases(&mut graph, &[(1.0, &of(1)), (1.0, &of(2))]).unwrap_err();
    assert!(error.to_string().contains("one size"), "{error}");

    let (mut b, [x, _, y2]) = numbers(2.0, 1.0);
    assert_eq!(y, y2);
    b.project(y, Interval::new(0.0, 1.0).unwrap()).unwrap();
    let mut graph = b.build().unwrap();
    let held = Clamps::new().hold(x, tensor(&[1, 1], &[1.0]));
    let driven = held.clone().drive(y, SquaredError::new(tensor(&[1, 1], &[0.0])));
    for schedule in [schedule, Schedule::backprop(), Schedule::epc(0.1, 3).unwrap()] {
        let mut relaxation =
            Relaxation::new(&graph, schedule.clone().unrelaxed_if_it_steps()).unwrap();
        relaxation.run(&mut graph, &driven).unwrap();
        close(schedule.name(), &relaxation.value(&graph, y).unwrap().to_vec(), &[2.0], 1e-12);
    }
    let nudged = held.nudge(y, tensor(&[1, 1], &[5.0]), 0.5);
    let schedule = Schedule::standard(0.1, 1).unwrap().unrelaxed();
    let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
    relaxation.run(&mut graph, &nudged).unwrap();
    assert_eq!(relaxation.value(&graph, y).unwrap().to_vec(), [3.5]);
}

trait Unrelaxed {
    fn unrelaxed_if_it_steps(self) -> Self;
}

impl Unrelaxed for Schedule {
    fn unrelaxed_if_it_steps(self) -> Self {
        if self == Schedule::backprop() { self } else { self.unrelaxed() }
    }
}
