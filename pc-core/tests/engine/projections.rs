//! Values that have to lie somewhere, against plain programs.

use pc_core::{
    Activation, Clamps, Error, ErrorKind, Graph, Interval, L1Ball, Prior, Projection, Relaxation,
    Schedule, Simplex, SoftThreshold, Start, Status, Tensor,
    host::{HostLayers, HostTensor, Init, Linear},
};

use crate::common::{Numbers, close, largest, tensor};

type T = HostTensor<f64>;

/// Causes `z` with a prior mean of zero predict `y = D z`.
struct Sparse {
    graph: Graph<T>,
    z: pc_core::VertexId,
    y: pc_core::VertexId,
    dictionary: Vec<f64>,
    data: Vec<f64>,
}

const CAUSES: usize = 6;
const SEEN: usize = 4;
const BATCH: usize = 3;

fn sparse(projection: impl Projection<T> + 'static, prior: bool) -> Sparse {
    let mut numbers = Numbers::new(2);
    let dictionary = numbers.many(SEEN * CAUSES, 0.8);
    let data = numbers.many(BATCH * SEEN, 2.0);
    let mut b = Graph::<T>::builder();
    let z = b.input("z", &[CAUSES]).unwrap();
    if prior {
        let mean = b.buffer("mean", tensor(&[CAUSES], &[0.0; CAUSES])).unwrap();
        b.predict(z, Box::new(Prior), &[], &[mean], 0.3).unwrap();
    }
    let weight = b.parameter("D", tensor(&[SEEN, CAUSES], &dictionary)).unwrap();
    let y = b.vertex("y", Box::new(Linear::without_bias()), &[z], &[weight]).unwrap();
    b.project(z, projection).unwrap();
    Sparse { graph: b.build().unwrap(), z, y, dictionary, data }
}

/// One step of proximal gradient descent on `1/2 |y - D z|^2 + 1/2 prior |z|^2`.
fn plain_step(net: &Sparse, z: &mut [f64], rate: f64, prior: f64, project: impl Fn(&mut [f64])) {
    for (z, y) in z.chunks_mut(CAUSES).zip(net.data.chunks(SEEN)) {
        let e: Vec<f64> = (0..SEEN)
            .map(|i| y[i] - (0..CAUSES).map(|j| net.dictionary[i * CAUSES + j] * z[j]).sum::<f64>())
            .collect();
        for (j, z) in z.iter_mut().enumerate() {
            let force: f64 = (0..SEEN).map(|i| net.dictionary[i * CAUSES + j] * e[i]).sum();
            *z += rate * (force - prior * *z);
        }
        project(z);
    }
}

#[test]
fn sparse_coding_step_for_step() {
    let rate = 0.1;
    let threshold = |by: f64, positive: bool| {
        move |z: &mut [f64]| {
            z.iter_mut().for_each(|z| {
                let size = (z.abs() - by).max(0.0);
                *z = if positive && *z < 0.0 { 0.0 } else { z.signum() * size };
            });
        }
    };
    let run = |mut net: Sparse, steps: usize, prior: f64, positive: bool| {
        let start = Numbers::new(5).many(BATCH * CAUSES, 1.0);
        let mut expected = start.clone();
        if positive {
            // It starts where it has to lie.
            expected.iter_mut().for_each(|z| *z = z.max(0.0));
        }
        let clamps = Clamps::new()
            .free(net.z, tensor(&[BATCH, CAUSES], &start))
            .hold(net.y, tensor(&[BATCH, SEEN], &net.data));
        let schedule = Schedule::standard(rate, steps).unwrap();
        let mut relaxation = Relaxation::new(&net.graph, schedule).unwrap();
        for _ in 0..2 {
            relaxation.run(&mut net.graph, &clamps).unwrap();
        }
        for _ in 0..steps {
            plain_step(&net, &mut expected, rate, prior, threshold(0.05, positive));
        }
        let found = relaxation.value(&net.graph, net.z).unwrap().to_vec();
        close("sparse coding", &found, &expected, 1e-12);
        found
    };
    let soft = SoftThreshold::new(0.5).unwrap();
    for steps in [1, 2, 50] {
        run(sparse(soft, false), steps, 0.0, false);
        run(sparse(soft, true), steps, 0.3, false);
        run(sparse(soft.non_negative(), true), steps, 0.3, true);
    }
    let positive = run(sparse(soft.non_negative(), false), 400, 0.0, true);
    assert!(positive.iter().all(|z| *z >= 0.0) && positive.contains(&0.0));
    assert!(positive.iter().any(|z| *z > 0.0));
}

