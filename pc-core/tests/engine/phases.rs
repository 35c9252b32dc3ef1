//! Terms of the energy, and phases: equilibrium propagation and contrastive Hebbian learning.

use pc_core::{
    Clamps, Error, ErrorKind, Graph, ParamId, PredictionId, Prior, Relaxation, Result, Schedule,
    SquaredError, Start, Status, Tensor, VertexId,
    backend::{Cache, Inputs, Pulled, Vertex},
    host::{HostLayers, HostTensor},
};

use crate::common::{Numbers, close, tensor};

type T = HostTensor<f64>;

/// `-a^T W b` of two parents, with `r = tanh` of each: one number a sample.
struct Coupling;

impl Vertex<T> for Coupling {
    fn kind(&self) -> &str {
        "coupling"
    }
    fn shape(&self, _parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        Ok(vec![1])
    }
    fn parameters(&self) -> usize {
        1
    }
    fn predict(&self, at: &Inputs<'_, T>, _cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        let (a, b, w) = (at.value(0), at.value(1), at.parameter(0));
        let (n, m) = (w.dims()[0], w.dims()[1]);
        for (sample, out) in output.data_mut().iter_mut().enumerate() {
            *out = 0.0;
            for i in 0..n {
                for j in 0..m {
                    let (a, b) = (a.data()[sample * n + i], b.data()[sample * m + j]);
                    *out -= w.data()[i * m + j] * a.tanh() * b.tanh();
                }
            }
        }
        Ok(())
    }
    fn pull(
        &self,
        at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        let (a, b, w) = (at.value(0), at.value(1), at.parameter(0));
        let (n, m) = (w.dims()[0], w.dims()[1]);
        let slope = |x: f64| 1.0 - x.tanh().powi(2);
        let scale = pulled.scale();
        for k in 0..2 {
            if let Some(force) = pulled.force(k) {
                force.fill(0.0);
            }
        }
        for (sample, u) in cotangent.data().iter().enumerate() {
            for i in 0..n {
                for j in 0..m {
                    let (x, y) = (a.data()[sample * n + i], b.data()[sample * m + j]);
                    let weight = -u * w.data()[i * m + j];
                    if let Some(force) = pulled.force(0) {
                        force.data_mut()[sample * n + i] += weight * slope(x) * y.tanh();
                    }
                    if let Some(force) = pulled.force(1) {
                        force.data_mut()[sample * m + j] += weight * slope(y) * x.tanh();
                    }
                    if let Some(gradient) = pulled.gradient(0) {
                        gradient.data_mut()[i * m + j] -= scale * u * x.tanh() * y.tanh();
                    }
                }
            }
        }
        Ok(())
    }
}

/// A layered Hopfield net: `E = 1/2 |h|^2 + 1/2 |o|^2 - r(x)^T W r(h) - r(h)^T V r(o)`.
struct Hopfield {
    graph: Graph<T>,
    x: VertexId,
    h: VertexId,
    o: VertexId,
    out: VertexId,
    image: T,
    target: T,
}

const BATCH: usize = 3;

fn hopfield() -> Hopfield {
    let mut numbers = Numbers::new(12);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[4]).unwrap();
    let h = b.input("h", &[5]).unwrap();
    let o = b.input("o", &[2]).unwrap();
    for (vertex, width) in [(h, 5), (o, 2)] {
        let zero = tensor(&[width], &vec![0.0; width]);
        let zero = b.buffer(&format!("zero.{width}"), zero).unwrap();
        b.predict(vertex, Box::new(Prior), &[], &[zero], 1.0).unwrap();
    }
    let w = b.parameter("w", numbers.tensor(&[4, 5], 0.6)).unwrap();
    let v = b.parameter("v", numbers.tensor(&[5, 2], 0.6)).unwrap();
    b.term("xh", 1.0, Box::new(Coupling), &[x, h], &[w]).unwrap();
    b.term("ho", 1.0, Box::new(Coupling), &[h, o], &[v]).unwrap();
    let out = b.output("out", o).unwrap();
    b.precision(out, 1.0).unwrap();
    Hopfield {
        graph: b.build().unwrap(),
        x,
        h,
        o,
        out,
        image: numbers.tensor(&[BATCH, 4], 1.0),
        target: numbers.tensor(&[BATCH, 2], 1.0),
    }
}

