//! PC graphs beside a plain program, neuron by neuron, and what they refuse.

use pc_core::{
    Activation, Clamps, Schedule, Start, Tensor,
    host::{HostTensor, Init, Sgd},
};
use pc_models::{Backend, Hold, Host, PcGraph, Wiring};

type T = HostTensor<f64>;

fn uniform(init: &mut Init, shape: &[usize], bound: f64) -> T {
    init.uniform(shape, bound).unwrap()
}

/// The same neurons by loops: `w [to, from]`, `b`, and states of one sample after another.
struct Plain {
    neurons: usize,
    edges: Vec<bool>,
    w: Vec<f64>,
    b: Vec<f64>,
    bias: bool,
    f: Activation,
}

impl Plain {
    fn f(&self, x: f64) -> (f64, f64) {
        match self.f {
            Activation::Tanh => (x.tanh(), 1.0 - x.tanh().powi(2)),
            Activation::Sigmoid => {
                let y = 1.0 / (1.0 + (-x).exp());
                (y, y * (1.0 - y))
            }
            _ => (x, 1.0),
        }
    }

    /// `steps` steps of iPC from `h`: every step moves states and weights by the same errors.
    fn ipc(&mut self, h: &mut [f64], how: &[Hold], gamma: f64, alpha: f64, steps: usize) {
        let n = self.neurons;
        for _ in 0..steps {
            let (mut dw, mut db) = (vec![0.0; n * n], vec![0.0; n]);
            for h in h.chunks_mut(n) {
                let f: Vec<(f64, f64)> = h.iter().map(|h| self.f(*h)).collect();
                let mut e = vec![0.0; n];
                for i in 0..n {
                    // Nothing predicts a neuron of a block that nothing sends to.
                    let into = (0..n).map(|j| self.w[i * n + j] * f[j].0).sum::<f64>();
                    e[i] = if how[i] == Hold::Set { 0.0 } else { h[i] - into - self.b[i] };
                }
                for i in 0..n {
                    db[i] += e[i];
                    for j in (0..n).filter(|j| self.edges[i * n + j]) {
                        dw[i * n + j] += e[i] * f[j].0;
                    }
                }
                for i in (0..n).filter(|i| how[*i] == Hold::Free) {
                    let up: f64 = (0..n).map(|k| self.w[k * n + i] * e[k]).sum();
                    h[i] += gamma * (-e[i] + f[i].1 * up);
                }
            }
            self.w.iter_mut().zip(&dw).for_each(|(w, d)| *w += alpha * d);
            if self.bias {
                self.b.iter_mut().zip(&db).for_each(|(b, d)| *b += alpha * d);
            }
        }
    }
}

/// The weights and biases of a graph as matrices of all neurons.
fn read(net: &PcGraph<Host<f64>>) -> (Vec<f64>, Vec<f64>) {
    let n = net.wiring().neurons();
    let (mut w, mut b) = (vec![0.0; n * n], vec![0.0; n]);
    let parameters: Vec<(String, Vec<f64>)> =
        net.graph().named_parameters().map(|(name, p)| (name.to_owned(), p.to_vec())).collect();
    for (name, to) in net.wiring().blocks() {
        let sends = |from: &std::ops::Range<usize>| {
            let pairs = to.clone().flat_map(|i| from.clone().map(move |j| (i, j)));
            pairs.into_iter().any(|(i, j)| net.wiring().sends(j, i).unwrap())
        };
        let senders: Vec<_> =
            net.wiring().blocks().map(|(_, range)| range).filter(|range| sends(range)).collect();
        for (k, from) in senders.iter().enumerate() {
            let several = if senders.len() > 1 { format!(".{k}") } else { String::new() };
            let key = format!("{name}.weight{several}");
            let (_, own) = parameters.iter().find(|(name, _)| *name == key).unwrap();
            for (row, i) in to.clone().enumerate() {
                for (column, j) in from.clone().enumerate() {
                    w[i * n + j] = own[row * from.len() + column];
                }
            }
        }
        if let Some((_, own)) = parameters.iter().find(|(p, _)| *p == format!("{name}.bias")) {
            b[to].copy_from_slice(own);
        }
    }
    (w, b)
}

