//! Steps that a network takes over.

use std::fmt;

use crate::{
    Result,
    clamp::SharedLoss,
    network::{FusedSteps, Network, Residuals},
    relaxation::{Phase, Plan, Relaxation, Role, VertexPlan},
    schedule::{Learning, StepRule},
    topology::VertexId,
};

/// The losses that drive vertices, as [`FusedSteps`] has them.
pub struct Losses<'a, T> {
    vertices: &'a [VertexPlan<T>],
}

impl<T> Losses<'_, T> {
    /// The loss that drives a vertex, and its strength `lambda`.
    pub fn get(&self, vertex: VertexId) -> Option<(&SharedLoss<T>, f64)> {
        match &self.vertices.get(vertex.index())?.role {
            Role::Driven { loss, lambda, .. } => Some((loss, *lambda)),
            _ => None,
        }
    }
}

impl<T> fmt::Debug for Losses<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let driven = self
            .vertices
            .iter()
            .enumerate()
            .filter(|(_, plan)| matches!(plan.role, Role::Driven { .. }));
        f.debug_tuple("Losses").field(&driven.map(|(index, _)| index).collect::<Vec<_>>()).finish()
    }
}

impl<N: Network> Relaxation<N> {
    /// Whether steps are plain and nothing watches them, so that a network may take them over.
    fn plain(&self) -> bool {
        self.schedule.rule == StepRule::Plain
            && self.schedule.temperature.is_none()
            && self.schedule.stop.tolerance.is_none()
            && !self.watched()
            && self.vertices.iter().all(|plan| plan.scratch.is_none())
    }

    fn request(&mut self, steps: usize) -> (FusedSteps<'_, N::Tensor>, &mut N::Linearisation) {
        let request = FusedSteps {
            state: &mut self.state,
            errors: &mut self.predictions.errors,
            residuals: Residuals {
                tensors: &self.predictions.residuals,
                nonzero: &self.predictions.residual,
            },
            counts: &self.predictions.counts,
            free: &self.free,
            losses: Losses { vertices: &self.vertices },
            gradients: (self.schedule.learning == Learning::EveryStep)
                .then_some(&mut self.gradients),
            steps,
            rate: self.run.rate,
            settings: self.settings,
        };
        (request, &mut self.at)
    }

    /// Hands all steps up to the end to a network that has something faster.
    pub(super) fn fuse(&mut self, network: &mut N) -> Result<()> {
        let frozen = self.plan == Plan::Simulate;
        let left = self.run.steps.saturating_sub(self.run.step);
        if !(self.plan == Plan::Live || frozen)
            || self.schedule.learning != Learning::AtEnd
            || left == 0
            || !self.plain()
        {
            return Ok(());
        }
        let (request, at) = self.request(left);
        let Some(taken) = network.take_steps(request, at)? else { return Ok(()) };
        self.run.step += taken;
        if frozen {
            for (index, prediction) in network.topology().predictions().iter().enumerate() {
                self.predictions.active[index] |=
                    self.predictions.counts[index] && self.free[prediction.of.index()];
            }
        } else {
            self.touch_all(network);
        }
        Ok(())
    }

    /// The same where weights learn at every step: the one step from a learning event to the next,
    /// gradients included. Whether these are finite; none where the network leaves the step to the
    /// engine, or it is the last one, after which nothing learns.
    pub(super) fn fuse_learning(&mut self, network: &mut N) -> Result<Option<bool>> {
        let due = self.plan == Plan::Live
            && self.schedule.learning == Learning::EveryStep
            && self.run.step + 1 < self.run.steps;
        if !due || !self.plain() {
            return Ok(None);
        }
        self.gradients.clear();
        let (request, at) = self.request(1);
        if network.take_steps(request, at)?.is_none() {
            return Ok(None);
        }
        self.run.step += 1;
        self.run.phase = Phase::Move;
        self.run.pulled = true;
        self.touch_all(network);
        Ok(Some(self.gradients.is_finite()))
    }

    /// After steps that the engine did not take itself, anything may have moved.
    fn touch_all(&mut self, network: &N) {
        for (moved, free) in self.state.moved.iter_mut().zip(&self.free) {
            *moved |= free;
        }
        self.refresh_active(network);
    }
}
