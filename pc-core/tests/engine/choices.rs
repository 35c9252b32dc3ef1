//! Every choice of a schedule, on every method, alone and in pairs: it changes what comes out, or
//! it is refused. And every call made twice, with something changed in between.

use pc_core::{
    Clamps, Error, ErrorStart, Evaluation, Event, Graph, Pace, Reduction, Relaxation, Result,
    Schedule, SquaredError, Start, Status, Tensor, VertexId,
    host::{Activation, HostLayers, HostTensor, Init, Sgd},
    rule::{Adam, Anderson, Heun, Nesterov},
};

use crate::common::{Numbers, close};

type T = HostTensor<f64>;

/// A way to relax, at this rate for this many steps.
pub(crate) type Make = fn(f64, usize) -> Result<Schedule>;

pub(crate) const METHODS: [(&str, Make); 6] = [
    ("backprop", |_, _| Ok(Schedule::backprop())),
    ("fixed prediction", Schedule::fixed_prediction),
    ("Z-IL", |_, _| Ok(Schedule::zil())),
    ("standard PC", Schedule::standard),
    ("iPC", Schedule::ipc),
    ("error-based PC", Schedule::epc),
];

/// A choice: what it is about (two about one thing cannot be made together), its name, how it is
/// made, and what [`Relaxation::evaluation`] then says, where nothing else tells it.
pub(crate) struct Choice {
    about: &'static str,
    pub(crate) name: &'static str,
    pub(crate) make: fn(Schedule) -> Result<Schedule>,
    told: Option<&'static str>,
}

pub(crate) fn choices() -> Vec<Choice> {
    let choice = |about, name, make| Choice { about, name, make, told: None };
    let told = |name, make, told| Choice { about: "evaluation", name, make, told: Some(told) };
    vec![
        choice("steps", "unrelaxed", |s| Ok(s.unrelaxed())),
        choice("start", "zero", |s| Ok(s.starting(Start::Zero))),
        choice("start", "noise", |s| Ok(s.starting(Start::Noise { deviation: 0.5, seed: 3 }))),
        choice("start", "carried", |s| Ok(s.starting(Start::Carried))),
        choice("errors", "activations", |s| s.errors_from(ErrorStart::Activations)),
        choice("errors", "noisy errors", |s| {
            s.errors_from(ErrorStart::Noise { deviation: 0.5, seed: 3 })
        }),
        choice("errors", "given", |s| s.errors_from(ErrorStart::Given)),
        told("simulate", |s| Ok(s.evaluated_by(Evaluation::Simulate)), "simulation"),
        told("front", |s| Ok(s.evaluated_by(Evaluation::Front)), ""),
        told("closed form", |s| Ok(s.evaluated_by(Evaluation::ClosedForm)), "closed form"),
        choice("rule", "momentum", |s| s.with_momentum(0.5)),
        choice("rule", "adaptive", |s| Ok(s.adaptive())),
        choice("rule", "Nesterov", |s| Ok(s.ruled_by(Nesterov::new(0.5)?))),
        choice("rule", "Adam", |s| Ok(s.ruled_by(Adam::default()))),
        choice("rule", "Heun", |s| Ok(s.ruled_by(Heun))),
        choice("rule", "Anderson", |s| Ok(s.ruled_by(Anderson::new(3)?))),
        choice("rate", "of a vertex", |s| s.with_rate_of(net(false).h, 0.5)),
        choice("by precision", "rate by precision", |s| Ok(s.rate_by_precision())),
        choice("pace", "paced", |s| s.paced(Pace::Inverse(0.5))),
        choice("tolerance", "until", |s| s.until(0.01)),
        choice("noise", "with noise", |s| s.with_noise(0.01, 5)),
        choice("learning", "from samples", |s| s.learning_from_samples(1, 2)),
        choice("reduction", "mean", |s| Ok(s.reduced_by(Reduction::Mean))),
        choice("trace", "traced", |s| Ok(s.traced())),
        choice("observing", "observed", |s| Ok(s.observed())),
        choice("measuring", "unmeasured", |s| Ok(s.unmeasured())),
        choice("levels", "even unlevelled", |s| Ok(s.even_unlevelled())),
    ]
}

pub(crate) struct DeepNet {
    pub(crate) graph: Graph<T>,
    pub(crate) x: VertexId,
    pub(crate) h: VertexId,
    pub(crate) k: VertexId,
    pub(crate) y: VertexId,
}