/// Graphs of nine neurons: what they are, wiring, which blocks nothing sends to, and whether a
/// forward start leads everywhere.
fn wirings(seed: u64) -> Vec<(&'static str, Wiring)> {
    let mut init = Init::new(seed);
    let layers = [("x", 4), ("h", 3), ("y", 2)];
    let one = [("neurons", 9)];
    let draws = uniform(&mut init, &[9, 9], 1.0);
    let some: Vec<f64> = draws.data().iter().map(|x| f64::from(u8::from(*x > 0.2))).collect();
    let hierarchy = Wiring::layered(&layers).unwrap();
    let matrix: Vec<f64> =
        (0..81).map(|k| f64::from(u8::from(hierarchy.sends(k % 9, k / 9).unwrap()))).collect();
    vec![
        ("layers", hierarchy),
        ("layers in one block", Wiring::of_matrix(&one, &matrix).unwrap()),
        ("full", Wiring::full(&one).unwrap()),
        ("full in three blocks", Wiring::full(&layers).unwrap()),
        ("random, self-loops allowed", Wiring::of_matrix(&one, &some).unwrap()),
        ("random in three blocks", Wiring::of_matrix(&layers, &some).unwrap()),
        (
            "both ways",
            Wiring::layered(&layers).unwrap().connect("h", "x").unwrap().connect("h", "h").unwrap(),
        ),
    ]
}

#[test]
fn states_and_weights_of_ipc_are_a_plain_programs() {
    let (gamma, alpha, steps) = (0.2, 0.03, 6);
    let mut worst: f64 = 0.0;
    for seed in 0..3 {
        for (name, wiring) in wirings(seed) {
            for f in [Activation::Tanh, Activation::Sigmoid, Activation::Identity] {
                for bias in [true, false] {
                    let mut init = Init::new(100 + seed);
                    let schedule = Schedule::ipc(gamma, steps).unwrap().starting(Start::Zero);
                    let host = Host::<f64>::new();
                    let mut net =
                        PcGraph::new(&host, &wiring, f, bias, schedule.clone(), &mut init).unwrap();
                    let (w, b) = read(&net);
                    let edges =
                        (0..81).map(|k| wiring.sends(k % 9, k / 9).unwrap()).collect::<Vec<_>>();
                    let mut plain = Plain { neurons: 9, edges, w, b, bias, f };
                    let mut sgd = Sgd::new(alpha).unwrap();
                    for batch in 0..10 {
                        // Another batch size and other neurons held each time. Roots have no error.
                        let count = 1 + batch % 3;
                        let values = uniform(&mut init, &[count, 9], 1.0);
                        let how: Vec<Hold> = (0..9)
                            .map(|k| match (k + batch) % 4 {
                                _ if k < 4 && roots(&net, k) => Hold::Set,
                                0 | 1 => Hold::Seen,
                                2 => Hold::Free,
                                _ => Hold::Set,
                            })
                            .collect();
                        let clamps = net.hold(&values, &how).unwrap();
                        net.learn(&clamps, |graph, gradients| {
                            sgd.step(graph.parameters_mut(), gradients)
                        })
                        .unwrap();
                        let mut h = values.to_vec();
                        h.iter_mut().zip(how.iter().cycle()).for_each(|(h, how)| {
                            *h = if *how == Hold::Free { 0.0 } else { *h };
                        });
                        plain.ipc(&mut h, &how, gamma, alpha, steps);
                        let states = states(&net);
                        let (w, b) = read(&net);
                        let differences = |a: &[f64], b: &[f64]| {
                            assert_eq!(a.len(), b.len());
                            let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
                            assert!(off.clone().all(f64::is_finite));
                            off.fold(0.0, f64::max)
                        };
                        let off = differences(&states, &h)
                            .max(differences(&w, &plain.w))
                            .max(if bias { differences(&b, &plain.b) } else { 0.0 });
                        assert!(off <= 1e-12, "{name}, {f:?}, bias {bias}, batch {batch}: {off:e}");
                        worst = worst.max(off);
                    }
                }
            }
        }
    }
    println!("the largest difference in states and weights: {worst:e}");
}

/// Whether nothing sends to the block of a neuron.
fn roots(net: &PcGraph<Host<f64>>, neuron: usize) -> bool {
    let blocks = net.wiring().blocks();
    let own = blocks.into_iter().find(|(_, range)| range.contains(&neuron)).unwrap().0;
    net.graph().topology().is_root(net.graph().vertex(own).unwrap())
}

