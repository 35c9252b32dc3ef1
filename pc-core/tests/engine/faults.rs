//! What once went silently wrong, each with its right value.

use pc_core::{
    Clamps, ErrorKind, Evaluation, Graph, Identity, Loss, PredictionId, Relaxation, Schedule,
    Start, Status, Tensor, VertexId,
    host::{Activation, CrossEntropy, HostLayers, HostTensor, Init, Linear},
};

use crate::common::{Numbers, close, tensor};

type T = HostTensor<f64>;

struct ChainNet {
    graph: Graph<T>,
    vertices: Vec<VertexId>,
}

fn zeros<F: pc_core::host::Element>(shape: &[usize]) -> HostTensor<F> {
    HostTensor::zeroed(shape).unwrap()
}

/// A chain of dense tanh layers, the last one linear.
fn chain(widths: &[usize], hidden: Activation) -> ChainNet {
    let mut init = Init::new(7);
    let mut b = Graph::builder();
    let mut vertices = vec![b.input("x", &widths[..1]).unwrap()];
    for (l, width) in widths.iter().enumerate().skip(1) {
        let act = if l + 1 == widths.len() { Activation::Identity } else { hidden };
        vertices.push(b.dense(&format!("v{l}"), vertices[l - 1], *width, act, &mut init).unwrap());
    }
    ChainNet { graph: b.build().unwrap(), vertices }
}

impl ChainNet {
    fn first(&self) -> VertexId {
        self.vertices[0]
    }

    fn last(&self) -> VertexId {
        self.vertices[self.vertices.len() - 1]
    }

    /// Both ends held.
    fn held(&self, seed: u64, batch: usize) -> Clamps<T> {
        let mut numbers = Numbers::new(seed);
        let mut number = |v| {
            let width = self.graph.shape(v).unwrap()[0];
            numbers.tensor::<f64>(&[batch, width], 1.0)
        };
        let (x, y) = (number(self.first()), number(self.last()));
        Clamps::new().hold(self.first(), x).hold(self.last(), y)
    }

    fn run(
        &mut self,
        schedule: Schedule,
        clamps: &Clamps<T>,
    ) -> (Relaxation<Graph<T>>, pc_core::Outcome) {
        let mut relaxation = Relaxation::new(&self.graph, schedule).unwrap();
        let outcome = relaxation.run(&mut self.graph, clamps).unwrap();
        (relaxation, outcome)
    }
}

fn flat(relaxation: &Relaxation<Graph<T>>) -> Vec<f64> {
    let gradients = relaxation.gradients().iter();
    gradients.flat_map(|(_, g)| g.map(Tensor::to_vec).unwrap_or_default()).collect()
}

#[test]
fn a_given_start_is_no_closed_form() {
    let mut net = chain(&[4, 8, 3], Activation::Identity);
    let start = Numbers::new(3).tensor(&[1, 8], 1.0);
    let clamps = net.held(1, 1).free(net.vertices[1], start);
    let schedule = Schedule::fixed_prediction(0.3, 4).unwrap();
    let by = |evaluation| schedule.clone().evaluated_by(evaluation);
    let (simulated, _) = net.run(by(Evaluation::Simulate), &clamps);
    let (chosen, _) = net.run(schedule.clone(), &clamps);
    close("left to choose", &flat(&chosen), &flat(&simulated), 1e-15);
    let mut closed = Relaxation::new(&net.graph, by(Evaluation::ClosedForm)).unwrap();
    let error = closed.run(&mut net.graph, &clamps).unwrap_err();
    assert_eq!((error.kind(), error.vertex()), (ErrorKind::Schedule, Some("v1")), "{error}");
    for exact in [Schedule::backprop(), Schedule::zil()] {
        let mut relaxation = Relaxation::new(&net.graph, exact).unwrap();
        let error = relaxation.run(&mut net.graph, &clamps).unwrap_err();
        assert_eq!((error.kind(), error.vertex()), (ErrorKind::Clamp, Some("v1")), "{error}");
    }
    // The simulation itself: one free vertex, e(t + 1) = (1 - gamma) e(t) + gamma W^T e_y.
    let (w, mu) =
        (net.graph.parameters()[2].to_vec(), net.run(Schedule::backprop(), &net.held(1, 1)));
    let e_y = mu.0.error(PredictionId::new(1)).unwrap().to_vec();
    // Frozen predictions stand where the given start puts them.
    let y = simulated.error(PredictionId::new(1)).unwrap().to_vec();
    assert_ne!(e_y, y);
    let e_0 = {
        let unrelaxed = Schedule::fixed_prediction(0.3, 1).unwrap().unrelaxed();
        net.run(unrelaxed, &clamps).0.error(PredictionId::new(0)).unwrap().to_vec()
    };
    let mut e = e_0;
    for _ in 0..4 {
        for (j, e) in e.iter_mut().enumerate() {
            let force: f64 = (0..3).map(|i| w[i * 8 + j] * y[i]).sum();
            *e = 0.7 * *e + 0.3 * force;
        }
    }
    close("by hand", &simulated.error(PredictionId::new(0)).unwrap().to_vec(), &e, 1e-14);
}

