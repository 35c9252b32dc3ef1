//! Bad input: every error names the vertex, and what is wrong.

use burn::{
    nn::{
        BatchNormConfig, EmbeddingConfig, LayerNormConfig, LinearConfig, LstmConfig,
        attention::MultiHeadAttentionConfig,
        conv::Conv2dConfig,
        pool::{AvgPool2dConfig, MaxPool2dConfig},
    },
    tensor::{DType, Device},
};
use pc_burn::{BurnTensor, explicit::ModuleGraph};
use pc_core::{Clamps, Error, Relaxation, Result, Schedule, VertexId, host::Activation};

#[track_caller]
fn says(error: Error, vertex: &str, words: &[&str]) {
    assert_eq!(error.vertex(), Some(vertex), "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "`{error}` does not say `{word}`");
    }
}

#[test]
fn shapes_that_do_not_fit() {
    let d = Device::flex();
    let mut b = ModuleGraph::new();
    let x = b.input("x", &[4]).unwrap();
    let image = b.input("image", &[3, 8, 8]).unwrap();
    let linear = LinearConfig::new(5, 2).init(&d);
    says(b.linear("a", x, &linear, Activation::Tanh).unwrap_err(), "a", &["5 inputs", "has 4"]);
    let conv = Conv2dConfig::new([2, 4], [3, 3]).init(&d);
    says(
        b.conv2d("c", image, &conv, Activation::Relu, None).unwrap_err(),
        "c",
        &["2 channels", "has 3"],
    );
    says(
        b.conv2d("c1", x, &conv, Activation::Relu, None).unwrap_err(),
        "c1",
        &["[channels, height, width]", "[4]"],
    );
    says(
        b.max_pool2d("p", image, &MaxPool2dConfig::new([9, 9]).init()).unwrap_err(),
        "p",
        &["window", "9"],
    );
    says(
        b.batch_norm("n", image, &BatchNormConfig::new(2).init(&d)).unwrap_err(),
        "n",
        &["gain", "[3]"],
    );
    says(b.sum("s", &[x, image]).unwrap_err(), "s", &["one shape"]);
    let ceil = AvgPool2dConfig::new([2, 2]).with_ceil_mode(true).init();
    says(b.avg_pool2d("r", image, &ceil).unwrap_err(), "r", &["rounds"]);
    let lstm = LstmConfig::new(4, 4, true).with_clip(Some(1.0)).init(&d);
    says(b.lstm_cell("l", x, x, x, &lstm).unwrap_err(), "l", &["clip"]);
    let rank = b.module("f", &[x], &LinearConfig::new(4, 2).init(&d), |m, p| {
        Ok(m.forward(p.tensor::<3>(0)?))
    });
    says(rank.unwrap_err(), "f", &["rank 3", "rank 2"]);
    let panics = b.module("g", &[x], &LinearConfig::new(7, 2).init(&d), |m, p| {
        Ok(m.forward(p.tensor::<2>(0)?))
    });
    says(panics.unwrap_err(), "g", &["panicked", "[4]"]);
    let missing = b.module("k", &[x], &LinearConfig::new(4, 2).init(&d), |m, p| {
        Ok(m.forward(p.tensor::<2>(1)?))
    });
    says(missing.unwrap_err(), "k", &["parent 1"]);
}

#[test]
fn numbers_that_do_not_fit() {
    let d = Device::flex();
    let mut b = ModuleGraph::new();
    let x = b.input("x", &[2]).unwrap();
    let words = b.embedding("words", x, &EmbeddingConfig::new(5, 3).init(&d)).unwrap();
    let (mut graph, _) = b.build().unwrap();
    let mut relaxation =
        Relaxation::new(&graph, Schedule::fixed_prediction(1.0, 1).unwrap()).unwrap();
    let mut run = |values: &[f64], dtype: DType, shape: &[usize]| {
        let input = BurnTensor::from_values(shape, values, &d, dtype).unwrap();
        let target = BurnTensor::from_values(&[1, 2, 3], &[0.0; 6], &d, DType::F32).unwrap();
        relaxation.run(&mut graph, &Clamps::new().hold(x, input).hold(words, target))
    };
    says(run(&[1.0, 5.0], DType::F32, &[1, 2]).unwrap_err(), "words", &["5", "5 rows"]);
    says(run(&[1.0, 0.5], DType::F32, &[1, 2]).unwrap_err(), "words", &["0.5"]);
    says(run(&[1.0, 2.0, 3.0], DType::F32, &[1, 3]).unwrap_err(), "x", &["[1, 3]", "[1, 2]"]);
    says(run(&[1.0, 2.0], DType::F64, &[1, 2]).unwrap_err(), "x", &["F64", "F32"]);
    run(&[1.0, 2.0], DType::F32, &[1, 2]).unwrap();
}

