//! What is remembered of a program is renewed when the program changes: one `PredictiveCoding`
//! that goes from program to program gives to the last bit what a fresh one gives, or is refused
//! as it is, by every schedule.

use std::cell::Cell;

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    optim::SgdConfig,
    tensor::{Device, Distribution, Tensor, activation::tanh},
};
use pc_burn::{LossReduction, PredictiveCoding, drawn, vertex};
use pc_core::{Evaluation, Schedule, Start};

use crate::{
    alone::alone,
    measure::read,
    models::{cross_entropy, normal, targets},
    support::parameters,
};

pub(crate) const WIDTH: usize = 20;

/// Layers of one shape, so that marks do not show how they are wired.
#[derive(Module, Debug)]
pub(crate) struct Layers {
    pub(crate) layers: Vec<Linear>,
    head: Linear,
}

impl Layers {
    pub(crate) fn new(device: &Device) -> Self {
        Self {
            layers: (0..4).map(|_| LinearConfig::new(WIDTH, WIDTH).init(device)).collect(),
            head: LinearConfig::new(WIDTH, 5).init(device),
        }
    }

    pub(crate) fn layer(&self, index: usize, x: Tensor<2>) -> Tensor<2> {
        vertex(tanh(self.layers[index].forward(x)))
    }

    pub(crate) fn out(&self, x: Tensor<2>) -> Tensor<2> {
        vertex(self.head.forward(x))
    }
}

type Wiring = fn(&Layers, Tensor<2>) -> Tensor<2>;

/// Programs of equal marks: three vertices and the head.
const WIRINGS: [(&str, Wiring); 8] = [
    ("chain", |m, x| m.out(m.layer(2, m.layer(1, m.layer(0, x))))),
    ("parallel", |m, x| {
        let a = m.layer(0, x);
        let (b, c) = (m.layer(1, a.clone()), m.layer(2, a));
        m.out(b + c)
    }),
    ("from the input", |m, x| {
        let (a, b) = (m.layer(0, x.clone()), m.layer(1, x));
        m.out(m.layer(2, a + b))
    }),
    ("skip", |m, x| {
        let a = m.layer(0, x);
        let b = m.layer(1, a.clone());
        m.out(m.layer(2, b + a))
    }),
    ("other layers", |m, x| m.out(m.layer(1, m.layer(2, m.layer(3, x))))),
    ("one layer thrice", |m, x| m.out(m.layer(1, m.layer(1, m.layer(1, x))))),
    ("detached", |m, x| m.out(m.layer(2, m.layer(1, m.layer(0, x)).detach()))),
    ("idle", |m, x| {
        let a = m.layer(0, x);
        let _b = m.layer(1, a.clone());
        m.out(m.layer(2, a))
    }),
];

pub(crate) fn schedules() -> Vec<Schedule> {
    let ok = |schedule: pc_core::Result<Schedule>| schedule.unwrap();
    let simulated = |schedule: Schedule| schedule.evaluated_by(Evaluation::Simulate);
    vec![
        Schedule::backprop(),
        ok(Schedule::fixed_prediction(1.0, 4)),
        ok(Schedule::fixed_prediction(0.3, 5)),
        simulated(ok(Schedule::fixed_prediction(0.3, 5))),
        ok(Schedule::fixed_prediction(0.3, 5).and_then(|s| s.with_momentum(0.4))),
        Schedule::zil(),
        ok(Schedule::standard(0.1, 1)),
        ok(Schedule::standard(0.1, 6)),
        ok(Schedule::standard(0.1, 6)).starting(Start::Zero),
        ok(Schedule::standard(0.1, 6)).unrelaxed(),
        ok(Schedule::standard(0.1, 6).and_then(|s| s.with_noise(0.01, 3))),
        ok(Schedule::standard(0.2, 30).and_then(|s| s.until(1e-2))),
        ok(Schedule::standard(0.1, 6)).adaptive(),
        ok(Schedule::epc(0.1, 4)),
        ok(Schedule::ipc(0.1, 5)),
    ]
}

/// Those by which weights move after a step alone, and which draw nothing.
fn plain_schedules() -> impl Iterator<Item = Schedule> {
    let noisy = Schedule::standard(0.1, 6).and_then(|s| s.with_noise(0.01, 3)).unwrap();
    schedules().into_iter().filter(move |schedule| {
        !schedule.learning().moves_weights() && format!("{schedule:?}") != format!("{noisy:?}")
    })
}

