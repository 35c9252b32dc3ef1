//! Universal Hopfield networks beside plain programs, finite differences, and their energies.

use pc_core::{
    Clamps, ErrorKind, Graph, Relaxation, Schedule, SquaredError, Tensor,
    backend::GraphTensor,
    host::{HostTensor, Init},
};
use pc_models::{
    Backend, Host,
    hopfield::{
        Cosine, Dot, Euclidean, Identity, JensenShannon, KullbackLeibler, Manhattan, Max, Memory,
        Normalised, Polynomial, Reciprocal, ReverseKullbackLeibler, Separation, Similarity,
        Softmax,
    },
};

type Wide = HostTensor<f64>;

/// (patterns, numbers of each, queries).
const SHAPES: [(usize, usize, usize); 4] = [(1, 1, 1), (3, 5, 2), (7, 12, 4), (20, 33, 3)];

fn drawn(init: &mut Init, shape: &[usize]) -> Wide {
    init.uniform(shape, 1.0).unwrap()
}

/// Numbers between 0 and 1.
fn shares(init: &mut Init, shape: &[usize]) -> Wide {
    let mut drawn = drawn(init, shape);
    drawn.data_mut().iter_mut().for_each(|x| *x = 0.5 + 0.5 * *x);
    drawn
}

fn signs(init: &mut Init, shape: &[usize]) -> Wide {
    let mut drawn = drawn(init, shape);
    drawn.data_mut().iter_mut().for_each(|x| *x = if *x < 0.0 { -1.0 } else { 1.0 });
    drawn
}

fn close(found: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len());
    for (a, b) in found.iter().zip(wanted) {
        assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{a} and {b}");
    }
}

/// `sum_k w(scores)_k m_k` by loops.
fn plain(stored: &Wide, queries: &Wide, weigh: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let width = stored.dims()[1];
    let mut all = Vec::new();
    for query in queries.data().chunks(width) {
        let mut scores = Vec::new();
        for key in stored.data().chunks(width) {
            let mut score = 0.0;
            for k in 0..width {
                score += key[k] * query[k];
            }
            scores.push(score);
        }
        let weights = weigh(&scores);
        for k in 0..width {
            let mut sum = 0.0;
            for (w, key) in weights.iter().zip(stored.data().chunks(width)) {
                sum += w * key[k];
            }
            all.push(sum);
        }
    }
    all
}

#[test]
fn classical_hopfield_networks_are_a_case() {
    for (seed, (count, width, batch)) in SHAPES.into_iter().enumerate() {
        let mut init = Init::new(seed as u64);
        let patterns = signs(&mut init, &[count, width]);
        let memory = Memory::new(&patterns).unwrap().separation(Identity).bipolar();
        for _ in 0..3 {
            let queries = signs(&mut init, &[batch, width]);
            // The weight matrix W = sum m m^T, and all units at once.
            let mut weights = vec![0.0; width * width];
            for m in patterns.data().chunks(width) {
                for i in 0..width {
                    for j in 0..width {
                        weights[i * width + j] += m[i] * m[j];
                    }
                }
            }
            let mut wanted = Vec::new();
            for q in queries.data().chunks(width) {
                for i in 0..width {
                    let field: f64 = (0..width).map(|j| weights[i * width + j] * q[j]).sum();
                    wanted.push(if field < 0.0 { -1.0 } else { 1.0 });
                }
            }
            assert_eq!(memory.recall(&queries).unwrap().data(), wanted);
        }
    }
}

#[test]
fn dense_hopfield_networks_are_a_case() {
    for (seed, (count, width, batch)) in SHAPES.into_iter().enumerate() {
        let mut init = Init::new(10 + seed as u64);
        let patterns = drawn(&mut init, &[count, width]);
        for order in [1, 2, 3, 5] {
            let separation = Polynomial::new(order).unwrap();
            let memory = Memory::new(&patterns).unwrap().separation(separation);
            let queries = drawn(&mut init, &[batch, width]);
            let power = |s: &[f64]| {
                s.iter().map(|s| (0..order).fold(1.0, |p, _| p * s)).collect::<Vec<f64>>()
            };
            let wanted = plain(&patterns, &queries, power);
            close(memory.recall(&queries).unwrap().data(), &wanted, 1e-12);
        }
    }
}