/// `x -> h -> k -> y`, with a skip from `h` to `y` where asked for.
pub(crate) fn net(skip: bool) -> DeepNet {
    let mut init = Init::new(7);
    let mut b = Graph::builder();
    let x = b.input("x", &[4]).unwrap();
    let h = b.dense("h", x, 5, Activation::Tanh, &mut init).unwrap();
    let k = b.dense("k", h, 5, Activation::Tanh, &mut init).unwrap();
    let top = if skip { b.sum("top", &[h, k]).unwrap() } else { k };
    let y = b.dense("y", top, 3, Activation::Identity, &mut init).unwrap();
    DeepNet { graph: b.build().unwrap(), x, h, k, y }
}

pub(crate) fn batch(net: &DeepNet, seed: u64, size: usize) -> Clamps<T> {
    let mut numbers = Numbers::new(seed);
    Clamps::new()
        .hold(net.x, numbers.tensor(&[size, 4], 1.0))
        .hold(net.y, numbers.tensor(&[size, 3], 1.0))
}

/// Everything that a batch leaves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Found {
    status: Status,
    steps: usize,
    evaluation: &'static str,
    /// How often it has stopped at a step.
    seen: usize,
    /// Bits, so that NaN is equal to itself.
    numbers: Vec<u64>,
}

/// One batch, with every learning event's gradients; weights stay.
pub(crate) fn once(
    net: &mut DeepNet,
    relaxation: &mut Relaxation<Graph<T>>,
    clamps: &Clamps<T>,
) -> Result<Found> {
    let (mut numbers, mut seen) = (Vec::new(), 0);
    relaxation.begin(&mut net.graph, clamps)?;
    let outcome = loop {
        match relaxation.advance(&mut net.graph)? {
            Event::Learn => {
                for (_, gradient) in relaxation.gradients().iter() {
                    numbers.extend(gradient.map_or_else(|| vec![-0.0], Tensor::to_vec));
                }
            }
            Event::Step => seen += 1,
            Event::Finished(outcome) => break outcome,
        }
    };
    numbers.extend([outcome.energy.internal, outcome.energy.loss]);
    numbers.extend(outcome.residual);
    numbers.extend(outcome.trace);
    for vertex in [net.h, net.k] {
        let value = relaxation.value(&net.graph, vertex);
        numbers.extend(value.map(|value| value.to_vec()).unwrap_or_default());
    }
    Ok(Found {
        status: outcome.status,
        steps: outcome.steps,
        evaluation: relaxation.evaluation(),
        seen,
        numbers: numbers.into_iter().map(f64::to_bits).collect(),
    })
}

/// Two batches in turn.
fn twice(skip: bool, schedule: &Schedule) -> Result<Vec<Found>> {
    let mut net = net(skip);
    let mut relaxation = Relaxation::new(&net.graph, schedule.clone())?;
    [1, 2]
        .map(|seed| batch(&net, seed, 2))
        .iter()
        .map(|c| once(&mut net, &mut relaxation, c))
        .collect()
}

/// A refusal names the rule, and is no accident of another kind.
#[track_caller]
fn named(what: &str, error: &Error, rule: &str) {
    assert_eq!(error.kind(), pc_core::ErrorKind::Schedule, "{what}: {error}");
    assert!(error.to_string().contains(rule), "{what}: {error}");
}

/// Whether a choice shows in what was found, beside what was found without it.
fn shows(choice: &Choice, with: &[Found], without: &Result<Vec<Found>>) -> bool {
    match choice.told {
        Some(told) => with.iter().all(|found| found.evaluation.contains(told)),
        None => without.as_ref().map_or(true, |without| with != without),
    }
}

#[test]
fn every_choice_shows_or_is_refused() {
    let (mut honoured, mut refused) = (0, 0);
    for (rule, make) in METHODS {
        for choice in choices() {
            let skip = choice.about == "levels";
            let plain = make(0.2, 6).unwrap();
            let chosen = (choice.make)(plain.clone()).unwrap();
            let what = format!("{rule}, {}", choice.name);
            match twice(skip, &chosen) {
                Err(error) => {
                    named(&what, &error, rule);
                    refused += 1;
                }
                Ok(with) => {
                    assert!(shows(&choice, &with, &twice(skip, &plain)), "{what}: dropped");
                    honoured += 1;
                }
            }
        }
    }
    // Both happen, and every choice was looked at on every method.
    assert!(honoured > 30 && refused > 30, "{honoured} honoured, {refused} refused");
    assert_eq!(honoured + refused, METHODS.len() * choices().len());
}

