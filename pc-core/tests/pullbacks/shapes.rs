//! What vertices refuse, and in which words.

use pc_core::{
    ErrorKind, Graph, Map, Residual, SumOf, Tensor,
    backend::Vertex,
    host::{
        Activation, AddParameter, AvgPool2d, Concat, Conv2d, ConvLayer, ConvTranspose2d, Embedding,
        Gated, HostLayers, HostTensor, HostVertex, Init, LayerNorm, Linear, LinearMany, MatMul,
        MaxPool2d, Probe, Product, Reshape, Scale, Softmax, Split, Sum, SumOfProducts, SwapAxes,
    },
};

/// The shape that a vertex says, or its error.
fn shape(
    vertex: impl Vertex<HostTensor<f32>>,
    parents: &[&[usize]],
    parameters: &[&[usize]],
) -> Result<Vec<usize>, String> {
    let result = vertex.shape(parents, parameters);
    result.map_err(|error| {
        assert!(matches!(error.kind(), ErrorKind::Shape | ErrorKind::Graph), "{error:?}");
        error.to_string()
    })
}

#[track_caller]
fn refuses(result: Result<Vec<usize>, String>, words: &[&str]) {
    let message = result.expect_err("this must be refused");
    for word in words {
        assert!(message.contains(word), "`{message}` does not say `{word}`");
    }
}

#[test]
fn convolutions_and_pools() {
    let conv = Conv2d { stride: 1, padding: 1, bias: true };
    assert_eq!(shape(conv, &[&[2, 4, 5]], &[&[3, 2, 3, 3], &[3]]), Ok(vec![3, 4, 5]));
    refuses(
        shape(conv, &[&[4, 5]], &[&[3, 2, 3, 3], &[3]]),
        &["[channels, height, width]", "[4, 5]"],
    );
    refuses(
        shape(conv, &[&[4, 4, 5]], &[&[3, 2, 3, 3], &[3]]),
        &["takes 2 channels", "parent has 4"],
    );
    refuses(
        shape(conv, &[&[2, 4, 5]], &[&[3, 2, 9], &[3]]),
        &["[out, channels, kernel height, kernel width]", "[3, 2, 9]"],
    );
    refuses(
        shape(conv, &[&[2, 4, 5]], &[&[3, 2, 3, 8], &[3]]),
        &["8 long", "5 long", "padded by 1"],
    );
    refuses(shape(conv, &[&[2, 4, 5]], &[&[3, 2, 3, 3], &[4]]), &["bias", "[4]", "[3]"]);
    refuses(shape(conv, &[&[2, 4, 5], &[2, 4, 5]], &[&[3, 2, 3, 3], &[3]]), &["one parent, not 2"]);
    refuses(shape(conv, &[&[2, 4, 5]], &[&[0, 2, 3, 3], &[0]]), &["empty"]);
    refuses(shape(conv, &[&[2, 4, 5]], &[&[3, 2, 0, 3], &[3]]), &["at least 1"]);
    refuses(
        shape(Conv2d { stride: 0, padding: 1, bias: false }, &[&[2, 4, 5]], &[&[3, 2, 3, 3]]),
        &["stride of at least 1"],
    );
    refuses(
        shape(
            Conv2d { stride: 1, padding: usize::MAX, bias: false },
            &[&[2, 4, 5]],
            &[&[3, 2, 3, 3]],
        ),
        &["padded"],
    );
    let spread = |stride, padding, output_padding| ConvTranspose2d {
        stride,
        padding,
        output_padding,
        bias: true,
    };
    let parameters: &[&[usize]] = &[&[2, 3, 3, 3], &[3]];
    assert_eq!(shape(spread(2, 1, 1), &[&[2, 4, 5]], parameters), Ok(vec![3, 8, 10]));
    assert_eq!(shape(spread(1, 0, 0), &[&[2, 4, 5]], parameters), Ok(vec![3, 6, 7]));
    for (vertex, parent, parameters, words) in [
        (spread(2, 1, 1), &[4, 5][..], parameters, &["[channels, height, width]", "[4, 5]"][..]),
        (spread(2, 1, 1), &[3, 4, 5], parameters, &["takes 2 channels", "parent has 3"]),
        (spread(2, 1, 2), &[2, 4, 5], parameters, &["output padding", "below its stride"]),
        (spread(0, 1, 0), &[2, 4, 5], parameters, &["stride of at least 1"]),
        (spread(1, 5, 0), &[2, 4, 5], parameters, &["nothing is left"]),
        (spread(1, usize::MAX, 0), &[2, 4, 5], parameters, &["nothing is left"]),
        (spread(usize::MAX, 0, 0), &[2, 4, 5], parameters, &["nothing is left"]),
        (spread(2, 1, 1), &[2, 4, 5], &[&[2, 3, 3, 3], &[2]], &["bias", "[2]", "[3]"]),
        (spread(2, 1, 1), &[2, 4, 5], &[&[2, 3, 9], &[3]], &["kernel height, kernel width"]),
        (spread(2, 1, 1), &[2, 4, 5], &[&[2, 0, 3, 3], &[0]], &["at least one channel"]),
    ] {
        refuses(shape(vertex, &[parent], parameters), words);
    }
    assert_eq!(shape(MaxPool2d { size: 2, stride: 2 }, &[&[3, 5, 4]], &[]), Ok(vec![3, 2, 2]));
    refuses(
        shape(MaxPool2d { size: 3, stride: 2 }, &[&[3, 2, 4]], &[]),
        &["max_pool2d", "3 long", "2 long"],
    );
    refuses(shape(AvgPool2d { size: 2, stride: 0 }, &[&[3, 2, 4]], &[]), &["avg_pool2d", "stride"]);
    refuses(shape(AvgPool2d { size: 2, stride: 1 }, &[&[12]], &[]), &["[channels, height, width]"]);
}