impl Hopfield {
    fn free(&self) -> Clamps<T> {
        // The loss is measured and drives nothing.
        self.weak(0.0)
    }

    fn weak(&self, beta: f64) -> Clamps<T> {
        let loss = SquaredError::new(self.target.clone());
        Clamps::new().hold(self.x, self.image.clone()).weak_loss(self.out, loss, beta)
    }

    fn equilibrium(&self) -> Schedule {
        let schedule = Schedule::standard(0.2, 100_000).unwrap();
        schedule.starting(Start::Zero).until(1e-13).unwrap()
    }

    /// The loss at the free equilibrium.
    fn loss(&mut self) -> f64 {
        let mut relaxation = Relaxation::new(&self.graph, self.equilibrium()).unwrap();
        let clamps = self.free();
        relaxation.run(&mut self.graph, &clamps).unwrap();
        let o = relaxation.value(&self.graph, self.o).unwrap().to_vec();
        let target = self.target.to_vec();
        0.5 * o.iter().zip(&target).map(|(o, y)| (o - y).powi(2)).sum::<f64>()
    }

    /// The derivative of the loss at the free equilibrium, by central differences.
    fn gradient(&mut self) -> Vec<f64> {
        let mut all = Vec::new();
        for index in 0..self.graph.parameters().len() {
            if self.graph.is_buffer(ParamId::new(index)) {
                continue;
            }
            for k in 0..self.graph.parameters()[index].data().len() {
                let mut moved = |by: f64| {
                    self.graph.parameters_mut()[index].data_mut()[k] += by;
                    let loss = self.loss();
                    self.graph.parameters_mut()[index].data_mut()[k] -= by;
                    loss
                };
                all.push((moved(1e-4) - moved(-1e-4)) / 2e-4);
            }
        }
        all
    }
}

fn learned(relaxation: &Relaxation<Graph<T>>) -> Vec<f64> {
    relaxation.gradients().iter().filter_map(|(_, g)| Some(g?.to_vec())).flatten().collect()
}

#[test]
fn a_term_is_counted_and_pulls_as_its_derivative() {
    let mut net = hopfield();
    let start = |net: &Hopfield| {
        let mut numbers = Numbers::new(4);
        net.free()
            .free(net.h, numbers.tensor(&[BATCH, 5], 1.0))
            .free(net.o, numbers.tensor(&[BATCH, 2], 1.0))
    };
    let clamps = start(&net);
    let rate = 1e-3;
    let mut relaxation = Relaxation::new(&net.graph, Schedule::standard(rate, 1).unwrap()).unwrap();
    relaxation.run(&mut net.graph, &clamps).unwrap();
    let value = |relaxation: &Relaxation<Graph<T>>, net: &Hopfield, v| {
        relaxation.value(&net.graph, v).unwrap().to_vec()
    };
    let stepped = value(&relaxation, &net, net.h);
    let unrelaxed = Schedule::standard(rate, 1).unwrap().unrelaxed();
    let mut measure = Relaxation::new(&net.graph, unrelaxed).unwrap();
    measure.run(&mut net.graph, &clamps).unwrap();
    let before = value(&measure, &net, net.h);
    let mut slopes = Vec::new();
    for k in 0..before.len() {
        let mut energy = |by: f64| {
            let mut moved = before.clone();
            moved[k] += by;
            let clamps = clamps.clone().free(net.h, tensor(&[BATCH, 5], &moved));
            measure.run(&mut net.graph, &clamps).unwrap().energy.total()
        };
        slopes.push((energy(1e-5) - energy(-1e-5)) / 2e-5);
    }
    let step: Vec<f64> = stepped.iter().zip(&before).map(|(a, b)| (b - a) / rate).collect();
    close("force", &step, &slopes, 1e-8);
    assert_eq!(net.graph.topology().depth(), Some(1));
}