/// `x <-> h <-> y`, each vertex predicted by its neighbours.
fn both_ways() -> (Graph<T>, [VertexId; 3]) {
    let mut init = Init::new(3);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[3]).unwrap();
    let h = b.dense("h", x, 4, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", h, 2, Activation::Identity, &mut init).unwrap();
    let down = [("down.h", [4, 2], h, y), ("down.x", [3, 4], x, h)];
    for (name, shape, of, from) in down {
        let w = b.parameter(name, init.uniform(&shape, 0.7).unwrap()).unwrap();
        b.predict(of, Box::new(Linear::without_bias()), &[from], &[w], 0.1).unwrap();
    }
    (b.build().unwrap(), [x, h, y])
}

#[test]
fn a_forward_start_goes_outward_from_what_is_held() {
    let (mut graph, [x, h, y]) = both_ways();
    let mut numbers = Numbers::new(5);
    let (image, label) = (numbers.tensor::<f64>(&[2, 3], 1.0), numbers.tensor::<f64>(&[2, 2], 1.0));
    let start = Schedule::standard(0.1, 1).unwrap().unrelaxed();
    let mut at = |clamps: Clamps<T>| {
        let mut relaxation = Relaxation::new(&graph, start.clone()).unwrap();
        relaxation.run(&mut graph, &clamps).unwrap();
        [x, h, y].map(|v| relaxation.value(&graph, v).unwrap().to_vec())
    };
    // Both held, or the image alone: h is what x predicts. The label alone: h is what y predicts,
    // and then x what h does.
    let trains = at(Clamps::new().hold(x, image.clone()).hold(y, label.clone()));
    let classifies = at(Clamps::new().hold(x, image.clone()));
    let generates = at(Clamps::new().hold(y, label.clone()));
    let p: Vec<Vec<f64>> = graph.parameters().iter().map(Tensor::to_vec).collect();
    let times = |w: &[f64], v: &[f64], inputs: usize| -> Vec<f64> {
        let rows = w.len() / inputs;
        let each = |n: usize, i: usize| {
            (0..inputs).map(|j| w[i * inputs + j] * v[n * inputs + j]).sum::<f64>()
        };
        (0..2).flat_map(|n| (0..rows).map(move |i| (n, i))).map(|(n, i)| each(n, i)).collect()
    };
    let up = |v: &[f64]| -> Vec<f64> {
        let sums = times(&p[0], v, 3);
        sums.iter().enumerate().map(|(k, a)| (a + p[1][k % 4]).tanh()).collect()
    };
    close("h from x", &classifies[1], &up(image.data()), 1e-14);
    let logits = times(&p[2], &classifies[1], 4);
    let logits: Vec<f64> = logits.iter().enumerate().map(|(k, a)| a + p[3][k % 2]).collect();
    close("y from h", &classifies[2], &logits, 1e-14);
    close("training starts there too", &trains[1], &classifies[1], 0.0);
    close("h from y", &generates[1], &times(&p[4], label.data(), 2), 1e-14);
    close("x from h", &generates[0], &times(&p[5], &generates[1], 4), 1e-14);
    // Nothing held leads anywhere: said, with a vertex.
    let free = Clamps::new().mask(x, image.clone(), zeros(&[2, 3]));
    let mut relaxation = Relaxation::new(&graph, start.clone()).unwrap();
    let error = relaxation.run(&mut graph, &free).unwrap_err();
    assert!(error.vertex().is_some() && error.to_string().contains("cycle"), "{error}");
    // And a relaxation goes on from one to the other.
    let mut warm = Relaxation::new(&graph, Schedule::standard(0.1, 9).unwrap()).unwrap();
    let clamps = [
        Clamps::new().hold(x, image.clone()).hold(y, label.clone()),
        Clamps::new().hold(y, label),
        Clamps::new().hold(x, image),
    ];
    for clamps in clamps.iter().chain(&clamps) {
        warm.run(&mut graph, clamps).unwrap();
        let mut fresh = Relaxation::new(&graph, Schedule::standard(0.1, 9).unwrap()).unwrap();
        fresh.run(&mut graph, clamps).unwrap();
        assert_eq!(flat(&warm), flat(&fresh));
    }
}

