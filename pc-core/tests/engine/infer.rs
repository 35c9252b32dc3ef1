//! Relaxing without learning: what it finds, what it leaves alone.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use pc_core::{
    Clamps, Error, Evaluation, Event, Graph, PredictionId, Relaxation, Result, Schedule,
    SquaredError, Start, Tensor, VertexId,
    backend::{Cache, Inputs, Pulled, Vertex},
    host::{HostTensor, Sgd},
};

use crate::{
    choices::{METHODS, batch, choices, net, once},
    common::{Numbers, Plain, close},
};

type T = HostTensor<f64>;

/// Counts the pulls that ask for parameter gradients, and all pulls.
struct Counting {
    inner: Plain,
    learned: Arc<AtomicUsize>,
    pulled: Arc<AtomicUsize>,
}

impl Vertex<T> for Counting {
    fn kind(&self) -> &str {
        "counting"
    }
    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        Vertex::<T>::shape(&self.inner, parents, parameters)
    }
    fn parameters(&self) -> usize {
        Vertex::<T>::parameters(&self.inner)
    }
    fn predict(&self, at: &Inputs<'_, T>, cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        self.inner.predict(at, cache, output)
    }
    fn pull(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        self.pulled.fetch_add(1, Ordering::Relaxed);
        if pulled.wants_gradients() {
            self.learned.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.pull(at, cache, cotangent, pulled)
    }
}

struct CountingNet {
    graph: Graph<T>,
    x: VertexId,
    y: VertexId,
    learned: Arc<AtomicUsize>,
    pulled: Arc<AtomicUsize>,
}

fn counting() -> CountingNet {
    let (learned, pulled) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let mut numbers = Numbers::new(3);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[3]).unwrap();
    let mut last = x;
    for (name, shape) in [("h", [5, 3]), ("k", [5, 5]), ("y", [2, 5])] {
        let w = b.parameter(name, numbers.tensor(&shape, 0.7)).unwrap();
        let inner = Plain { parents: 1, tanh: true };
        let vertex = Counting { inner, learned: learned.clone(), pulled: pulled.clone() };
        last = b.vertex(name, Box::new(vertex), &[last], &[w]).unwrap();
    }
    CountingNet { graph: b.build().unwrap(), x, y: last, learned, pulled }
}

/// All schedules: every method, and every evaluation of those that have several.
fn schedules() -> Vec<Schedule> {
    let mut all: Vec<Schedule> = METHODS.iter().map(|(_, make)| make(0.2, 6).unwrap()).collect();
    let evaluations = [Evaluation::Simulate, Evaluation::Front, Evaluation::ClosedForm];
    for evaluation in evaluations {
        all.push(Schedule::fixed_prediction(0.2, 6).unwrap().evaluated_by(evaluation));
    }
    for evaluation in [Evaluation::Simulate, Evaluation::Front] {
        all.push(Schedule::zil().evaluated_by(evaluation));
    }
    all.push(Schedule::standard(0.2, 600).unwrap().until(1e-9).unwrap());
    all.push(Schedule::epc(0.2, 600).unwrap().until(1e-9).unwrap());
    all.push(Schedule::backprop().unmeasured());
    all
}

#[test]
fn nothing_is_pulled_for_weights_and_all_else_is_as_when_learning() {
    for schedule in schedules() {
        let CountingNet { mut graph, x, y, learned, pulled } = counting();
        let mut numbers = Numbers::new(9);
        let clamps = Clamps::new()
            .hold(x, numbers.tensor(&[2, 3], 1.0))
            .drive(y, SquaredError::new(numbers.tensor(&[2, 2], 1.0)));
        let mut inferring = Relaxation::new(&graph, schedule.clone()).unwrap();
        let inferred = inferring.infer(&mut graph, &clamps).unwrap();
        assert_eq!(learned.load(Ordering::Relaxed), 0, "{schedule}: weights were pulled");
        assert!(pulled.load(Ordering::Relaxed) > 0, "{schedule}: nothing was pulled at all");
        assert!(inferring.gradients().iter().all(|(_, gradient)| gradient.is_none()));
        let mut learning = Relaxation::new(&graph, schedule.clone()).unwrap();
        let learned_outcome = learning.train(&mut graph, &clamps, |_, _| Ok(())).unwrap();
        assert!(learned.load(Ordering::Relaxed) > 0, "{schedule}: the counter does not count");
        assert_eq!(inferred.status, learned_outcome.status, "{schedule}");
        assert_eq!(inferred.steps, learned_outcome.steps, "{schedule}");
        let unmeasured = schedule == Schedule::backprop().unmeasured();
        if unmeasured {
            learning = Relaxation::new(&graph, Schedule::backprop()).unwrap();
            let measured = learning.run(&mut graph, &clamps).unwrap();
            assert_eq!(inferred.energy, measured.energy);
        } else {
            let [ours, theirs] = [inferred.energy, learned_outcome.energy].map(|e| e.total());
            close(&format!("{schedule}, energy"), &[ours], &[theirs], 1e-15);
        }
        // To rounding: weights that may move are kept aside, so that iPC adds in another order.
        let mut total = 0.0;
        for id in (0..3).map(PredictionId::new) {
            let [ours, theirs] = [&inferring, &learning].map(|r| r.error(id).unwrap().to_vec());
            close(&format!("{schedule}, errors"), &ours, &theirs, 1e-15);
            total += inferring.energy(&graph, id).unwrap();
        }
        // Simulated whole, levels that have been read move on.
        let moves_on = schedule == Schedule::zil().evaluated_by(Evaluation::Simulate);
        if !moves_on {
            let energy = inferred.energy.total();
            close(&format!("{schedule}, energies"), &[total], &[energy], 1e-14);
        }
        for vertex in graph.topology().vertices() {
            let [ours, theirs] =
                [&inferring, &learning].map(|r| r.value(&graph, vertex).unwrap().to_vec());
            close(&format!("{schedule}, values"), &ours, &theirs, 1e-15);
        }
    }
}

