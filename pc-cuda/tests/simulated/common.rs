//! Nets, batches and the comparison with the oracle.

use pc_core::{
    Agreement, Clamps, Evaluation, Gradients, Graph, GraphBuilder, Learning, ParamId, Relaxation,
    Result, Schedule, SquaredError, Tensor, VertexId,
    backend::GraphTensor,
    host::{Activation, CrossEntropy, HostLayers, HostTensor, Init, Sgd},
};
use pc_cuda::{Device, FusedNet, Precision, Simulation, Strategy};

/// What the oracle computes with.
pub(crate) type Wide = HostTensor<f64>;

/// A chain and the numbers to run it on.
pub(crate) struct Case {
    pub(crate) widths: Vec<usize>,
    pub(crate) act: Activation,
    /// The output's.
    pub(crate) out: Activation,
    pub(crate) batch: usize,
    pub(crate) schedule: Schedule,
    pub(crate) precision: Precision,
    pub(crate) strategy: Strategy,
    pub(crate) top: Top,
    pub(crate) seed: u64,
}

/// How a case came out.
pub(crate) struct Verdict {
    /// The worst relative norm of a weight gradient's difference from the oracle's, and the
    /// energy's.
    pub(crate) worst: f64,
    /// Whether the net took the relaxation over from the engine.
    #[allow(dead_code)]
    pub(crate) fused: bool,
    /// A number made of every bit of the gradients.
    #[allow(dead_code)]
    pub(crate) fingerprint: u64,
}

/// What the output does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Top {
    Held,
    Squared(f64),
    Entropy(f64),
}

impl Top {
    /// A target that its loss takes: for cross-entropy a distribution, if not one that sums to one.
    fn target(self, init: &mut Init, shape: &[usize]) -> HostTensor<f32> {
        let mut target: HostTensor<f32> = init.uniform(shape, 1.0).unwrap();
        if matches!(self, Top::Entropy(_)) {
            target.data_mut().iter_mut().for_each(|x| *x = x.abs());
        }
        target
    }
}

/// Not all errors weigh the same; the output's does not where a loss drives it.
fn weigh<T: GraphTensor>(
    b: &mut GraphBuilder<T>,
    at: VertexId,
    index: usize,
    count: usize,
) -> Result<()> {
    match index {
        _ if index + 1 == count => b.precision(at, 1.25),
        1 | 2 => b.precision(at, 0.75),
        _ => Ok(()),
    }
}

pub(crate) fn chain(
    widths: &[usize],
    act: Activation,
    out: Activation,
    seed: u64,
) -> Result<(Graph<HostTensor<f32>>, VertexId, VertexId)> {
    let mut init = Init::new(seed);
    let mut b = Graph::<HostTensor<f32>>::builder();
    let x = b.input("x", &widths[..1])?;
    let mut at = x;
    for (index, &width) in widths.iter().enumerate().skip(1) {
        let act = if index + 1 == widths.len() { out } else { act };
        at = b.dense(&format!("l{index}"), at, width, act, &mut init)?;
        weigh(&mut b, at, index, widths.len())?;
    }
    let mut graph = b.build()?;
    // Biases that are not zero.
    for index in 0..graph.parameters().len() {
        if graph.parameters()[index].dims().len() == 1 {
            let drawn: HostTensor<f32> =
                init.uniform(&graph.parameters()[index].shape(), 0.2).unwrap();
            graph.parameters_mut()[index].copy_from(&drawn);
        }
    }
    Ok((graph, x, at))
}

/// The same graph in f64.
fn widen(
    graph: &Graph<HostTensor<f32>>,
    widths: &[usize],
    act: Activation,
    out: Activation,
) -> Result<Graph<HostTensor<f64>>> {
    let mut init = Init::new(0);
    let mut b = Graph::<HostTensor<f64>>::builder();
    let mut at = b.input("x", &widths[..1])?;
    for (index, &width) in widths.iter().enumerate().skip(1) {
        let act = if index + 1 == widths.len() { out } else { act };
        at = b.dense(&format!("l{index}"), at, width, act, &mut init)?;
        weigh(&mut b, at, index, widths.len())?;
    }
    let mut wide = b.build()?;
    for (to, from) in wide.parameters_mut().iter_mut().zip(graph.parameters()) {
        for (x, y) in to.data_mut().iter_mut().zip(from.data()) {
            *x = f64::from(*y);
        }
    }
    Ok(wide)
}

/// The weights' rate where they learn at every step.
const RATE: f64 = 0.002;

/// Every parameter's gradient. A layer that no error has reached yet learns nothing.
fn numbers<T: Tensor>(gradients: &Gradients<T>, parameters: &[T]) -> Vec<Vec<f64>> {
    let list = |(index, parameter): (usize, &T)| {
        let gradient = gradients.get(ParamId::new(index));
        gradient.map_or_else(|| vec![0.0; parameter.shape().iter().product()], Tensor::to_vec)
    };
    parameters.iter().enumerate().map(list).collect()
}

