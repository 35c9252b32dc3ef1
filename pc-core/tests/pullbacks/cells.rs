//! Layers made of several vertices, in graphs: backprop through them against differences of the
//! loss, and what they compute.

use pc_core::{
    Clamps, Graph, ParamId, Relaxation, Schedule, SquaredError, Tensor, VertexId,
    host::{
        Activation, ConvLayer, Dense, Fan, HostLayers, HostTensor, Init, MatMul, Parameterisation,
        SelfAttention,
    },
};

type Wide = HostTensor<f64>;

struct CellNet {
    graph: Graph<Wide>,
    held: Vec<(VertexId, Wide)>,
    output: VertexId,
    target: Wide,
}

impl CellNet {
    /// The loss at the parameters as they are, and the gradients of it.
    fn backprop(&mut self) -> (f64, Vec<Vec<f64>>) {
        let mut clamps = Clamps::new().drive(self.output, SquaredError::new(self.target.clone()));
        for (vertex, value) in &self.held {
            clamps = clamps.hold(*vertex, value.clone());
        }
        let mut relaxation = Relaxation::new(&self.graph, Schedule::backprop()).unwrap();
        let outcome = relaxation.run(&mut self.graph, &clamps).unwrap();
        let gradients = relaxation
            .gradients()
            .iter()
            .map(|(_, gradient)| gradient.expect("a gradient").to_vec())
            .collect();
        (outcome.energy.loss, gradients)
    }

    /// Moves every parameter along a direction, and compares the loss's slope with the gradients.
    fn check(&mut self, what: &str) {
        let (_, gradients) = self.backprop();
        let mut init = Init::new(99);
        for (k, gradient) in gradients.iter().enumerate() {
            let start = self.graph.parameters()[k].clone();
            let v: Wide = init.uniform(start.dims(), 1.0).unwrap();
            let mut at = |h: f64| {
                let mut moved = start.clone();
                moved.axpy(h, &v);
                self.graph.set_parameter(ParamId::new(k), moved).unwrap();
                self.backprop().0
            };
            let h = 1e-3;
            let central = |h: f64, at: &mut dyn FnMut(f64) -> f64| (at(h) - at(-h)) / (2.0 * h);
            let (coarse, fine) = (central(h, &mut at), central(h / 2.0, &mut at));
            let slope = (4.0 * fine - coarse) / 3.0;
            at(0.0);
            let found: f64 = gradient.iter().zip(v.data()).map(|(a, b)| a * b).sum();
            let name = self.graph.named_parameters().nth(k).map(|(name, _)| name.to_owned());
            assert!(
                (found - slope).abs() <= 1e-7 * slope.abs().max(1e-3),
                "{what}, {name:?}: {found:e}, by differences {slope:e}"
            );
        }
    }
}

#[test]
fn two_steps_of_an_lstm() {
    let mut init = Init::new(3);
    let mut b = Graph::<Wide>::builder();
    let (x0, x1) = (b.input("x0", &[3]).unwrap(), b.input("x1", &[3]).unwrap());
    let (h, c) = (b.input("h", &[4]).unwrap(), b.input("c", &[4]).unwrap());
    let parameters = b.lstm_parameters("lstm", 3, 4, &mut init).unwrap();
    let first = b.lstm_cell("t0", x0, h, c, &parameters).unwrap();
    let second = b.lstm_cell("t1", x1, first.hidden, first.cell, &parameters).unwrap();
    let y = b.dense("y", second.hidden, 2, Activation::Identity, &mut init).unwrap();
    let graph = b.build().unwrap();
    // Six vertices a step, and one set of parameters for both.
    assert_eq!(graph.topology().predictions().len(), 2 * 6 + 1);
    assert_eq!(graph.parameters().len(), 4 * 3 + 2);
    let held = vec![
        (x0, init.uniform(&[2, 3], 1.0).unwrap()),
        (x1, init.uniform(&[2, 3], 1.0).unwrap()),
        (h, init.uniform(&[2, 4], 1.0).unwrap()),
        (c, init.uniform(&[2, 4], 1.0).unwrap()),
    ];
    let target = init.uniform(&[2, 2], 1.0).unwrap();
    CellNet { graph, held, output: y, target }.check("lstm");
}