#[test]
fn equilibrium_propagation_comes_to_the_gradient() {
    let mut net = hopfield();
    let expected = net.gradient();
    let size = expected.iter().map(|g| g * g).sum::<f64>().sqrt();
    let mut distances = Vec::new();
    for beta in [1.0, 0.1, 0.01, 0.001] {
        let mut relaxation = Relaxation::new(&net.graph, net.equilibrium()).unwrap();
        let (free, weak) = (net.free(), net.weak(beta));
        let phases = [(-1.0 / beta, &free), (1.0 / beta, &weak)];
        let outcomes = relaxation.run_phases(&mut net.graph, &phases).unwrap();
        assert!(outcomes.iter().all(|outcome| outcome.status == Status::Converged));
        let found = learned(&relaxation);
        let distance = found.iter().zip(&expected).map(|(f, e)| (f - e).powi(2)).sum::<f64>();
        distances.push(distance.sqrt() / size);
        // Pushing both ways leaves the square of beta.
        let away = net.weak(-beta);
        let both = [(0.5 / beta, &weak), (-0.5 / beta, &away)];
        relaxation.run_phases(&mut net.graph, &both).unwrap();
        let found = learned(&relaxation);
        if beta <= 0.1 {
            close("both ways", &found, &expected, 10.0 * beta * beta);
        }
    }
    println!("distance to the gradient at beta 1, .1, .01, .001: {distances:.4?}");
    // Of order beta: each tenth is a tenth of the distance, the better the smaller.
    assert!(distances.windows(2).all(|pair| pair[1] < 0.5 * pair[0]), "{distances:?}");
    assert!((distances[2] / distances[3] - 10.0).abs() < 0.5, "{distances:?}");
}

#[test]
fn contrastive_hebbian_learning_is_the_difference_of_two_phases() {
    let mut net = hopfield();
    let mut relaxation = Relaxation::new(&net.graph, net.equilibrium()).unwrap();
    let free = Clamps::new().hold(net.x, net.image.clone());
    let clamped = free.clone().hold(net.o, net.target.clone());
    relaxation.run_phases(&mut net.graph, &[(-1.0, &free), (1.0, &clamped)]).unwrap();
    let found = learned(&relaxation);
    let mut expected = vec![0.0; found.len()];
    for (sign, clamps) in [(-1.0, &free), (1.0, &clamped)] {
        relaxation.run(&mut net.graph, clamps).unwrap();
        let h = relaxation.value(&net.graph, net.h).unwrap().to_vec();
        let o = relaxation.value(&net.graph, net.o).unwrap().to_vec();
        let x = net.image.to_vec();
        for n in 0..BATCH {
            for j in 0..5 {
                for i in 0..4 {
                    let product = x[n * 4 + i].tanh() * h[n * 5 + j].tanh();
                    expected[i * 5 + j] -= sign * product;
                }
                for k in 0..2 {
                    let product = h[n * 5 + j].tanh() * o[n * 2 + k].tanh();
                    expected[20 + j * 2 + k] -= sign * product;
                }
            }
        }
    }
    close("contrastive Hebbian", &found, &expected, 1e-10);
}