/// What the oracle says of a case: the gradients of every learning event, parameter by parameter,
/// and the energy at the end.
pub(crate) struct Expected {
    pub(crate) gradients: Vec<Vec<f64>>,
    pub(crate) energy: f64,
    pub(crate) steps: usize,
}

impl Case {
    /// Runs it here and on the oracle.
    pub(crate) fn run(&self) -> Result<Verdict> {
        let device = Device::simulated(&Simulation::new(self.seed))?;
        self.compare(&device, &self.expected()?)
    }

    fn schedule(&self) -> Schedule {
        self.schedule.clone().evaluated_by(Evaluation::Simulate)
    }

    fn learns(&self) -> bool {
        self.schedule.learning() == Learning::EveryStep
    }

    fn numbers(&self) -> (HostTensor<f32>, HostTensor<f32>) {
        let mut init = Init::new(self.seed + 1000);
        let (n, m) = (self.widths[0], *self.widths.last().unwrap());
        (init.uniform(&[self.batch, n], 1.0).unwrap(), self.top.target(&mut init, &[self.batch, m]))
    }

    /// The graph in f64, and what it is held at.
    pub(crate) fn oracle(&self) -> Result<(Graph<Wide>, Clamps<Wide>)> {
        let (graph, x, y) = chain(&self.widths, self.act, self.out, self.seed)?;
        let (input, target) = self.numbers();
        let wide = |t: &HostTensor<f32>| {
            HostTensor::<f64>::new(t.dims(), t.data().iter().map(|x| f64::from(*x)).collect())
        };
        let (on, target) = (Clamps::new().hold(x, wide(&input)?), wide(&target)?);
        let clamps = match self.top {
            Top::Held => on.hold(y, target),
            Top::Squared(lambda) => on.weak_loss(y, SquaredError::new(target), lambda),
            Top::Entropy(lambda) => on.weak_loss(y, CrossEntropy::new(target), lambda),
        };
        Ok((widen(&graph, &self.widths, self.act, self.out)?, clamps))
    }

    /// Runs it on the oracle.
    pub(crate) fn expected(&self) -> Result<Expected> {
        let (mut oracle, clamps) = self.oracle()?;
        let mut rule = Relaxation::new(&oracle, self.schedule())?;
        let mut gradients = Vec::new();
        let mut sgd = Sgd::new(RATE)?;
        let outcome = rule.train(&mut oracle, &clamps, |oracle, g| {
            gradients.extend(numbers(g, oracle.parameters()));
            if !self.learns() {
                return Ok(());
            }
            sgd.step(oracle.parameters_mut(), g)?;
            // Weights are f32 on the device. What a small step makes of them is mostly rounding,
            // which is no part of what is compared.
            oracle
                .parameters_mut()
                .iter_mut()
                .flat_map(|p| p.data_mut())
                .for_each(|x| *x = f64::from(*x as f32));
            Ok(())
        })?;
        Ok(Expected { gradients, energy: outcome.energy.total(), steps: outcome.steps })
    }

    /// Runs it on a device.
    pub(crate) fn compare(&self, device: &Device, expected: &Expected) -> Result<Verdict> {
        let (graph, x, y) = chain(&self.widths, self.act, self.out, self.seed)?;
        let (input, target) = self.numbers();
        let mut net =
            FusedNet::from_graph(&graph, device, self.precision)?.relaxed_by(self.strategy).timed();
        let on = Clamps::new().hold(x, device.tensor(input.dims(), input.data())?);
        let target = device.tensor(target.dims(), target.data())?;
        let clamps = match self.top {
            Top::Held => on.hold(y, target),
            Top::Squared(lambda) => on.weak_loss(y, SquaredError::new(target), lambda),
            Top::Entropy(lambda) => on.weak_loss(y, pc_cuda::CrossEntropy::new(target), lambda),
        };
        let mut rule = Relaxation::new(&net, self.schedule())?;
        let mut found = Vec::new();
        let mut sgd = pc_cuda::Sgd::new(RATE)?;
        let outcome = rule.train(&mut net, &clamps, |net, g| {
            found.extend(numbers(g, net.parameters()));
            if self.learns() { sgd.step(net, g) } else { Ok(()) }
        })?;
        device.synchronize()?;
        assert_eq!(outcome.steps, expected.steps);
        assert_eq!(found.len(), expected.gradients.len());
        let off = |found: &[f64], wanted: &[f64]| Agreement::of_slices(found, wanted).relative_norm;
        let mut worst = off(&[outcome.energy.total()], &[expected.energy]);
        for (found, wanted) in found.iter().zip(&expected.gradients) {
            let off = off(found, wanted);
            // A NaN stays.
            worst = if worst.is_nan() || off <= worst { worst } else { off };
        }
        let fingerprint =
            found.iter().flatten().fold(0u64, |sum, x| sum.rotate_left(5) ^ x.to_bits());
        Ok(Verdict { worst, fused: net.last_relaxation().is_some(), fingerprint })
    }
}