#[test]
fn what_is_projected_lies_there_from_the_start() {
    let inside = |kind: &str, z: &[f64]| match kind {
        "interval" => z.iter().all(|z| (-0.2..=0.3).contains(z)),
        _ => z
            .chunks(CAUSES)
            .all(|z| z.iter().all(|z| *z >= 0.0) && (z.iter().sum::<f64>() - 1.0).abs() < 1e-12),
    };
    for kind in ["interval", "simplex"] {
        for start in [Start::Zero, Start::Noise { deviation: 2.0, seed: 3 }, Start::Forward] {
            for steps in [0, 1, 30] {
                let mut net = match kind {
                    "interval" => sparse(Interval::new(-0.2, 0.3).unwrap(), true),
                    _ => sparse(Simplex, true),
                };
                let mut schedule = Schedule::standard(0.1, steps.max(1)).unwrap().starting(start);
                if steps == 0 {
                    schedule = schedule.unrelaxed();
                }
                let clamps = Clamps::new().hold(net.y, tensor(&[BATCH, SEEN], &net.data));
                let mut relaxation = Relaxation::new(&net.graph, schedule).unwrap();
                relaxation.run(&mut net.graph, &clamps).unwrap();
                let z = relaxation.value(&net.graph, net.z).unwrap().to_vec();
                assert!(inside(kind, &z), "{kind} {start:?} {steps}: {z:?}");
                let error =
                    relaxation.error(net.graph.topology().predictions_of(net.z).unwrap()[0]);
                close("error", &error.unwrap().to_vec(), &z, 1e-15);
            }
        }
    }
}

/// At the end no step of any size moves what a projection bounds: the tolerance tells so.
#[test]
fn the_tolerance_is_on_what_a_step_moves() {
    let projections: [Box<dyn Fn(bool) -> Sparse>; 3] = [
        Box::new(|prior| sparse(Interval::non_negative(), prior)),
        Box::new(|prior| sparse(Simplex, prior)),
        Box::new(|prior| sparse(SoftThreshold::new(0.4).unwrap(), prior)),
    ];
    for make in projections {
        let mut net = make(true);
        let clamps = Clamps::new().hold(net.y, tensor(&[BATCH, SEEN], &net.data));
        let schedule = |rate, steps| Schedule::standard(rate, steps).unwrap();
        let until = schedule(0.2, 100_000).until(1e-12).unwrap();
        let mut relaxation = Relaxation::new(&net.graph, until.traced()).unwrap();
        let outcome = relaxation.run(&mut net.graph, &clamps).unwrap();
        assert_eq!(outcome.status, Status::Converged);
        // With the term that a soft threshold stands for the energy falls at each step.
        assert!(outcome.trace.windows(2).all(|pair| pair[1] <= pair[0] + 1e-12));
        let found = relaxation.value(&net.graph, net.z).unwrap().to_vec();
        // Another rate and momentum come to the same point.
        let momentum = schedule(0.05, 100_000).with_momentum(0.5).unwrap().until(1e-12).unwrap();
        let mut other = Relaxation::new(&net.graph, momentum).unwrap();
        other.run(&mut net.graph, &clamps).unwrap();
        let others = other.value(&net.graph, net.z).unwrap().to_vec();
        close("another rate", &others, &found, 1e-9);
    }
}

#[test]
fn the_nearest_distribution() {
    let mut numbers = Numbers::new(6);
    for _ in 0..20 {
        let start = numbers.many(5, 2.0);
        let mut value: T = tensor(&[1, 5], &start);
        Simplex.project(&mut value, 0.1);
        let found = value.to_vec();
        assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-14);
        // What stays has been moved by one amount, and what is 0 would have gone below.
        let shifts: Vec<f64> = found.iter().zip(&start).map(|(f, s)| s - f).collect();
        let kept = found.iter().zip(&shifts).filter(|(f, _)| **f > 0.0).map(|(_, s)| *s);
        let shift = kept.clone().next().unwrap();
        assert!(largest(kept.map(|s| s - shift)) < 1e-14);
        for (f, s) in found.iter().zip(&start) {
            assert!(*f > 0.0 || s - shift <= 1e-14);
        }
    }
}