fn states(net: &PcGraph<Host<f64>>) -> Vec<f64> {
    let blocks: Vec<(Vec<f64>, usize)> = net
        .wiring()
        .blocks()
        .map(|(name, range)| {
            let vertex = net.graph().vertex(name).unwrap();
            (net.relaxation().value(net.graph(), vertex).unwrap().to_vec(), range.len())
        })
        .collect();
    let batch = blocks[0].0.len() / blocks[0].1;
    (0..batch)
        .flat_map(|n| blocks.iter().flat_map(move |(own, width)| &own[n * width..(n + 1) * width]))
        .copied()
        .collect()
}

/// A query of an identity graph is the solution of a linear system.
#[test]
fn a_query_of_a_linear_graph_is_where_the_energy_is_least() {
    for seed in 0..4 {
        let wiring = Wiring::full(&[("neurons", 5)]).unwrap();
        let schedule = Schedule::standard(0.1, 20_000).unwrap().starting(Start::Zero);
        let schedule = schedule.until(1e-12).unwrap();
        let mut init = Init::new(seed);
        let host = Host::<f64>::new();
        let mut net =
            PcGraph::new(&host, &wiring, Activation::Identity, true, schedule, &mut init).unwrap();
        for free in [3, 1] {
            let values = uniform(&mut init, &[2, 5], 1.0);
            let how: Vec<Hold> =
                (0..5).map(|k| if k == free { Hold::Free } else { Hold::Seen }).collect();
            let found = net.query(&net.hold(&values, &how).unwrap()).unwrap().to_vec();
            let (w, b) = read(&net);
            for n in 0..2 {
                // dF/dh_k = 0 for the one free neuron k: e_k = sum over i of W_ik e_i.
                let h = &values.data()[5 * n..5 * n + 5];
                let without = |i: usize| -> f64 {
                    let known = (0..5).filter(|j| *j != free);
                    known.map(|j| w[5 * i + j] * h[j]).sum::<f64>() + b[i]
                };
                let others = (0..5).filter(|i| *i != free);
                let (mut a, mut c) = (1.0, without(free));
                for i in others {
                    let own = w[5 * i + free];
                    a += own * own;
                    c += own * (h[i] - without(i));
                }
                assert!((found[5 * n + free] - c / a).abs() < 1e-9);
            }
        }
    }
}

#[test]
fn weights_that_are_not_there_stay_away() {
    let wiring = Wiring::full(&[("neurons", 6)]).unwrap();
    let schedule = Schedule::ipc(0.1, 5).unwrap().starting(Start::Zero);
    let mut init = Init::new(1);
    let host = Host::<f64>::new();
    let mut net =
        PcGraph::new(&host, &wiring, Activation::Tanh, true, schedule, &mut init).unwrap();
    let mut adam = pc_core::host::Adam::new(0.01).unwrap();
    let clamps = net.hold(&uniform(&mut init, &[3, 6], 1.0), &[Hold::Seen; 6]).unwrap();
    net.learn(&clamps, |graph, g| adam.step(graph.parameters_mut(), g)).unwrap();
    let (w, _) = read(&net);
    assert!(w.iter().step_by(7).all(|own| *own == 0.0));
    assert!(w.iter().filter(|w| **w != 0.0).count() == 30);
}