/// What one step has found: its gradients, the weights after it, its energy and its loss; or why
/// it is refused.
type Found = Result<(Vec<Option<Vec<f64>>>, Vec<Vec<f64>>, f64, f64), String>;

fn step(
    pc: &mut PredictiveCoding,
    model: &Layers,
    loss: impl FnMut(&Layers) -> Tensor<1>,
) -> Found {
    let mut moved = model.clone();
    let mut optimiser = SgdConfig::new().init();
    match pc.train(&mut moved, loss, |model, gradients| optimiser.step(0.05, model, gradients)) {
        Ok(learned) => Ok((
            read(model, &learned.gradients),
            parameters(&moved),
            learned.outcome.energy.total(),
            learned.loss,
        )),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn new(schedule: &Schedule) -> PredictiveCoding {
    PredictiveCoding::new(schedule.clone(), LossReduction::Mean)
}

/// A program, and the model as it learns it.
struct Case {
    name: String,
    model: Layers,
    wiring: fn(&Layers, Tensor<2>) -> Tensor<2>,
    batch: usize,
}

impl Case {
    fn loss(&self, x: &Tensor<2>) -> impl Fn(&Layers) -> Tensor<1> {
        let (x, wiring) = (x.clone().narrow(0, 0, self.batch), self.wiring);
        let y = targets(self.batch, &x.device());
        move |model| cross_entropy(wiring(model, x.clone()), y.clone())
    }
}

fn cases(device: &Device) -> Vec<Case> {
    let model = Layers::new(device);
    parameters(&model);
    let frozen = |which: &[usize]| {
        let mut model = model.clone();
        for &index in which {
            model.layers[index] = model.layers[index].clone().no_grad();
        }
        model
    };
    let mut tied = model.clone();
    tied.layers[2] = tied.layers[1].clone();
    let case = |name: &str, model: &Layers, wiring: usize, batch| Case {
        name: format!("{} {name} {batch}", WIRINGS[wiring].0),
        model: model.clone(),
        wiring: WIRINGS[wiring].1,
        batch,
    };
    let mut cases: Vec<Case> =
        (0..WIRINGS.len()).map(|wiring| case("", &model, wiring, 6)).collect();
    for wiring in [0, 1] {
        cases.push(case("first frozen", &frozen(&[0]), wiring, 6));
        cases.push(case("two frozen", &frozen(&[1, 2]), wiring, 6));
        cases.push(case("tied", &tied, wiring, 6));
    }
    cases.push(case("", &model, 0, 4));
    cases
}

/// Every schedule, from every program to every other and back.
#[test]
fn from_any_program_to_any_other() {
    let device = Device::flex().autodiff();
    device.seed(21);
    let x: Tensor<2> = normal([6, WIDTH], &device);
    let cases = cases(&device);
    let (mut same, mut refused, mut different) = (0, 0, 0);
    for schedule in schedules() {
        // What a fresh one finds at its first, second and third step.
        let fresh: Vec<Vec<Found>> = cases
            .iter()
            .map(|case| {
                let mut pc = new(&schedule);
                (0..3).map(|_| step(&mut pc, &case.model, case.loss(&x))).collect()
            })
            .collect();
        for (from, before) in cases.iter().enumerate() {
            // Back again is the other direction.
            for (to, after) in cases.iter().enumerate().skip(from) {
                let mut pc = new(&schedule);
                for (index, (which, case)) in
                    [(from, before), (to, after), (from, before)].into_iter().enumerate()
                {
                    let found = step(&mut pc, &case.model, case.loss(&x));
                    // A step that is refused is none.
                    let ran = [from, to];
                    let steps = ran.iter().take(index).filter(|w| fresh[**w][0].is_ok());
                    let expected = &fresh[which][steps.count()];
                    assert_eq!(
                        &found, expected,
                        "{schedule}: step {index} of {} -> {}",
                        before.name, after.name
                    );
                    if found.is_ok() { same += 1 } else { refused += 1 }
                }
                different += usize::from(fresh[from][0] != fresh[to][0]);
            }
        }
    }
    println!("{same} steps agree, {refused} are refused alike; {different} pairs differ");
    // There is something to confuse, and not all is refused.
    assert!(same > 10 * refused && different * 2 > same / 3);
}

/// What a change costs: one pass, where the program is known; besides a survey where it is not.
#[test]
fn a_known_program_costs_one_pass_and_a_steady_one_none() {
    alone("changes::a_known_program_costs_one_pass_and_a_steady_one_none", || {
        let device = Device::flex().autodiff();
        device.seed(22);
        let x: Tensor<2> = normal([6, WIDTH], &device);
        let model = Layers::new(&device);
        let mut pc = new(&Schedule::standard(0.1, 6).unwrap());
        let runs = Cell::new(0);
        let mut learn = |wiring: usize| {
            runs.set(0);
            let case = Case {
                name: String::new(),
                model: model.clone(),
                wiring: WIRINGS[wiring].1,
                batch: 6,
            };
            let loss = case.loss(&x);
            let learned = pc
                .learn(&model, |m| {
                    runs.set(runs.get() + 1);
                    loss(m)
                })
                .unwrap();
            (learned.passes, runs.get())
        };
        // A survey, and seven passes.
        assert_eq!(learn(0), (7, 8));
        assert_eq!(learn(0), (7, 7));
        // A pass is lost, and a survey is made.
        assert_eq!(learn(1), (8, 9));
        // A pass is lost.
        assert_eq!(learn(0), (8, 8));
        assert_eq!(learn(1), (8, 8));
        assert_eq!(learn(1), (7, 7));
    });
}

/// Two networks in turn, as adversaries learn: the other is frozen, or its gradients are dropped.
#[test]
fn two_networks_in_turn() {
    #[derive(Module, Debug)]
    struct Pair {
        generator: Layers,
        judge: Layers,
    }
    let device = Device::flex().autodiff();
    device.seed(23);
    let (x, real): (Tensor<2>, Tensor<2>) =
        (normal([6, WIDTH], &device), normal([6, WIDTH], &device));
    let y = targets(6, &device);
    let pair = Pair { generator: Layers::new(&device), judge: Layers::new(&device) };
    parameters(&pair);
    let judged = |m: &Pair, x: Tensor<2>| {
        cross_entropy(m.judge.out(m.judge.layer(1, m.judge.layer(0, x))), y.clone())
    };
    let made = |m: &Pair, x: Tensor<2>| m.generator.layer(1, m.generator.layer(0, x));
    let judge = |m: &Pair| judged(m, made(m, x.clone()).detach()) + judged(m, real.clone());
    let generator = |m: &Pair| judged(m, made(m, x.clone()));
    for schedule in plain_schedules() {
        let mut one = new(&schedule);
        for _ in 0..3 {
            for program in [&judge as &dyn Fn(&Pair) -> Tensor<1>, &generator] {
                let learned = one.learn(&pair, program).map(|l| read(&pair, &l.gradients));
                let fresh = new(&schedule).learn(&pair, program).map(|l| read(&pair, &l.gradients));
                match (learned, fresh) {
                    (Ok(learned), Ok(fresh)) => assert_eq!(learned, fresh, "{schedule}"),
                    (learned, fresh) => assert_eq!(
                        learned.unwrap_err().to_string(),
                        fresh.unwrap_err().to_string(),
                        "{schedule}"
                    ),
                }
            }
        }
    }
}

/// Freezing and thawing, as fine-tuning does.
#[test]
fn an_unfrozen_layer_learns() {
    let device = Device::flex().autodiff();
    device.seed(24);
    let x: Tensor<2> = normal([6, WIDTH], &device);
    let mut model = Layers::new(&device);
    model.layers[0] = model.layers[0].clone().no_grad();
    let case = Case { name: String::new(), model: model.clone(), wiring: WIRINGS[0].1, batch: 6 };
    let loss = case.loss(&x);
    for schedule in plain_schedules() {
        let mut pc = new(&schedule);
        let frozen = pc.learn(&model, &loss).unwrap().gradients.len();
        let thawed = Layers {
            layers: vec![model.layers[0].clone().set_require_grad(true)]
                .into_iter()
                .chain(model.layers[1..].iter().cloned())
                .collect(),
            head: model.head.clone(),
        };
        let after = pc.learn(&thawed, &loss).unwrap().gradients.len();
        let fresh = new(&schedule).learn(&thawed, &loss).unwrap().gradients.len();
        let again = pc.learn(&model, &loss).unwrap().gradients.len();
        assert_eq!((after, again), (fresh, frozen), "{schedule}");
        if schedule.name() == Schedule::zil().name() {
            assert_eq!((frozen, after), (6, 8));
        }
    }
}

/// A branch that Burn's generator draws, or that the numbers of the batch decide.
#[test]
fn branches_may_change_from_step_to_step() {
    let device = Device::flex().autodiff();
    device.seed(25);
    let model = Layers::new(&device);
    let wide = LinearConfig::new(WIDTH, WIDTH + 8).init(&device);
    let narrow = LinearConfig::new(WIDTH + 8, WIDTH).init(&device);
    let y = targets(6, &device);
    let depth = Cell::new(0);
    let branch = |m: &Layers, x: Tensor<2>, long: bool| {
        depth.set(if long { 3 } else { 2 });
        let a = m.layer(0, x);
        let b = if long {
            m.layer(1, vertex(narrow.forward(vertex(wide.forward(a)))))
        } else {
            m.layer(2, a)
        };
        cross_entropy(m.out(b), y.clone())
    };
    for schedule in plain_schedules() {
        let mut by_generator = new(&schedule);
        let mut by_step = new(&schedule);
        let mut by_data = new(&schedule);
        let mut depths = Vec::new();
        for step in 0..12 {
            let x: Tensor<2> = normal([6, WIDTH], &device);
            let one = |x: Tensor<2>| x.into_scalar::<f32>() > 0.5;
            let toss = || Tensor::<1>::random([1], Distribution::Uniform(0.0, 1.0), &device);
            by_generator
                .learn(&model, |m| branch(m, x.clone(), toss().into_scalar::<f32>() > 0.5))
                .unwrap_or_else(|error| panic!("{schedule}, step {step}: {error}"));
            depths.push(depth.get());
            by_step
                .learn(&model, |m| branch(m, x.clone(), drawn(toss).into_scalar::<f32>() > 0.5))
                .unwrap_or_else(|error| panic!("{schedule}, step {step}: {error}"));
            depths.push(depth.get());
            let long = one(x.clone().narrow(0, 0, 1).narrow(1, 0, 1));
            let learned = by_data.learn(&model, |m| branch(m, x.clone(), long)).unwrap();
            let fresh = new(&schedule).learn(&model, |m| branch(m, x.clone(), long)).unwrap();
            let [learned, fresh] = [learned, fresh].map(|l| read(&model, &l.gradients));
            assert_eq!(learned, fresh, "{schedule}, step {step}");
        }
        assert!(depths.contains(&2) && depths.contains(&3), "{schedule}: {depths:?}");
    }
}

/// A branch on what relaxes may turn in the middle of a step: that is refused with the mark.
#[test]
fn a_branch_that_turns_within_a_step_is_refused() {
    let device = Device::flex().autodiff();
    device.seed(26);
    let model = Layers::new(&device);
    let x: Tensor<2> = normal([6, WIDTH], &device);
    let y = targets(6, &device);
    let first = Cell::new(None);
    let mut pc = new(&Schedule::standard(0.2, 8).unwrap());
    let error = pc
        .learn(&model, |m| {
            let a = m.layer(1, m.layer(0, x.clone()));
            let sum = a.clone().detach().sum().into_scalar::<f32>();
            let moved = (sum - *first.get().get_or_insert(sum)).abs() > 0.0;
            first.set(first.get().or(Some(sum)));
            let b = if moved { vertex(a.narrow(1, 0, 9)) } else { m.layer(2, a) };
            let rest = WIDTH - b.dims()[1];
            let b = if rest > 0 { b.pad((0, rest, 0, 0), 0.0) } else { b };
            cross_entropy(m.out(b), y.clone())
        })
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("vertex 2") && text.contains("[6, 9]"), "{text}");
    assert!(text.contains("step 0") && text.contains("pass"), "{text}");
}

/// A survey is one pass, however many marks there are; or three at most, where another test draws
/// meanwhile.
#[test]
fn a_survey_is_one_pass() {
    alone("changes::a_survey_is_one_pass", || {
        let device = Device::flex().autodiff();
        device.seed(28);
        let model = Layers::new(&device);
        let x: Tensor<2> = normal([6, WIDTH], &device);
        for marks in [10, 400] {
            let runs = Cell::new(0);
            let learned = new(&Schedule::backprop())
                .learn(&model, |m| {
                    runs.set(runs.get() + 1);
                    let last = (0..marks).fold(x.clone(), |x, step| m.layer(step % 4, x));
                    cross_entropy(m.out(last), targets(6, &device))
                })
                .unwrap();
            assert_eq!(learned.passes, 1, "{marks} marks");
            assert_eq!(runs.get(), 2, "{marks} marks");
        }
    });
}