#[test]
fn every_pair_of_choices_shows_or_is_refused() {
    let (mut honoured, mut refused) = (0, 0);
    for (rule, make) in METHODS {
        for (first, a) in choices().iter().enumerate() {
            for b in choices().iter().skip(first + 1).filter(|b| b.about != a.about) {
                let skip = a.about == "levels" || b.about == "levels";
                let plain = make(0.2, 6).unwrap();
                let [only_a, only_b] = [a, b].map(|c| (c.make)(plain.clone()).unwrap());
                let both = (b.make)(only_a.clone()).unwrap();
                let what = format!("{rule}, {} and {}", a.name, b.name);
                match twice(skip, &both) {
                    Err(error) => {
                        named(&what, &error, rule);
                        refused += 1;
                    }
                    Ok(found) => {
                        let (with_a, with_b) = (twice(skip, &only_a), twice(skip, &only_b));
                        let seen = [shows(b, &found, &with_a), shows(a, &found, &with_b)];
                        assert_eq!(seen, [true, true], "{what}: one is dropped");
                        honoured += 1;
                    }
                }
            }
        }
    }
    assert!(honoured > 100 && refused > 100, "{honoured} honoured, {refused} refused");
}

#[test]
fn bounds_on_the_energy_are_kept_or_refused() {
    // Rates at which every relaxation by steps diverges.
    for (rule, make) in METHODS {
        let plain = make(3.0, 40).unwrap();
        let bounded = plain.clone().diverged_beyond(10.0).unwrap();
        let lifted = plain.clone().unbounded();
        let found = |schedule: &Schedule| twice(false, schedule);
        match found(&bounded) {
            Err(error) => named(rule, &error, rule),
            Ok(with) => {
                assert!(with.iter().all(|found| found.status == Status::Diverged), "{rule}");
                // Looked at before every step, not at the end.
                assert!(with.iter().all(|found| found.steps < 40), "{rule}: {with:?}");
            }
        }
        match (found(&plain), found(&lifted)) {
            (_, Err(error)) => named(rule, &error, rule),
            (plain, Ok(with)) => {
                assert!(plain.unwrap().iter().all(|found| found.status == Status::Diverged));
                assert!(with.iter().all(|found| found.status == Status::Spent), "{rule}");
            }
        }
    }
}

/// What may change between two batches.
type Change = fn(&mut DeepNet, usize) -> Clamps<T>;

const CHANGES: [(&str, Change); 10] = [
    ("other numbers", |net, size| batch(net, 11, size)),
    ("a larger batch", |net, size| batch(net, 12, size + 3)),
    ("a smaller batch", |net, size| batch(net, 13, size - 1)),
    ("a driven output", |net, size| {
        let target = Numbers::new(14).tensor(&[size, 3], 1.0);
        batch(net, 14, size).drive(net.y, SquaredError::new(target))
    }),
    ("a held vertex", |net, size| {
        let value = Numbers::new(15).tensor(&[size, 5], 0.5);
        batch(net, 15, size).hold(net.h, value)
    }),
    ("an intervention", |net, size| {
        let value = Numbers::new(16).tensor(&[size, 5], 0.5);
        batch(net, 16, size).intervene(net.h, value)
    }),
    ("another start", |net, size| {
        let value = Numbers::new(17).tensor(&[size, 5], 0.5);
        batch(net, 17, size).free(net.k, value)
    }),
    ("a mask", |net, size| {
        let value = Numbers::new(18).tensor(&[size, 5], 0.5);
        let mask = (0..5 * size).map(|k| f64::from(u8::from(k % 2 == 0)));
        batch(net, 18, size).mask(
            net.k,
            value,
            HostTensor::new(&[size, 5], mask.collect()).unwrap(),
        )
    }),
    ("an intervention on a part", |net, size| {
        let value = Numbers::new(20).tensor(&[size, 5], 0.5);
        let every =
            |third: usize| (0..5 * size).map(|k| f64::from(u8::from(k % 3 == third))).collect();
        let [mask, cut] = [0, 1].map(|third| HostTensor::new(&[size, 5], every(third)).unwrap());
        batch(net, 20, size).intervene_part(net.k, value, mask, cut)
    }),
    ("other weights", |net, size| {
        net.graph.parameters_mut().iter_mut().for_each(|p| p.scale(1.25));
        batch(net, 19, size)
    }),
];

