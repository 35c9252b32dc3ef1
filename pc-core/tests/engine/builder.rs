//! Builders: sizes, ids of other graphs, and layers that fail half-way.

use std::time::{Duration, Instant};

use pc_core::{
    Error, ErrorKind, Graph, GraphBuilder, PredictionId, Result, VertexId,
    host::{Activation, ConvLayer, Dense, HostLayers, HostTensor, Init},
};

use crate::common::tensor;

type T = HostTensor<f64>;
type Builder = GraphBuilder<T>;

fn one(name: &str) -> (String, T) {
    (name.to_owned(), tensor(&[1], &[1.0]))
}

/// A layer that fails once `taken` names a parameter (or, without a dot, a vertex) of its own.
struct Layer {
    taken: &'static str,
    add: fn(&mut Builder, &mut Init) -> Result<()>,
}

fn ids(b: &Builder) -> Vec<VertexId> {
    (0..b.mark().vertices()).map(VertexId::new).collect()
}

/// Inputs `flat [6]`, `image [2, 6, 6]`, `table [4, 6]`, `state [5]` and `cell [5]`.
fn inputs() -> Builder {
    let mut b = Graph::builder();
    for (name, shape) in [
        ("flat", &[6][..]),
        ("image", &[2, 6, 6]),
        ("table", &[4, 6]),
        ("state", &[5]),
        ("cell", &[5]),
    ] {
        b.input(name, shape).unwrap();
    }
    b
}

const LAYERS: [Layer; 16] = [
    Layer {
        taken: "h.bias",
        add: |b, init| b.dense("h", ids(b)[0], 3, Activation::Tanh, init).map(drop),
    },
    Layer {
        taken: "h",
        add: |b, init| b.dense("h", ids(b)[0], 3, Activation::Tanh, init).map(drop),
    },
    Layer {
        taken: "h",
        add: |b, init| b.layer("h", &[ids(b)[0]], &Dense::new(3).without_bias(), init).map(drop),
    },
    Layer {
        taken: "h.weight.1",
        add: |b, init| b.layer("h", &[ids(b)[0], ids(b)[3]], &Dense::new(3), init).map(drop),
    },
    Layer {
        taken: "c.bias",
        add: |b, init| b.conv("c", ids(b)[1], &ConvLayer::new(3, 3), init).map(drop),
    },
    Layer {
        taken: "c",
        add: |b, init| b.conv("c", ids(b)[1], &ConvLayer::new(3, 3), init).map(drop),
    },
    Layer { taken: "n.bias", add: |b, _| b.layer_norm("n", ids(b)[0]).map(drop) },
    Layer { taken: "n", add: |b, _| b.layer_norm("n", ids(b)[0]).map(drop) },
    Layer { taken: "e", add: |b, init| b.embedding("e", ids(b)[0], 9, 2, init).map(drop) },
    Layer { taken: "p", add: |b, init| b.add_parameter("p", ids(b)[2], 0.1, init).map(drop) },
    Layer {
        taken: "g.bias",
        add: |b, init| b.gate_parameters("g", 6, 5, Activation::Tanh, init).map(drop),
    },
    Layer { taken: "l.output.bias", add: |b, init| b.lstm_parameters("l", 6, 5, init).map(drop) },
    Layer {
        taken: "t.hidden",
        add: |b, init| {
            b.all_or_nothing(|b| {
                let parameters = b.lstm_parameters("t", 6, 5, init)?;
                b.lstm_cell("t", ids(b)[0], ids(b)[3], ids(b)[4], &parameters).map(drop)
            })
        },
    },
    Layer {
        taken: "a.keys.bias",
        add: |b, init| b.self_attention("a", ids(b)[2], 2, false, init).map(drop),
    },
    Layer {
        taken: "a.mix",
        add: |b, init| b.self_attention("a", ids(b)[2], 2, false, init).map(drop),
    },
    Layer {
        taken: "a.output",
        add: |b, init| b.self_attention("a", ids(b)[2], 2, true, init).map(drop),
    },
];

/// Whatever fails, nothing of the layer stays: under other names the builder makes what it would
/// have made without the failure.
#[test]
fn a_layer_that_fails_leaves_nothing() {
    for Layer { taken, add } in LAYERS {
        let vertex = matches!(taken.rsplit('.').next(), Some("hidden" | "mix" | "output"))
            || !taken.contains('.');
        let mut b = inputs();
        if vertex {
            b.input(taken, &[1]).unwrap();
        } else {
            let (name, value) = one(taken);
            b.parameter(&name, value).unwrap();
        }
        let (before, shown) = (b.mark(), format!("{b:?}"));
        let error = add(&mut b, &mut Init::new(1)).unwrap_err();
        assert!(error.to_string().contains("taken"), "{taken}: {error}");
        assert_eq!((b.mark(), format!("{b:?}")), (before, shown), "{taken}");

        // Without what was in the way it succeeds, since none of its names is taken.
        let mut b = inputs();
        let start = b.mark();
        if vertex {
            b.input(taken, &[1]).unwrap();
        } else {
            let (name, value) = one(taken);
            b.parameter(&name, value).unwrap();
        }
        add(&mut b, &mut Init::new(1)).unwrap_err();
        b.rollback(start);
        add(&mut b, &mut Init::new(1)).unwrap_or_else(|error| panic!("{taken}: {error}"));
        let mut fresh = inputs();
        add(&mut fresh, &mut Init::new(1)).unwrap();
        assert_eq!(b.mark(), fresh.mark(), "{taken}");
    }
}

