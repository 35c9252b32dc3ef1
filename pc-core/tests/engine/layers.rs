//! Layers as specifications: what they predict, written out; as further predictions; shared; and a
//! bidirectional net made of them.

use pc_core::{
    Clamps, ErrorKind, Graph, GraphBuilder, PredictionId, Relaxation, Schedule, SquaredError,
    Tensor, VertexId,
    host::{Activation, Adam, ConvLayer, Dense, HostLayers, HostTensor, Init, Starting},
};

use crate::common::{Numbers, close, tensor};

type T = HostTensor<f64>;

/// Two inputs `x [2, 3]` and `z [4]`.
fn two() -> (GraphBuilder<T>, [VertexId; 2]) {
    let mut b = Graph::builder();
    let inputs = [b.input("x", &[2, 3]).unwrap(), b.input("z", &[4]).unwrap()];
    (b, inputs)
}

fn softplus(x: f64) -> f64 {
    x.exp().ln_1p()
}

/// All that a dense layer may have at once, of two parents, against loops.
#[test]
fn dense_of_two_parents_with_everything() {
    for bias in [true, false] {
        let (mut b, [x, z]) = two();
        let mut init = Init::new(3).with_rule(Starting::Torch);
        let dense = Dense::new(5)
            .flatten()
            .activation_before(Activation::Tanh)
            .scale(-0.7)
            .activation(Activation::Softplus);
        let dense = if bias { dense } else { dense.without_bias() };
        let y = b.layer("y", &[x, z], &dense, &mut init).unwrap();
        let mut graph = b.build().unwrap();
        let mut numbers = Numbers::new(1);
        let (u, v) = (numbers.tensor::<f64>(&[2, 2, 3], 2.0), numbers.tensor::<f64>(&[2, 4], 2.0));
        let target = SquaredError::new(T::zeroed(&[2, 5]).unwrap());
        let clamps = Clamps::new().hold(x, u.clone()).hold(z, v.clone()).drive(y, target);
        let mut rule = Relaxation::new(&graph, Schedule::backprop()).unwrap();
        rule.run(&mut graph, &clamps).unwrap();
        let names: Vec<&str> = graph.named_parameters().map(|(name, _)| name).collect();
        let all = ["y.weight.0", "y.weight.1", "y.bias"];
        assert_eq!(names, all[..if bias { 3 } else { 2 }]);
        let p = graph.parameters();
        let mut expected = Vec::new();
        for n in 0..2 {
            for i in 0..5 {
                let mut sum = if bias { p[2].data()[i] } else { 0.0 };
                sum += (0..6)
                    .map(|j| p[0].data()[6 * i + j] * u.data()[6 * n + j].tanh())
                    .sum::<f64>();
                sum += (0..4)
                    .map(|j| p[1].data()[4 * i + j] * v.data()[4 * n + j].tanh())
                    .sum::<f64>();
                expected.push(softplus(-0.7 * sum));
            }
        }
        close("everything", &rule.value(&graph, y).unwrap().to_vec(), &expected, 1e-14);
        if bias {
            assert!(p[2].data().iter().all(|x| *x != 0.0), "torch's rule starts biases too");
        }
    }
}

/// A residual connection around all the rest, with an activation on either side.
#[test]
fn dense_with_a_residual_connection() {
    let mut b = Graph::<T>::builder();
    let z = b.input("z", &[4]).unwrap();
    let dense = Dense::new(4)
        .without_bias()
        .activation_before(Activation::HardTanh)
        .scale(0.5)
        .activation(Activation::LeakyRelu(0.2))
        .residual();
    let y = b.layer("y", &[z], &dense, &mut Init::new(4)).unwrap();
    let error = b.layer("w", &[z, y], &dense, &mut Init::new(4)).unwrap_err();
    assert!(error.to_string().contains("residual connection has one parent, not 2"), "{error}");
    let error = b.layer("w", &[z], &Dense::new(3).residual(), &mut Init::new(4)).unwrap_err();
    assert!(error.to_string().contains("[4]") && error.to_string().contains("[3]"), "{error}");
    let mut graph = b.build().unwrap();
    let v = Numbers::new(2).tensor::<f64>(&[1, 4], 3.0);
    let clamps =
        Clamps::new().hold(z, v.clone()).drive(y, SquaredError::new(T::zeroed(&[1, 4]).unwrap()));
    let mut rule = Relaxation::new(&graph, Schedule::backprop()).unwrap();
    rule.run(&mut graph, &clamps).unwrap();
    let w = graph.parameters()[0].data();
    let expected: Vec<f64> = (0..4)
        .map(|i| {
            let sum: f64 = (0..4).map(|j| w[4 * i + j] * v.data()[j].clamp(-1.0, 1.0)).sum();
            let sum = 0.5 * sum;
            v.data()[i] + if sum > 0.0 { sum } else { 0.2 * sum }
        })
        .collect();
    close("residual", &rule.value(&graph, y).unwrap().to_vec(), &expected, 1e-15);
    let (_, kind) = graph.structure(PredictionId::new(0)).unwrap();
    assert_eq!(kind, "residual (activation + linear + scale + activation)");
}

