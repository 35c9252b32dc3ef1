//! Feed-forward values without a relaxation.

use pc_core::{
    Clamps, ErrorKind, Graph, Predictor, Relaxation, Schedule, Tensor, VertexId,
    host::{Activation, HostLayers, HostTensor, Init, Linear},
};

use crate::common::{Numbers, close};

type T = HostTensor<f64>;

struct TwoInputs {
    graph: Graph<T>,
    x: VertexId,
    z: VertexId,
    h: VertexId,
    y: VertexId,
    both: VertexId,
}

/// `x -> h -> y`, and `both` of `h` and a second input `z`.
fn two_inputs() -> TwoInputs {
    let mut init = Init::new(11);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[3]).unwrap();
    let z = b.input("z", &[4]).unwrap();
    let h = b.dense("h", x, 4, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", h, 2, Activation::Identity, &mut init).unwrap();
    let both = b.sum("both", &[h, z]).unwrap();
    TwoInputs { graph: b.build().unwrap(), x, z, h, y, both }
}

/// What a relaxation starts from, which is the engine's own forward pass.
fn start(graph: &mut Graph<T>, clamps: &Clamps<T>, vertices: &[VertexId]) -> Vec<Vec<f64>> {
    let schedule = Schedule::standard(0.1, 1).unwrap().unrelaxed();
    let mut relaxation = Relaxation::new(graph, schedule).unwrap();
    relaxation.run(graph, clamps).unwrap();
    vertices.iter().map(|v| relaxation.value(graph, *v).unwrap().to_vec()).collect()
}

#[test]
fn values_are_those_of_a_forward_start_at_any_batch_size() {
    let TwoInputs { mut graph, x, z, h, y, both } = two_inputs();
    let mut numbers = Numbers::new(5);
    let mut predictor = Predictor::new(&graph);
    for batch in [2, 5, 1, 2] {
        let (a, b): (T, T) = (numbers.tensor(&[batch, 3], 1.0), numbers.tensor(&[batch, 4], 1.0));
        let expected =
            start(&mut graph, &Clamps::new().hold(x, a.clone()).hold(z, b.clone()), &[h, y, both]);
        predictor.run(&mut graph, &[(z, &b), (x, &a)], &[both, y]).unwrap();
        for (vertex, expected) in [h, y, both].into_iter().zip(&expected) {
            close("together", &predictor.value(vertex).unwrap().to_vec(), expected, 0.0);
        }
        // The second input is not needed for `y`; and what was not wanted is not to be had.
        close("one call", &graph.predict(&[(x, &a)], y).unwrap().to_vec(), &expected[1], 0.0);
        predictor.run(&mut graph, &[(x, &a)], &[y]).unwrap();
        close("alone", &predictor.value(y).unwrap().to_vec(), &expected[1], 0.0);
        assert_eq!(predictor.value(both).unwrap_err().kind(), ErrorKind::Misuse);
        // A vertex within is given: its own prediction is not asked for, nor the input.
        let within: T = numbers.tensor(&[batch, 4], 1.0);
        let held = Clamps::new().hold(x, a.clone()).hold(z, b.clone()).intervene(h, within.clone());
        let expected = start(&mut graph, &held, &[y]);
        predictor.run(&mut graph, &[(h, &within)], &[y, h]).unwrap();
        close("from within", &predictor.value(y).unwrap().to_vec(), &expected[0], 0.0);
        assert_eq!(predictor.value(h).unwrap(), &within);
        assert!(predictor.value(x).is_err());
    }
}