#[test]
fn modern_hopfield_networks_are_a_case() {
    for (seed, (count, width, batch)) in SHAPES.into_iter().enumerate() {
        let mut init = Init::new(20 + seed as u64);
        let patterns = drawn(&mut init, &[count, width]);
        for beta in [0.1, 1.0, 8.0] {
            let separation = Softmax::new(beta).unwrap();
            let memory = Memory::new(&patterns).unwrap().separation(separation);
            let queries = drawn(&mut init, &[batch, width]);
            let softmax = |s: &[f64]| {
                let sum: f64 = s.iter().map(|s| (beta * s).exp()).sum();
                s.iter().map(|s| (beta * s).exp() / sum).collect::<Vec<f64>>()
            };
            let wanted = plain(&patterns, &queries, softmax);
            close(memory.recall(&queries).unwrap().data(), &wanted, 1e-12);
            // And asked again.
            let second = Wide::new(&[batch, width], wanted).unwrap();
            let wanted = plain(&patterns, &second, softmax);
            close(memory.recall_again(&queries, 2).unwrap().data(), &wanted, 1e-12);
        }
    }
}

/// Gives a memory another part.
type With = Box<dyn Fn(Memory) -> Memory>;

/// Each with whether it is the negative of a distance.
fn all_similarities() -> Vec<(With, bool)> {
    vec![
        (Box::new(|m| m.similarity(Dot)), false),
        (Box::new(|m| m.similarity(Cosine)), false),
        (Box::new(|m| m.similarity(Euclidean)), true),
        (Box::new(|m| m.similarity(Manhattan)), true),
        (Box::new(|m| m.similarity(Reciprocal(Euclidean))), false),
        (Box::new(|m| m.similarity(Reciprocal(Manhattan))), false),
        (Box::new(|m| m.similarity(KullbackLeibler)), true),
        (Box::new(|m| m.similarity(ReverseKullbackLeibler)), true),
        (Box::new(|m| m.similarity(JensenShannon)), true),
    ]
}

#[test]
fn scores_are_what_their_names_say() {
    let mut init = Init::new(31);
    for _ in 0..5 {
        let (m, q) = (shares(&mut init, &[9]), shares(&mut init, &[9]));
        let (m, q) = (m.data(), q.data());
        let sum = |of: &dyn Fn(f64, f64) -> f64| m.iter().zip(q).map(|(m, q)| of(*m, *q)).sum();
        let (dot, mm, qq): (f64, f64, f64) =
            (sum(&|m, q| m * q), sum(&|m, _| m * m), sum(&|_, q| q * q));
        let (squares, sides): (f64, f64) =
            (sum(&|m, q| (m - q).powi(2)), sum(&|m, q| (m - q).abs()));
        let raised = |x: &[f64]| -> Vec<f64> {
            let all: f64 = x.iter().map(|x| x + 1e-6).sum();
            x.iter().map(|x| (x + 1e-6) / all).collect()
        };
        let (p, r) = (raised(m), raised(q));
        let half: Vec<f64> = p.iter().zip(&r).map(|(p, r)| 0.5 * (p + r)).collect();
        let kl = |a: &[f64], b: &[f64]| -> f64 {
            a.iter().zip(b).map(|(a, b)| a * (a.ln() - b.ln())).sum()
        };
        let wanted = [
            (Dot.score(m, q), dot),
            (Cosine.score(m, q), dot / (mm.sqrt() * qq.sqrt())),
            (Euclidean.score(m, q), -squares),
            (Manhattan.score(m, q), -sides),
            (Reciprocal(Euclidean).score(m, q), 1.0 / squares),
            (Reciprocal(Manhattan).score(m, q), 1.0 / sides),
            (KullbackLeibler.score(m, q), -kl(&p, &r)),
            (ReverseKullbackLeibler.score(m, q), -kl(&r, &p)),
            (JensenShannon.score(m, q), -0.5 * (kl(&p, &half) + kl(&r, &half))),
        ];
        for (found, wanted) in wanted {
            close(&[found], &[wanted], 1e-12);
        }
    }
}

