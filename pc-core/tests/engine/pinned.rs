//! Figures that nothing else pins: energies of what takes no steps, the scale of a tolerance,
//! angles, and work that is left out.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use pc_core::{
    Agreement, Chain, Clamps, Evaluation, Graph, Relaxation, Result, Schedule, Status,
    backend::{Cache, Inputs, Pulled, Vertex},
    host::{Activation, HostLayers, HostTensor, HostVertex, Init, Linear},
};

use crate::common::{Numbers, close, tensor};

type T = HostTensor<f64>;

fn net(hidden: Activation) -> (Graph<T>, [pc_core::VertexId; 3]) {
    let mut init = Init::new(5);
    let mut b = Graph::builder();
    let x = b.input("x", &[4]).unwrap();
    let h = b.dense("h", x, 6, hidden, &mut init).unwrap();
    let k = b.dense("k", h, 6, hidden, &mut init).unwrap();
    let y = b.dense("y", k, 3, Activation::Identity, &mut init).unwrap();
    (b.build().unwrap(), [x, h, y])
}

#[test]
fn what_takes_no_steps_has_the_energy_of_what_does() {
    let (mut graph, [x, _, y]) = net(Activation::Tanh);
    let mut numbers = Numbers::new(5);
    let (input, target) = (numbers.tensor(&[2, 4], 1.0), numbers.tensor(&[2, 3], 1.0));
    let clamps = Clamps::new().hold(x, input).hold(y, target);
    let mut energy = |schedule: Schedule| {
        let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
        relaxation.run(&mut graph, &clamps).unwrap().energy.total()
    };
    for (rate, steps) in [(1.0, 9), (0.3, 4)] {
        let by = |way| Schedule::fixed_prediction(rate, steps).unwrap().evaluated_by(way);
        let simulated = energy(by(Evaluation::Simulate));
        let closed = energy(by(Evaluation::ClosedForm));
        close("closed form", &[closed], &[simulated], 1e-13);
        if rate == 1.0 {
            close("backprop", &[energy(Schedule::backprop())], &[simulated], 1e-13);
        }
        assert!(simulated > 0.1);
    }
}

#[test]
fn a_tolerance_is_relative_to_the_drive() {
    // A linear net without biases in play: targets ten times as far, errors ten times as large.
    let (mut graph, [x, _, y]) = net(Activation::Identity);
    let target = Numbers::new(6).tensor::<f64>(&[1, 3], 1.0).data().to_vec();
    let mut stops = Vec::new();
    for scale in [1.0, 10.0, 1000.0] {
        let scaled: Vec<f64> = target.iter().map(|y| scale * y).collect();
        let clamps =
            Clamps::new().hold(x, tensor(&[1, 4], &[0.0; 4])).hold(y, tensor(&[1, 3], &scaled));
        for schedule in [Schedule::standard(0.1, 5000), Schedule::epc(0.1, 5000)] {
            let schedule = schedule.unwrap().until(1e-3).unwrap();
            let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
            let outcome = relaxation.run(&mut graph, &clamps).unwrap();
            assert_eq!(outcome.status, Status::Converged);
            let drive = scaled.iter().map(|y| y * y).sum::<f64>().sqrt();
            let residual = outcome.residual.unwrap();
            assert!(residual <= 1e-3 * drive && residual > 5e-4 * drive, "{residual}, {drive}");
            stops.push(outcome.steps);
        }
    }
    assert_eq!(stops[..2], stops[2..4]);
    assert_eq!(stops[..2], stops[4..]);
}

#[test]
fn angles_and_ratios_are_those_of_geometry() {
    let found = Agreement::of_slices(&[3.0, 0.0], &[1.0, 1.0]);
    close("cosine", &[found.cosine], &[0.5_f64.sqrt()], 1e-15);
    close("norm ratio", &[found.norm_ratio], &[3.0 / 2.0_f64.sqrt()], 1e-15);
    close("largest", &[found.max_difference], &[2.0], 1e-15);
    close("relative norm", &[found.relative_norm], &[5.0_f64.sqrt() / 2.0_f64.sqrt()], 1e-15);
    let opposite = Agreement::of_slices(&[-1.0, 2.0], &[2.0, -4.0]);
    close("opposite", &[opposite.cosine, opposite.norm_ratio], &[-1.0, 0.5], 1e-15);
}

/// Passes its parent on, and counts how often it is pulled.
struct Counted(Arc<AtomicUsize>);