#[test]
fn what_is_learned_later_is_as_if_nothing_had_been_inferred() {
    let (mut same, mut refused) = (0, 0);
    for (rule, make) in METHODS {
        let plain = make(0.2, 6).unwrap();
        let chosen = choices().into_iter().map(|c| (c.name, (c.make)(plain.clone()).unwrap()));
        for (choice, schedule) in chosen.chain([("nothing", plain.clone())]) {
            for size in [3, 2] {
                let what = format!("{rule}, {choice}, inferring a batch of {size}");
                let mut net = net(false);
                let (Ok(mut warm), Ok(mut fresh)) = (
                    Relaxation::new(&net.graph, schedule.clone()),
                    Relaxation::new(&net.graph, schedule.clone()),
                ) else {
                    refused += 1;
                    continue;
                };
                // What starts from given errors needs a clamp that gives them.
                let h = net.h;
                let given = |clamps: Clamps<T>, size| match choice {
                    "given" => clamps.free(h, Numbers::new(9).tensor(&[size, 5], 0.5)),
                    _ => clamps,
                };
                let other = given(batch(&net, 7, size), size);
                let mut alone = batch(&net, 8, size);
                alone = Clamps::new().hold(net.x, alone.get(net.x).and_then(held).unwrap());
                alone = given(alone, size);
                // Before the first, between, and several at once.
                for (seed, clamps) in [(1, &other), (2, &alone), (3, &other)] {
                    for clamps in [clamps, &other] {
                        warm.infer(&mut net.graph, clamps).unwrap();
                    }
                    let clamps = given(batch(&net, seed, 3), 3);
                    let found = once(&mut net, &mut warm, &clamps).unwrap();
                    assert_eq!(found, once(&mut net, &mut fresh, &clamps).unwrap(), "{what}");
                    same += 1;
                }
            }
        }
    }
    assert!(same > 200 && refused > 50, "{same} the same, {refused} refused");
}

fn held(clamp: &pc_core::Clamp<T>) -> Option<T> {
    if let pc_core::Clamp::Held(value) = clamp { Some(value.clone()) } else { None }
}

#[test]
fn inferences_go_on_from_one_another_and_draw_anew() {
    let mut net = net(false);
    let schedule = Schedule::standard(0.1, 3).unwrap().starting(Start::Carried);
    let clamps = batch(&net, 1, 2);
    let energies = |net: &mut crate::choices::DeepNet, r: &mut Relaxation<Graph<T>>| -> Vec<f64> {
        (0..4).map(|_| r.infer(&mut net.graph, &clamps).unwrap().energy.total()).collect()
    };
    let mut carried = Relaxation::new(&net.graph, schedule).unwrap();
    let found = energies(&mut net, &mut carried);
    let at_once = Schedule::standard(0.1, 12).unwrap();
    let mut at_once = Relaxation::new(&net.graph, at_once).unwrap();
    let expected = at_once.infer(&mut net.graph, &clamps).unwrap().energy.total();
    close("four times three steps", &found[3..], &[expected], 1e-13);
    let noisy = Schedule::standard(0.1, 3).unwrap().with_noise(0.1, 5).unwrap();
    let mut noisy = Relaxation::new(&net.graph, noisy).unwrap();
    let found = energies(&mut net, &mut noisy);
    assert!(found.windows(2).all(|pair| pair[0] != pair[1]), "{found:?}");
}

#[test]
fn an_inference_in_the_middle_ends_the_batch() {
    let mut net = net(false);
    let clamps = batch(&net, 1, 2);
    let mut relaxation = Relaxation::new(&net.graph, Schedule::ipc(0.1, 4).unwrap()).unwrap();
    relaxation.begin(&mut net.graph, &clamps).unwrap();
    assert_eq!(relaxation.advance(&mut net.graph).unwrap(), Event::Learn);
    relaxation.infer(&mut net.graph, &clamps).unwrap();
    let error = relaxation.advance(&mut net.graph).unwrap_err();
    assert!(error.to_string().contains("has not begun"), "{error}");
    // What fails leaves nothing behind either.
    let bad = Clamps::new().hold(net.x, T::new(&[1, 4], vec![f64::NAN; 4]).unwrap());
    let error: Error = relaxation.infer(&mut net.graph, &bad).unwrap_err();
    assert_eq!(error.vertex(), Some("x"));
    let mut weights = Vec::new();
    let before = net.graph.parameters().to_vec();
    for mut relaxation in
        [relaxation, Relaxation::new(&net.graph, Schedule::ipc(0.1, 4).unwrap()).unwrap()]
    {
        net.graph.parameters_mut().clone_from_slice(&before);
        let mut sgd = Sgd::new(0.1).unwrap();
        let learn =
            |graph: &mut Graph<T>, gradients: &_| sgd.step(graph.parameters_mut(), gradients);
        relaxation.train(&mut net.graph, &clamps, learn).unwrap();
        weights.push(net.graph.parameters()[0].to_vec());
    }
    assert_eq!(weights[0], weights[1]);
}