#[test]
fn phases_and_terms_are_checked() {
    let mut net = hopfield();
    let free = net.free();
    let mut relaxation = Relaxation::new(&net.graph, net.equilibrium()).unwrap();
    assert!(relaxation.run_phases(&mut net.graph, &[]).is_err());
    assert!(relaxation.run_phases(&mut net.graph, &[(f64::NAN, &free)]).is_err());
    let xh = net.graph.vertex("xh").unwrap();
    let clamped = free.clone().hold(xh, tensor(&[BATCH, 1], &[0.0; BATCH]));
    let error: Error = relaxation.begin(&mut net.graph, &clamped).unwrap_err();
    assert_eq!((error.kind(), error.vertex()), (ErrorKind::Clamp, Some("xh")), "{error}");
    for schedule in [Schedule::ipc(0.1, 3).unwrap(), Schedule::epc(0.1, 3).unwrap()] {
        let mut relaxation = Relaxation::new(&net.graph, schedule).unwrap();
        let error = relaxation.run_phases(&mut net.graph, &[(1.0, &free)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Schedule, "{error}");
    }
    let error = Relaxation::new(&net.graph, Schedule::zil()).unwrap_err();
    assert!(error.to_string().contains("term"), "{error}");
    // A phase that diverges leaves no gradients.
    let wild = Schedule::standard(1e6, 200).unwrap().starting(Start::Zero);
    let mut relaxation = Relaxation::new(&net.graph, wild).unwrap();
    let outcomes = relaxation.run_phases(&mut net.graph, &[(1.0, &free), (1.0, &free)]).unwrap();
    assert_eq!((outcomes.len(), outcomes[0].status), (1, Status::Diverged));
    assert!(learned(&relaxation).is_empty());
    assert_eq!(net.graph.topology().prediction(PredictionId::new(2)).unwrap().term, Some(1.0));
}

/// Every exact rule's gradients with a term in the middle of a net are the derivative of the whole.
#[test]
fn backprop_goes_through_terms() {
    let mut numbers = Numbers::new(3);
    let mut b = Graph::<T>::builder();
    let mut init = pc_core::host::Init::new(2);
    let x = b.input("x", &[4]).unwrap();
    let h = b.dense("h", x, 5, pc_core::Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", h, 2, pc_core::Activation::Identity, &mut init).unwrap();
    let w = b.parameter("w", numbers.tensor(&[4, 5], 0.6)).unwrap();
    b.term("xh", 0.7, Box::new(Coupling), &[x, h], &[w]).unwrap();
    let mut graph = b.build().unwrap();
    let clamps =
        Clamps::new().hold(x, numbers.tensor(&[2, 4], 1.0)).hold(y, numbers.tensor(&[2, 2], 1.0));
    let run = |graph: &mut Graph<T>, schedule: Schedule| {
        let mut relaxation = Relaxation::new(graph, schedule).unwrap();
        let outcome = relaxation.run(graph, &clamps).unwrap();
        (learned(&relaxation), outcome.energy.total())
    };
    let (exact, _) = run(&mut graph, Schedule::backprop());
    let mut expected = Vec::new();
    let unrelaxed = Schedule::standard(0.1, 1).unwrap().unrelaxed();
    for index in 0..graph.parameters().len() {
        for k in 0..graph.parameters()[index].data().len() {
            let mut moved = |by: f64| {
                graph.parameters_mut()[index].data_mut()[k] += by;
                let energy = run(&mut graph, unrelaxed.clone()).1;
                graph.parameters_mut()[index].data_mut()[k] -= by;
                energy
            };
            expected.push((moved(1e-5) - moved(-1e-5)) / 2e-5);
        }
    }
    close("backprop", &exact, &expected, 1e-8);
    use pc_core::Evaluation::{ClosedForm, Front, Simulate};
    for (rate, steps) in [(1.0, 2), (0.4, 3)] {
        let fixed =
            |evaluation| Schedule::fixed_prediction(rate, steps).unwrap().evaluated_by(evaluation);
        let (plain, _) = run(&mut graph, fixed(Simulate));
        close("front", &run(&mut graph, fixed(Front)).0, &plain, 1e-13);
        close("closed form", &run(&mut graph, fixed(ClosedForm)).0, &plain, 1e-13);
        if rate == 1.0 {
            close("fixed prediction", &plain, &exact, 1e-13);
        }
    }
    let states = run(&mut graph, Schedule::standard(0.1, 50_000).unwrap().until(1e-12).unwrap());
    let errors = run(&mut graph, Schedule::epc(0.1, 50_000).unwrap().until(1e-12).unwrap());
    close("one equilibrium", &states.0, &errors.0, 1e-9);
}