#[test]
fn maps_and_norms() {
    refuses(shape(Linear::new(), &[&[5]], &[&[3, 4], &[3]]), &["4 inputs", "has 5"]);
    let two = LinearMany::new(2);
    assert_eq!(shape(two, &[&[7, 5], &[7, 2]], &[&[3, 5], &[3, 2], &[3]]), Ok(vec![7, 3]));
    refuses(
        shape(two, &[&[5], &[2]], &[&[3, 5], &[3, 4], &[3]]),
        &["parent 1", "4 inputs", "has 2"],
    );
    refuses(shape(two, &[&[5], &[2]], &[&[3, 5], &[4, 2], &[4]]), &["parent 1", "[4]", "[3]"]);
    refuses(shape(two, &[&[5]], &[&[3, 5], &[3, 4], &[3]]), &["2 parents has 1"]);
    refuses(shape(LinearMany::new(0), &[], &[]), &["0 parents"]);
    refuses(shape(LayerNorm::default(), &[&[2, 5]], &[&[5], &[4]]), &["bias", "[4]", "[5]"]);
    refuses(shape(LayerNorm { epsilon: f64::NAN }, &[&[5]], &[&[5], &[5]]), &["epsilon", "NaN"]);
    refuses(shape(LayerNorm::default(), &[&[]], &[&[5], &[5]]), &["scalar"]);
    refuses(shape(Softmax::new(), &[&[]], &[]), &["scalar"]);
    refuses(shape(Softmax::causal(), &[&[5]], &[]), &["[..., queries, keys]", "[5]"]);
    refuses(shape(Softmax::causal(), &[&[3, 2]], &[]), &["no more queries than keys", "[3, 2]"]);
    refuses(shape(AddParameter, &[&[3, 2]], &[&[2]]), &["[2]", "[3, 2]"]);
}

