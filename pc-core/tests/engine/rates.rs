//! Rates of vertices, over steps, and by precision, step for step against a plain program.

use pc_core::{
    Error, ErrorKind, Evaluation, Graph, Pace, Relaxation, Result, Schedule, Tensor, VertexId,
    host::HostTensor,
};

use crate::{
    common::{close, distance},
    independent::PlainNet,
    walk::Walk,
};

const PRECISIONS: [f64; 3] = [0.5, 2.0, 1.5];

/// A choice of rates, and what it makes of hidden layer `l` at step `t`.
type Case = (&'static str, fn(Schedule) -> Result<Schedule>, fn(usize, usize) -> f64);

/// The vertex of hidden layer 1 and 2, by number.
fn vertex(layer: usize) -> VertexId {
    PlainNet::new(0).graph().0.vertex(&format!("l{}", layer - 1)).unwrap()
}

const CASES: [Case; 7] = [
    ("a vertex", |s| s.with_rate_of(vertex(2), 0.25), |l, _| [0.0, 1.0, 0.25][l]),
    (
        "two vertices, one twice",
        |s| {
            s.with_rate_of(vertex(1), 7.0)?
                .with_rate_of(vertex(2), 0.5)?
                .with_rate_of(vertex(1), 1.5)
        },
        |l, _| [0.0, 1.5, 0.5][l],
    ),
    ("inverse", |s| s.paced(Pace::Inverse(0.3)), |_, t| 1.0 / (1.0 + 0.3 * t as f64)),
    ("exponential", |s| s.paced(Pace::Exponential(0.2)), |_, t| (-0.2 * t as f64).exp()),
    ("table", |s| s.paced(Pace::Table(vec![1.0, 0.5, 2.0])), |_, t| [1.0, 0.5, 2.0][t.min(2)]),
    (
        "by precision",
        |s| Ok(s.rate_by_precision()),
        |l, _| 1.0 / (PRECISIONS[l - 1] + PRECISIONS[l]),
    ),
    (
        "all",
        |s| s.rate_by_precision().paced(Pace::Inverse(0.1))?.with_rate_of(vertex(1), 0.5),
        |l, t| [0.0, 0.5, 1.0][l] / (PRECISIONS[l - 1] + PRECISIONS[l]) / (1.0 + 0.1 * t as f64),
    ),
];

#[test]
fn steps_are_a_plain_programs() {
    let (rate, steps) = (0.2, 12);
    for (name, choose, factor) in CASES {
        for by_errors in [false, true] {
            for momentum in [0.0, 0.6] {
                let walk = Walk { net: PlainNet::new(3), precisions: PRECISIONS, by_errors };
                let make = if by_errors { Schedule::epc } else { Schedule::standard };
                let mut schedule = choose(make(rate, steps).unwrap()).unwrap();
                if momentum > 0.0 {
                    schedule = schedule.with_momentum(momentum).unwrap();
                }
                let path = walk.engine(schedule);
                let mut x = walk.start();
                let mut velocity: Vec<Vec<Vec<f64>>> =
                    x.iter().map(|x| x.iter().map(|x| vec![0.0; x.len()]).collect()).collect();
                for (t, found) in path.iter().enumerate() {
                    let what = format!("{name}, errors {by_errors}, momentum {momentum}, {t}");
                    close(&what, found, &Walk::flat(&x), 1e-12);
                    let down = walk.down(&x);
                    for (n, x) in x.iter_mut().enumerate() {
                        for l in 1..3 {
                            for i in 0..x[l].len() {
                                let u = momentum * velocity[n][l][i] + down[n][l][i];
                                velocity[n][l][i] = u;
                                x[l][i] += rate * factor(l, t) * u;
                            }
                        }
                    }
                }
                assert_eq!(path.len(), steps + 1);
            }
        }
    }
}

/// Frozen steps, as plain as they can be: `e_l += gamma_l (J^T pi e - pi_l e_l)`.
#[test]
fn frozen_steps_are_a_plain_programs() {
    let steps = 9;
    for (name, choose, factor) in CASES {
        for evaluation in [Evaluation::Auto, Evaluation::Simulate, Evaluation::Front] {
            // At rate 1 an error may be forgotten at one step and not at the next.
            for rate in [0.2, 1.0] {
                let net = PlainNet::new(5);
                let (mut graph, clamps) = net.graph_of(PRECISIONS);
                let plain = Schedule::fixed_prediction(rate, steps).unwrap();
                let schedule = choose(plain.evaluated_by(evaluation)).unwrap();
                let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
                relaxation.run(&mut graph, &clamps).unwrap();
                for (n, z) in net.forward(None).iter().enumerate() {
                    let mut held = z.clone();
                    held[3].clone_from(&net.y[n]);
                    let (first, _) = net.errors(&held);
                    let (_, slope) = net.errors(z);
                    let mut e = [vec![0.0; 4], vec![0.0; 4], first[2].clone()];
                    for t in 0..steps {
                        let before = e.clone();
                        for l in 1..3 {
                            let weighted: Vec<f64> =
                                before[l].iter().map(|e| PRECISIONS[l] * e).collect();
                            let force = net.back(l, &weighted, &slope[l]);
                            for i in 0..4 {
                                let down = force[i] - PRECISIONS[l - 1] * before[l - 1][i];
                                e[l - 1][i] += rate * factor(l, t) * down;
                            }
                        }
                    }
                    for l in 1..3 {
                        let own = graph.topology().predictions_of(vertex(l)).unwrap()[0];
                        let found = relaxation.error(own).unwrap().to_vec();
                        let what = format!("{name}, {evaluation:?}, rate {rate}, layer {l}");
                        close(&what, &found[n * 4..(n + 1) * 4], &e[l - 1], 1e-12);
                    }
                }
            }
        }
    }
}

#[test]
fn an_adaptive_step_takes_back_what_each_vertex_took() {
    // Far too large a rate is halved until the energy falls; a step taken back leaves nothing of
    // itself but the shorter one, which a relaxation at that rate takes at once.
    let (graph, clamps) = PlainNet::new(7).graph();
    let mut graph = graph;
    let long = Schedule::standard(32.0, 40).unwrap().with_rate_of(vertex(2), 0.5).unwrap();
    let mut relaxation = Relaxation::new(&graph, long.adaptive().traced()).unwrap();
    let outcome = relaxation.run(&mut graph, &clamps).unwrap();
    let first = outcome.trace[0];
    let refused = outcome.trace[1..].iter().position(|energy| *energy < first).unwrap();
    assert!(refused > 0, "{:?}", outcome.trace);
    let short = 32.0 * 0.5_f64.powi(i32::try_from(refused).unwrap());
    let short = Schedule::standard(short, 1).unwrap().with_rate_of(vertex(2), 0.5).unwrap();
    let mut fresh = Relaxation::new(&graph, short.traced()).unwrap();
    let energy = fresh.run(&mut graph, &clamps).unwrap().energy.total();
    close("energy", &outcome.trace[refused + 1..=refused + 1], &[energy], 1e-10);
}

#[test]
fn noise_has_each_vertexs_own_rate() {
    // What one step leaves when its own part is taken away is `sqrt(2 gamma T) xi`.
    let mut found = Vec::new();
    for factor in [1.0, 0.25] {
        let net = PlainNet::new(9);
        let (mut graph, clamps) = net.graph();
        let noisy = Schedule::standard(0.2, 1).unwrap().with_noise(1.0, 4).unwrap();
        let schedule = noisy.with_rate_of(vertex(2), factor).unwrap();
        let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
        relaxation.run(&mut graph, &clamps).unwrap();
        let start = net.forward(None);
        let down = Walk { net, precisions: [1.0; 3], by_errors: false };
        let down = down.down(&down.start());
        let moved = relaxation.value(&graph, vertex(2)).unwrap().to_vec();
        let at = |x: &Vec<Vec<Vec<f64>>>| x.iter().flat_map(|x| x[2].clone()).collect::<Vec<_>>();
        let noise = moved.iter().zip(at(&start)).zip(at(&down));
        found.push(noise.map(|((v, z), g)| v - z - 0.2 * factor * g).collect::<Vec<f64>>());
    }
    let half: Vec<f64> = found[0].iter().map(|x| 0.5 * x).collect();
    close("half the deviation at a quarter of the rate", &found[1], &half, 1e-12);
    assert!(distance(&found[0], &vec![0.0; 8]) > 0.1);
}

#[test]
fn rates_that_make_no_sense_are_refused() {
    let schedule = || Schedule::standard(0.1, 5).unwrap();
    let (graph, _) = PlainNet::new(1).graph();
    let mut larger = Graph::<HostTensor<f64>>::builder();
    let ids: Vec<VertexId> =
        (0..9).map(|k| larger.input(&format!("v{k}"), &[1]).unwrap()).collect();
    let foreign = schedule().with_rate_of(ids[8], 0.5).unwrap();
    let says = |error: Error, words: &str| {
        assert_eq!(error.kind(), ErrorKind::Schedule);
        let message = error.to_string();
        assert!(message.contains(words) && message.contains("standard PC"), "{message}");
    };
    says(Relaxation::new(&graph, foreign).unwrap_err(), "vertex 8, which is not in this network");
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        says(schedule().with_rate_of(vertex(1), bad).unwrap_err(), "a positive number");
        says(schedule().paced(Pace::Table(vec![1.0, bad])).unwrap_err(), "at step 1");
    }
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        says(schedule().paced(Pace::Inverse(bad)).unwrap_err(), "the decay");
        says(schedule().paced(Pace::Exponential(bad)).unwrap_err(), "the decay");
    }
    says(schedule().paced(Pace::Table(Vec::new())).unwrap_err(), "empty");
    let paced = schedule().adaptive().paced(Pace::Inverse(0.1)).unwrap();
    says(Relaxation::new(&graph, paced).unwrap_err(), "by the energy");
}