/// The short forms are the long ones.
#[test]
fn short_forms() {
    let build = |short: bool| {
        let (mut b, [x, _]) = two();
        let mut init = Init::new(8);
        let image = b.reshape("image", x, &[1, 2, 3]).unwrap();
        let conv = ConvLayer::new(2, 2).activation(Activation::Relu);
        if short {
            let c = b.conv("c", image, &conv, &mut init).unwrap();
            b.dense("d", c, 3, Activation::Gelu, &mut init).unwrap();
        } else {
            let c = b.layer("c", &[image], &conv, &mut init).unwrap();
            let dense = Dense::new(3).activation(Activation::Gelu);
            b.layer("d", &[c], &dense, &mut init).unwrap();
        }
        let graph = b.build().unwrap();
        let kinds: Vec<String> = (0..graph.topology().predictions().len())
            .map(|k| graph.structure(PredictionId::new(k)).unwrap().1.to_owned())
            .collect();
        let parameters: Vec<(String, T)> = graph
            .named_parameters()
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect();
        (kinds, parameters)
    };
    assert_eq!(build(true), build(false));
    assert_eq!(build(true).0[1..], ["conv2d + activation", "linear + activation"]);
}

/// A convolution as a further prediction of a vertex, with new parameters and with old ones.
#[test]
fn convolutions_as_further_predictions() {
    let mut init = Init::new(1);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[2, 4, 4]).unwrap();
    let layer = ConvLayer::new(2, 3).padding(1);
    let h = b.conv("h", x, &layer, &mut init).unwrap();
    let again = b.layer_prediction("again", h, &[x], &layer.clone().precision(0.25), &mut init);
    let shared: Vec<_> = (0..2).map(pc_core::ParamId::new).collect();
    let back = b.layer_prediction("back", x, &[h], &layer.scale(2.0), &shared).unwrap();
    let graph = b.build().unwrap();
    let topology = graph.topology();
    let names: Vec<&str> = graph.named_parameters().map(|(name, _)| name).collect();
    assert_eq!(names, ["h.weight", "h.bias", "again.weight", "again.bias"]);
    let again = topology.prediction(again.unwrap()).unwrap();
    assert_eq!((again.of, again.precision), (h, 0.25));
    let back = topology.prediction(back).unwrap();
    assert_eq!((back.of, &back.parameters), (x, &shared));
}

