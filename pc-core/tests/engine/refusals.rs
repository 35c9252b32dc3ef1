//! Misuse is an error that names the vertex, never a panic.

use pc_core::{
    Clamps, ErrorKind, Evaluation, Event, Graph, GraphBuilder, Reduction, Relaxation, Schedule,
    Tensor, VertexId,
    host::{Activation, HostLayers, HostTensor, Init, Linear, Sgd},
};

use crate::common::tensor;

type T = HostTensor<f64>;

fn chain() -> (Graph<T>, VertexId, VertexId, VertexId) {
    let mut init = Init::new(3);
    let mut b = Graph::builder();
    let x = b.input("x", &[2]).unwrap();
    let h = b.dense("hidden", x, 3, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", h, 1, Activation::Identity, &mut init).unwrap();
    (b.build().unwrap(), x, h, y)
}

fn ones(shape: &[usize]) -> T {
    tensor(shape, &vec![1.0; shape.iter().product()])
}

#[track_caller]
fn refused(error: &pc_core::Error, kind: ErrorKind, vertex: Option<&str>, says: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.vertex(), vertex, "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn graphs_are_checked_as_they_are_built() {
    let mut b: GraphBuilder<T> = Graph::builder();
    let x = b.input("x", &[2]).unwrap();
    refused(&b.input("x", &[2]).unwrap_err(), ErrorKind::Graph, Some("x"), "taken");
    refused(&b.input("e", &[0]).unwrap_err(), ErrorKind::Shape, Some("e"), "empty");
    let w = b.parameter("w", ones(&[3, 4])).unwrap();
    refused(
        &b.vertex("h", Box::new(Linear::without_bias()), &[x], &[w]).unwrap_err(),
        ErrorKind::Shape,
        Some("h"),
        "4 inputs",
    );
    refused(
        &b.vertex("h", Box::new(Linear::new()), &[x], &[w]).unwrap_err(),
        ErrorKind::Graph,
        Some("h"),
        "2 parameters",
    );
    refused(
        &b.vertex("h", Box::new(Linear::without_bias()), &[VertexId::new(9)], &[w]).unwrap_err(),
        ErrorKind::Graph,
        Some("h"),
        "vertex 9",
    );
    refused(&b.parameter("w", ones(&[1])).unwrap_err(), ErrorKind::Graph, None, "taken");
    refused(
        &b.parameter("n", tensor(&[1], &[f64::NAN])).unwrap_err(),
        ErrorKind::NotFinite,
        None,
        "`n`",
    );
    refused(&b.build().unwrap_err(), ErrorKind::Graph, None, "no predictions");
    let mut b: GraphBuilder<T> = Graph::builder();
    let x = b.input("x", &[2]).unwrap();
    let h = b.activate("h", x, Activation::Tanh).unwrap();
    refused(&b.precision(h, 0.0).unwrap_err(), ErrorKind::Graph, Some("h"), "precision");
    refused(&b.precision(x, 1.0).unwrap_err(), ErrorKind::Graph, Some("x"), "nothing predicts");
}

#[test]
fn clamps_are_checked_when_a_batch_begins() {
    let (mut graph, x, h, y) = chain();
    let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 3).unwrap()).unwrap();
    let mut begin = |clamps: Clamps<T>| relaxation.begin(&mut graph, &clamps).unwrap_err();
    refused(&begin(Clamps::new()), ErrorKind::Clamp, Some("x"), "nothing clamps it");
    refused(&begin(Clamps::new().hold(x, ones(&[2, 3]))), ErrorKind::Shape, Some("x"), "[2, 3]");
    refused(
        &begin(Clamps::new().hold(x, ones(&[2, 2])).hold(y, ones(&[3, 1]))),
        ErrorKind::Shape,
        Some("y"),
        "batch of 3",
    );
    refused(
        &begin(Clamps::new().hold(x, tensor(&[1, 2], &[f64::NAN, 0.0]))),
        ErrorKind::NotFinite,
        Some("x"),
        "finite",
    );
    refused(
        &begin(Clamps::new().hold(x, ones(&[0, 2]))),
        ErrorKind::Clamp,
        Some("x"),
        "empty batch",
    );
    let loss = |_: &T, _: &mut T| Ok(0.0);
    refused(
        &begin(Clamps::new().hold(x, ones(&[1, 2])).drive(h, loss)),
        ErrorKind::Clamp,
        Some("hidden"),
        "children",
    );
    refused(&begin(Clamps::new().drive(x, loss)), ErrorKind::Clamp, Some("x"), "nothing predicts");
    refused(
        &begin(Clamps::new().hold(x, ones(&[1, 2])).weak_loss(y, loss, f64::NAN)),
        ErrorKind::Clamp,
        Some("y"),
        "strength",
    );
    refused(
        &begin(Clamps::new().hold(x, ones(&[1, 2])).nudge(y, ones(&[1, 1]), f64::NAN)),
        ErrorKind::Clamp,
        Some("y"),
        "nudge",
    );
    refused(
        &begin(Clamps::new().hold(x, ones(&[1, 2])).hold(VertexId::new(7), ones(&[1, 2]))),
        ErrorKind::Clamp,
        None,
        "vertex 7",
    );
}