#[test]
fn masks_are_zero_or_one_and_starts_are_numbers() {
    let mut net = chain(&[4, 8, 3], Activation::Tanh);
    for part in [0.5, 7.0, -3.0] {
        let mask = tensor(&[1, 8], &[1.0, 0.0, 0.0, part, 1.0, 1.0, 0.0, 0.0]);
        let clamps = net.held(1, 1).mask(net.vertices[1], zeros(&[1, 8]), mask);
        let schedule = Schedule::standard(0.1, 3).unwrap();
        let error = Relaxation::new(&net.graph, schedule)
            .unwrap()
            .begin(&mut net.graph, &clamps)
            .unwrap_err();
        assert_eq!((error.kind(), error.vertex()), (ErrorKind::Clamp, Some("v1")), "{error}");
    }
    for deviation in [f64::NAN, f64::INFINITY, -1.0] {
        let noisy =
            Schedule::standard(0.1, 3).unwrap().starting(Start::Noise { deviation, seed: 1 });
        let error = Relaxation::new(&net.graph, noisy).unwrap_err();
        assert!(error.to_string().contains("deviation"), "{error}");
    }
}

#[test]
fn a_masked_vertex_keeps_its_part_when_states_are_carried() {
    let mut net = chain(&[4, 8, 3], Activation::Tanh);
    let mask: Vec<f64> = (0..8).map(|k| f64::from(u8::from(k < 4))).collect();
    let schedule = Schedule::standard(0.1, 3).unwrap().starting(Start::Carried);
    let mut relaxation = Relaxation::new(&net.graph, schedule).unwrap();
    for seed in 1..4 {
        let held = Numbers::new(seed + 20).tensor::<f64>(&[1, 8], 1.0);
        let clamps = net.held(seed, 1).mask(net.vertices[1], held.clone(), tensor(&[1, 8], &mask));
        relaxation.run(&mut net.graph, &clamps).unwrap();
        let found = relaxation.value(&net.graph, net.vertices[1]).unwrap().to_vec();
        close("the held part", &found[..4], &held.to_vec()[..4], 1e-15);
    }
    let target = zeros(&[1, 3]);
    let nudged = net.held(1, 1).nudge(net.last(), target, 0.5);
    let error = relaxation.begin(&mut net.graph, &nudged).unwrap_err();
    assert!(error.to_string().contains("nudge"), "{error}");
}

#[test]
fn a_relaxation_that_climbs_has_diverged() {
    let mut widths = vec![10; 21];
    widths.push(3);
    let mut net = chain(&widths, Activation::Tanh);
    let clamps = net.held(1, 1);
    let schedule = Schedule::standard(1.9, 20).unwrap();
    let (relaxation, outcome) = net.run(schedule.clone(), &clamps);
    assert_eq!(outcome.status, Status::Diverged);
    assert!(flat(&relaxation).is_empty());
    let (relaxation, lifted) = net.run(schedule.unbounded(), &clamps);
    assert_eq!(lifted.status, Status::Spent);
    assert!(!flat(&relaxation).is_empty());
    assert_eq!(lifted.energy, outcome.energy);
    let (_, first) = net.run(Schedule::standard(1.9, 1).unwrap().unrelaxed(), &clamps);
    assert!(outcome.energy.total() > Schedule::DIVERGED * first.energy.total());
}

