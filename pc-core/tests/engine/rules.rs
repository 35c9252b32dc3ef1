//! State rules: step for step against plain programs, and what holds of every rule.

use pc_core::{
    Clamps, ErrorKind, Graph, Outcome, Relaxation, Result, Schedule, Tensor, VertexId,
    host::{Activation, HostLayers, HostTensor, Init},
    rule::{
        Adam, Adaptive, Anderson, FreeCoordinates, Heun, Momentum, Nesterov, Plain, Setting, Slot,
        StateRule, StepForm, Taken,
    },
};

use crate::{
    common::{close, distance, tensor},
    independent::{PlainNet, States},
    walk::{Walk, add, each},
};

type T = HostTensor<f64>;

/// Takes `x` one step further; keeps what it likes.
type Plainly = Box<dyn FnMut(&Walk, &mut States)>;

fn zeros(walk: &Walk) -> States {
    let mut zeros = walk.start();
    zeros.iter_mut().flatten().flatten().for_each(|x| *x = 0.0);
    zeros
}

/// Compares an engine's path with a plain program's, for states and errors.
fn compare(
    what: &str,
    make: impl Fn(Schedule) -> Schedule,
    rate: f64,
    plainly: fn(f64) -> Plainly,
) {
    for by_errors in [false, true] {
        let walk = Walk { net: PlainNet::new(11), precisions: [0.5, 2.0, 1.5], by_errors };
        let schedule = if by_errors { Schedule::epc } else { Schedule::standard };
        let path = walk.engine(make(schedule(rate, 20).unwrap()));
        let (mut x, mut step) = (walk.start(), plainly(rate));
        assert_eq!(path.len(), 21);
        for (t, found) in path.iter().enumerate() {
            close(&format!("{what}, errors {by_errors}, {t}"), found, &Walk::flat(&x), 1e-12);
            step(&walk, &mut x);
        }
        assert!(distance(&path[0], &path[20]) > 0.01, "{what}: it has not moved");
    }
}

#[test]
fn nesterov_is_a_plain_programs() {
    // The textbook's form, which looks ahead to where momentum alone would lead.
    compare(
        "Nesterov",
        |schedule| schedule.ruled_by(Nesterov::new(0.8).unwrap()),
        0.1,
        |rate| {
            let m = 0.8;
            let mut kept: Option<(States, States)> = None;
            Box::new(move |walk, ahead| {
                let (x, v) = kept.get_or_insert_with(|| (ahead.clone(), zeros(walk)));
                let down = walk.down(ahead);
                each(v, &down, |v, g| *v = m * *v + rate * g);
                add(x, 1.0, v);
                ahead.clone_from(x);
                add(ahead, m, v);
            })
        },
    );
}

#[test]
fn adam_is_a_plain_programs() {
    compare(
        "Adam",
        |schedule| schedule.ruled_by(Adam::new(0.8, 0.95, 1e-6).unwrap()),
        0.02,
        |rate| {
            let mut kept: Option<(States, States)> = None;
            let mut t = 0;
            Box::new(move |walk, x| {
                let (mean, square) = kept.get_or_insert_with(|| (zeros(walk), zeros(walk)));
                let down = walk.down(x);
                t += 1;
                each(mean, &down, |m, g| *m = 0.8 * *m + 0.2 * g);
                each(square, &down, |s, g| *s = 0.95 * *s + 0.05 * g * g);
                let mut step = mean.clone();
                each(&mut step, square, |m, s| {
                    let s = s / (1.0 - 0.95_f64.powi(t));
                    *m = *m / (1.0 - 0.8_f64.powi(t)) / (s.sqrt() + 1e-6);
                });
                add(x, rate, &step);
            })
        },
    );
}

