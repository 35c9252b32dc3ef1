//! Networks that can do less than a host graph: what they lack is refused or worked around, with
//! the same numbers.

use pc_core::{
    Clamps, ErrorKind, ErrorStart, Evaluation, Gradients, Graph, Network, Pace, PredictionId,
    Relaxation, Result, Schedule, Topology, VertexId,
    backend::{
        Abilities, Drives, Forward, FusedSteps, GraphLinearisation, Residuals, Settings, State,
        Want,
    },
    host::{Activation, HostLayers, HostTensor, Init},
    rule::{Anderson, Heun, Momentum, Nesterov, Plain},
};

use crate::common::{Numbers, close};

type T = HostTensor<f64>;

/// A graph that admits to less, and minds: without `repull` a linearisation is good for one pull,
/// as a framework's autograd graph is.
#[derive(Debug)]
pub(crate) struct Limited {
    pub(crate) graph: Graph<T>,
    pub(crate) abilities: Abilities,
    pub(crate) pulled: bool,
    /// How often it was asked to take steps over, which it leaves to the engine.
    pub(crate) asked: usize,
}

impl Limited {
    fn new(abilities: Abilities) -> Self {
        Self { graph: graph().0, abilities, pulled: false, asked: 0 }
    }

    fn use_up(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.pulled, true) && !self.abilities.repull {
            return Err(pc_core::Error::new(
                ErrorKind::Backend,
                "pulled twice at one linearisation",
            ));
        }
        Ok(())
    }
}

impl Network for Limited {
    type Tensor = T;
    type Linearisation = GraphLinearisation<T>;

    fn topology(&self) -> &Topology {
        self.graph.topology()
    }
    fn abilities(&self) -> Abilities {
        self.abilities
    }
    fn prepare(&mut self, clamps: &Clamps<T>, values: &mut Vec<T>) -> Result<bool> {
        self.graph.prepare(clamps, values)
    }
    fn linearisation(&self) -> GraphLinearisation<T> {
        self.graph.linearisation()
    }
    fn forward(&mut self, pass: Forward<'_, T>, into: &mut GraphLinearisation<T>) -> Result<()> {
        self.pulled = false;
        self.graph.forward(pass, into)
    }
    fn refer(
        &mut self,
        state: &State<T>,
        settings: Settings,
        after_forward: bool,
        into: &mut GraphLinearisation<T>,
    ) -> Result<()> {
        self.pulled &= after_forward;
        self.graph.refer(state, settings, after_forward, into)
    }
    fn prediction<'a>(&self, at: &'a GraphLinearisation<T>, id: PredictionId) -> Option<&'a T> {
        self.graph.prediction(at, id)
    }
    fn change<'a>(&self, at: &'a GraphLinearisation<T>, id: PredictionId) -> Option<&'a T> {
        self.graph.change(at, id)
    }
    fn linearise(
        &mut self,
        state: &State<T>,
        settings: Settings,
        residuals: Residuals<'_, T>,
        errors: &mut [T],
        into: &mut GraphLinearisation<T>,
    ) -> Result<()> {
        assert!(self.abilities.predict, "asked to predict, which it cannot");
        self.pulled = false;
        self.graph.linearise(state, settings, residuals, errors, into)
    }
    fn pull(
        &mut self,
        state: &State<T>,
        cotangents: &[T],
        want: Want<'_>,
        gradients: Option<&mut Gradients<T>>,
        at: &mut GraphLinearisation<T>,
    ) -> Result<()> {
        self.use_up()?;
        self.graph.pull(state, cotangents, want, gradients, at)
    }
    fn forget_pulls(&self, at: &mut GraphLinearisation<T>) {
        self.graph.forget_pulls(at);
    }
    fn force<'a>(&self, at: &'a GraphLinearisation<T>, vertex: VertexId) -> Option<&'a T> {
        self.graph.force(at, vertex)
    }
    fn reverse(
        &mut self,
        state: &State<T>,
        drives: Drives<'_, T>,
        gradients: Option<&mut Gradients<T>>,
        at: &mut GraphLinearisation<T>,
    ) -> Result<()> {
        self.use_up()?;
        self.graph.reverse(state, drives, gradients, at)
    }
    fn gradients(&self) -> Gradients<T> {
        self.graph.gradients()
    }
    fn take_steps(
        &mut self,
        _steps: FusedSteps<'_, T>,
        _at: &mut GraphLinearisation<T>,
    ) -> Result<Option<usize>> {
        self.asked += 1;
        Ok(None)
    }
}