#[test]
fn steps_of_a_recurrent_cell() {
    let mut init = Init::new(4);
    let mut b = Graph::<Wide>::builder();
    let h = b.input("h", &[4]).unwrap();
    let parameters = b.gate_parameters("cell", 3, 4, Activation::Tanh, &mut init).unwrap();
    let mut held = vec![(h, init.uniform(&[2, 4], 1.0).unwrap())];
    let mut state = h;
    for step in 0..3 {
        let x = b.input(&format!("x{step}"), &[3]).unwrap();
        held.push((x, init.uniform(&[2, 3], 1.0).unwrap()));
        state = b.rnn_cell(&format!("h{step}"), x, state, &parameters).unwrap();
    }
    let y = b.layer("y", &[state], &Dense::new(2).without_bias(), &mut init).unwrap();
    let graph = b.build().unwrap();
    assert_eq!(graph.topology().predictions().len(), 4);
    CellNet { graph, held, output: y, target: init.uniform(&[2, 2], 1.0).unwrap() }.check("rnn");
}

#[test]
fn attention_over_embedded_words() {
    for (heads, causal) in [(1, false), (2, true)] {
        let mut init = Init::new(5);
        let mut b = Graph::<Wide>::builder();
        let words = b.input("words", &[3]).unwrap();
        let rows = b.embedding("rows", words, 5, 4, &mut init).unwrap();
        let placed = b.add_parameter("placed", rows, 0.1, &mut init).unwrap();
        let attention = b.self_attention("a", placed, heads, causal, &mut init).unwrap();
        let sum = b.sum("sum", &[placed, attention.output]).unwrap();
        let y = b.layer_norm("y", sum).unwrap();
        let graph = b.build().unwrap();
        assert_eq!(graph.topology().predictions().len(), 2 + 7 + 2);
        let held =
            vec![(words, HostTensor::new(&[2, 3], vec![0.0, 4.0, 1.0, 2.0, 2.0, 3.0]).unwrap())];
        let mut net =
            CellNet { graph, held, output: y, target: init.uniform(&[2, 3, 4], 1.0).unwrap() };
        net.check(&format!("attention, {heads} heads"));
    }
}

/// Gradients with every parameterisation, and what it does: maps by their factors, scores by the
/// width of a head where the scaling is muPC's.
#[test]
fn attention_is_scaled_by_a_parameterisation() {
    let (length, width, heads, depth) = (3, 4, 2, 5);
    for by in [Parameterisation::Standard, Parameterisation::Ntk, Parameterisation::MuPc] {
        for causal in [false, true] {
            let spec = SelfAttention::new(heads).parameterised(by, depth);
            let spec = if causal { spec.causal() } else { spec };
            let mut init = Init::new(7);
            let mut b = Graph::<Wide>::builder();
            let x = b.input("x", &[length, width]).unwrap();
            let attention = b.attention("a", x, &spec, &mut init).unwrap();
            let mut graph = b.build().unwrap();
            let names: Vec<String> =
                graph.named_parameters().map(|(name, _)| name.to_owned()).collect();
            let maps = ["queries", "keys", "values", "output"];
            assert_eq!(names, maps.map(|map| format!("a.{map}.weight")));
            // By hand, of all places.
            let value: Wide = init.uniform(&[1, length, width], 1.0).unwrap();
            let hidden = by.factor(Fan::hidden(width));
            let mapped = |rows: &[f64], k: usize, factor: f64| -> Vec<f64> {
                let weight = graph.parameters()[k].data();
                let one = |row: &[f64], out: usize| -> f64 {
                    let weights = &weight[out * width..(out + 1) * width];
                    factor * row.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>()
                };
                rows.chunks(width).flat_map(|r| (0..width).map(move |o| one(r, o))).collect()
            };
            let [q, k, v] = [0, 1, 2].map(|map| mapped(value.data(), map, hidden));
            let part = width / heads;
            let over =
                if by == Parameterisation::MuPc { part as f64 } else { (part as f64).sqrt() };
            let mut mix = vec![0.0; length * width];
            for head in 0..heads {
                let at = |place: usize| place * width + head * part;
                for place in 0..length {
                    let seen = if causal { place + 1 } else { length };
                    let score = |other: usize| {
                        let pairs = (0..part).map(|i| q[at(place) + i] * k[at(other) + i]);
                        (pairs.sum::<f64>() / over).exp()
                    };
                    let sum: f64 = (0..seen).map(score).sum();
                    for other in 0..seen {
                        for i in 0..part {
                            mix[at(place) + i] += score(other) / sum * v[at(other) + i];
                        }
                    }
                }
            }
            let output = mapped(&mix, 3, by.factor(Fan::hidden(width).over(depth)));
            let found = graph.predict(&[(x, &value)], attention.output).unwrap();
            for (found, by_hand) in found.data().iter().zip(&output) {
                assert!((found - by_hand).abs() <= 1e-14, "{by:?}: {found} and {by_hand}");
            }
            let target = init.uniform(&[2, length, width], 1.0).unwrap();
            let held = vec![(x, init.uniform(&[2, length, width], 1.0).unwrap())];
            let mut net = CellNet { graph, held, output: attention.output, target };
            net.check(&format!("attention by {by:?}"));
        }
    }
}