#[test]
fn heun_is_a_plain_programs() {
    compare(
        "Heun",
        |schedule| schedule.ruled_by(Heun),
        0.2,
        |rate| {
            Box::new(move |walk, x| {
                let first = walk.down(x);
                let mut there = x.clone();
                add(&mut there, rate, &first);
                let second = walk.down(&there);
                add(x, 0.5 * rate, &first);
                add(x, 0.5 * rate, &second);
            })
        },
    );
}

/// A rule without its form, so that the engine calls its `step`.
#[derive(Debug)]
struct Formless<R>(R);

impl<R: StateRule> StateRule for Formless<R> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn slots(&self) -> usize {
        self.0.slots()
    }

    fn numbers(&self) -> usize {
        self.0.numbers()
    }

    fn watches(&self) -> bool {
        self.0.watches()
    }

    fn step(&self, at: &mut dyn FreeCoordinates) -> Taken {
        self.0.step(at)
    }

    fn refuses(&self, setting: Setting) -> Option<&'static str> {
        self.0.refuses(setting)
    }
}

struct Three {
    graph: Graph<T>,
    x: VertexId,
    h: VertexId,
    y: VertexId,
    clamps: Clamps<T>,
}

/// `x -> h -> k -> y` of widths 3, 5, 5, 2; `h` masked where asked for.
fn three(masked: bool) -> Three {
    let mut init = Init::new(21);
    let mut b = Graph::builder();
    let x = b.input("x", &[3]).unwrap();
    let h = b.dense("h", x, 5, Activation::Tanh, &mut init).unwrap();
    let k = b.dense("k", h, 5, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", k, 2, Activation::Identity, &mut init).unwrap();
    let clamps = Clamps::new()
        .hold(x, init.uniform(&[2, 3], 1.0).unwrap())
        .hold(y, init.uniform(&[2, 2], 1.0).unwrap());
    let clamps = if masked {
        let mask = (0..10).map(|k| f64::from(u8::from(k % 3 == 0))).collect::<Vec<f64>>();
        clamps.mask(h, tensor(&[2, 5], &[0.25; 10]), tensor(&[2, 5], &mask))
    } else {
        clamps
    };
    Three { graph: b.build().unwrap(), x, h, y, clamps }
}

/// What a relaxation of the net ends with, gradients and states.
fn end(masked: bool, schedule: Schedule) -> Result<(Outcome, Vec<f64>)> {
    let mut net = three(masked);
    let mut relaxation = Relaxation::new(&net.graph, schedule)?;
    let mut numbers = Vec::new();
    let outcome = relaxation.train(&mut net.graph, &net.clamps, |_, gradients| {
        numbers
            .extend(gradients.iter().flat_map(|(_, g)| g.map(Tensor::to_vec).unwrap_or_default()));
        Ok(())
    })?;
    numbers.extend(relaxation.value(&net.graph, net.h).unwrap().to_vec());
    Ok((outcome, numbers))
}

/// A choice of a rule.
type Ruling = fn(Schedule) -> Schedule;

/// A schedule at some rate.
type Make = fn(f64) -> Result<Schedule>;

/// Two rules that are to do the same.
type Pair = (&'static str, Ruling, Ruling);

#[test]
fn steps_in_one_pass_are_the_rules_own() {
    let pairs: [Pair; 3] = [
        ("plain", |s| s.ruled_by(Plain), |s| s.ruled_by(Formless(Plain))),
        (
            "momentum",
            |s| s.ruled_by(Momentum::new(0.7).unwrap()),
            |s| s.ruled_by(Formless(Momentum::new(0.7).unwrap())),
        ),
        ("adaptive", |s| s.ruled_by(Adaptive), |s| s.ruled_by(Formless(Adaptive))),
    ];
    let settings: [(&str, Make); 7] = [
        ("states", |r| Ok(Schedule::standard(r, 30)?.traced())),
        ("errors", |r| Ok(Schedule::epc(r, 30)?.traced())),
        ("iPC", |r| Schedule::ipc(r, 30)),
        ("noise", |r| Schedule::standard(r, 30)?.with_noise(0.1, 3)),
        ("noisy errors", |r| Schedule::epc(r, 30)?.with_noise(0.1, 3)),
        ("tolerance", |r| Schedule::standard(r, 500)?.until(1e-3)),
        ("bound", |r| Schedule::standard(20.0 * r, 30)?.diverged_beyond(5.0)),
    ];
    for (rule, formed, formless) in pairs {
        for (setting, make) in settings {
            // An adaptive step that is taken back is not held against the bound, if the engine
            // takes it back itself.
            if (rule, setting) == ("adaptive", "bound") {
                continue;
            }
            for masked in [false, true] {
                let what = format!("{rule}, {setting}, masked {masked}");
                let rate = if rule == "adaptive" { 2.0 } else { 0.1 };
                let plain = make(rate).unwrap();
                let found = (end(masked, formed(plain.clone())), end(masked, formless(plain)));
                match found {
                    (Ok((outcome, numbers)), Ok((other, others))) => {
                        assert_eq!(outcome.status, other.status, "{what}");
                        // Momentum with noise puts it into the velocity, which a rule's memory is
                        // not: see below.
                        if rule == "momentum" && setting.contains("nois") {
                            continue;
                        }
                        assert_eq!(outcome.steps, other.steps, "{what}");
                        close(&what, &numbers, &others, 1e-11);
                        close(&what, &outcome.trace, &other.trace, 1e-11);
                    }
                    (Err(error), Err(other)) => {
                        assert_eq!(error, other, "{what}");
                    }
                    other => panic!("{what}: {other:?}"),
                }
            }
        }
    }
}

/// The distance to gradient flow's state at time 2, found by far smaller steps.
fn off(make: &dyn Fn(Schedule) -> Schedule, steps: usize) -> f64 {
    let flow = |rule: &dyn Fn(Schedule) -> Schedule, steps: usize| {
        let rate = 2.0 / steps as f64;
        end(false, rule(Schedule::standard(rate, steps).unwrap())).unwrap().1
    };
    distance(&flow(make, steps), &flow(&|s| s.ruled_by(Heun), 20_000))
}

#[test]
fn heun_is_of_second_order_and_euler_of_first() {
    for steps in [20, 40, 80] {
        let euler = |steps| off(&|s| s, steps);
        let heun = |steps| off(&|s| s.ruled_by(Heun), steps);
        let (first, second) = (euler(steps) / euler(2 * steps), heun(steps) / heun(2 * steps));
        println!("halving the step of {steps}: Euler's error / {first:.3}, Heun's / {second:.3}");
        assert!((first - 2.0).abs() < 0.15, "Euler at {steps}: {first}");
        assert!((second - 4.0).abs() < 0.3, "Heun at {steps}: {second}");
    }
}

/// Every rule of no form.
fn rules() -> Vec<(&'static str, Ruling)> {
    vec![
        ("Nesterov", |s| s.ruled_by(Nesterov::new(0.5).unwrap())),
        ("Adam", |s| s.ruled_by(Adam::default())),
        ("Heun", |s| s.ruled_by(Heun)),
        ("Anderson", |s| s.ruled_by(Anderson::new(4).unwrap())),
    ]
}

#[test]
fn every_rule_comes_to_the_same_equilibrium() {
    for masked in [false, true] {
        let steps = || Schedule::standard(0.1, 20_000).unwrap().until(1e-9).unwrap();
        let (_, expected) = end(masked, steps()).unwrap();
        for (name, rule) in rules() {
            // Adam's steps do not shrink with the gradient, unless its rate does.
            let paced = |s: Schedule| {
                let pace = pc_core::Pace::Exponential(0.002);
                if name == "Adam" { s.paced(pace).unwrap() } else { s }
            };
            let epc = Schedule::epc(0.1, 20_000).unwrap().until(1e-9).unwrap();
            for schedule in [steps(), epc] {
                let what = format!("{name}, masked {masked}, {schedule}");
                let errors = schedule.name() == "error-based PC";
                match end(masked, rule(paced(schedule))) {
                    Ok((outcome, found)) => {
                        assert_eq!(outcome.status, pc_core::Status::Converged, "{what}");
                        close(&what, &found, &expected, 1e-7);
                    }
                    Err(error) => assert!(masked && errors, "{what}: {error}"),
                }
            }
        }
    }
}

#[test]
fn every_rule_is_traced_and_bounded() {
    for (name, rule) in rules() {
        for make in [Schedule::standard, Schedule::epc] {
            let traced = rule(make(0.01, 7).unwrap().traced());
            let (outcome, _) = end(false, traced).unwrap();
            assert_eq!((outcome.steps, outcome.trace.len()), (7, 8), "{name}");
            assert_eq!(outcome.trace[7], outcome.energy.total(), "{name}");
            assert!(outcome.trace[7] < outcome.trace[0], "{name}: {:?}", outcome.trace);
            let bounded = make(50.0, 20).unwrap().diverged_beyond(10.0).unwrap();
            let (outcome, _) = end(false, rule(bounded)).unwrap();
            assert_eq!(outcome.status, pc_core::Status::Diverged, "{name}");
            assert!(outcome.steps < 20, "{name}: {}", outcome.steps);
        }
    }
}

#[test]
fn what_a_mask_holds_stays_whatever_the_rule() {
    /// Moves everything, zero gradients too.
    #[derive(Debug)]
    struct Pushing;
    impl StateRule for Pushing {
        fn name(&self) -> &str {
            "pushing"
        }
        fn slots(&self) -> usize {
            1
        }
        fn step(&self, at: &mut dyn FreeCoordinates) -> Taken {
            at.map(&[], &[0], &mut |_, own| {
                own.iter_mut().for_each(|own| own.fill(1.0));
            });
            at.travel(0.125, Slot::Memory(0));
            Taken::Step
        }
    }
    let mut net = three(true);
    let schedule = Schedule::standard(0.1, 2).unwrap().unbounded().ruled_by(Pushing).observed();
    let mut relaxation = Relaxation::new(&net.graph, schedule).unwrap();
    relaxation.begin(&mut net.graph, &net.clamps).unwrap();
    relaxation.advance(&mut net.graph).unwrap();
    let start = relaxation.value(&net.graph, net.h).unwrap().to_vec();
    relaxation.run(&mut net.graph, &net.clamps).unwrap();
    let found = relaxation.value(&net.graph, net.h).unwrap().to_vec();
    for (k, (found, start)) in found.iter().zip(&start).enumerate() {
        let moved = if k % 3 == 0 { 0.0 } else { 0.25 };
        assert!((found - start - moved).abs() < 1e-15, "element {k}: {found} from {start}");
    }
    let held = relaxation.value(&net.graph, net.x).unwrap().to_vec();
    assert_ne!(held, relaxation.value(&net.graph, net.y).unwrap().to_vec());
}

#[test]
fn a_rule_that_asks_for_what_it_has_not_declared_is_an_error() {
    #[derive(Debug)]
    struct Greedy(usize);
    impl StateRule for Greedy {
        fn name(&self) -> &str {
            "greedy"
        }
        fn slots(&self) -> usize {
            2
        }
        fn step(&self, at: &mut dyn FreeCoordinates) -> Taken {
            match self.0 {
                0 => at.copy(2, Slot::Down),
                1 => at.axpy(0, 1.0, Slot::Memory(2)),
                2 => at.scale(2, 1.0),
                3 => at.multiply(0, Slot::Memory(7)),
                4 => assert!(at.dot(Slot::Down, Slot::Memory(2)).is_nan()),
                5 => at.travel(1.0, Slot::Memory(2)),
                6 => at.map(&[Slot::Memory(0)], &[0], &mut |_, _| {}),
                7 => at.map(&[], &[0, 0], &mut |_, _| {}),
                8 => at.map(&[Slot::Memory(3)], &[0], &mut |_, _| {}),
                _ => at.map(&[], &[], &mut |_, _| {}),
            }
            Taken::Step
        }
    }
    for case in 0..10 {
        for schedule in [Schedule::standard(0.1, 3).unwrap(), Schedule::epc(0.1, 3).unwrap()] {
            let error = end(false, schedule.ruled_by(Greedy(case))).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Schedule, "{case}");
            let message = error.to_string();
            let says = if [6, 7, 9].contains(&case) { "maps a slot" } else { "uses memory slot" };
            assert!(message.contains("greedy") && message.contains(says), "{case}: {message}");
        }
    }
}

#[test]
fn operations_on_slots_are_what_they_say() {
    #[derive(Debug)]
    struct Check;
    impl StateRule for Check {
        fn name(&self) -> &str {
            "check"
        }
        fn slots(&self) -> usize {
            5
        }
        fn step(&self, at: &mut dyn FreeCoordinates) -> Taken {
            // By hand: 3 = (2 g - g)^2 * g = g^3; 4 = 2 * 3 + 3.
            at.copy(0, Slot::Down);
            at.axpy(0, 1.0, Slot::Memory(0));
            at.axpy(0, -1.0, Slot::Down);
            at.copy(1, Slot::Memory(0));
            at.multiply(1, Slot::Memory(1));
            at.copy(3, Slot::Memory(1));
            at.multiply(3, Slot::Down);
            at.copy(4, Slot::Memory(3));
            at.scale(4, 2.0);
            at.axpy(4, 1.0, Slot::Memory(3));
            let mut cubes = 0.0;
            let mut off: f64 = 0.0;
            at.map(&[Slot::Down, Slot::Memory(3), Slot::Memory(4)], &[2], &mut |read, own| {
                for (i, own) in own[0].iter_mut().enumerate() {
                    let g = read[0][i];
                    off = off.max((read[1][i] - g * g * g).abs());
                    off = off.max((read[2][i] - 3.0 * g * g * g).abs());
                    cubes += g * g * g * g;
                    *own = g * g * g;
                }
            });
            let product = at.dot(Slot::Down, Slot::Memory(2));
            assert!(off < 1e-15 && (product - cubes).abs() < 1e-14 && cubes > 0.0);
            Taken::Step
        }
    }
    end(false, Schedule::standard(0.1, 3).unwrap().ruled_by(Check)).unwrap();
    end(true, Schedule::standard(0.1, 3).unwrap().ruled_by(Check)).unwrap();
}

#[test]
fn rules_that_make_no_sense_are_refused() {
    for bad in [-0.1, 1.0, f64::NAN] {
        assert!(Momentum::new(bad).unwrap_err().to_string().contains("momentum"));
        assert!(Nesterov::new(bad).unwrap_err().to_string().contains("momentum"));
        assert!(Adam::new(bad, 0.9, 1e-8).unwrap_err().to_string().contains("decay"));
        assert!(Adam::new(0.9, bad, 1e-8).unwrap_err().to_string().contains("decay"));
    }
    assert!(Adam::new(0.9, 0.9, 0.0).unwrap_err().to_string().contains("epsilon"));
    for bad in [0, 17] {
        assert!(Anderson::new(bad).unwrap_err().to_string().contains("1 to 16"));
    }
    // Two rules of one name and one text are one choice; others are not.
    let schedule = || Schedule::standard(0.1, 3).unwrap();
    let nesterov = |m| schedule().ruled_by(Nesterov::new(m).unwrap());
    assert_eq!(nesterov(0.5), nesterov(0.5));
    assert_ne!(nesterov(0.5), nesterov(0.6));
    assert_ne!(nesterov(0.5), schedule());
    assert_eq!(Plain.form(), Some(StepForm::Plain));
}