#[test]
fn every_distance_recalls_what_is_stored() {
    for (seed, (count, width, _)) in SHAPES.into_iter().enumerate().skip(1) {
        let mut init = Init::new(40 + seed as u64);
        let patterns = shares(&mut init, &[count, width]);
        for (with, distance) in all_similarities() {
            let memory = with(Memory::new(&patterns).unwrap().separation(Max));
            let found = memory.recall(&patterns).unwrap();
            if distance {
                assert_eq!(found, patterns, "{memory:?}");
            }
            // An exact match of a reciprocal is finite.
            assert!(memory.scores(&patterns).unwrap().is_finite());
        }
    }
}

/// Never above what it was, but for rounding.
fn falls(memory: &Memory, start: &Wide, steps: usize) {
    let mut at = start.clone();
    let mut energies = memory.energy(&at).unwrap();
    let first = energies.clone();
    for _ in 0..steps {
        at = memory.recall(&at).unwrap();
        let next = memory.energy(&at).unwrap();
        for (next, before) in next.iter().zip(&energies) {
            assert!(*next <= before + 1e-12 * before.abs().max(1.0), "{next} after {before}");
        }
        energies = next;
    }
    // A memory that stayed where it was would prove nothing.
    assert!(energies.iter().zip(&first).any(|(last, first)| last < first), "{memory:?}");
}

#[test]
fn the_energy_is_a_lyapunov_function() {
    for (seed, (count, width, batch)) in SHAPES.into_iter().enumerate().skip(1) {
        let mut init = Init::new(50 + seed as u64);
        let real = drawn(&mut init, &[count, width]);
        let (patterns, start) = (real.clone(), drawn(&mut init, &[batch, width]));
        let of = |patterns: &Wide| Memory::new(patterns).unwrap();
        for beta in [0.5, 4.0, 30.0] {
            let softmax = Softmax::new(beta).unwrap();
            falls(&of(&patterns).separation(softmax), &start, 6);
            falls(&of(&patterns).similarity(Euclidean).separation(softmax), &start, 6);
        }
        // Without a sign these grow, so that few steps are enough.
        falls(&of(&patterns).separation(Identity), &start, 3);
        falls(&of(&patterns).separation(Polynomial::new(3).unwrap()), &start, 2);
        falls(&of(&patterns).separation(Max), &start, 3);
        falls(&of(&patterns).similarity(Euclidean).separation(Max), &start, 3);
        let (patterns, start) =
            (signs(&mut init, &[count, width]), signs(&mut init, &[batch.max(4), width]));
        falls(&of(&patterns).separation(Identity).bipolar(), &start, 6);
        falls(&of(&patterns).separation(Polynomial::new(3).unwrap()).bipolar(), &start, 6);
        falls(&of(&patterns).separation(Softmax::new(0.7).unwrap()).bipolar(), &start, 6);
        let (patterns, start) =
            (shares(&mut init, &[count, width]), shares(&mut init, &[batch, width]));
        for (with, distance) in all_similarities() {
            if distance {
                falls(&with(of(&patterns).separation(Max)), &start, 2);
            }
        }
    }
}