#[test]
fn what_does_not_fit_is_refused() {
    let says = |error: pc_core::Error, what: &str| {
        assert!(error.to_string().contains(what), "{error}");
    };
    says(Wiring::empty(&[]).unwrap_err(), "needs a block");
    says(Wiring::full(&[("a", 0)]).unwrap_err(), "`a` has no neurons");
    says(Wiring::full(&[("a", usize::MAX), ("b", 2)]).unwrap_err(), "million");
    says(Wiring::of_matrix(&[("a", 2)], &[0.0; 3]).unwrap_err(), "2 x 2 elements, not 3");
    says(Wiring::of_matrix(&[("a", 2)], &[0., 0.5, 0., 0.]).unwrap_err(), "from neuron 1 to 0");
    says(Wiring::of_matrix(&[("a", 1)], &[f64::NAN]).unwrap_err(), "NaN");
    says(Wiring::full(&[("a", 2)]).unwrap().connect("a", "b").unwrap_err(), "no block is called");
    says(Wiring::full(&[("a", 2)]).unwrap().sends(0, 2).unwrap_err(), "there are 2 neurons");

    let host = Host::<f64>::new();
    let zero = || Schedule::ipc(0.1, 5).unwrap().starting(Start::Zero);
    let new = |wiring: &Wiring, schedule| {
        PcGraph::new(&host, wiring, Activation::Tanh, true, schedule, &mut Init::new(0))
    };
    let same = Wiring::full(&[("a", 2), ("a", 2)]).unwrap();
    says(new(&same, zero()).unwrap_err(), "a");
    says(new(&Wiring::empty(&[("a", 2)]).unwrap(), zero()).unwrap_err(), "no predictions");
    let full = Wiring::full(&[("a", 3)]).unwrap();
    let mut net = new(&full, zero()).unwrap();
    let values = |shape: &[usize]| HostTensor::<f64>::zeroed(shape).unwrap();
    says(net.hold(&values(&[2, 2]), &[Hold::Seen; 3]).unwrap_err(), "[2, 2]");
    says(net.hold(&values(&[2, 3]), &[Hold::Seen; 2]).unwrap_err(), "how 2 neurons");
    says(net.query(&Clamps::new()).unwrap_err(), "no vertex is clamped");
    let mut bad = values(&[1, 3]);
    bad.fill(f64::NAN);
    let clamps = net.hold(&bad, &[Hold::Seen, Hold::Free, Hold::Free]).unwrap();
    says(net.query(&clamps).unwrap_err(), "not finite");
    // A forward start that leads nowhere, and a rate that is too large.
    net.set_schedule(Schedule::ipc(0.1, 5).unwrap()).unwrap();
    let ones = host.tensor(&[1, 3], &[1.0; 3]).unwrap();
    let how = [Hold::Seen, Hold::Free, Hold::Free];
    assert!(net.query(&net.hold(&ones, &how).unwrap()).is_err());
    net.set_schedule(Schedule::standard(9.0, 500).unwrap().starting(Start::Zero)).unwrap();
    says(net.query(&net.hold(&ones, &how).unwrap()).unwrap_err(), "smaller rate");
}

/// What two batches and a query leave, on any backend.
fn found<B: Backend>(backend: &B, wiring: &Wiring) -> Vec<f64> {
    let mut init = Init::new(7);
    let schedule = Schedule::standard(0.1, 8).unwrap().starting(Start::Zero);
    let mut net =
        PcGraph::new(backend, wiring, Activation::Tanh, true, schedule, &mut init).unwrap();
    let mut all = Vec::new();
    let how = [
        Hold::Seen,
        Hold::Seen,
        Hold::Free,
        Hold::Set,
        Hold::Free,
        Hold::Seen,
        Hold::Set,
        Hold::Seen,
        Hold::Free,
    ];
    for count in [2, 3] {
        let values = uniform(&mut init, &[count, 9], 1.0);
        let values = backend.tensor(&[count, 9], values.data()).unwrap();
        let clamps = net.hold(&values, &how).unwrap();
        net.learn(&clamps, |graph, gradients| {
            for (id, gradient) in gradients.iter() {
                all.extend(gradient.unwrap().to_vec());
                graph.parameters_mut()[id.index()].axpy(-0.1, gradient.unwrap());
            }
            Ok(())
        })
        .unwrap();
        all.extend(net.query(&clamps).unwrap().to_vec());
    }
    all
}

fn agrees<B: Backend>(backend: &B, tolerance: f64) {
    let layers = [("x", 4), ("h", 3), ("y", 2)];
    for wiring in [Wiring::full(&layers).unwrap(), Wiring::full(&[("neurons", 9)]).unwrap()] {
        let (found, wanted) = (found(backend, &wiring), found(&Host::<f64>::new(), &wiring));
        assert_eq!(found.len(), wanted.len());
        for (a, b) in found.iter().zip(&wanted) {
            assert!((a - b).abs() <= tolerance, "{a} and {b}");
        }
    }
}

#[test]
fn host_in_f32() {
    agrees(&Host::<f32>::new(), 1e-5);
}

#[cfg(feature = "burn")]
#[test]
fn burn() {
    use burn::tensor::{DType, Device};
    agrees(&pc_models::Burn::new(&Device::default(), DType::F64), 1e-12);
}

#[cfg(feature = "tch")]
#[test]
fn libtorch() {
    agrees(&pc_models::Tch::new(tch::Kind::Double, tch::Device::Cpu), 1e-12);
}
