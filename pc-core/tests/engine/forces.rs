//! Forces on vertices that are held, against differences and against each other.

use pc_core::{
    Clamps, ErrorKind, Evaluation, Graph, Network, Relaxation, Schedule, SquaredError, Tensor,
    VertexId,
    backend::Abilities,
    host::{Activation, CrossEntropy, HostLayers, HostTensor, Init, Sgd},
};

use crate::{
    abilities::Limited,
    common::{Numbers, close, tensor},
};

type T = HostTensor<f64>;

struct Net {
    graph: Graph<T>,
    x: VertexId,
    z: VertexId,
    y: VertexId,
}

/// Two inputs, `x` read twice, precisions other than 1; levelled.
fn net() -> Net {
    let mut init = Init::new(21);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[3]).unwrap();
    let z = b.input("z", &[4]).unwrap();
    let h = b.dense("h", x, 4, Activation::Tanh, &mut init).unwrap();
    let g = b.dense("g", x, 4, Activation::Tanh, &mut init).unwrap();
    let k = b.product("k", &[h, g]).unwrap();
    let m = b.sum("m", &[k, z]).unwrap();
    let y = b.dense("y", m, 3, Activation::Identity, &mut init).unwrap();
    b.precision(h, 0.5).unwrap();
    b.precision(y, 2.0).unwrap();
    Net { graph: b.build().unwrap(), x, z, y }
}

fn inputs() -> [T; 3] {
    let mut numbers = Numbers::new(4);
    [numbers.tensor(&[2, 3], 1.0), numbers.tensor(&[2, 4], 1.0), numbers.tensor(&[2, 3], 1.0)]
}

fn held(net: &Net, values: &[T; 3]) -> Clamps<T> {
    let [a, b, c] = values.clone();
    Clamps::new().hold(net.x, a).hold(net.z, b).hold(net.y, c)
}

fn forces<N: Network<Tensor = T>>(
    network: &mut N,
    vertices: &[VertexId],
    schedule: &Schedule,
    clamps: &Clamps<T>,
) -> Vec<Vec<f64>> {
    let mut relaxation = Relaxation::new(network, schedule.clone()).unwrap();
    relaxation.ask_forces(network, vertices).unwrap();
    let mut all = Vec::new();
    // By learning and by inferring, twice each: the same.
    for infers in [false, true, true, false] {
        if infers {
            relaxation.infer(network, clamps).unwrap();
        } else {
            relaxation.train(network, clamps, |_, _| Ok(())).unwrap();
        }
        let found = vertices.iter().map(|v| relaxation.force(*v).unwrap().to_vec());
        all.push(found.collect::<Vec<_>>());
    }
    assert_eq!((&all[0], &all[1]), (&all[3], &all[2]), "{schedule}");
    // Weights that may move are kept aside, so that iPC adds in another order.
    close(&format!("{schedule}, inferred"), &all[1].concat(), &all[0].concat(), 1e-15);
    all.swap_remove(0)
}