#[test]
fn a_second_batch_is_a_fresh_relaxations() {
    let (mut same, mut refused) = (0, 0);
    for (rule, make) in METHODS {
        let plain = make(0.2, 6).unwrap();
        let single = choices().into_iter().filter(|choice| choice.name != "carried");
        let chosen = single.map(|c| (c.name, (c.make)(plain.clone()).unwrap()));
        for (choice, schedule) in chosen.chain([("nothing", plain.clone())]) {
            for skip in [false, true] {
                for (change, make_second) in CHANGES {
                    let mut net = net(skip);
                    let Ok(mut warm) = Relaxation::new(&net.graph, schedule.clone()) else {
                        continue;
                    };
                    let first = batch(&net, 1, 3);
                    let what = format!("{rule}, {choice}, skip {skip}, {change}");
                    if once(&mut net, &mut warm, &first).is_err() {
                        continue;
                    }
                    let second = make_second(&mut net, 3);
                    let found = once(&mut net, &mut warm, &second);
                    let mut fresh = Relaxation::new(&net.graph, schedule.clone()).unwrap();
                    fresh.set_draws(1);
                    let expected = once(&mut net, &mut fresh, &second);
                    match (&found, &expected) {
                        (Ok(found), Ok(expected)) => {
                            assert_eq!(found, expected, "{what}");
                            same += 1;
                        }
                        (Err(found), Err(expected)) => {
                            assert_eq!(found, expected, "{what}");
                            refused += 1;
                        }
                        _ => panic!("{what}: {found:?}, but afresh {expected:?}"),
                    }
                    // What was refused leaves nothing behind either.
                    let again = once(&mut net, &mut warm, &first).unwrap();
                    let mut fresh = Relaxation::new(&net.graph, schedule.clone()).unwrap();
                    fresh.set_draws(if found.is_ok() { 2 } else { 1 });
                    assert_eq!(again, once(&mut net, &mut fresh, &first).unwrap(), "{what}, again");
                }
            }
        }
    }
    assert!(same > 300 && refused > 20, "{same} the same, {refused} refused");
}

#[test]
fn a_relaxation_serves_one_network_only() {
    let mut first = net(false);
    let clamps = batch(&first, 1, 2);
    let mut init = Init::new(7);
    let mut others = Vec::new();
    // As many vertices: other widths, other wiring, a cut, other weights.
    for case in 0..4 {
        let mut b = Graph::<T>::builder();
        let x = b.input("x", &[4]).unwrap();
        let h =
            b.dense("h", x, if case == 0 { 6 } else { 5 }, Activation::Tanh, &mut init).unwrap();
        let from = if case == 1 { x } else { h };
        let k = b.dense("k", from, 5, Activation::Tanh, &mut init).unwrap();
        let y = b.dense("y", k, 3, Activation::Identity, &mut init).unwrap();
        if case == 2 {
            b.cut(b.prediction_of(k).unwrap(), &[h]).unwrap();
        }
        others.push((b.build().unwrap(), y, case));
    }
    for (_, make) in METHODS {
        let mut relaxation = Relaxation::new(&first.graph, make(0.2, 4).unwrap()).unwrap();
        once(&mut first, &mut relaxation, &clamps).unwrap();
        for (graph, _, case) in &mut others {
            let begun = relaxation.begin(graph, &clamps);
            if *case == 3 {
                // The same in all but its weights is served.
                begun.unwrap();
            } else {
                assert!(begun.unwrap_err().to_string().contains("another network"), "{case}");
            }
        }
        once(&mut first, &mut relaxation, &clamps).unwrap();
    }
}

#[test]
fn what_a_learning_closure_puts_in_place_is_looked_at() {
    let mut net = net(false);
    let clamps = batch(&net, 1, 2);
    for reshape in [true, false] {
        let mut relaxation = Relaxation::new(&net.graph, Schedule::ipc(0.1, 4).unwrap()).unwrap();
        let mut kept = None;
        let error = relaxation
            .train(&mut net.graph, &clamps, |graph, _| {
                if reshape {
                    kept = Some(graph.parameters()[0].clone());
                    graph.parameters_mut()[0] = HostTensor::zeroed(&[1, 1]).unwrap();
                } else {
                    *graph = self::net(true).graph;
                }
                Ok(())
            })
            .unwrap_err();
        let says =
            if reshape { "`h.weight` was built with shape [5, 4]" } else { "another network" };
        assert!(error.to_string().contains(says), "{error}");
        if let Some(kept) = kept {
            net.graph.parameters_mut()[0] = kept;
        }
    }
}

#[test]
fn an_error_in_a_closure_leaves_a_relaxation_that_can_begin_again() {
    let mut net = net(false);
    let clamps = batch(&net, 1, 2);
    let mut sgd = Sgd::new(0.01).unwrap();
    let mut relaxation = Relaxation::new(&net.graph, Schedule::ipc(0.1, 4).unwrap()).unwrap();
    let stopped = relaxation.train(&mut net.graph, &clamps, |_, _| {
        Err(Error::new(pc_core::ErrorKind::Misuse, "stop here"))
    });
    assert!(stopped.is_err());
    let mut fresh = Relaxation::new(&net.graph, Schedule::ipc(0.1, 4).unwrap()).unwrap();
    let before = net.graph.parameters().to_vec();
    let mut weights = Vec::new();
    for relaxation in [&mut relaxation, &mut fresh] {
        net.graph.parameters_mut().clone_from_slice(&before);
        relaxation
            .train(&mut net.graph, &clamps, |graph, g| sgd.step(graph.parameters_mut(), g))
            .unwrap();
        weights.push(net.graph.parameters()[0].to_vec());
    }
    close("weights", &weights[0], &weights[1], 0.0);
}