#[test]
fn a_masked_vertex_keeps_what_is_held_of_it() {
    let mut net = sparse(Interval::new(-0.1, 0.1).unwrap(), true);
    let value = tensor(&[1, CAUSES], &[2.0, 1.0, 1.0, 1.0, 1.0, -3.0]);
    let mask = tensor(&[1, CAUSES], &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    let clamps =
        Clamps::new().mask(net.z, value, mask).hold(net.y, tensor(&[1, SEEN], &net.data[..SEEN]));
    for start in [Start::Forward, Start::Zero] {
        let schedule = Schedule::standard(0.1, 20).unwrap().starting(start);
        let mut relaxation = Relaxation::new(&net.graph, schedule).unwrap();
        relaxation.run(&mut net.graph, &clamps).unwrap();
        let z = relaxation.value(&net.graph, net.z).unwrap().to_vec();
        assert_eq!((z[0], z[5]), (2.0, -3.0));
        assert!(z[1..5].iter().all(|z| (-0.1..=0.1).contains(z)), "{z:?}");
    }
}

#[test]
fn other_rules_refuse_what_is_projected_by_name() {
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[2]).unwrap();
    let h = b.dense("h", x, 3, Activation::Tanh, &mut Init::new(1)).unwrap();
    let y = b.dense("y", h, 1, Activation::Identity, &mut Init::new(2)).unwrap();
    b.project(h, Interval::new(-0.1, 0.1).unwrap()).unwrap();
    let mut graph = b.build().unwrap();
    let clamps =
        Clamps::new().hold(x, tensor(&[1, 2], &[1.0, 2.0])).hold(y, tensor(&[1, 1], &[1.0]));
    for schedule in [
        Schedule::backprop(),
        Schedule::fixed_prediction(0.5, 3).unwrap(),
        Schedule::zil(),
        Schedule::epc(0.1, 3).unwrap(),
    ] {
        let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
        let error: Error = relaxation.run(&mut graph, &clamps).unwrap_err();
        assert_eq!((error.kind(), error.vertex()), (ErrorKind::Clamp, Some("h")), "{error}");
    }
    let adaptive = Schedule::standard(0.1, 3).unwrap().adaptive();
    let error = Relaxation::new(&graph, adaptive).unwrap_err();
    assert_eq!((error.kind(), error.vertex()), (ErrorKind::Schedule, Some("h")), "{error}");
    assert!(Interval::new(1.0, 0.0).is_err() && Interval::new(f64::NAN, 0.0).is_err());
    assert!(SoftThreshold::new(-1.0).is_err());
}

#[test]
fn the_nearest_point_of_an_l1_ball() {
    let mut numbers = Numbers::new(16);
    let size = |z: &[f64]| z.iter().map(|z| z.abs()).sum::<f64>();
    for non_negative in [false, true] {
        let ball = L1Ball::new(1.5).unwrap();
        let ball = if non_negative { ball.non_negative() } else { ball };
        let (mut inside, mut outside) = (0, 0);
        for case in 0..40 {
            let start = numbers.many(10, if case % 2 == 0 { 0.3 } else { 2.0 });
            let mut value: T = tensor(&[2, 5], &start);
            ball.project(&mut value, 0.1);
            for (found, start) in value.to_vec().chunks(5).zip(start.chunks(5)) {
                let clipped = start.iter().map(|s| if non_negative { s.max(0.0) } else { *s });
                let clipped: Vec<f64> = clipped.collect();
                if size(&clipped) <= 1.5 {
                    assert_eq!(found, clipped);
                    inside += 1;
                    continue;
                }
                outside += 1;
                assert!((size(found) - 1.5).abs() < 1e-14);
                // What stays has come nearer to 0 by one amount, and what is 0 was within it.
                let pairs = || found.iter().zip(&clipped);
                let kept = pairs().filter(|(f, _)| **f != 0.0).map(|(f, s)| s.abs() - f.abs());
                let shift = kept.clone().next().unwrap();
                assert!(shift > 0.0 && largest(kept.map(|s| s - shift)) < 1e-14);
                for (f, s) in pairs() {
                    assert!(if *f == 0.0 { s.abs() <= shift + 1e-14 } else { f * s > 0.0 });
                }
            }
        }
        assert!(inside > 5 && outside > 5);
    }
    let mut bad: T = tensor(&[1, 3], &[0.1, f64::NAN, 0.2]);
    L1Ball::new(1.0).unwrap().project(&mut bad, 0.1);
    assert!(!bad.is_finite());
    for radius in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(L1Ball::new(radius).unwrap_err().kind(), ErrorKind::Graph);
    }
}