#[test]
fn combinations() {
    refuses(shape(Sum::new(), &[&[3], &[3], &[4]], &[]), &["parent 2", "[4]", "[3]"]);
    refuses(shape(Sum::new(), &[], &[]), &["at least one parent"]);
    refuses(shape(Sum::weighted(&[1.0]), &[&[3], &[3]], &[]), &["1 weights for 2 parents"]);
    refuses(shape(Sum::weighted(&[f64::INFINITY]), &[&[3]], &[]), &["finite", "inf"]);
    refuses(shape(Scale(f64::NAN), &[&[3]], &[]), &["finite", "NaN"]);
    refuses(shape(Product, &[&[3], &[2, 3]], &[]), &["parent 1", "[2, 3]"]);
    refuses(shape(SumOfProducts, &[&[3], &[3], &[3]], &[]), &["pairs", "3 parents"]);
    refuses(shape(Gated(Activation::Tanh), &[&[3]], &[]), &["two parents, not 1"]);
    refuses(shape(Concat { axis: 1 }, &[&[3], &[3]], &[]), &["axis 1", "[3]"]);
    refuses(shape(Concat { axis: 0 }, &[&[3, 2], &[3, 4]], &[]), &["axis 0", "parent 1", "[3, 4]"]);
    refuses(shape(Concat { axis: 0 }, &[], &[]), &["at least one parent"]);
    refuses(
        shape(Split { axis: 0, start: 2, length: 3 }, &[&[4]], &[]),
        &["3 elements from 2", "axis 0", "[4]"],
    );
    refuses(shape(Split { axis: 0, start: usize::MAX, length: 2 }, &[&[4]], &[]), &["[4]"]);
    refuses(shape(Split { axis: 1, start: 0, length: 1 }, &[&[4]], &[]), &["axis 1"]);
    refuses(shape(Split { axis: 0, start: 0, length: 0 }, &[&[4]], &[]), &["0 elements"]);
    refuses(shape(Reshape::to(&[5]), &[&[2, 3]], &[]), &["[5]", "[2, 3]"]);
    refuses(shape(SwapAxes, &[&[2]], &[]), &["two axes", "[2]"]);
    refuses(
        shape(MatMul::default(), &[&[2, 3], &[2, 3]], &[]),
        &["[..., k, n]", "[2, 3] and [2, 3]"],
    );
    refuses(
        shape(MatMul { transpose_b: true, scale: 1.0 }, &[&[2, 3], &[3, 2]], &[]),
        &["[..., n, k]"],
    );
    refuses(shape(MatMul::default(), &[&[4, 2, 3], &[5, 3, 2]], &[]), &["[4, 2, 3] and [5, 3, 2]"]);
    refuses(
        shape(MatMul { transpose_b: true, scale: f64::NAN }, &[&[2, 3], &[2, 3]], &[]),
        &["finite"],
    );
    refuses(shape(MatMul::default(), &[&[2, 3]], &[]), &["two parents, not 1"]);
    refuses(shape(MatMul::default(), &[&[3], &[3]], &[]), &["[3] and [3]"]);
}

#[test]
fn combinators() {
    let linear = || Box::new(Linear::without_bias()) as HostVertex<f32>;
    let (square, wide): (&[usize], &[usize]) = (&[3, 3], &[4, 3]);
    refuses(shape(Residual::new(linear()), &[&[3]], &[wide]), &["[3]", "[4]", "linear"]);
    refuses(shape(Residual::new(linear()), &[&[3], &[3]], &[square]), &["one parent, not 2"]);
    assert_eq!(shape(Residual::new(linear()), &[&[3]], &[square]).unwrap(), [3]);
    let both = || SumOf::new(vec![linear(), linear()]);
    refuses(shape(both(), &[&[3]], &[square, square]), &["2 parents has 1"]);
    refuses(shape(both(), &[&[3], &[3]], &[square, wide]), &["parent 1", "[4]", "[3]"]);
    refuses(shape(both(), &[&[3], &[2]], &[square, square]), &["linear of parent 1", "3 inputs"]);
    refuses(shape(both(), &[&[3], &[3]], &[square]), &["too few parameters for parent 1"]);
    refuses(shape(SumOf::<HostVertex<f32>>::new(vec![]), &[], &[]), &["0 parents"]);
    let sine = Map::new("sine", f64::sin, f64::cos);
    refuses(shape(sine, &[&[3], &[3]], &[]), &["`sine`", "one parent, not 2"]);
}