/// What does not fit is refused in words that say what and where, and leaves nothing behind.
#[test]
fn layers_that_do_not_fit() {
    let (mut b, [x, z]) = two();
    let mut init = Init::new(0);
    let w = b.parameter("w", T::zeroed(&[5, 4]).unwrap()).unwrap();
    let v = b.parameter("v", T::zeroed(&[4]).unwrap()).unwrap();
    let (dense, bare) = (Dense::new(5), Dense::new(5).without_bias());
    let strange = pc_core::ParamId::new(9);
    let before = b.mark();
    let conv = ConvLayer::new(2, 3);
    for (result, words) in [
        (
            b.layer("h", &[z], &dense, &[w]).map(drop),
            &["`h`", "2 parameters", "weight, bias", "1"][..],
        ),
        (b.layer("h", &[z], &bare, &[w, v]).map(drop), &["1 parameters (weight)", "2 were"]),
        (b.layer("h", &[z], &dense, &[w, v]).map(drop), &["`v`", "[4]", "as its bias", "[5]"]),
        (b.layer("h", &[x], &bare, &[w]).map(drop), &["`w`", "[5, 4]", "as its weight", "[5, 3]"]),
        (b.layer("h", &[z], &Dense::new(7).without_bias(), &[w]).map(drop), &["[7, 4]"]),
        (b.layer("h", &[z], &bare, &[strange]).map(drop), &["parameter 9 is not in this graph"]),
        (b.layer("h", &[], &dense, &mut init).map(drop), &["`h`", "parents"]),
        (b.layer("h", &[VertexId::new(7)], &dense, &mut init).map(drop), &["vertex 7 is not"]),
        (b.layer("h", &[x, z], &conv, &mut init).map(drop), &["`h`", "one parent, not 2"]),
        (b.layer("h", &[z], &dense.clone().precision(0.0), &mut init).map(drop), &["precision"]),
        (b.layer("h", &[z], &dense.clone().precision(f64::NAN), &mut init).map(drop), &["NaN"]),
        (b.layer("h", &[z], &dense.clone().scale(f64::NAN), &mut init).map(drop), &["finite"]),
        (
            b.layer("h", &[z], &dense.clone().start(Starting::Normal(f64::NAN)), &mut init)
                .map(drop),
            &["`h.weight` is not finite"],
        ),
        (b.layer_prediction("p", z, &[x], &dense, &mut init).map(drop), &["`z`", "[2, 5]", "[4]"]),
        (
            b.layer_prediction("p", VertexId::new(7), &[x], &dense, &mut init).map(drop),
            &["vertex 7 is not"],
        ),
        (
            b.layer_prediction("p", z, &[z], &Dense::new(4).precision(-1.0), &mut init).map(drop),
            &["precision", "-1"],
        ),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Graph | ErrorKind::Shape | ErrorKind::NotFinite));
        for word in words {
            assert!(error.to_string().contains(word), "`{error}` does not say `{word}`");
        }
    }
    assert_eq!(b.mark().vertices(), before.vertices());
}

/// Discriminative and generative predictions of the same vertices (bidirectional PC; Oliviers, Tang
/// and Bogacz 2025): every layer is predicted from the one below and from the one above.
fn bidirectional(widths: &[usize], generative: f64) -> (Graph<T>, Vec<VertexId>) {
    let mut init = Init::new(2);
    let mut b = Graph::builder();
    let layer = |width: &usize| Dense::new(*width).activation_before(Activation::Tanh);
    let mut vertices = vec![b.input("v0", &widths[..1]).unwrap()];
    for (l, width) in widths.iter().enumerate().skip(1) {
        let below = vertices[l - 1];
        vertices.push(b.layer(&format!("v{l}"), &[below], &layer(width), &mut init).unwrap());
    }
    for (l, width) in widths.iter().enumerate().take(widths.len() - 1) {
        let (name, of, above) = (format!("v{l}.above"), vertices[l], vertices[l + 1]);
        let layer = layer(width).precision(generative);
        b.layer_prediction(&name, of, &[above], &layer, &mut init).unwrap();
    }
    (b.build().unwrap(), vertices)
}

/// Its energy, `sum_l 1/2 |v_l - V tanh(v_(l-1)) - b|^2 + g/2 |v_l - W tanh(v_(l+1)) - c|^2`, by
/// loops over one sample.
fn energy(graph: &Graph<T>, values: &[Vec<f64>], generative: f64) -> f64 {
    let count = values.len() - 1;
    let error = |k: usize, of: &[f64], from: &[f64]| -> f64 {
        let (w, b) = (graph.parameters()[2 * k].data(), graph.parameters()[2 * k + 1].data());
        let row = |i: usize| &w[i * from.len()..(i + 1) * from.len()];
        let mean =
            |i: usize| row(i).iter().zip(from).map(|(w, u)| w * u.tanh()).sum::<f64>() + b[i];
        of.iter().enumerate().map(|(i, v)| (v - mean(i)).powi(2)).sum()
    };
    let up: f64 = (0..count).map(|l| error(l, &values[l + 1], &values[l])).sum();
    let down: f64 = (0..count).map(|l| error(count + l, &values[l], &values[l + 1])).sum();
    0.5 * (up + generative * down)
}

