//! Small nets in `f64` that experiments of the theory ask of.

use pc_core::{
    Activation, Agreement, Clamps, Gradients, Graph, Outcome, Relaxation, Schedule, Status, Tensor,
    VertexId,
    host::{Dense, HostLayers, HostTensor, Init, Starting},
};
use pc_models::{
    Host,
    theory::{LinearTheory, output_change, target_alignment},
};

use crate::{error::CommandError, statistics::greater};

pub(super) type T64 = HostTensor<f64>;

/// A chain, from its input to its output.
pub(super) struct Net {
    pub(super) graph: Graph<T64>,
    pub(super) vertices: Vec<VertexId>,
}

impl Net {
    /// Dense layers without biases, with the activation before each but the first, all started by
    /// one rule.
    pub(super) fn chain(
        widths: &[usize],
        activation: Activation,
        start: Starting,
        seed: u64,
    ) -> Result<Self, CommandError> {
        let (mut b, mut init) = (Graph::<T64>::builder(), Init::new(seed));
        let (first, rest) = widths.split_first().ok_or_else(|| CommandError::input("no layers"))?;
        let mut below = b.input("x", &[*first])?;
        let mut vertices = vec![below];
        for (k, width) in rest.iter().enumerate() {
            let own = Dense::new(*width).without_bias().start(start);
            let own = if k == 0 { own } else { own.activation_before(activation) };
            below = b.layer(&format!("layer{}", k + 1), &[below], &own, &mut init)?;
            vertices.push(below);
        }
        Ok(Self { graph: b.build()?, vertices })
    }

    pub(super) fn input(&self) -> VertexId {
        self.vertices.first().copied().unwrap_or(VertexId::new(0))
    }

    pub(super) fn output(&self) -> VertexId {
        self.vertices.last().copied().unwrap_or(VertexId::new(0))
    }

    /// Input and output held.
    pub(super) fn clamps(&self, x: &T64, y: &T64) -> Clamps<T64> {
        Clamps::new().hold(self.input(), x.clone()).hold(self.output(), y.clone())
    }

    /// The feed-forward value of a vertex.
    pub(super) fn forward(&mut self, x: &T64, of: VertexId) -> Result<T64, CommandError> {
        Ok(self.graph.predict(&[(self.input(), x)], of)?)
    }

    /// The closed form, for nets without activations.
    pub(super) fn theory(&mut self) -> Result<LinearTheory, CommandError> {
        let output = self.output();
        Ok(LinearTheory::of(&Host::<f64>::new(), &mut self.graph, output)?)
    }

    /// Where a schedule comes to, and the cosine of its gradients there to backprop's.
    pub(super) fn beside_backprop(
        &mut self,
        schedule: Schedule,
        clamps: &Clamps<T64>,
    ) -> Result<(Outcome, f64), CommandError> {
        let exact = settled(&mut self.graph, Schedule::backprop(), clamps)?.1;
        let (outcome, relaxed) = settled(&mut self.graph, schedule, clamps)?;
        let (ours, theirs) = (flat(relaxed.gradients()), flat(exact.gradients()));
        Ok((outcome, Agreement::of_slices(&ours, &theirs).cosine))
    }

    /// Target alignment of a schedule, with rates by layer where some are given.
    pub(super) fn alignment(
        &mut self,
        schedule: Schedule,
        x: &T64,
        y: &T64,
        rates: &[f64],
    ) -> Result<f64, CommandError> {
        let change = self.change(schedule, x, y, rates)?;
        let output = self.output();
        Ok(target_alignment(&change, &self.forward(x, output)?, y)?)
    }

    /// What a step of learning does to the output, to first order.
    pub(super) fn change(
        &mut self,
        schedule: Schedule,
        x: &T64,
        y: &T64,
        rates: &[f64],
    ) -> Result<T64, CommandError> {
        let clamps = self.clamps(x, y);
        let (_, relaxation) = settled(&mut self.graph, schedule, &clamps)?;
        let ids = relaxation.gradients().iter().map(|(id, _)| id);
        let rates: Vec<_> = ids.zip(rates).map(|(id, rate)| (id, *rate)).collect();
        let (input, output) = (self.input(), self.output());
        let known = [(input, x)];
        Ok(output_change(&mut self.graph, &known, output, relaxation.gradients(), &rates)?)
    }
}

/// Error-based PC to the equilibrium of a linear net, with the rate and momentum that are the best
/// for a Hessian between 1 and `1 + steepest`; for nets that are not linear the bound is a guess.
pub(super) fn equilibrium(steepest: f64, tolerance: f64) -> Result<Schedule, CommandError> {
    let root = (1.0 + steepest.max(0.0)).sqrt();
    let rate = 4.0 / (root + 1.0).powi(2);
    let momentum = ((root - 1.0) / (root + 1.0)).powi(2);
    let schedule = Schedule::epc(rate, 20_000)?.until(tolerance)?;
    Ok(schedule.with_momentum(momentum.min(0.9999))?)
}

/// A bound on the largest eigenvalue of `S`: its trace, or its largest sum of a row's sizes.
pub(super) fn steepest(theory: &LinearTheory) -> f64 {
    let rows = || theory.rescaling().iter();
    let trace = rows().enumerate().map(|(k, row)| row[k]).sum::<f64>();
    let sums = rows().map(|row| row.iter().map(|x| x.abs()).sum::<f64>());
    trace.min(sums.fold(0.0, f64::max))
}

/// Relaxes; an end that is no equilibrium is an error where one was asked for.
pub(super) fn settled(
    graph: &mut Graph<T64>,
    schedule: Schedule,
    clamps: &Clamps<T64>,
) -> Result<(Outcome, Relaxation<Graph<T64>>), CommandError> {
    let mut relaxation = Relaxation::new(graph, schedule)?;
    let outcome = relaxation.run(graph, clamps)?;
    if outcome.status == Status::Diverged {
        return Err(CommandError::Beyond(format!(
            "a relaxation has diverged: {}",
            relaxation.schedule()
        )));
    }
    Ok((outcome, relaxation))
}

/// All gradients as one list.
pub(super) fn flat(gradients: &Gradients<T64>) -> Vec<f64> {
    gradients.iter().filter_map(|(_, gradient)| Some(gradient?.to_vec())).flatten().collect()
}

/// Normal numbers of variance 1.
pub(super) fn normal(shape: &[usize], stream: u64) -> Result<T64, CommandError> {
    let mut tensor = T64::zeroed(shape)?;
    tensor.add_normal(1.0, stream);
    Ok(tensor)
}

/// `y - out`, of one sample.
pub(super) fn residual(y: &T64, out: &T64) -> Vec<f64> {
    y.data().iter().zip(out.data()).map(|(y, out)| y - out).collect()
}

/// The largest difference; not a number where one is not.
pub(super) fn largest(a: &[f64], b: &[f64]) -> f64 {
    let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, greater)
}
