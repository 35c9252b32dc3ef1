//! Sizes that no memory holds: errors, and never a number that wraps around, nor a panic.

use pc_core::{
    Error, ErrorKind, Graph, GraphBuilder, Result, VertexId,
    backend::Vertex,
    host::{
        Activation, AvgPool2d, Concat, Conv2d, ConvLayer, CrossEntropy, Dense, HostLayers,
        HostTensor, Init, MaxPool2d, Reshape, Split,
    },
};

type T = HostTensor<f32>;

const HUGE: usize = usize::MAX;
/// Its square wraps around to 0.
const HALF: usize = 1 << 32;
const FAR: usize = 1 << 62;

fn too_large(what: &str, error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Shape, "{what}: {error}");
}

#[test]
fn tensors() {
    for shape in [&[HUGE][..], &[HUGE, 2], &[HALF, HALF], &[HALF, HALF, 0], &[FAR], &[1 << 50]] {
        too_large("new", &T::new(shape, Vec::new()).unwrap_err());
        too_large("zeroed", &T::zeroed(shape).unwrap_err());
        let mut init = Init::new(0);
        too_large("uniform", &init.uniform::<f32>(shape, 1.0).unwrap_err());
        too_large("weight", &init.weight::<f32>(shape, 1, Activation::Relu).unwrap_err());
    }
    for classes in [HUGE, HALF << 20, FAR] {
        let labels = vec![0; 1 << 10];
        too_large("labels", &CrossEntropy::<f64>::labels(&labels, classes).unwrap_err());
    }
}

fn shape(vertex: impl Vertex<T>, parents: &[&[usize]], own: &[&[usize]]) -> Result<Vec<usize>> {
    vertex.shape(parents, own)
}

#[test]
fn vertices() {
    let image: &[usize] = &[1, 5, 5];
    for padding in [FAR, HUGE, HUGE / 2, 1 << 40] {
        let conv = Conv2d { stride: 1, padding, bias: false };
        let weight: &[usize] = &[1, 1, 3, 3];
        too_large("a convolution", &shape(conv, &[image], &[weight]).unwrap_err());
    }
    let conv = Conv2d { stride: 1, padding: 0, bias: false };
    for (parent, weight) in [
        (&[HALF, HALF, HALF][..], &[1, HALF, 1, 1][..]),
        (&[1, HALF, HALF], &[1, 1, 1, 1]),
        (&[HALF, HALF, 1], &[1, HALF, 1, 1]),
        // The image and the kernel fit, and the matrix of patches does not.
        (&[1, 1 << 28, 1 << 28], &[1, 1, 1 << 20, 1 << 20]),
    ] {
        too_large("a convolution", &shape(conv, &[parent], &[weight]).unwrap_err());
    }
    let wide: &[usize] = &[1, HALF, HALF];
    for (size, stride) in [(2, 2), (3, 1), (1, HUGE)] {
        too_large("max", &shape(MaxPool2d { size, stride }, &[wide], &[]).unwrap_err());
        too_large("mean", &shape(AvgPool2d { size, stride }, &[wide], &[]).unwrap_err());
    }
    for size in [HUGE, FAR] {
        too_large("max", &shape(MaxPool2d { size, stride: 1 }, &[image], &[]).unwrap_err());
        too_large("mean", &shape(AvgPool2d { size, stride: 1 }, &[image], &[]).unwrap_err());
    }
    // A product that wraps around to the parent's 0, or its 1.
    too_large("reshape", &shape(Reshape::to(&[HALF, HALF]), &[&[4]], &[]).unwrap_err());
    too_large("reshape", &shape(Reshape::to(&[HUGE, HUGE]), &[&[1]], &[]).unwrap_err());
    too_large("flatten", &shape(Reshape::flatten(), &[&[HALF, HALF]], &[]).unwrap_err());
    too_large("concat", &shape(Concat { axis: 0 }, &[&[FAR], &[FAR], &[FAR]], &[]).unwrap_err());
    too_large("concat", &shape(Concat { axis: 0 }, &[&[HUGE], &[2]], &[]).unwrap_err());
    let split = Split { axis: 0, start: 2, length: HUGE };
    too_large("split", &shape(split, &[&[4]], &[]).unwrap_err());
}

/// The layers name theirs, and nothing of them stays.
#[test]
fn layers() {
    type Add = fn(&mut GraphBuilder<T>, &mut Init, [VertexId; 2]) -> Result<()>;
    let layers: [(&str, Add); 13] = [
        ("dense", |b, i, [x, _]| b.dense("l", x, HUGE, Activation::Relu, i).map(drop)),
        ("dense", |b, i, [x, _]| b.dense("l", x, FAR, Activation::Relu, i).map(drop)),
        ("dense", |b, i, [x, _]| b.dense("l", x, 1 << 48, Activation::Relu, i).map(drop)),
        ("dense without bias", |b, i, [x, _]| {
            b.layer("l", &[x], &Dense::new(HUGE).without_bias(), i).map(drop)
        }),
        ("dense of many", |b, i, [x, _]| b.layer("l", &[x, x], &Dense::new(HUGE), i).map(drop)),
        ("channels", |b, i, [_, y]| b.conv("l", y, &ConvLayer::new(HUGE, 3), i).map(drop)),
        ("kernel", |b, i, [_, y]| b.conv("l", y, &ConvLayer::new(1, HALF), i).map(drop)),
        ("padding", |b, i, [_, y]| b.conv("l", y, &ConvLayer::new(1, 3).padding(FAR), i).map(drop)),
        ("vocabulary", |b, i, [x, _]| b.embedding("l", x, HUGE, 2, i).map(drop)),
        ("width", |b, i, [x, _]| b.embedding("l", x, 2, HUGE, i).map(drop)),
        ("gate", |b, i, _| b.gate_parameters("l", HUGE, 3, Activation::Tanh, i).map(drop)),
        ("gate", |b, i, _| b.gate_parameters("l", 3, HUGE, Activation::Tanh, i).map(drop)),
        ("lstm", |b, i, _| b.lstm_parameters("l", HALF, HALF, i).map(drop)),
    ];
    for (what, add) in layers {
        let mut b = Graph::builder();
        let places = [b.input("x", &[4]).unwrap(), b.input("y", &[1, 5, 5]).unwrap()];
        let before = b.mark();
        let error = add(&mut b, &mut Init::new(0), places).unwrap_err();
        too_large(what, &error);
        assert_eq!(error.vertex(), Some("l"), "{what}: {error}");
        assert_eq!(b.mark(), before, "{what}");
    }
}

#[test]
fn inputs() {
    let mut b: GraphBuilder<T> = Graph::builder();
    for shape in [&[HUGE][..], &[HUGE, HUGE], &[HALF, HALF], &[FAR, 4]] {
        let error = b.input("x", shape).unwrap_err();
        too_large("input", &error);
        assert_eq!(error.vertex(), Some("x"));
    }
}

/// A vertex that fits alone, but not as often as there are samples.
#[test]
fn batches() {
    use pc_core::{Clamps, Network};
    let mut init = Init::new(0);
    let mut b: GraphBuilder<T> = Graph::builder();
    let x = b.input("x", &[1]).unwrap();
    b.dense("h", x, 1, Activation::Tanh, &mut init).unwrap();
    b.input("wide", &[1 << 59]).unwrap();
    let mut graph = b.build().unwrap();
    let clamps = Clamps::new().hold(x, T::zeroed(&[64, 1]).unwrap());
    let error = graph.prepare(&clamps, &mut Vec::new()).unwrap_err();
    too_large("a batch", &error);
    assert_eq!(error.vertex(), Some("wide"));
}
