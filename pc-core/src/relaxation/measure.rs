//! Energies, residuals and weighted errors.

use crate::{
    network::Network,
    relaxation::{Energy, Phase, Relaxation, Role, Status},
    tensor::Tensor,
    topology::VertexId,
};

impl<N: Network> Relaxation<N> {
    /// The energy at the current errors.
    pub(super) fn measure_energy(&self, network: &N) -> Energy {
        let all = network.topology().predictions().iter().enumerate();
        let terms = all.filter_map(|(index, prediction)| {
            let driven = matches!(self.vertices[prediction.of.index()].role, Role::Driven { .. });
            let counts =
                self.predictions.counts[index] && self.predictions.active[index] && !driven;
            counts.then(|| (0.5 * prediction.precision, &self.predictions.errors[index]))
        });
        Energy { internal: N::Tensor::weighted_norms(terms), loss: self.loss_energy() }
    }

    /// The part of the energy that driven vertices add.
    pub(super) fn loss_energy(&self) -> f64 {
        self.vertices
            .iter()
            .map(|plan| {
                if let Role::Driven { lambda, value, .. } = &plan.role {
                    lambda * value
                } else {
                    0.0
                }
            })
            .sum()
    }

    /// Whether the energy has to be known at every step.
    pub(super) fn watched(&self) -> bool {
        self.schedule.trace || self.schedule.stop.divergence.is_some()
    }

    /// Notes the energy of this step; true where the relaxation has diverged.
    pub(super) fn note_energy(&mut self, network: &N) -> bool {
        let energy = self.measure_energy(network);
        let total = energy.total();
        self.run.energy = energy;
        if self.schedule.trace {
            self.run.trace.push(total);
        }
        if self.run.first_energy.is_nan() {
            self.run.first_energy = total;
        }
        !total.is_finite()
            || self
                .schedule
                .stop
                .divergence
                .is_some_and(|factor| total > factor * self.run.first_energy)
    }

    /// Ends without gradients.
    pub(super) fn diverge(&mut self) -> bool {
        self.run.status = Status::Diverged;
        self.run.phase = Phase::Done;
        self.gradients.clear();
        false
    }

    /// `|force - sum pi e|^2` over the free states.
    pub(super) fn measure_residual(&mut self, network: &N) -> f64 {
        let mut sum = 0.0;
        for vertex in network.topology().vertices() {
            if !self.free[vertex.index()] {
                continue;
            }
            if self.compose_step(network, vertex) {
                sum += self.vertices[vertex.index()]
                    .scratch
                    .as_ref()
                    .map_or(0.0, Tensor::norm_squared);
                continue;
            }
            let (error, precision) = self.own_error(network, vertex);
            sum += N::Tensor::gap_squared(error, precision, network.force(&self.at, vertex));
        }
        sum.sqrt()
    }

    /// The one error of a vertex, and its precision, where it may differ from zero.
    pub(super) fn own_error(&self, network: &N, vertex: VertexId) -> (Option<&N::Tensor>, f64) {
        let topology = network.topology();
        match topology.own(vertex).first() {
            Some(id) if self.predictions.active[id.index()] => (
                Some(&self.predictions.errors[id.index()]),
                topology.predictions()[id.index()].precision,
            ),
            _ => (None, 1.0),
        }
    }

    /// Puts `force - sum pi e` together in the vertex's scratch, where it has one: masked vertices
    /// and those with several predictions. False where there is none, and the step can be taken in
    /// one pass.
    pub(super) fn compose_step(&mut self, network: &N, vertex: VertexId) -> bool {
        let plan = &mut self.vertices[vertex.index()];
        let Some(step) = &mut plan.scratch else { return false };
        match network.force(&self.at, vertex) {
            Some(force) => step.copy_from(force),
            None => step.fill(0.0),
        }
        for id in network.topology().own(vertex) {
            if self.predictions.active[id.index()] {
                step.axpy(
                    -network.topology().predictions()[id.index()].precision,
                    &self.predictions.errors[id.index()],
                );
            }
        }
        if let (Role::Masked, Some(mask)) = (&plan.role, &plan.free_mask) {
            step.multiply(mask);
        }
        true
    }

    /// Brings `weighted = pi e` up to date where precisions are not all 1. Driven vertices' errors
    /// are weighted already.
    pub(super) fn weigh_errors(&mut self, network: &N) {
        if self.predictions.uniform {
            return;
        }
        for (index, prediction) in network.topology().predictions().iter().enumerate() {
            if self.predictions.active[index] {
                let weighted = &mut self.predictions.weighted[index];
                weighted.copy_from(&self.predictions.errors[index]);
                if !matches!(self.vertices[prediction.of.index()].role, Role::Driven { .. }) {
                    weighted.scale(prediction.precision);
                }
            }
        }
    }
}
