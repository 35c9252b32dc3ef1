//! One bidirectional net: it trains, classifies (the image held) and generates (the label held).

use pc_core::{
    Activation, Clamps, Graph, Relaxation, Schedule, Status, Tensor, VertexId,
    host::{Activate, Adam, HostLayers, HostTensor, Init, Linear},
};

use crate::common::Numbers;

type T = HostTensor<f64>;

struct Both {
    graph: Graph<T>,
    x: VertexId,
    y: VertexId,
}

/// x <-> h <-> y: each pair predicts each other.
fn both() -> Both {
    let mut init = Init::new(3);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[6]).unwrap();
    let h = b.dense("h", x, 12, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", h, 3, Activation::Identity, &mut init).unwrap();
    for (name, of, from, shape) in [("down.h", h, y, [12, 3]), ("down.x", x, h, [6, 12])] {
        let weight = init.weight(&shape, shape[1], Activation::Tanh).unwrap();
        let weight = b.parameter(name, weight).unwrap();
        let chain: Vec<pc_core::host::HostVertex<f64>> =
            vec![Box::new(Activate(Activation::Tanh)), Box::new(Linear::without_bias())];
        let chain = Box::new(pc_core::Chain::new(chain).unwrap());
        b.predict(of, chain, &[from], &[weight], 0.3).unwrap();
    }
    Both { graph: b.build().unwrap(), x, y }
}

#[test]
fn one_graph_trains_classifies_and_generates() {
    let mut numbers = Numbers::new(31);
    // Three classes: a prototype each, and a little noise.
    let prototypes = numbers.many(3 * 6, 1.0);
    let count = 60;
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    for n in 0..count {
        let class = n % 3;
        images.extend((0..6).map(|k| prototypes[class * 6 + k] + 0.1 * numbers.next()));
        labels.extend((0..3).map(|k| f64::from(k == class)));
    }
    let (images, labels) = (
        HostTensor::new(&[count, 6], images).unwrap(),
        HostTensor::new(&[count, 3], labels).unwrap(),
    );
    let schedules = [Schedule::standard(0.1, 40).unwrap(), Schedule::epc(0.1, 40).unwrap()];
    for schedule in schedules {
        let Both { mut graph, x, y } = both();
        let trained = Clamps::new().hold(x, images.clone()).hold(y, labels.clone());
        let mut relaxation = Relaxation::new(&graph, schedule.clone()).unwrap();
        let mut adam = Adam::new(0.01).unwrap();
        for _ in 0..200 {
            relaxation.run(&mut graph, &trained).unwrap();
            adam.step(graph.parameters_mut(), relaxation.gradients()).unwrap();
        }
        let settle = match schedule.name() {
            "standard PC" => Schedule::standard(0.1, 500),
            _ => Schedule::epc(0.1, 500),
        };
        let mut relaxation = Relaxation::new(&graph, settle.unwrap()).unwrap();
        let outcome = relaxation.run(&mut graph, &Clamps::new().hold(x, images.clone())).unwrap();
        assert_ne!(outcome.status, Status::Diverged);
        let found = relaxation.value(&graph, y).unwrap().to_vec();
        let best = |row: &[f64]| (0..3).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap();
        let right = found.chunks(3).enumerate().filter(|(n, row)| best(row) == n % 3).count();
        assert!(right >= 57, "{schedule:?}: {right} of {count}");

        let classes = HostTensor::new(&[3, 3], vec![1., 0., 0., 0., 1., 0., 0., 0., 1.]).unwrap();
        relaxation.run(&mut graph, &Clamps::new().hold(y, classes)).unwrap();
        let made = relaxation.value(&graph, x).unwrap().to_vec();
        // Each is nearer to its own class than to any other.
        for (class, made) in made.chunks(6).enumerate() {
            let distance = |other: usize| {
                let own = &prototypes[other * 6..(other + 1) * 6];
                made.iter().zip(own).map(|(a, b)| (a - b).powi(2)).sum::<f64>()
            };
            let nearest = (0..3).min_by(|a, b| distance(*a).total_cmp(&distance(*b))).unwrap();
            assert_eq!(nearest, class, "{schedule:?}");
        }
    }
}