#[test]
fn clamps_in_another_precision() {
    let d = Device::flex();
    let mut b = ModuleGraph::new();
    let x = b.input("x", &[2]).unwrap();
    let y = b.linear("y", x, &LinearConfig::new(2, 2).init(&d), Activation::Tanh).unwrap();
    let (mut graph, _) = b.build().unwrap();
    let of = |dtype| BurnTensor::from_values(&[1, 2], &[0.1, 0.2], &d, dtype).unwrap();
    for (input, target, vertex) in [
        (DType::F64, DType::F32, "x"),
        (DType::F32, DType::F64, "y"),
        (DType::F64, DType::F64, "x"),
    ] {
        let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 3).unwrap()).unwrap();
        let error = relaxation
            .run(&mut graph, &Clamps::new().hold(x, of(input)).hold(y, of(target)))
            .unwrap_err();
        says(error, vertex, &["F64", "F32"]);
    }
}

#[test]
fn a_module_of_another_net_is_not_loaded() {
    let d = Device::flex();
    let mut b = ModuleGraph::new();
    let x = b.input("x", &[2]).unwrap();
    b.linear("y", x, &LinearConfig::new(2, 2).init(&d), Activation::Tanh).unwrap();
    let (mut graph, parameters) = b.build().unwrap();
    let error = parameters.load(&mut graph, &LinearConfig::new(2, 2).init(&d)).unwrap_err();
    assert!(error.to_string().contains("another module"), "{error}");
}

/// A layer that fails once it has added parameters leaves none of them, in the graph as in the
/// table of Burn's, and goes in when what was in the way is gone.
#[test]
fn a_layer_that_fails_leaves_nothing() {
    type Add = Box<dyn Fn(&mut ModuleGraph, [VertexId; 3]) -> Result<()>>;
    let d = Device::flex();
    let linear = LinearConfig::new(4, 4).init(&d);
    let conv = Conv2dConfig::new([3, 2], [3, 3]).init(&d);
    let norm = BatchNormConfig::new(3).init(&d);
    let rows = LayerNormConfig::new(4).init(&d);
    let embedding = EmbeddingConfig::new(5, 2).init(&d);
    let lstm = LstmConfig::new(4, 4, true).init(&d);
    let attention = MultiHeadAttentionConfig::new(4, 2).init(&d);
    let (many, free) = (LinearConfig::new(4, 4).init(&d), LinearConfig::new(4, 4).init(&d));
    let frozen = norm.clone();
    let layers: Vec<(&str, Add)> = vec![
        ("a", Box::new(move |b, [x, ..]| b.linear("a", x, &linear, Activation::Tanh).map(drop))),
        (
            "a",
            Box::new(move |b, [x, ..]| {
                b.linear_many("a", &[(x, &many), (x, &free)], Activation::Tanh).map(drop)
            }),
        ),
        (
            "c",
            Box::new(move |b, [_, y, _]| b.conv2d("c", y, &conv, Activation::Relu, None).map(drop)),
        ),
        ("n", Box::new(move |b, [_, y, _]| b.batch_norm("n", y, &norm).map(drop))),
        ("n", Box::new(move |b, [_, y, _]| b.frozen_batch_norm("n", y, &frozen).map(drop))),
        ("n", Box::new(move |b, [x, ..]| b.layer_norm("n", x, &rows, 1e-5).map(drop))),
        ("e", Box::new(move |b, [x, ..]| b.embedding("e", x, &embedding).map(drop))),
        ("l.hidden", Box::new(move |b, [x, ..]| b.lstm_cell("l", x, x, x, &lstm).map(drop))),
        (
            "s.output",
            Box::new(move |b, [_, _, z]| b.self_attention("s", z, &attention, false).map(drop)),
        ),
        (
            "m",
            Box::new({
                let module = LinearConfig::new(4, 2).init(&d);
                move |b, [x, ..]| {
                    b.module("m", &[x], &module, |m, p| Ok(m.forward(p.tensor::<2>(0)?))).map(drop)
                }
            }),
        ),
    ];
    for (taken, add) in layers {
        let mut b = ModuleGraph::new();
        let places = [
            b.input("x", &[4]).unwrap(),
            b.input("y", &[3, 8, 8]).unwrap(),
            b.input("z", &[5, 4]).unwrap(),
        ];
        let free = b.mark();
        b.input(taken, &[1]).unwrap();
        let (before, shown) = (b.mark(), format!("{b:?}"));
        let error = add(&mut b, places).unwrap_err();
        says(error, taken, &["taken"]);
        assert_eq!((b.mark(), format!("{b:?}")), (before, shown), "{taken}");
        b.rollback(free);
        add(&mut b, places).unwrap_or_else(|error| panic!("{taken}: {error}"));
        assert!(b.mark().parameters() > 0, "{taken}");
    }
}