#[test]
fn a_rollback_takes_back_precisions_and_predictions() {
    let mut init = Init::new(0);
    let mut b: Builder = Graph::builder();
    let x = b.input("x", &[2]).unwrap();
    let h = b.dense("h", x, 2, Activation::Tanh, &mut init).unwrap();
    let free = b.input("free", &[2]).unwrap();
    b.precision(h, 0.5).unwrap();
    let failed: Result<()> = b.all_or_nothing(|b| {
        b.precision(h, 0.25)?;
        b.precision(h, 0.125)?;
        b.predict(free, Box::new(pc_core::Identity), &[h], &[], 3.0)?;
        b.precision(free, 2.0)?;
        Err(Error::new(ErrorKind::Graph, "enough"))
    });
    assert!(failed.is_err());
    // Nothing predicts it again, so it has no precision to set.
    assert!(b.precision(free, 2.0).is_err());
    let id = b.predict(free, Box::new(pc_core::Identity), &[h], &[], 4.0).unwrap();
    assert_eq!(id, PredictionId::new(1));
    b.precision(free, 6.0).unwrap();
    let graph = b.build().unwrap();
    assert_eq!(graph.topology().prediction(id).unwrap().of, free);
    let precisions: Vec<f64> =
        graph.topology().predictions().iter().map(|prediction| prediction.precision).collect();
    assert_eq!(precisions, [0.5, 6.0]);
}

/// Names are found without a search through all of them: with one, this takes minutes.
#[test]
fn a_hundred_thousand_vertices() {
    const COUNT: usize = 100_000;
    let began = Instant::now();
    let mut b: Builder = Graph::builder();
    let mut last = b.input("v0", &[1]).unwrap();
    let layer = Dense::new(1).without_bias();
    for k in 1..COUNT {
        let weight = b.parameter(&format!("w{k}"), tensor(&[1, 1], &[1.0])).unwrap();
        last = b.layer(&format!("v{k}"), &[last], &layer, &[weight]).unwrap();
        b.precision(last, 0.5).unwrap();
    }
    let graph = b.build().unwrap();
    let found =
        (0..COUNT).all(|k| graph.vertex(&format!("v{k}")).is_ok_and(|vertex| vertex.index() == k));
    let took = began.elapsed();
    assert!(found);
    assert!(took < Duration::from_secs(20), "{took:?}");
    println!("{COUNT} vertices in {took:?}");
    assert_eq!(graph.topology().depth(), Some(COUNT - 2));

    // A message that no one could read helps no one.
    for message in [
        graph.vertex("nameless").unwrap_err().to_string(),
        graph.parameter("nameless").unwrap_err().to_string(),
    ] {
        assert!(message.contains("nameless") && message.contains("more"), "{message}");
        assert!(message.len() < 300, "{} letters", message.len());
    }
}

#[test]
fn ids_of_another_graph_are_refused() {
    let mut init = Init::new(0);
    let mut b: Builder = Graph::builder();
    let x = b.input("x", &[2]).unwrap();
    let y = b.dense("y", x, 3, Activation::Tanh, &mut init).unwrap();
    let graph = b.build().unwrap();
    let topology = graph.topology();
    assert_eq!(graph.shape(y).unwrap(), [3]);
    assert_eq!(topology.name(y).unwrap(), "y");
    assert_eq!(topology.predictions_of(y).unwrap(), [PredictionId::new(0)]);
    assert_eq!(topology.children(x).unwrap(), [(PredictionId::new(0), 0)]);
    assert_eq!(topology.prediction(PredictionId::new(0)).unwrap().of, y);
    assert_eq!(graph.structure(PredictionId::new(0)).unwrap().1, "linear + activation");
    assert_eq!((topology.is_root(x), topology.is_root(y)), (true, false));

    let (vertex, prediction) = (VertexId::new(9), PredictionId::new(9));
    let errors = [
        graph.shape(vertex).unwrap_err(),
        topology.name(vertex).unwrap_err(),
        topology.predictions_of(vertex).unwrap_err(),
        topology.children(vertex).unwrap_err(),
        topology.prediction(prediction).unwrap_err(),
        graph.structure(prediction).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Graph, "{error}");
        assert!(error.to_string().contains("9 is not in this graph"), "{error}");
    }
    assert!(topology.is_root(vertex));
    assert_eq!(topology.level(vertex), None);
}

#[test]
fn a_cycle_has_no_unlevelled_edge() {
    let mut b: Builder = Graph::builder();
    let (x, y) = (b.input("x", &[2]).unwrap(), b.input("y", &[2]).unwrap());
    b.predict(x, Box::new(pc_core::Identity), &[y], &[], 1.0).unwrap();
    b.predict(y, Box::new(pc_core::Identity), &[x], &[], 1.0).unwrap();
    let graph = b.build().unwrap();
    assert_eq!(graph.topology().unlevelled_edge(), None);
    assert_eq!(graph.topology().level(x), None);
}