#[test]
fn a_bidirectional_net_relaxes_its_own_energy() {
    const GENERATIVE: f64 = 0.3;
    let (mut graph, v) = bidirectional(&[6, 5, 4, 3], GENERATIVE);
    let mut numbers = Numbers::new(4);
    let (x, y) = (numbers.tensor::<f64>(&[1, 6], 1.0), numbers.tensor::<f64>(&[1, 3], 1.0));
    let clamps = Clamps::new().hold(v[0], x).hold(v[3], y);
    let schedule = Schedule::standard(0.1, 20_000).unwrap().until(1e-11).unwrap();
    let mut rule = Relaxation::new(&graph, schedule).unwrap();
    let outcome = rule.run(&mut graph, &clamps).unwrap();
    let at: Vec<Vec<f64>> = v.iter().map(|v| rule.value(&graph, *v).unwrap().to_vec()).collect();
    let by_hand = energy(&graph, &at, GENERATIVE);
    assert!((outcome.energy.total() - by_hand).abs() <= 1e-12 * by_hand, "{outcome:?} {by_hand}");
    // No state can move and lower it; and what the gradients say is its slope.
    let h = 1e-4;
    for l in [1, 2] {
        for i in 0..at[l].len() {
            let moved = |h: f64| {
                let mut moved = at.clone();
                moved[l][i] += h;
                energy(&graph, &moved, GENERATIVE)
            };
            assert!(((moved(h) - moved(-h)) / (2.0 * h)).abs() <= 1e-7, "v{l}[{i}]");
            assert!(moved(0.1) > by_hand && moved(-0.1) > by_hand);
        }
    }
    for k in 0..graph.parameters().len() {
        let id = pc_core::ParamId::new(k);
        let (old, gradient) =
            (graph.parameters()[k].clone(), rule.gradients().get(id).unwrap().to_vec());
        for (i, found) in gradient.iter().enumerate() {
            let mut moved = |h: f64| {
                let mut new = old.clone();
                new.data_mut()[i] += h;
                graph.set_parameter(id, new).unwrap();
                energy(&graph, &at, GENERATIVE)
            };
            let slope = (moved(h) - moved(-h)) / (2.0 * h);
            moved(0.0);
            assert!((found - slope).abs() <= 1e-9, "parameter {k}[{i}]: {found}, not {slope}");
        }
    }
}

/// One net, trained once, says which class a pattern is of, and which pattern a class has.
#[test]
fn a_bidirectional_net_classifies_and_generates() {
    let (mut graph, v) = bidirectional(&[6, 8, 3], 0.1);
    let patterns = [
        [1.0, 1.0, 1.0, -1.0, -1.0, -1.0],
        [-1.0, 1.0, -1.0, 1.0, -1.0, 1.0],
        [1.0, -1.0, -1.0, -1.0, 1.0, 1.0],
    ];
    let x: T = tensor(&[3, 6], patterns.as_flattened());
    let y: T = tensor(&[3, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    let schedule = || Schedule::standard(0.1, 40).unwrap();
    let mut rule = Relaxation::new(&graph, schedule()).unwrap();
    let mut adam = Adam::new(0.02).unwrap();
    for _ in 0..300 {
        let clamps = Clamps::new().hold(v[0], x.clone()).hold(v[2], y.clone());
        rule.train(&mut graph, &clamps, |graph, g| adam.step(graph.parameters_mut(), g)).unwrap();
    }
    let mut infer = |held: VertexId, at: &T, asked: VertexId| {
        let mut rule = Relaxation::new(&graph, schedule()).unwrap();
        rule.run(&mut graph, &Clamps::new().hold(held, at.clone())).unwrap();
        rule.value(&graph, asked).unwrap().to_vec()
    };
    let classes = infer(v[0], &x, v[2]);
    for (n, row) in classes.chunks(3).enumerate() {
        assert!((0..3).all(|k| k == n || row[k] < row[n] - 0.5), "pattern {n}: {row:?}");
    }
    let generated = infer(v[2], &y, v[0]);
    for (row, pattern) in generated.chunks(6).zip(patterns) {
        assert!(row.iter().zip(pattern).all(|(a, b)| a * b > 0.5), "{row:?}, not {pattern:?}");
    }
}