impl Vertex<T> for Counted {
    fn kind(&self) -> &str {
        "counted"
    }
    fn shape(&self, parents: &[&[usize]], _: &[&[usize]]) -> Result<Vec<usize>> {
        Ok(parents[0].to_vec())
    }
    fn predict(&self, at: &Inputs<'_, T>, _: &mut Cache<T>, output: &mut T) -> Result<()> {
        output.data_mut().copy_from_slice(at.value(0).data());
        Ok(())
    }
    fn pull(
        &self,
        _: &Inputs<'_, T>,
        _: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        if let Some(force) = pulled.force(0) {
            force.data_mut().copy_from_slice(cotangent.data());
        }
        Ok(())
    }
}

#[test]
fn a_chain_pulls_no_further_than_is_wanted() {
    for held in [true, false] {
        let count = Arc::new(AtomicUsize::new(0));
        let links: Vec<HostVertex<f64>> =
            vec![Box::new(Counted(Arc::clone(&count))), Box::new(Linear::without_bias())];
        let mut init = Init::new(1);
        let mut b = Graph::<T>::builder();
        let x = b.input("x", &[3]).unwrap();
        let w = b.parameter("w", init.uniform(&[2, 3], 1.0).unwrap()).unwrap();
        let y = b.vertex("y", Box::new(Chain::new(links).unwrap()), &[x], &[w]).unwrap();
        let mut graph = b.build().unwrap();
        let (input, target) = (tensor(&[1, 3], &[0.5; 3]), tensor(&[1, 2], &[1.0, -1.0]));
        let clamps = Clamps::new().hold(y, target);
        let clamps = if held { clamps.hold(x, input) } else { clamps.free(x, input) };
        let schedule = Schedule::standard(0.1, 4).unwrap();
        let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
        relaxation.run(&mut graph, &clamps).unwrap();
        // Nothing goes on to a held input, and the first link has no weights to learn.
        assert_eq!(count.load(Ordering::Relaxed), if held { 0 } else { 4 });
        assert!(relaxation.gradients().get(w).is_some());
    }
}

/// What a vertex was told at its last prediction, and at every pullback since.
type Told = Arc<Mutex<(Option<[bool; 2]>, Vec<[bool; 2]>)>>;

/// A linear map that notes whether predictions are live and parameters move.
struct Noting(Linear, Told);

impl Vertex<T> for Noting {
    fn kind(&self) -> &str {
        "noting"
    }
    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        Vertex::<T>::shape(&self.0, parents, parameters)
    }
    fn parameters(&self) -> usize {
        Vertex::<T>::parameters(&self.0)
    }
    fn predict(&self, at: &Inputs<'_, T>, cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        self.1.lock().unwrap().0 = Some([at.live(), at.plastic()]);
        self.0.predict(at, cache, output)
    }
    fn change(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        self.0.change(at, cache, predicted, output)
    }
    fn pull(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        let mut told = self.1.lock().unwrap();
        told.1.push([at.live(), at.plastic()]);
        self.0.pull(at, cache, cotangent, pulled)
    }
}

#[test]
fn pullbacks_are_told_what_their_predictions_were() {
    let told = Told::default();
    let mut init = Init::new(1);
    let mut b = Graph::<T>::builder();
    let mut last = b.input("x", &[3]).unwrap();
    let x = last;
    for name in ["h", "k", "y"] {
        let w = b.parameter(name, init.uniform(&[3, 3], 1.0).unwrap()).unwrap();
        let vertex = Noting(Linear::without_bias(), told.clone());
        last = b.vertex(name, Box::new(vertex), &[last], &[w]).unwrap();
    }
    let mut graph = b.build().unwrap();
    let (input, target) = (tensor(&[1, 3], &[0.5; 3]), tensor(&[1, 3], &[1.0, -1.0, 0.0]));
    let clamps = Clamps::new().hold(x, input).hold(last, target);
    let simulated = Evaluation::Simulate;
    for (schedule, expected) in [
        (Schedule::standard(0.1, 4), [true, false]),
        (Schedule::fixed_prediction(0.1, 4).map(|s| s.evaluated_by(simulated)), [false, false]),
        (Schedule::ipc(0.1, 4), [true, true]),
        (Ok(Schedule::backprop()), [false, false]),
        (Schedule::standard(0.1, 4), [true, false]),
    ] {
        let mut relaxation = Relaxation::new(&graph, schedule.unwrap()).unwrap();
        for _ in 0..2 {
            told.lock().unwrap().1.clear();
            relaxation.train(&mut graph, &clamps, |_, _| Ok(())).unwrap();
            let (predicted, pulls) = &*told.lock().unwrap();
            assert_eq!(*predicted, Some(expected), "{}", relaxation.schedule());
            assert!(!pulls.is_empty() && pulls.iter().all(|pull| *pull == expected));
        }
    }
}