#[test]
fn indices_that_are_none() {
    refuses(shape(Embedding, &[&[4]], &[&[10]]), &["[vocabulary, width]", "[10]"]);
    refuses(shape(Embedding, &[&[4]], &[&[1 << 25, 1]]), &["16777216"]);
    for (index, word) in [
        (5.0, "index 5"),
        (-1.0, "index -1"),
        (0.5, "index 0.5"),
        (f64::NAN, "index NaN"),
        (f64::INFINITY, "index inf"),
    ] {
        let x = HostTensor::new(&[2, 3], vec![0.0, 1.0, 4.0, 2.0, index, 0.0]).unwrap();
        let weight = HostTensor::zeroed(&[5, 2]).unwrap();
        let mut probe =
            Probe::<HostTensor<f64>>::new(Box::new(Embedding), vec![x], vec![weight]).unwrap();
        let message = probe.predict().unwrap_err().to_string();
        for word in [word, "sample 1", "place 1", "from 0 to 4"] {
            assert!(message.contains(word), "`{message}` does not say `{word}`");
        }
    }
}

/// The graph adds the vertex's name; layers name theirs also where they fail before.
#[test]
fn layers_name_their_vertex() {
    let mut init = Init::new(0);
    let mut b = Graph::<HostTensor<f32>>::builder();
    let flat = b.input("flat", &[6]).unwrap();
    let scalar = b.input("scalar", &[]).unwrap();
    let errors = [
        b.conv("layer", flat, &ConvLayer::new(4, 3).padding(1).max_pool(2, 2), &mut init)
            .unwrap_err(),
        b.conv("layer", scalar, &ConvLayer::new(4, 3).padding(1), &mut init).unwrap_err(),
        b.dense("layer", scalar, 4, Activation::Relu, &mut init).unwrap_err(),
        b.layer_norm("layer", scalar).unwrap_err(),
        b.sum("layer", &[flat, scalar]).unwrap_err(),
        b.self_attention("layer", flat, 2, false, &mut init).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.vertex(), Some("layer"), "{error}");
    }
    let table = b.input("table", &[4, 6]).unwrap();
    assert!(
        b.self_attention("a", table, 4, false, &mut init)
            .unwrap_err()
            .to_string()
            .contains("width of 6 cannot have 4 heads")
    );
}

#[test]
fn probes_refuse_what_does_not_fit() {
    let vertex = || Box::new(Scale(2.0)) as HostVertex<f64>;
    let x = HostTensor::zeroed(&[2, 3]).unwrap();
    assert!(Probe::<HostTensor<f64>>::new(vertex(), Vec::new(), Vec::new()).is_err());
    assert!(Probe::<HostTensor<f64>>::new(vertex(), vec![x.clone()], vec![x.clone()]).is_err());
    assert!(
        Probe::<HostTensor<f64>>::new(
            Box::new(Sum::new()),
            vec![x.clone(), HostTensor::zeroed(&[3, 3]).unwrap()],
            Vec::new()
        )
        .is_err()
    );
    let mut probe = Probe::<HostTensor<f64>>::new(vertex(), vec![x.clone()], Vec::new()).unwrap();
    assert!(probe.displace(1, &x).is_err());
    assert!(probe.displace(0, &x.zeros(&[2])).is_err());
    assert!(probe.pull(&x.zeros(&[2]), 1.0).is_err());
    assert!(probe.set_parameter(0, &x).is_err());
    assert!(probe.force(1).is_none() && probe.gradient(0).is_none());
}