/// Minus the central difference of `energy` in each number of one of the values.
fn differences(values: &[T; 3], which: usize, mut energy: impl FnMut(&[T; 3]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut at = |index: usize, by: f64| {
        let mut moved = values.clone();
        moved[which].data_mut()[index] += by;
        energy(&moved)
    };
    (0..values[which].data().len())
        .map(|index| (at(index, -STEP) - at(index, STEP)) / (2.0 * STEP))
        .collect()
}

#[test]
fn under_backprop_it_is_minus_the_derivative_of_the_loss() {
    let mut net = net();
    let values = inputs();
    // The energy before any step, where only the held output has an error, is the loss.
    let start = Schedule::standard(0.1, 1).unwrap().unrelaxed();
    let vertices = [net.x, net.z, net.y];
    let clamps = held(&net, &values);
    let found = forces(&mut net.graph, &vertices, &Schedule::backprop(), &clamps);
    for (which, found) in found.iter().enumerate() {
        let expected = differences(&values, which, |values| {
            let clamps = held(&net, values);
            let mut relaxation = Relaxation::new(&net.graph, start.clone()).unwrap();
            relaxation.run(&mut net.graph, &clamps).unwrap().energy.total()
        });
        assert!(expected.iter().all(|force| force.abs() > 1e-3), "{expected:?}");
        close("by differences", found, &expected, 1e-8);
    }
    // Other losses, other roles; also unmeasured, where a sweep lets errors go.
    let labels = || CrossEntropy::<f64>::labels(&[2, 0], 3).unwrap();
    let [a, b, _] = values.clone();
    let driven = Clamps::new().hold(net.x, a).intervene(net.z, b).weak_loss(net.y, labels(), 0.7);
    let measured = forces(&mut net.graph, &[net.x, net.z], &Schedule::backprop(), &driven);
    let expected = differences(&values, 0, |[a, b, _]| {
        let logits = net.graph.predict(&[(net.x, a), (net.z, b)], net.y).unwrap();
        let mut drive = logits.clone();
        0.7 * pc_core::Loss::evaluate(&mut labels(), &logits, &mut drive).unwrap()
    });
    close("a weak loss", &measured[0], &expected, 1e-9);
    let backprop = Schedule::backprop().unmeasured().reduced_by(pc_core::Reduction::Mean);
    let unmeasured = forces(&mut net.graph, &[net.x, net.z], &backprop, &driven);
    assert_eq!(measured, unmeasured);
    // The exact rules give the same.
    let exact = |evaluation| Schedule::fixed_prediction(1.0, 9).unwrap().evaluated_by(evaluation);
    let ones = [Schedule::zil(), Schedule::zil().evaluated_by(Evaluation::Simulate)];
    for schedule in &ones {
        let found = forces(&mut net.graph, &[net.x, net.z], schedule, &driven);
        close("Z-IL", &found.concat(), &measured.concat(), 1e-14);
    }
    let mut plain = plain();
    let clamps = plain.1.clone();
    let vertices = [plain.2, plain.3];
    let expected = forces(&mut plain.0, &vertices, &Schedule::backprop(), &clamps);
    for evaluation in
        [Evaluation::Auto, Evaluation::Simulate, Evaluation::Front, Evaluation::ClosedForm]
    {
        let found = forces(&mut plain.0, &vertices, &exact(evaluation), &clamps);
        close("fixed prediction", &found.concat(), &expected.concat(), 1e-14);
    }
}

/// A chain of precision 1, both ends held.
fn plain() -> (Graph<T>, Clamps<T>, VertexId, VertexId) {
    let mut init = Init::new(5);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[3]).unwrap();
    let h = b.dense("h", x, 5, Activation::Tanh, &mut init).unwrap();
    let k = b.dense("k", h, 5, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", k, 2, Activation::Identity, &mut init).unwrap();
    let mut numbers = Numbers::new(6);
    let clamps =
        Clamps::new().hold(x, numbers.tensor(&[2, 3], 1.0)).hold(y, numbers.tensor(&[2, 2], 1.0));
    (b.build().unwrap(), clamps, x, y)
}

/// The energy of the graph where all vertices are held at these values.
fn energy_at(graph: &mut Graph<T>, values: &[(VertexId, T)]) -> f64 {
    let start = Schedule::standard(0.1, 1).unwrap().unrelaxed();
    let clamps = values.iter().fold(Clamps::new(), |all, (v, value)| all.hold(*v, value.clone()));
    let mut relaxation = Relaxation::new(graph, start).unwrap();
    relaxation.run(graph, &clamps).unwrap().energy.total()
}

#[test]
fn live_forces_are_those_of_the_relaxed_errors() {
    let mut net = net();
    let values = inputs();
    let clamps = held(&net, &values);
    let schedules = [
        Schedule::standard(0.1, 7).unwrap(),
        Schedule::standard(0.1, 7).unwrap().with_momentum(0.5).unwrap(),
        Schedule::standard(0.1, 7).unwrap().adaptive(),
        Schedule::standard(0.1, 900).unwrap().until(1e-3).unwrap(),
        Schedule::standard(0.1, 7).unwrap().unrelaxed(),
        Schedule::ipc(0.1, 7).unwrap(),
        Schedule::epc(0.1, 7).unwrap(),
        Schedule::epc(0.1, 900).unwrap().until(1e-3).unwrap(),
    ];
    for schedule in schedules {
        let vertices = [net.x, net.z, net.y];
        let found = forces(&mut net.graph, &vertices, &schedule, &clamps);
        let mut relaxation = Relaxation::new(&net.graph, schedule.clone()).unwrap();
        relaxation.infer(&mut net.graph, &clamps).unwrap();
        let all: Vec<(VertexId, T)> = net
            .graph
            .topology()
            .vertices()
            .map(|v| (v, relaxation.value(&net.graph, v).unwrap()))
            .collect();
        // dF/dv with all other values where they have relaxed to.
        for (which, vertex) in vertices.iter().enumerate() {
            let expected = differences(&values, which, |moved| {
                let mut all = all.clone();
                all[vertex.index()].1 = moved[which].clone();
                energy_at(&mut net.graph, &all)
            });
            let driven = schedule.steps() != Some(0) || *vertex == net.y;
            let least = if driven { 1e-4 } else { 0.0 };
            assert!(expected.iter().all(|force| force.abs() >= least), "{schedule}: {expected:?}");
            close(&format!("{schedule}, {which}"), &found[which], &expected, 1e-8);
        }
    }
    // At the equilibrium also the derivative of the energy that is left (the envelope theorem).
    let equilibrium = Schedule::standard(0.1, 100_000).unwrap().until(1e-11).unwrap();
    let found = forces(&mut net.graph, &[net.x], &equilibrium, &clamps);
    let expected = differences(&values, 0, |moved| {
        let clamps = held(&net, moved);
        let mut relaxation = Relaxation::new(&net.graph, equilibrium.clone()).unwrap();
        relaxation.infer(&mut net.graph, &clamps).unwrap().energy.total()
    });
    close("at the equilibrium", &found[0], &expected, 1e-7);
}

#[test]
fn frozen_forces_are_the_same_by_every_evaluation() {
    let (mut graph, clamps, x, y) = plain();
    let by = |evaluation| Schedule::fixed_prediction(0.3, 3).unwrap().evaluated_by(evaluation);
    let simulated = forces(&mut graph, &[x, y], &by(Evaluation::Simulate), &clamps);
    let carried = by(Evaluation::Simulate).starting(pc_core::Start::Carried);
    // The first batch of a carried one, before its states move on.
    let mut relaxation = Relaxation::new(&graph, carried).unwrap();
    relaxation.ask_forces(&graph, &[x, y]).unwrap();
    relaxation.run(&mut graph, &clamps).unwrap();
    assert_eq!(relaxation.force(x).map(Tensor::to_vec).as_ref(), Some(&simulated[0]));
    for evaluation in [Evaluation::Auto, Evaluation::Front, Evaluation::ClosedForm] {
        let found = forces(&mut graph, &[x, y], &by(evaluation), &clamps);
        close("fixed prediction", &found.concat(), &simulated.concat(), 1e-15);
    }
    // With less than backprop's, for the errors are rescaled.
    let backprop = forces(&mut graph, &[x, y], &Schedule::backprop(), &clamps);
    assert_eq!(backprop[1], simulated[1]);
    assert!(backprop[0].iter().zip(&simulated[0]).all(|(b, s)| b.abs() > 1.01 * s.abs()));
}

#[test]
fn a_network_that_is_pulled_once_finds_them_too() {
    let (mut graph, clamps, x, y) = plain();
    let (mut once, mut whole) = (Abilities::ALL, Abilities::ALL);
    (once.repull, whole.single) = (false, false);
    let less = [(once, "repull"), (whole, "single")];
    let schedules = [
        Schedule::backprop(),
        Schedule::fixed_prediction(0.3, 3).unwrap(),
        Schedule::standard(0.1, 7).unwrap(),
        Schedule::ipc(0.1, 7).unwrap(),
        Schedule::epc(0.1, 7).unwrap(),
    ];
    for schedule in schedules {
        let expected = forces(&mut graph, &[x, y], &schedule, &clamps);
        for (abilities, what) in less.iter().copied() {
            let mut limited = Limited { graph: plain().0, abilities, pulled: false, asked: 0 };
            let found = forces(&mut limited, &[x, y], &schedule, &clamps);
            close(&format!("{schedule}, no {what}"), &found.concat(), &expected.concat(), 1e-14);
        }
    }
}

#[test]
fn they_are_found_before_weights_move_and_only_where_asked() {
    let (mut graph, clamps, x, y) = plain();
    let before = graph.parameters().to_vec();
    for schedule in [Schedule::backprop(), Schedule::standard(0.1, 7).unwrap(), Schedule::zil()] {
        graph.parameters_mut().clone_from_slice(&before);
        let expected = forces(&mut graph, &[x], &schedule, &clamps);
        let mut relaxation = Relaxation::new(&graph, schedule.clone()).unwrap();
        relaxation.run(&mut graph, &clamps).unwrap();
        assert!(relaxation.force(x).is_none(), "not asked for");
        relaxation.ask_forces(&graph, &[x]).unwrap();
        assert!(relaxation.force(x).is_none(), "not yet");
        let mut sgd = Sgd::new(0.5).unwrap();
        let learn =
            |graph: &mut Graph<T>, gradients: &_| sgd.step(graph.parameters_mut(), gradients);
        relaxation.train(&mut graph, &clamps, learn).unwrap();
        close("x", &relaxation.force(x).unwrap().to_vec(), &expected[0], 1e-15);
        assert!(relaxation.force(y).is_none());
        relaxation.ask_forces(&graph, &[]).unwrap();
        relaxation.run(&mut graph, &clamps).unwrap();
        assert!(relaxation.force(x).is_none(), "no longer asked for");
    }
}

#[test]
fn what_has_no_force_is_refused_by_name() {
    let (mut graph, clamps, x, y) = plain();
    let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 7).unwrap()).unwrap();
    let error = relaxation.ask_forces(&graph, &[VertexId::new(44)]).unwrap_err();
    assert!(error.to_string().contains("vertex 44"), "{error}");
    relaxation.ask_forces(&graph, &[x, y]).unwrap();
    let driven = clamps.clone().drive(y, SquaredError::new(tensor(&[2, 2], &[0.0; 4])));
    let error = relaxation.run(&mut graph, &driven).unwrap_err();
    assert_eq!((error.kind(), error.vertex()), (ErrorKind::Clamp, Some("y")), "{error}");
    // A free vertex at the equilibrium is pulled by nothing; one that has diverged has none.
    let h = graph.vertex("h").unwrap();
    let equilibrium = Schedule::standard(0.1, 100_000).unwrap().until(1e-11).unwrap();
    let found = forces(&mut graph, &[h, x], &equilibrium, &clamps);
    close("left on h", &found[0], &[0.0; 10], 1e-9);
    let wild = Schedule::standard(30.0, 40).unwrap();
    let mut wild = Relaxation::new(&graph, wild).unwrap();
    wild.ask_forces(&graph, &[x]).unwrap();
    wild.run(&mut graph, &clamps).unwrap();
    assert!(wild.force(x).is_none());
}