#[test]
fn any_number_of_frozen_steps_takes_no_time() {
    let mut net = chain(&[4, 8, 8, 3], Activation::Tanh);
    let clamps = net.held(1, 2);
    let (backprop, _) = net.run(Schedule::backprop(), &clamps);
    for steps in [usize::MAX, 100_000_000] {
        let (closed, outcome) = net.run(Schedule::fixed_prediction(0.1, steps).unwrap(), &clamps);
        close("the fixed point", &flat(&closed), &flat(&backprop), 1e-14);
        assert_eq!(outcome.steps, steps);
        // The front stops where nothing changes any more.
        let front = Schedule::fixed_prediction(1.0, steps).unwrap().evaluated_by(Evaluation::Front);
        let (front, outcome) = net.run(front, &clamps);
        close("the front", &flat(&front), &flat(&backprop), 1e-14);
        assert_eq!(outcome.steps, steps);
    }
}

#[test]
fn incremental_pc_stops_at_its_tolerance() {
    let mut net = chain(&[4, 8, 3], Activation::Tanh);
    let clamps = net.held(1, 1);
    let schedule = Schedule::ipc(0.1, 300).unwrap().until(0.1).unwrap();
    let mut relaxation = Relaxation::new(&net.graph, schedule).unwrap();
    let mut events = 0;
    let outcome = relaxation
        .train(&mut net.graph, &clamps, |_, _| {
            events += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(outcome.status, Status::Converged);
    assert!(outcome.steps < 300 && events == outcome.steps, "{outcome:?}, {events} events");
    // Weights stood still, so it is where standard PC stops.
    let standard = Schedule::standard(0.1, 300).unwrap().until(0.1).unwrap();
    let (_, standard) = net.run(standard, &clamps);
    assert_eq!(standard.steps, outcome.steps);
    close("residual", &[standard.residual.unwrap()], &[outcome.residual.unwrap()], 1e-13);
}

#[test]
fn what_diverges_says_with_which_energy() {
    let mut net = chain(&[4, 8, 8, 3], Activation::Tanh);
    let clamps = net.held(1, 1);
    let ipc = Schedule::ipc(50.0, 400).unwrap().unbounded();
    let mut relaxation = Relaxation::new(&net.graph, ipc).unwrap();
    let outcome = relaxation
        .train(&mut net.graph, &clamps, |graph, gradients| {
            for (id, gradient) in gradients.iter() {
                if let Some(gradient) = gradient {
                    graph.parameters_mut()[id.index()].axpy(-1e3, gradient);
                }
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(outcome.status, Status::Diverged);
    assert!(!(outcome.energy.total() < 1e3), "{outcome:?}");

    let mut net = chain(&[4, 8, 8, 3], Activation::Identity);
    net.graph.parameters_mut().iter_mut().for_each(|p| p.scale(1e120));
    for schedule in [Schedule::zil(), Schedule::zil().evaluated_by(Evaluation::Simulate)] {
        let (_, outcome) = net.run(schedule, &net.held(1, 1));
        assert_eq!(outcome.status, Status::Diverged);
        assert!(!(outcome.energy.total() < 1e200), "{outcome:?}");
    }
}

#[test]
fn each_level_counts_with_the_energy_its_weights_read() {
    let mut net = chain(&[4, 8, 8, 8, 3], Activation::Tanh);
    let clamps = net.held(1, 2);
    let (_, by_level) = net.run(Schedule::zil().traced(), &clamps);
    let whole = Schedule::zil().evaluated_by(Evaluation::Simulate).traced();
    let (_, whole) = net.run(whole, &clamps);
    close("energy", &[by_level.energy.total()], &[whole.energy.total()], 1e-13);
    close("trace", &by_level.trace, &whole.trace, 1e-13);
    // Backprop's errors are those that the weights read.
    let (_, swept) = net.run(Schedule::backprop(), &clamps);
    close("backprop's", &[by_level.energy.total()], &[swept.energy.total()], 1e-13);
}

#[test]
fn levels_are_exact_with_any_precisions() {
    let mut init = Init::new(2);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[4]).unwrap();
    let h = b.dense("h", x, 6, Activation::Tanh, &mut init).unwrap();
    let k = b.dense("k", h, 6, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", k, 3, Activation::Identity, &mut init).unwrap();
    for (vertex, precision) in [(h, 0.25), (k, 3.0), (y, 1.5)] {
        b.precision(vertex, precision).unwrap();
    }
    let mut net = ChainNet { graph: b.build().unwrap(), vertices: vec![x, h, k, y] };
    let clamps = net.held(4, 2);
    let (swept, energy) = net.run(Schedule::backprop(), &clamps);
    for evaluation in [Evaluation::Auto, Evaluation::Simulate] {
        let (found, outcome) = net.run(Schedule::zil().evaluated_by(evaluation), &clamps);
        close("gradients", &flat(&found), &flat(&swept), 1e-13);
        close("energy", &[outcome.energy.total()], &[energy.energy.total()], 1e-13);
    }
}

#[test]
fn a_loss_that_reshapes_its_drive_is_named() {
    let mut net = chain(&[4, 8, 3], Activation::Tanh);
    for at_call in [1, 2, 4] {
        for schedule in [Schedule::standard(0.1, 3), Schedule::ipc(0.1, 3), Schedule::epc(0.1, 3)] {
            let mut calls = 0;
            let loss = move |_: &T, drive: &mut T| {
                calls += 1;
                if calls == at_call {
                    *drive = zeros(&[3, 1]);
                }
                Ok(0.0)
            };
            let clamps = net.held(1, 1).drive(net.last(), loss);
            let mut relaxation = Relaxation::new(&net.graph, schedule.unwrap()).unwrap();
            let error = relaxation.train(&mut net.graph, &clamps, |_, _| Ok(())).unwrap_err();
            assert_eq!((error.kind(), error.vertex()), (ErrorKind::Shape, Some("v2")), "{error}");
        }
    }
}

#[test]
fn gradients_that_overflow_are_no_gradients() {
    let mut b = Graph::<HostTensor<f32>>::builder();
    let x = b.input("x", &[2]).unwrap();
    let w = b.parameter("w", tensor(&[1, 2], &[1e-30, 1e-30])).unwrap();
    let y = b.vertex("y", Box::new(Linear::without_bias()), &[x], &[w]).unwrap();
    let mut graph = b.build().unwrap();
    let clamps =
        Clamps::new().hold(x, tensor(&[1, 2], &[1e30, 1e30])).hold(y, tensor(&[1, 1], &[1e15]));
    let schedules = [
        Schedule::backprop(),
        Schedule::fixed_prediction(0.5, 4).unwrap(),
        Schedule::zil(),
        Schedule::standard(0.1, 4).unwrap(),
        Schedule::epc(0.1, 4).unwrap(),
        Schedule::ipc(0.1, 4).unwrap(),
    ];
    for schedule in schedules {
        let mut relaxation = Relaxation::new(&graph, schedule.clone()).unwrap();
        let learn = |_: &mut _, _: &_| panic!("weights were taught");
        let outcome = relaxation.train(&mut graph, &clamps, learn).unwrap();
        assert_eq!(outcome.status, Status::Diverged, "{schedule}");
        assert!(outcome.energy.total().is_finite(), "{schedule}");
    }
}

/// Two branches of which one is held further down; a third that leads nowhere; an intervention.
#[test]
fn every_evaluation_reaches_the_same_weights() {
    let mut init = Init::new(9);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[3]).unwrap();
    let a = b.dense("a", x, 4, Activation::Tanh, &mut init).unwrap();
    let c = b.dense("c", a, 4, Activation::Tanh, &mut init).unwrap();
    let d = b.dense("d", c, 4, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", d, 2, Activation::Identity, &mut init).unwrap();
    b.dense("nowhere", c, 2, Activation::Identity, &mut init).unwrap();
    let mut net = ChainNet { graph: b.build().unwrap(), vertices: vec![x, a, c, d, y] };
    let held = net.held(3, 2);
    let cut = net.held(3, 2).intervene(c, Numbers::new(4).tensor(&[2, 4], 1.0));
    let learned = |net: &mut ChainNet, schedule: Schedule, clamps: &Clamps<T>| -> Vec<String> {
        let (relaxation, _) = net.run(schedule, clamps);
        let names = net.graph.topology().parameter_names();
        let with = relaxation.gradients().iter().filter(|(_, gradient)| gradient.is_some());
        with.map(|(id, _)| names[id.index()].clone()).filter(|n| n.ends_with("weight")).collect()
    };
    for (clamps, steps, expected) in [
        (&held, 1, vec!["d.weight", "y.weight"]),
        (&held, 2, vec!["c.weight", "d.weight", "y.weight"]),
        (&held, 9, vec!["a.weight", "c.weight", "d.weight", "y.weight"]),
        (&cut, 9, vec!["d.weight", "y.weight"]),
    ] {
        let fixed =
            |evaluation| Schedule::fixed_prediction(0.5, steps).unwrap().evaluated_by(evaluation);
        let mut schedules = vec![
            fixed(Evaluation::Simulate),
            fixed(Evaluation::Front),
            fixed(Evaluation::ClosedForm),
            fixed(Evaluation::ClosedForm).unmeasured(),
        ];
        if steps == 9 {
            schedules.extend([Schedule::backprop(), Schedule::backprop().unmeasured()]);
        }
        for schedule in schedules {
            assert_eq!(learned(&mut net, schedule.clone(), clamps), expected, "{schedule:?}");
        }
    }
    // Error-based PC sends its errors through the whole net at each step.
    let epc = learned(&mut net, Schedule::epc(0.1, 1).unwrap(), &cut);
    assert_eq!(epc, ["d.weight", "y.weight"]);
    let unrelaxed = Schedule::epc(0.1, 1).unwrap().unrelaxed();
    assert_eq!(learned(&mut net, unrelaxed, &held), ["y.weight"]);
}

#[test]
fn backprop_takes_one_prediction_of_each_vertex() {
    let (mut graph, [x, _, y]) = both_ways();
    let clamps = Clamps::new().hold(x, zeros(&[1, 3])).hold(y, zeros(&[1, 2]));
    let mut relaxation = Relaxation::new(&graph, Schedule::backprop()).unwrap();
    let error = relaxation.run(&mut graph, &clamps).unwrap_err();
    assert_eq!((error.kind(), error.vertex()), (ErrorKind::Schedule, Some("h")), "{error}");
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[2]).unwrap();
    let y = b.activate("y", x, Activation::Tanh).unwrap();
    b.predict(y, Box::new(Identity), &[x], &[], 1.0).unwrap();
    let mut graph = b.build().unwrap();
    let error = Relaxation::new(&graph, Schedule::zil()).unwrap_err();
    assert_eq!((error.kind(), error.vertex()), (ErrorKind::Schedule, Some("y")), "{error}");
    // A held vertex may have several: each error drives.
    let mut relaxation = Relaxation::new(&graph, Schedule::backprop()).unwrap();
    let held = Clamps::new().hold(x, zeros(&[1, 2]));
    let error = relaxation.run(&mut graph, &held).unwrap_err();
    assert_eq!((error.kind(), error.vertex()), (ErrorKind::Schedule, Some("y")), "{error}");
    relaxation.run(&mut graph, &held.hold(y, zeros(&[1, 2]))).unwrap();
}

/// `p(v) ~ exp(-v^2 / 2)` in many independent elements, by each rule that takes noise.
#[test]
fn noise_has_its_variance_with_every_rule() {
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[4000]).unwrap();
    let y = b.activate("y", x, Activation::Identity).unwrap();
    let mut graph = b.build().unwrap();
    let clamps = Clamps::new().hold(x, zeros(&[1, 4000]));
    let rate = 0.05;
    let schedules = [(0.0, false), (0.5, false), (0.9, false), (0.0, true), (0.5, true)];
    for (momentum, errors) in schedules {
        let plain = if errors { Schedule::epc } else { Schedule::standard };
        let schedule = plain(rate, 1500).unwrap().with_momentum(momentum).unwrap();
        let schedule = schedule.with_noise(1.0, 11).unwrap();
        let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
        relaxation.run(&mut graph, &clamps).unwrap();
        let values = relaxation.value(&graph, y).unwrap().to_vec();
        let variance = values.iter().map(|v| v * v).sum::<f64>() / 4000.0;
        // What the step itself adds: an autoregression of second order.
        let expected = 1.0 / (1.0 - rate / (2.0 * (1.0 + momentum)));
        let error = (2.0_f64 / 4000.0).sqrt() * expected;
        let off = (variance - expected).abs();
        assert!(off < 3.0 * error, "momentum {momentum}, errors {errors}: variance {variance}");
    }
}

#[test]
fn error_based_pc_starts_where_it_is_told() {
    let mut net = chain(&[4, 8, 8, 3], Activation::Tanh);
    let start = Numbers::new(6).tensor::<f64>(&[2, 8], 1.0);
    let clamps = net.held(1, 2).free(net.vertices[1], start.clone());
    let unrelaxed = |s: Schedule| s.unrelaxed();
    let (states, first) = net.run(unrelaxed(Schedule::standard(0.1, 1).unwrap()), &clamps);
    let (errors, second) = net.run(unrelaxed(Schedule::epc(0.1, 1).unwrap()), &clamps);
    close("energy", &[first.energy.total()], &[second.energy.total()], 1e-13);
    close("gradients", &flat(&errors), &flat(&states), 1e-13);
    let value = errors.value(&net.graph, net.vertices[1]).unwrap();
    close("the start", &value.to_vec(), &start.to_vec(), 1e-15);
    // From there to the same equilibrium.
    let equilibrium = Schedule::standard(0.1, 100_000).unwrap().until(1e-10).unwrap();
    let (states, _) = net.run(equilibrium, &clamps);
    let equilibrium = Schedule::epc(0.05, 100_000).unwrap().until(1e-10).unwrap();
    let (errors, _) = net.run(equilibrium, &clamps);
    close("equilibrium", &flat(&errors), &flat(&states), 1e-8);
}

#[test]
fn frozen_states_are_carried_too() {
    // Linear, so that it does not matter where predictions are frozen.
    let mut net = chain(&[4, 6, 6, 3], Activation::Identity);
    let clamps = net.held(1, 2);
    let simulate =
        |steps| Schedule::fixed_prediction(0.2, steps).unwrap().evaluated_by(Evaluation::Simulate);
    let (whole, _) = net.run(simulate(12), &clamps);
    let carried = simulate(1).starting(Start::Carried);
    let mut parts = Relaxation::new(&net.graph, carried).unwrap();
    // One step at a time, linearised anew at each state, is live PC.
    let live = net.run(Schedule::standard(0.2, 12).unwrap(), &clamps).0;
    for _ in 0..12 {
        parts.run(&mut net.graph, &clamps).unwrap();
    }
    let at = |relaxation: &Relaxation<Graph<T>>| {
        let value = relaxation.value(&net.graph, net.vertices[1]);
        value.unwrap().to_vec()
    };
    close("live", &at(&parts), &at(&live), 1e-13);
    assert_ne!(at(&whole), at(&live));
}

#[test]
fn states_that_have_diverged_are_not_carried() {
    let mut net = chain(&[4, 6, 6, 3], Activation::Tanh);
    let mut wild = net.held(1, 2);
    wild = wild.hold(net.last(), tensor(&[2, 3], &[1e200; 6]));
    let clamps = net.held(2, 2);
    for plain in [Schedule::standard(0.1, 9), Schedule::fixed_prediction(0.1, 9)] {
        let schedule = plain.unwrap().starting(Start::Carried);
        let mut warm = Relaxation::new(&net.graph, schedule.clone()).unwrap();
        let outcome = warm.run(&mut net.graph, &wild).unwrap();
        assert_eq!(outcome.status, Status::Diverged, "{schedule}");
        warm.run(&mut net.graph, &clamps).unwrap();
        let (fresh, _) = net.run(schedule, &clamps);
        assert_eq!(flat(&warm), flat(&fresh));
    }
}

#[test]
fn cross_entropy_of_large_logits_is_known_to_rounding() {
    let mut loss = CrossEntropy::<f32>::labels(&[1], 3).unwrap();
    let logits = tensor::<f32>(&[1, 3], &[1e4, 1e4 - 2.0, -1e4]);
    let mut drive = zeros(&[1, 3]);
    let value = loss.evaluate(&logits, &mut drive).unwrap();
    let expected = 2.0 + (1.0 + (-2.0_f64).exp()).ln();
    assert!((value - expected).abs() < 1e-6 * expected, "{value} is not {expected}");
}