/// Causal attention: what comes later changes nothing before.
#[test]
fn causal_attention_does_not_look_ahead() {
    let mut init = Init::new(6);
    let mut b = Graph::<Wide>::builder();
    let x = b.input("x", &[4, 6]).unwrap();
    let attention = b.self_attention("a", x, 3, true, &mut init).unwrap();
    let mut graph = b.build().unwrap();
    let mut forward = |value: &Wide| {
        let clamps = Clamps::new()
            .hold(x, value.clone())
            .drive(attention.output, SquaredError::new(HostTensor::zeroed(&[1, 4, 6]).unwrap()));
        let mut relaxation = Relaxation::new(&graph, Schedule::backprop()).unwrap();
        relaxation.run(&mut graph, &clamps).unwrap();
        relaxation.value(&graph, attention.output).expect("a value").to_vec()
    };
    let before: Wide = init.uniform(&[1, 4, 6], 1.0).unwrap();
    let mut after = before.clone();
    after.data_mut()[2 * 6] += 1.0;
    let (before, after) = (forward(&before), forward(&after));
    assert_eq!(before[..12], after[..12]);
    assert!(before[12..].iter().zip(&after[12..]).all(|(a, b)| a != b));
}

#[test]
fn a_small_convolutional_net() {
    let mut init = Init::new(7);
    let mut b = Graph::<Wide>::builder();
    let x = b.input("x", &[1, 8, 8]).unwrap();
    let c1 = b
        .conv(
            "c1",
            x,
            &ConvLayer::new(3, 3).padding(1).activation(Activation::Tanh).max_pool(2, 2),
            &mut init,
        )
        .unwrap();
    let c2 = b
        .conv(
            "c2",
            c1,
            &ConvLayer::new(4, 3)
                .stride(1)
                .without_bias()
                .activation(Activation::Sigmoid)
                .avg_pool(2, 1),
            &mut init,
        )
        .unwrap();
    assert_eq!(b.shape(c1).unwrap(), [3, 4, 4]);
    assert_eq!(b.shape(c2).unwrap(), [4, 1, 1]);
    let flat = b.flatten("flat", c2).unwrap();
    let y = b.dense("y", flat, 2, Activation::Identity, &mut init).unwrap();
    let graph = b.build().unwrap();
    let held = vec![(x, init.uniform(&[3, 1, 8, 8], 1.0).unwrap())];
    CellNet { graph, held, output: y, target: init.uniform(&[3, 2], 1.0).unwrap() }.check("conv");
}

/// The layers that only pass on what they are asked for.
#[test]
fn layers_of_one_vertex() {
    let mut init = Init::new(8);
    let mut b = Graph::<Wide>::builder();
    let x = b.input("x", &[2, 6]).unwrap();
    let left = b.split("left", x, 1, 0, 3).unwrap();
    let right = b.split("right", x, 1, 3, 3).unwrap();
    let product = b.product("product", &[left, right]).unwrap();
    let scores = b.matmul("scores", left, right, MatMul { transpose_b: true, scale: 0.5 }).unwrap();
    let weights = b.softmax("weights", scores).unwrap();
    let mix = b.matmul("mix", weights, product, MatMul::default()).unwrap();
    let both = b.concat("both", &[mix, left], 1).unwrap();
    let image = b.reshape("image", both, &[1, 3, 4]).unwrap();
    let largest = b.max_pool("largest", image, 2, 1).unwrap();
    let mean = b.avg_pool("mean", image, 2, 1).unwrap();
    let sum = b.sum("sum", &[largest, mean]).unwrap();
    let scaled = b.scale("scaled", sum, 2.0).unwrap();
    let active = b.activate("active", scaled, Activation::Gelu).unwrap();
    let flat = b.flatten("flat", active).unwrap();
    // Two uses of one weight.
    let weight = b.parameter("shared", init.uniform(&[6, 6], 0.5).unwrap()).unwrap();
    let layer = Dense::new(6).without_bias();
    let h = b.layer("h", &[flat], &layer.clone().activation(Activation::Tanh), &[weight]).unwrap();
    let y = b.layer("y", &[h], &layer, &[weight]).unwrap();
    let graph = b.build().unwrap();
    let held = vec![(x, init.uniform(&[3, 2, 6], 1.0).unwrap())];
    CellNet { graph, held, output: y, target: init.uniform(&[3, 6], 1.0).unwrap() }.check("shared");
}