#[test]
fn what_has_no_energy_says_so() {
    let mut init = Init::new(1);
    let (keys, values) = (drawn(&mut init, &[3, 4]), drawn(&mut init, &[3, 2]));
    let pairs = Memory::of_pairs(&keys, &values).unwrap();
    let even = Memory::new(&keys).unwrap().separation(Polynomial::new(2).unwrap());
    let normalised = Memory::new(&keys).unwrap().separation(Normalised(Identity));
    for memory in [pairs, even, normalised] {
        let error = memory.energy(&keys).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("no"));
    }
}

#[test]
fn values_of_their_own_come_out_in_their_shape() {
    let mut init = Init::new(2);
    let (keys, values) = (drawn(&mut init, &[6, 3]), drawn(&mut init, &[6, 2, 2]));
    let memory = Memory::of_pairs(&keys, &values).unwrap().similarity(Euclidean).separation(Max);
    assert_eq!((memory.len(), memory.is_empty()), (6, false));
    assert_eq!(memory.recall(&keys).unwrap(), values);
    let other = Memory::of_pairs(&keys, &drawn(&mut init, &[5, 2])).unwrap_err();
    assert!(other.to_string().contains("6 keys cannot have 5 values"));
}

/// Derivatives by differences, extrapolated, of `of` in every number of `x`.
fn differences(x: &[f64], mut of: impl FnMut(&[f64]) -> f64) -> Vec<f64> {
    let mut at = x.to_vec();
    let mut found = Vec::new();
    for k in 0..x.len() {
        let mut slope = |step: f64| {
            at[k] = x[k] + step;
            let up = of(&at);
            at[k] = x[k] - step;
            let down = of(&at);
            at[k] = x[k];
            (up - down) / (2.0 * step)
        };
        let step = 1e-5;
        found.push((4.0 * slope(0.5 * step) - slope(step)) / 3.0);
    }
    found
}

fn separations() -> Vec<With> {
    vec![
        Box::new(|m| m.separation(Identity)),
        Box::new(|m| m.separation(Polynomial::new(3).unwrap())),
        Box::new(|m| m.separation(Softmax::new(2.0).unwrap())),
        Box::new(|m| m.separation(Max)),
        Box::new(|m| m.separation(Normalised(Polynomial::new(2).unwrap()))),
    ]
}

/// The force on the parent, and the gradients of keys and values, where a loss drives the vertex.
fn slopes_agree<B: Backend>(
    backend: &B,
    with: &dyn Fn(Memory) -> Memory,
    seed: u64,
    tolerance: f64,
) {
    let mut init = Init::new(seed);
    let (count, width, length, batch) = (4, 5, 3, 2);
    let keys = shares(&mut init, &[count, width]);
    let values = drawn(&mut init, &[count, length]);
    let own = |x: &Wide| backend.tensor(x.dims(), x.data()).unwrap();
    let mut b = Graph::builder();
    let h = b.input("h", &[width]).unwrap();
    let parameters =
        [b.parameter("keys", own(&keys)).unwrap(), b.parameter("values", own(&values)).unwrap()];
    let memory = with(Memory::of_pairs(&keys, &values).unwrap());
    let vertex = <B::Tensor as GraphTensor>::boxed(memory.vertex().unwrap());
    let y = b.vertex("y", vertex, &[h], &parameters).unwrap();
    let mut graph: Graph<B::Tensor> = b.build().unwrap();
    let mut relaxation = Relaxation::new(&graph, Schedule::backprop()).unwrap();
    relaxation.ask_forces(&graph, &[h]).unwrap();
    // Twice, with another batch in between.
    for _ in 0..2 {
        let (query, target) =
            (shares(&mut init, &[batch, width]), drawn(&mut init, &[batch, length]));
        let clamps = Clamps::new().hold(h, own(&query)).drive(y, SquaredError::new(own(&target)));
        relaxation.run(&mut graph, &clamps).unwrap();
        let loss = |keys: &[f64], values: &[f64], query: &[f64]| {
            let tensor = |shape: &[usize], x: &[f64]| Wide::new(shape, x.to_vec()).unwrap();
            let own =
                Memory::of_pairs(&tensor(&[count, width], keys), &tensor(&[count, length], values));
            let found = with(own.unwrap()).recall(&tensor(&[batch, width], query)).unwrap();
            found.data().iter().zip(target.data()).map(|(y, t)| 0.5 * (y - t).powi(2)).sum()
        };
        let (k, v, q) = (keys.data(), values.data(), query.data());
        // Differences across a kink of the Manhattan distance would tell nothing.
        let pairs = k.chunks(width).flat_map(|k| q.chunks(width).map(move |q| k.iter().zip(q)));
        assert!(pairs.flatten().all(|(k, q)| (k - q).abs() > 2e-5), "choose another seed");
        let force = relaxation.force(h).unwrap().to_vec();
        let wanted: Vec<f64> = differences(q, |q| loss(k, v, q)).iter().map(|x| -x).collect();
        close(&force, &wanted, tolerance);
        let gradient = |k: usize| relaxation.gradients().get(parameters[k]).unwrap().to_vec();
        close(&gradient(0), &differences(k, |k| loss(k, v, q)), tolerance);
        close(&gradient(1), &differences(v, |v| loss(k, v, q)), tolerance);
    }
}

