//! Errors that start elsewhere than at zero: Activation Relaxation and its kin.

use pc_core::{
    Clamps, ErrorKind, ErrorStart, Evaluation, Event, Graph, Relaxation, Schedule, Start, Tensor,
    host::HostTensor,
};

use crate::{
    common::{Numbers, close, distance, tensor},
    independent::{BATCH, DIMS, PlainNet, States},
    walk::{Walk, add},
};

const EVALUATIONS: [Evaluation; 3] = [Evaluation::Auto, Evaluation::Simulate, Evaluation::Front];

/// The hidden layers' errors at every step and at the end, and the gradients.
fn path(
    graph: &mut Graph<HostTensor<f64>>,
    clamps: &Clamps<HostTensor<f64>>,
    schedule: Schedule,
) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let mut relaxation = Relaxation::new(graph, schedule.observed()).unwrap();
    relaxation.begin(graph, clamps).unwrap();
    let mut path = Vec::new();
    loop {
        match relaxation.advance(graph).unwrap() {
            Event::Step => {
                let mut all = Vec::new();
                for name in ["l0", "l1"] {
                    let vertex = graph.vertex(name).unwrap();
                    let own = graph.topology().predictions_of(vertex).unwrap()[0];
                    all.extend(relaxation.error(own).unwrap().to_vec());
                }
                path.push(all);
            }
            Event::Learn => {}
            Event::Finished(_) => break,
        }
    }
    let gradients = relaxation.gradients().iter();
    (path, gradients.map(|(_, g)| g.map(Tensor::to_vec).unwrap_or_default()).collect())
}

/// `x_l <- x_l + gamma (-x_l + J^T x_{l+1})`, with the Jacobians of the forward pass.
fn relax(net: &PlainNet, mut x: States, rate: f64, steps: usize) -> Vec<Vec<f64>> {
    let activations = net.forward(None);
    for (n, z) in activations.iter().enumerate() {
        x[n][3] = net.y[n].iter().zip(&z[3]).map(|(y, mu)| y - mu).collect();
    }
    let mut path = vec![Walk::flat(&x)];
    for _ in 0..steps {
        let before = x.clone();
        for (n, z) in activations.iter().enumerate() {
            let (_, slope) = net.errors(z);
            for l in 1..3 {
                let arrived = net.back(l, &before[n][l + 1], &slope[l]);
                for (x, (own, arrived)) in x[n][l].iter_mut().zip(before[n][l].iter().zip(arrived))
                {
                    *x += rate * (arrived - own);
                }
            }
        }
        path.push(Walk::flat(&x));
    }
    path
}

#[test]
fn activation_relaxation_is_a_plain_programs() {
    for rate in [0.2, 1.0] {
        for evaluation in EVALUATIONS {
            let net = PlainNet::new(31);
            let (mut graph, clamps) = net.graph();
            let schedule = Schedule::fixed_prediction(rate, 12).unwrap();
            let schedule = schedule.errors_from(ErrorStart::Activations).unwrap();
            let (found, _) = path(&mut graph, &clamps, schedule.evaluated_by(evaluation));
            let expected = relax(&net, net.forward(None), rate, 12);
            assert_eq!(found.len(), expected.len());
            for (t, (found, expected)) in found.iter().zip(&expected).enumerate() {
                close(&format!("rate {rate}, {evaluation:?}, step {t}"), found, expected, 1e-12);
            }
            assert!(distance(&found[0], &found[12]) > 0.1);
        }
    }
}

#[test]
fn its_limit_is_backprop() {
    for start in [ErrorStart::Activations, ErrorStart::Noise { deviation: 2.0, seed: 5 }] {
        for evaluation in EVALUATIONS {
            let net = PlainNet::new(32);
            let (mut graph, clamps) = net.graph();
            let mut backprop = Relaxation::new(&graph, Schedule::backprop()).unwrap();
            backprop.run(&mut graph, &clamps).unwrap();
            let long = Schedule::fixed_prediction(0.3, 150).unwrap().evaluated_by(evaluation);
            let (_, found) = path(&mut graph, &clamps, long.errors_from(start).unwrap());
            for ((id, expected), found) in backprop.gradients().iter().zip(&found) {
                let what = format!("{start:?}, {evaluation:?}, parameter {}", id.index());
                close(&what, found, &expected.unwrap().to_vec(), 1e-12);
            }
        }
    }
}

#[test]
fn noisy_errors_are_drawn_anew_for_each_batch() {
    let net = PlainNet::new(33);
    let (mut graph, clamps) = net.graph();
    for make in [Schedule::fixed_prediction, Schedule::epc] {
        let noise = ErrorStart::Noise { deviation: 0.5, seed: 9 };
        let schedule = make(0.1, 1).unwrap().errors_from(noise).unwrap().unrelaxed();
        let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
        let own = graph.topology().predictions_of(graph.vertex("l0").unwrap()).unwrap()[0];
        let mut drawn = Vec::new();
        for _ in 0..400 {
            relaxation.run(&mut graph, &clamps).unwrap();
            drawn.push(relaxation.error(own).unwrap().to_vec());
        }
        assert!(distance(&drawn[0], &drawn[1]) > 0.01);
        let all = drawn.concat();
        let variance = all.iter().map(|x| x * x).sum::<f64>() / all.len() as f64;
        // 3200 draws: three standard errors are 0.019.
        assert!((variance - 0.25).abs() < 0.019, "{variance}");
    }
}