#[test]
fn schedules_are_checked() {
    for error in [
        Schedule::standard(0.0, 3).unwrap_err(),
        Schedule::standard(f64::NAN, 3).unwrap_err(),
        Schedule::standard(f64::INFINITY, 3).unwrap_err(),
        Schedule::fixed_prediction(-1.0, 3).unwrap_err(),
    ] {
        refused(&error, ErrorKind::Schedule, None, "rate");
    }
    refused(&Schedule::epc(0.1, 0).unwrap_err(), ErrorKind::Schedule, None, "zero steps");
    refused(
        &Schedule::ipc(0.1, 2).unwrap().with_momentum(1.0).unwrap_err(),
        ErrorKind::Schedule,
        None,
        "momentum",
    );
    refused(
        &Schedule::ipc(0.1, 2).unwrap().until(0.0).unwrap_err(),
        ErrorKind::Schedule,
        None,
        "tolerance",
    );

    let (mut graph, x, _, y) = chain();
    let new = |graph: &Graph<T>, schedule: Schedule| {
        Relaxation::new(graph, schedule).map(|_| ()).unwrap_err()
    };
    let fixed = || Schedule::fixed_prediction(0.5, 5).unwrap();
    let closed = |schedule: Schedule| schedule.evaluated_by(Evaluation::ClosedForm);
    refused(
        &new(&graph, closed(fixed().with_momentum(0.5).unwrap())),
        ErrorKind::Schedule,
        None,
        "plain",
    );
    refused(
        &new(&graph, closed(fixed().starting(pc_core::Start::Zero))),
        ErrorKind::Schedule,
        None,
        "forward",
    );
    refused(&new(&graph, closed(fixed().traced())), ErrorKind::Schedule, None, "watched");
    refused(
        &new(&graph, closed(Schedule::fixed_prediction(1.5, 5).unwrap())),
        ErrorKind::Schedule,
        None,
        "above 1",
    );
    refused(
        &new(&graph, closed(Schedule::standard(0.5, 5).unwrap())),
        ErrorKind::Schedule,
        None,
        "live",
    );
    refused(&new(&graph, fixed().adaptive()), ErrorKind::Schedule, None, "adapt");

    let clamps = Clamps::new().hold(x, ones(&[1, 2])).hold(y, ones(&[1, 1]));
    let mut ipc = Relaxation::new(&graph, Schedule::ipc(0.1, 2).unwrap()).unwrap();
    refused(&ipc.run(&mut graph, &clamps).unwrap_err(), ErrorKind::Schedule, None, "train");
    refused(&ipc.advance(&mut graph).unwrap_err(), ErrorKind::Misuse, None, "begin");
}