#[test]
fn pullbacks_agree_with_differences() {
    for (with, _) in all_similarities() {
        for (seed, separated) in separations().into_iter().enumerate() {
            let both = |memory| separated(with(memory));
            slopes_agree(&Host::<f64>::new(), &both, 10 + seed as u64, 1e-6);
        }
    }
}

/// Standard PC on `h -> recalled`, with `h` free, beside a plain program.
fn relaxes_as_plain<B: Backend>(backend: &B, tolerance: f64) {
    let mut init = Init::new(77);
    let patterns = drawn(&mut init, &[5, 4]);
    let memory = Memory::new(&patterns).unwrap().separation(Softmax::new(1.5).unwrap());
    let own = |x: &Wide| backend.tensor(x.dims(), x.data()).unwrap();
    let mut b = Graph::builder();
    let h = b.input("h", &[4]).unwrap();
    let y = memory.add(backend, &mut b, "recalled", h).unwrap();
    let mut graph = b.build().unwrap();
    assert!(graph.is_buffer(graph.parameter("recalled.keys").unwrap()));
    let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.2, 9).unwrap()).unwrap();
    for _ in 0..2 {
        let (start, held) = (drawn(&mut init, &[3, 4]), drawn(&mut init, &[3, 4]));
        let clamps = Clamps::new().free(h, own(&start)).hold(y, own(&held));
        relaxation.run(&mut graph, &clamps).unwrap();
        let mut at = start;
        for _ in 0..9 {
            let slopes = differences(at.data(), |at| {
                let at = Wide::new(&[3, 4], at.to_vec()).unwrap();
                let found = memory.recall(&at).unwrap();
                let pairs = found.data().iter().zip(held.data());
                pairs.map(|(found, held)| 0.5 * (held - found).powi(2)).sum()
            });
            at.data_mut().iter_mut().zip(slopes).for_each(|(h, slope)| *h -= 0.2 * slope);
        }
        close(&relaxation.value(&graph, h).unwrap().to_vec(), at.data(), tolerance);
    }
}

#[test]
fn a_vertex_relaxes_on_the_host() {
    relaxes_as_plain(&Host::<f64>::new(), 1e-9);
    relaxes_as_plain(&Host::<f32>::new(), 1e-5);
}

#[cfg(feature = "burn")]
#[test]
fn burn() {
    use burn::tensor::{DType, Device};
    let backend = pc_models::Burn::new(&Device::default(), DType::F64);
    relaxes_as_plain(&backend, 1e-9);
    slopes_agree(&backend, &|memory| memory.similarity(JensenShannon), 3, 1e-6);
    relaxes_as_plain(&pc_models::Burn::new(&Device::default(), DType::F32), 1e-5);
}