#[test]
fn error_based_pc_starts_from_them() {
    for start in [ErrorStart::Activations, ErrorStart::Given] {
        let walk = Walk { net: PlainNet::new(34), precisions: [1.0; 3], by_errors: true };
        let (mut graph, mut clamps) = walk.net.graph();
        let mut x = if start == ErrorStart::Given { walk.start() } else { walk.net.forward(None) };
        if start == ErrorStart::Given {
            // The other hidden layer starts at zero.
            let given = Numbers::new(8).many(BATCH * DIMS[2], 0.7);
            for (n, x) in x.iter_mut().enumerate() {
                x[2].copy_from_slice(&given[n * DIMS[2]..(n + 1) * DIMS[2]]);
            }
            clamps = clamps.free(graph.vertex("l1").unwrap(), tensor(&[BATCH, DIMS[2]], &given));
        }
        let schedule = Schedule::epc(0.1, 15).unwrap().errors_from(start).unwrap();
        let (found, _) = path(&mut graph, &clamps, schedule);
        for (t, found) in found.iter().enumerate() {
            close(&format!("{start:?}, step {t}"), found, &Walk::flat(&x), 1e-12);
            let down = walk.down(&x);
            add(&mut x, 0.1, &down);
        }
    }
}

#[test]
fn given_errors_leave_frozen_predictions_where_they_are() {
    let net = PlainNet::new(35);
    let (mut graph, clamps) = net.graph();
    let given = Numbers::new(8).many(BATCH * DIMS[1], 0.7);
    let clamps = clamps.free(graph.vertex("l0").unwrap(), tensor(&[BATCH, DIMS[1]], &given));
    let mut x = net.forward(None);
    for (n, x) in x.iter_mut().enumerate() {
        x[1].copy_from_slice(&given[n * DIMS[1]..(n + 1) * DIMS[1]]);
        x[2].fill(0.0);
    }
    let expected = relax(&net, x, 0.2, 8);
    for evaluation in EVALUATIONS {
        let schedule = Schedule::fixed_prediction(0.2, 8).unwrap().evaluated_by(evaluation);
        let schedule = schedule.errors_from(ErrorStart::Given).unwrap();
        let (found, _) = path(&mut graph, &clamps, schedule);
        for (t, (found, expected)) in found.iter().zip(&expected).enumerate() {
            close(&format!("{evaluation:?}, step {t}"), found, expected, 1e-12);
        }
    }
}

#[test]
fn a_mask_and_a_start_of_its_own_are_kept() {
    let net = PlainNet::new(36);
    let (mut graph, clamps) = net.graph();
    let (l0, l1) = (graph.vertex("l0").unwrap(), graph.vertex("l1").unwrap());
    let mask = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0];
    let clamps = clamps
        .mask(l0, tensor(&[2, 4], &[0.3; 8]), tensor(&[2, 4], &mask))
        .free(l1, tensor(&[2, 4], &[0.1; 8]));
    let unrelaxed = || Schedule::fixed_prediction(0.2, 1).unwrap().unrelaxed();
    let mut found = Vec::new();
    for schedule in [unrelaxed(), unrelaxed().errors_from(ErrorStart::Activations).unwrap()] {
        let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
        relaxation.run(&mut graph, &clamps).unwrap();
        let errors = [l0, l1].map(|vertex| {
            let own = graph.topology().predictions_of(vertex).unwrap()[0];
            relaxation.error(own).unwrap().to_vec()
        });
        found.push(errors);
    }
    close("a start of its own", &found[0][1], &found[1][1], 0.0);
    for (k, (before, after)) in found[0][0].iter().zip(&found[1][0]).enumerate() {
        assert_eq!(before == after, mask[k] == 1.0, "element {k}");
    }
}

#[test]
fn where_errors_cannot_start_it_is_said() {
    let net = PlainNet::new(37);
    let (mut graph, clamps) = net.graph();
    for make in [Schedule::standard, Schedule::ipc] {
        let schedule = make(0.1, 3).unwrap().errors_from(ErrorStart::Activations).unwrap();
        let error = Relaxation::new(&graph, schedule).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Schedule);
        assert!(error.to_string().contains("no start of their own"), "{error}");
    }
    let activations = |s: Schedule| s.errors_from(ErrorStart::Activations).unwrap();
    let fixed = || activations(Schedule::fixed_prediction(0.1, 3).unwrap());
    for (schedule, says) in [
        (fixed().evaluated_by(Evaluation::ClosedForm), "zero errors"),
        (fixed().starting(Start::Zero), "at their predictions"),
        (activations(Schedule::backprop()), "one reverse sweep"),
        (activations(Schedule::zil()), "no start of their own"),
    ] {
        let error = Relaxation::new(&graph, schedule).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let given = Schedule::epc(0.1, 3).unwrap().errors_from(ErrorStart::Given).unwrap();
    let error = Relaxation::new(&graph, given).unwrap().run(&mut graph, &clamps).unwrap_err();
    assert!(error.to_string().contains("no clamp gives any"), "{error}");
    for deviation in [-1.0, f64::NAN, f64::INFINITY] {
        let noise = ErrorStart::Noise { deviation, seed: 1 };
        let error = Schedule::epc(0.1, 3).unwrap().errors_from(noise).unwrap_err();
        assert!(error.to_string().contains("deviation"), "{error}");
    }
}