fn graph() -> (Graph<T>, Clamps<T>) {
    let mut init = Init::new(5);
    let mut b = Graph::builder();
    let x = b.input("x", &[3]).unwrap();
    let h = b.dense("h", x, 5, Activation::Tanh, &mut init).unwrap();
    let k = b.dense("k", h, 5, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", k, 2, Activation::Identity, &mut init).unwrap();
    let mut numbers = Numbers::new(5);
    let clamps =
        Clamps::new().hold(x, numbers.tensor(&[2, 3], 1.0)).hold(y, numbers.tensor(&[2, 2], 1.0));
    (b.build().unwrap(), clamps)
}

fn flat(gradients: &Gradients<T>) -> Vec<f64> {
    gradients.iter().flat_map(|(_, g)| g.expect("a gradient").data().to_vec()).collect()
}

#[test]
fn a_network_that_is_pulled_once_is_linearised_anew() {
    let mut abilities = Abilities::ALL;
    (abilities.repull, abilities.single) = (false, false);
    let anderson = Anderson::new(3).unwrap();
    let simulated = Schedule::fixed_prediction(0.3, 7).unwrap().evaluated_by(Evaluation::Simulate);
    for schedule in [
        Schedule::backprop(),
        simulated,
        Schedule::fixed_prediction(0.3, 7).unwrap(),
        Schedule::standard(0.1, 9).unwrap(),
        Schedule::standard(0.1, 2000).unwrap().until(1e-6).unwrap(),
        Schedule::standard(0.1, 9).unwrap().unrelaxed(),
        Schedule::epc(0.1, 9).unwrap(),
        Schedule::epc(0.1, 2000).unwrap().until(1e-6).unwrap(),
        Schedule::standard(0.1, 9).unwrap().ruled_by(Heun).observed(),
        Schedule::epc(0.1, 9).unwrap().ruled_by(Heun).observed(),
        Schedule::epc(0.1, 2000).unwrap().ruled_by(Heun).until(1e-6).unwrap(),
        Schedule::epc(0.1, 2000).unwrap().ruled_by(anderson).until(1e-6).unwrap(),
        Schedule::epc(0.1, 9).unwrap().errors_from(ErrorStart::Activations).unwrap(),
        Schedule::fixed_prediction(0.3, 7).unwrap().errors_from(ErrorStart::Activations).unwrap(),
        Schedule::fixed_prediction(0.3, 7).unwrap().paced(Pace::Inverse(0.1)).unwrap().observed(),
    ] {
        let (mut whole, clamps) = graph();
        let mut expected = Relaxation::new(&whole, schedule.clone()).unwrap();
        expected.run(&mut whole, &clamps).unwrap();
        let mut limited = Limited::new(abilities);
        let mut found = Relaxation::new(&limited, schedule.clone()).unwrap();
        found.run(&mut limited, &clamps).unwrap();
        if schedule.steps() == Some(0) {
            continue;
        }
        close(&schedule.to_string(), &flat(found.gradients()), &flat(expected.gradients()), 1e-14);
    }
    let limited = Limited::new(abilities);
    for schedule in [
        Schedule::zil(),
        Schedule::fixed_prediction(0.3, 7).unwrap().evaluated_by(Evaluation::Front),
    ] {
        assert_eq!(Relaxation::new(&limited, schedule).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

#[test]
fn a_network_that_cannot_predict_anew_takes_frozen_rules_only() {
    let mut abilities = Abilities::ALL;
    (abilities.predict, abilities.plastic) = (false, false);
    let mut limited = Limited::new(abilities);
    for schedule in [
        Schedule::standard(0.1, 9).unwrap(),
        Schedule::zil(),
        Schedule::epc(0.1, 9).unwrap(),
        Schedule::ipc(0.1, 9).unwrap(),
    ] {
        let error = Relaxation::new(&limited, schedule).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    let (mut whole, clamps) = graph();
    for evaluation in [Evaluation::Simulate, Evaluation::Front, Evaluation::ClosedForm] {
        let schedule = Schedule::fixed_prediction(0.4, 6).unwrap().evaluated_by(evaluation);
        let mut expected = Relaxation::new(&whole, schedule.clone()).unwrap();
        expected.run(&mut whole, &clamps).unwrap();
        let mut found = Relaxation::new(&limited, schedule).unwrap();
        found.run(&mut limited, &clamps).unwrap();
        close("frozen", &flat(found.gradients()), &flat(expected.gradients()), 1e-15);
    }
}

/// A choice of a schedule.
type Choose = fn(Schedule) -> Result<Schedule>;

#[test]
fn steps_are_handed_over_where_they_are_plain_and_nothing_looks_at_them() {
    let steps = || Schedule::standard(0.1, 5).unwrap();
    let simulated =
        || Schedule::fixed_prediction(0.1, 5).unwrap().evaluated_by(Evaluation::Simulate);
    let ipc = || Schedule::ipc(0.1, 5).unwrap();
    let choices: [(&str, Choose); 8] = [
        ("observed", |s| Ok(s.observed())),
        ("traced", |s| Ok(s.traced())),
        ("paced", |s| s.paced(Pace::Inverse(0.1))),
        ("a vertex's rate", |s| s.with_rate_of(graph().0.vertex("h")?, 0.5)),
        ("by precision", |s| Ok(s.rate_by_precision())),
        ("momentum", |s| Ok(s.ruled_by(Momentum::new(0.5)?))),
        ("Nesterov", |s| Ok(s.ruled_by(Nesterov::new(0.5)?))),
        ("from activations", |s| s.errors_from(ErrorStart::Activations)),
    ];
    let asked = |schedule: Schedule| -> Result<usize> {
        let mut limited = Limited::new(Abilities::ALL);
        let mut relaxation = Relaxation::new(&limited, schedule)?;
        relaxation.train(&mut limited, &graph().1, |_, _| Ok(()))?;
        Ok(limited.asked)
    };
    let mut looked = 0;
    let makes: [fn() -> Schedule; 3] = [steps, simulated, ipc];
    for make in makes {
        assert!(asked(make().ruled_by(Plain)).unwrap() > 0, "{}", make());
        for (name, choose) in choices {
            // What is refused hands nothing over either.
            if let Ok(asked) = asked(choose(make()).unwrap()) {
                assert_eq!(asked, 0, "{}, {name}", make());
                looked += 1;
            }
        }
    }
    assert_eq!(looked, 7 + 7 + 7);
}