#[test]
fn the_closed_form_is_refused_where_it_does_not_hold() {
    let mut init = Init::new(3);
    let mut b: GraphBuilder<T> = Graph::builder();
    let x = b.input("x", &[2]).unwrap();
    let h = b.dense("h", x, 3, Activation::Tanh, &mut init).unwrap();
    let k = b.dense("k", h, 3, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", k, 1, Activation::Identity, &mut init).unwrap();
    b.precision(h, 2.0).unwrap();
    let mut graph = b.build().unwrap();
    let clamps = Clamps::new().hold(x, ones(&[1, 2])).hold(y, ones(&[1, 1]));
    let schedule = Schedule::fixed_prediction(0.4, 6).unwrap();
    let mut closed =
        Relaxation::new(&graph, schedule.clone().evaluated_by(Evaluation::ClosedForm)).unwrap();
    refused(
        &closed.run(&mut graph, &clamps).unwrap_err(),
        ErrorKind::Schedule,
        Some("k"),
        "precision",
    );
    // Left to choose, it takes the slower way and gives the simulation's numbers.
    let mut found = Vec::new();
    for (evaluation, words) in
        [(Evaluation::Auto, "frozen front"), (Evaluation::Simulate, "frozen simulation")]
    {
        let mut relaxation =
            Relaxation::new(&graph, schedule.clone().evaluated_by(evaluation)).unwrap();
        relaxation.run(&mut graph, &clamps).unwrap();
        assert_eq!(relaxation.evaluation(), words);
        found.push(
            relaxation
                .gradients()
                .iter()
                .flat_map(|(_, g)| g.unwrap().to_vec())
                .collect::<Vec<f64>>(),
        );
    }
    crate::common::close("auto", &found[0], &found[1], 1e-14);
}

#[test]
fn divergence_is_an_outcome_without_gradients() {
    let (mut graph, x, _, y) = chain();
    let clamps = Clamps::new().hold(x, ones(&[1, 2])).hold(y, ones(&[1, 1]));
    for schedule in [
        Schedule::standard(1e9, 200).unwrap(),
        Schedule::standard(50.0, 200).unwrap().diverged_beyond(10.0).unwrap(),
    ] {
        let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
        relaxation.begin(&mut graph, &clamps).unwrap();
        match relaxation.advance(&mut graph).unwrap() {
            Event::Finished(outcome) => assert_eq!(outcome.status, pc_core::Status::Diverged),
            Event::Learn | Event::Step => panic!("weights were taught by a diverged relaxation"),
        }
    }
}

#[test]
fn a_mean_divides_gradients_and_never_states() {
    let (mut graph, x, h, y) = chain();
    let clamps =
        Clamps::new().hold(x, tensor(&[2, 2], &[0.1, 0.2, -0.3, 0.4])).hold(y, ones(&[2, 1]));
    let schedule = Schedule::standard(0.2, 9).unwrap();
    let mut sum = Relaxation::new(&graph, schedule.clone()).unwrap();
    let mut mean = Relaxation::new(&graph, schedule.reduced_by(Reduction::Mean)).unwrap();
    sum.run(&mut graph, &clamps).unwrap();
    mean.run(&mut graph, &clamps).unwrap();
    assert_eq!(sum.value(&graph, h).unwrap(), mean.value(&graph, h).unwrap());
    for ((_, a), (_, b)) in sum.gradients().iter().zip(mean.gradients().iter()) {
        let half: Vec<f64> = a.unwrap().to_vec().iter().map(|g| g / 2.0).collect();
        crate::common::close("half", &b.unwrap().to_vec(), &half, 1e-16);
    }
}

#[test]
fn an_optimiser_leaves_what_has_no_gradient() {
    let (mut graph, x, _, y) = chain();
    let clamps = Clamps::new().hold(x, ones(&[1, 2])).hold(y, ones(&[1, 1]));
    let before = graph.parameters().to_vec();
    let mut sgd = Sgd::new(0.1).unwrap().with_momentum(0.9).unwrap();
    // Unrelaxed, only the output has an error: the hidden layer has learned nothing, and must not
    // drift.
    let mut relaxation =
        Relaxation::new(&graph, Schedule::standard(0.1, 1).unwrap().unrelaxed()).unwrap();
    let outcome = relaxation
        .train(&mut graph, &clamps, |graph, g| sgd.step(graph.parameters_mut(), g))
        .unwrap();
    assert!(outcome.shallow);
    assert_eq!(&graph.parameters()[..2], &before[..2]);
    assert_ne!(&graph.parameters()[2..], &before[2..]);
    let mut other = Sgd::<f64>::new(0.1).unwrap();
    assert!(other.step(&mut graph.parameters_mut()[..1], relaxation.gradients()).is_err());
}