#[test]
fn a_cyclic_graph_is_predicted_outward() {
    // `x <-> h <-> y`: everything from either end.
    let mut init = Init::new(3);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[3]).unwrap();
    let h = b.dense("h", x, 4, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", h, 2, Activation::Identity, &mut init).unwrap();
    for (name, shape, of, from) in [("down.h", [4, 2], h, y), ("down.x", [3, 4], x, h)] {
        let w = b.parameter(name, init.uniform(&shape, 0.7).unwrap()).unwrap();
        b.predict(of, Box::new(Linear::without_bias()), &[from], &[w], 0.1).unwrap();
    }
    // Reached from none of the three.
    let apart = b.input("apart", &[2]).unwrap();
    let from_apart = b.dense("from apart", apart, 2, Activation::Tanh, &mut init).unwrap();
    let mut graph = b.build().unwrap();
    let mut numbers = Numbers::new(5);
    let (image, label): (T, T) = (numbers.tensor(&[2, 3], 1.0), numbers.tensor(&[2, 2], 1.0));
    let any: T = numbers.tensor(&[2, 2], 1.0);
    let mut predictor = Predictor::new(&graph);
    let clamps = |v, value: &T| Clamps::new().hold(v, value.clone()).hold(apart, any.clone());
    for (from, value, wanted) in [(x, &image, y), (y, &label, x), (x, &image, y)] {
        let expected = start(&mut graph, &clamps(from, value), &[wanted, h]);
        predictor.run(&mut graph, &[(from, value)], &[wanted]).unwrap();
        close("wanted", &predictor.value(wanted).unwrap().to_vec(), &expected[0], 0.0);
        close("on the way", &predictor.value(h).unwrap().to_vec(), &expected[1], 0.0);
    }
    let error = predictor.run(&mut graph, &[(x, &image)], &[from_apart]).unwrap_err();
    assert!(error.to_string().contains("takes a value for `apart`"), "{error}");
    let error = predictor.run(&mut graph, &[(apart, &any)], &[y]).unwrap_err();
    assert!(error.to_string().contains("vertex `y`") && error.to_string().contains("cycle"));
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let TwoInputs { mut graph, x, z, y, both, .. } = two_inputs();
    let (a, b) = (T::zeroed(&[2, 3]).unwrap(), T::zeroed(&[2, 4]).unwrap());
    let short = T::zeroed(&[1, 4]).unwrap();
    let foreign = VertexId::new(99);
    let nan = T::new(&[2, 3], vec![f64::NAN; 6]).unwrap();
    let mut predictor = Predictor::new(&graph);
    type Case<'a> = (&'a [(VertexId, &'a T)], &'a [VertexId], ErrorKind, &'a str);
    let cases: [Case<'_>; 11] = [
        (&[(x, &a)], &[both], ErrorKind::Misuse, "vertex `both`: it takes a value for `z`"),
        (&[(z, &b)], &[y], ErrorKind::Misuse, "vertex `y`: it takes a value for `x`"),
        (&[(x, &a)], &[z], ErrorKind::Misuse, "vertex `z`: nothing predicts it"),
        (&[(x, &a), (z, &short)], &[both], ErrorKind::Shape, "vertex `z`: its value has shape"),
        (&[(x, &b)], &[y], ErrorKind::Shape, "vertex `x`"),
        (&[(x, &a), (x, &a)], &[y], ErrorKind::Misuse, "vertex `x`: it is given two values"),
        (&[(x, &nan)], &[y], ErrorKind::NotFinite, "vertex `x`"),
        (&[(foreign, &a)], &[y], ErrorKind::Graph, "vertex 99 is not in this graph"),
        (&[(x, &a)], &[foreign], ErrorKind::Graph, "vertex 99 is not in this graph"),
        (&[], &[y], ErrorKind::Misuse, "no vertex is given"),
        (&[(x, &a)], &[], ErrorKind::Misuse, "no vertex is wanted"),
    ];
    for (given, wanted, kind, says) in cases {
        let error = predictor.run(&mut graph, given, wanted).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(predictor.value(y).is_err(), "a failed run leaves nothing to read");
        // And the next one goes well.
        predictor.run(&mut graph, &[(x, &a)], &[y]).unwrap();
        predictor.value(y).unwrap();
    }
    let other = two_inputs_of_another_width();
    let error = Predictor::new(&other).run(&mut graph, &[(x, &a)], &[y]).unwrap_err();
    assert!(error.to_string().contains("another graph"), "{error}");
    graph.parameters_mut()[0].fill(f64::INFINITY);
    let ones = T::new(&[1, 3], vec![1.0, -1.0, 0.0]).unwrap();
    let error = predictor.run(&mut graph, &[(x, &ones)], &[y]).unwrap_err();
    assert_eq!((error.kind(), error.vertex()), (ErrorKind::NotFinite, Some("y")), "{error}");
}

fn two_inputs_of_another_width() -> Graph<T> {
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[5]).unwrap();
    b.dense("h", x, 4, Activation::Tanh, &mut Init::new(11)).unwrap();
    b.build().unwrap()
}