#[cfg(feature = "tch")]
#[test]
fn libtorch() {
    let backend = pc_models::Tch::new(tch::Kind::Double, tch::Device::Cpu);
    relaxes_as_plain(&backend, 1e-9);
    slopes_agree(&backend, &|memory| memory.similarity(JensenShannon), 3, 1e-6);
    relaxes_as_plain(&pc_models::Tch::new(tch::Kind::Float, tch::Device::Cpu), 1e-5);
}

#[test]
fn bad_input_is_named() {
    let of = |shape: &[usize], x: Vec<f64>| Wide::new(shape, x).unwrap();
    let memory = Memory::new(&of(&[2, 2], vec![1.0, 0.0, 0.0, 1.0])).unwrap();
    let says = |error: pc_core::Error, kind: ErrorKind, word: &str| {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    let wide = memory.recall(&of(&[1, 3], vec![0.0; 3])).unwrap_err();
    says(wide, ErrorKind::Shape, "[1, 3]");
    let nan = memory.recall(&of(&[1, 2], vec![f64::NAN, 0.0])).unwrap_err();
    says(nan, ErrorKind::NotFinite, "queries");
    let nan = Memory::new(&of(&[1, 2], vec![f64::NAN, 0.0])).unwrap_err();
    says(nan, ErrorKind::NotFinite, "patterns");
    let negative = of(&[1, 2], vec![-1.0, 0.5]);
    for (with, word) in [
        (memory.clone().similarity(KullbackLeibler), "number 0 is -1"),
        (memory.clone().similarity(ReverseKullbackLeibler), "reverse KL"),
        (memory.clone().similarity(JensenShannon), "Jensen-Shannon"),
    ] {
        says(with.recall(&negative).unwrap_err(), ErrorKind::Unsupported, word);
    }
    let odd = memory.clone().similarity(Reciprocal(Dot));
    says(odd.recall(&of(&[1, 2], vec![1.0, 0.0])).unwrap_err(), ErrorKind::Graph, "distance");
    let large = memory.clone().separation(Polynomial::new(100).unwrap());
    let large = large.recall(&of(&[1, 2], vec![1e5, 0.0])).unwrap_err();
    says(large, ErrorKind::NotFinite, "polynomial");
    says(memory.clone().bipolar().vertex().unwrap_err(), ErrorKind::Unsupported, "slope");
    says(Polynomial::new(0).unwrap_err(), ErrorKind::Graph, "order");
    for beta in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        says(Softmax::new(beta).unwrap_err(), ErrorKind::Graph, "beta");
    }
    let mut b = Graph::<Wide>::builder();
    let h = b.input("h", &[3]).unwrap();
    let error = memory.add(&Host::<f64>::new(), &mut b, "y", h).unwrap_err();
    assert_eq!(error.vertex(), Some("y"));
    // Nothing of it stays behind, so the name is free.
    b.parameter("y.keys", of(&[1], vec![0.0])).unwrap();
}

#[test]
fn a_dead_query_recalls_nothing_and_no_nan() {
    let memory = Memory::new(&Wide::new(&[2, 2], vec![1.0, 2.0, 0.0, 0.0]).unwrap()).unwrap();
    let zero = Wide::zeroed(&[1, 2]).unwrap();
    let found = memory.clone().similarity(Cosine).separation(Normalised(Identity)).recall(&zero);
    assert_eq!(found.unwrap().data(), [0.0, 0.0]);
    let mut slope = [0.0; 2];
    Cosine.add_slope(&[1.0, 2.0], zero.data(), 1.0, &mut slope);
    assert_eq!(slope, [0.0, 0.0]);
    let mut pulled = [1.0; 2];
    Normalised(Identity).pull(&[0.0, 0.0], &[0.0, 0.0], &[1.0, 2.0], &mut pulled);
    assert_eq!(pulled, [0.0, 0.0]);
}
