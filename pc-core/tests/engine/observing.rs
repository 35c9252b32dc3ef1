//! An observed relaxation stops at every step, where what it stands at can be read.

use pc_core::{
    Clamps, Evaluation, Event, Graph, Relaxation, Result, Schedule, SquaredError, Tensor, VertexId,
    host::{Activation, HostLayers, HostTensor, Init},
};

use crate::common::{Numbers, close};

type T = HostTensor<f64>;

/// `x -> h -> k -> y`, with precisions where asked for; `y` held, or driven by a loss.
fn net(precise: bool, driven: bool) -> (Graph<T>, Vec<VertexId>, Clamps<T>) {
    let mut init = Init::new(3);
    let mut b = Graph::builder();
    let x = b.input("x", &[4]).unwrap();
    let h = b.dense("h", x, 5, Activation::Tanh, &mut init).unwrap();
    let k = b.dense("k", h, 5, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", k, 3, Activation::Identity, &mut init).unwrap();
    if precise {
        b.precision(h, 0.5).unwrap();
        b.precision(k, 1.5).unwrap();
    }
    let mut numbers = Numbers::new(4);
    let clamps = Clamps::new().hold(x, numbers.tensor(&[2, 4], 1.0));
    let target = numbers.tensor(&[2, 3], 1.0);
    let clamps =
        if driven { clamps.drive(y, SquaredError::new(target)) } else { clamps.hold(y, target) };
    (b.build().unwrap(), vec![x, h, k, y], clamps)
}

/// What can be read at one step: values, errors, and the sum of the energies.
struct Seen {
    values: Vec<Vec<f64>>,
    errors: Vec<Vec<f64>>,
    energy: f64,
}

fn read(graph: &Graph<T>, relaxation: &Relaxation<Graph<T>>, vertices: &[VertexId]) -> Seen {
    let mut seen = Seen { values: Vec::new(), errors: Vec::new(), energy: 0.0 };
    for vertex in vertices {
        seen.values.push(relaxation.value(graph, *vertex).unwrap().to_vec());
        for id in graph.topology().predictions_of(*vertex).unwrap() {
            seen.errors.push(relaxation.error(*id).unwrap().to_vec());
            seen.energy += relaxation.energy(graph, *id).unwrap();
        }
    }
    seen
}

fn schedules(steps: usize) -> Vec<(&'static str, Result<Schedule>)> {
    let fixed = || Schedule::fixed_prediction(0.2, steps);
    vec![
        ("live", Schedule::standard(0.1, steps)),
        ("momentum", Schedule::standard(0.1, steps).and_then(|s| s.with_momentum(0.5))),
        ("iPC", Schedule::ipc(0.1, steps)),
        ("errors", Schedule::epc(0.1, steps)),
        ("simulated", fixed().map(|s| s.evaluated_by(Evaluation::Simulate))),
        ("front", fixed().map(|s| s.evaluated_by(Evaluation::Front))),
        ("chosen", fixed()),
        ("noise", Schedule::standard(0.1, steps).and_then(|s| s.with_noise(0.1, 2))),
        // Over before the last step: none is left out.
        ("rate 1", Schedule::fixed_prediction(1.0, steps)),
    ]
}

#[test]
fn what_is_seen_at_a_step_is_where_a_shorter_relaxation_ends() {
    let steps = 7;
    for (precise, driven) in [(false, false), (true, false), (false, true)] {
        for (name, schedule) in schedules(steps) {
            let what = format!("{name}, precisions {precise}, driven {driven}");
            let (mut graph, vertices, clamps) = net(precise, driven);
            let observed = schedule.unwrap().observed();
            let mut relaxation = Relaxation::new(&graph, observed).unwrap();
            relaxation.begin(&mut graph, &clamps).unwrap();
            let mut path = Vec::new();
            let outcome = loop {
                match relaxation.advance(&mut graph).unwrap() {
                    Event::Step => path.push(read(&graph, &relaxation, &vertices)),
                    Event::Learn => {}
                    Event::Finished(outcome) => break outcome,
                }
            };
            assert_eq!((outcome.steps, path.len()), (steps, steps + 1), "{what}");
            let last = path.last().unwrap();
            close(&what, &[last.energy], &[outcome.energy.total()], 1e-13);
            for (step, seen) in path.iter().enumerate() {
                let (_, short) = &schedules(step.max(1))[index(name)];
                let mut short = short.clone().unwrap();
                if step == 0 {
                    if name == "iPC" || name == "noise" || name == "momentum" {
                        continue;
                    }
                    short = short.unrelaxed();
                }
                let mut shorter = Relaxation::new(&graph, short).unwrap();
                let ended = shorter.train(&mut graph, &clamps, |_, _| Ok(())).unwrap();
                let at_end = read(&graph, &shorter, &vertices);
                let what = format!("{what}, step {step}");
                close(&what, &seen.values.concat(), &at_end.values.concat(), 1e-13);
                close(&what, &seen.errors.concat(), &at_end.errors.concat(), 1e-13);
                close(&what, &[seen.energy], &[ended.energy.total()], 1e-13);
            }
        }
    }
}

fn index(name: &str) -> usize {
    schedules(1).iter().position(|(other, _)| *other == name).unwrap()
}

#[test]
fn a_trace_is_the_energies_seen() {
    let adaptive = Schedule::standard(3.0, 12).unwrap().adaptive();
    let tolerant = Schedule::standard(0.1, 500).unwrap().until(1e-3).unwrap();
    let whole = Schedule::zil().evaluated_by(Evaluation::Simulate);
    for schedule in [adaptive, tolerant, Schedule::zil(), whole] {
        let what = format!("{schedule:?}");
        let (mut graph, vertices, clamps) = net(false, true);
        let mut relaxation = Relaxation::new(&graph, schedule.traced().observed()).unwrap();
        relaxation.begin(&mut graph, &clamps).unwrap();
        let mut path = Vec::new();
        let outcome = loop {
            match relaxation.advance(&mut graph).unwrap() {
                Event::Step => path.push(read(&graph, &relaxation, &vertices).energy),
                Event::Learn => {}
                Event::Finished(outcome) => break outcome,
            }
        };
        assert_eq!(path.len(), outcome.steps + 1, "{what}");
        close(&what, &path, &outcome.trace, 1e-13);
        close(&what, &path[path.len() - 1..], &[outcome.energy.total()], 1e-13);
    }
}

#[test]
fn run_passes_over_steps() {
    for schedule in [Schedule::standard(0.1, 5).unwrap(), Schedule::epc(0.1, 5).unwrap()] {
        let (mut graph, _, clamps) = net(false, false);
        let mut plain = Relaxation::new(&graph, schedule.clone()).unwrap();
        let mut observed = Relaxation::new(&graph, schedule.observed()).unwrap();
        let found = observed.run(&mut graph, &clamps).unwrap();
        assert_eq!(found, plain.run(&mut graph, &clamps).unwrap());
        let h = graph.vertex("h").unwrap();
        let id = graph.topology().predictions_of(h).unwrap()[0];
        assert!(plain.energy(&graph, id).unwrap() > 0.0);
    }
}
