//! Relaxation in the errors: forward with offsets, reverse from the drives.

use crate::{
    Result,
    network::{Drives, Forward, Network, Settings, Want},
    relaxation::{Phase, Relaxation, Role, Status, begin},
    schedule::StepRule,
    tensor::Tensor,
};

impl<N: Network> Relaxation<N> {
    /// Runs to the learning event (true) or to the end (false).
    pub(super) fn advance_errors(&mut self, network: &mut N) -> Result<bool> {
        loop {
            if self.run.phase == Phase::Move {
                self.move_errors(network);
                self.run.step += 1;
            }
            self.evaluate_errors(network)?;
            let last = self.run.step >= self.run.steps;
            let measured =
                self.watched() || last || matches!(self.schedule.rule, StepRule::Adaptive { .. });
            if measured && self.note_energy(network) {
                return Ok(self.diverge());
            }
            if let StepRule::Adaptive { shrink, growth } = self.schedule.rule
                && self.run.step > 0
            {
                if !(self.run.energy.total() < self.run.last_energy) && !last {
                    let shorter = self.run.rate * shrink;
                    self.take_back(shorter - self.run.rate);
                    self.run.rate = shorter;
                    self.run.step += 1;
                    self.run.phase = Phase::Evaluate;
                    continue;
                }
                self.run.rate *= growth;
            }
            self.run.last_energy = self.run.energy.total();
            let mut converged = false;
            if let Some(tolerance) = self.schedule.stop.tolerance {
                self.weigh_errors(network);
                network.forget_pulls(&mut self.at);
                let cotangents = self.predictions.cotangents();
                let want = Want { predictions: &self.predictions.counts, forces: &self.free };
                network.pull(&self.state, cotangents, want, None, &mut self.at)?;
                self.run.pulled = true;
                let residual = self.measure_residual(network);
                self.run.residual = Some(residual);
                converged = residual <= tolerance * self.run.scale();
            }
            if last || converged {
                if converged {
                    self.run.status = Status::Converged;
                    if !measured && self.note_energy(network) {
                        return Ok(self.diverge());
                    }
                }
                self.learn_all(network)?;
                self.run.phase = Phase::Done;
                return Ok(true);
            }
            self.renew(network)?;
            self.reverse_errors(network)?;
            self.run.phase = Phase::Move;
        }
    }

    /// Forward with the errors as offsets; then the errors of held and driven vertices follow from
    /// where it arrives.
    fn evaluate_errors(&mut self, network: &mut N) -> Result<()> {
        let learns = self.learns_here();
        let pass = Forward {
            values: &mut self.state.values,
            follows: &self.follows,
            offsets: &self.state.displacements,
            settings: Settings { learns, ..self.settings },
            sweep: (!learns && self.schedule.stop.tolerance.is_none()).then_some(&[]),
        };
        network.forward(pass, &mut self.at)?;
        self.run.pulled = false;
        let topology = network.topology();
        let first = self.run.step == 0;
        let mut drive = 0.0;
        for (index, prediction) in topology.predictions().iter().enumerate() {
            let of = prediction.of.index();
            let error = &mut self.predictions.errors[index];
            let Some(predicted) = network.prediction(&self.at, index) else { continue };
            self.predictions.active[index] = self.predictions.counts[index];
            match &mut self.vertices[of].role {
                Role::Intervened => error.fill(0.0),
                Role::Free if self.follows[of] => error.copy_from(&self.state.displacements[of]),
                Role::Driven { loss, lambda, value } => {
                    let name = topology.label(prediction.of);
                    let mut loss = loss.try_borrow_mut().map_err(|_| begin::in_use(name))?;
                    *value = loss.evaluate(predicted, error).map_err(|e| e.at(name))?;
                    error.scale(*lambda);
                }
                _ => error.set_difference(&self.state.values[of], predicted),
            }
            if first && matches!(self.vertices[of].role, Role::Held | Role::Driven { .. }) {
                drive += prediction.precision
                    * prediction.precision
                    * self.predictions.errors[index].norm_squared();
            }
        }
        if first {
            self.run.drive = network.drive_norm().unwrap_or_else(|| drive.sqrt());
        }
        Ok(())
    }

    /// `e_i += gamma (-pi_i e_i + delta_i)` for every free vertex, with `delta` from one reverse
    /// traversal.
    fn move_errors(&mut self, network: &N) {
        let rate = self.run.rate;
        let momentum = self.schedule.rule.momentum();
        for vertex in network
            .topology()
            .vertices()
            .filter(|v| self.free[v.index()] && self.follows[v.index()])
        {
            let precision = network
                .topology()
                .own(vertex)
                .first()
                .map_or(1.0, |id| network.topology().predictions()[id.index()].precision);
            let displacement = &mut self.state.displacements[vertex.index()];
            if let Some(velocity) = &mut self.vertices[vertex.index()].velocity {
                velocity.scale(momentum);
                velocity.axpy(-precision, displacement);
                if let Some(force) = network.force(&self.at, vertex) {
                    velocity.axpy(1.0, force);
                }
                displacement.axpy(rate, velocity);
            }
        }
    }

    fn take_back(&mut self, change: f64) {
        for (plan, displacement) in self.vertices.iter().zip(&mut self.state.displacements) {
            if let (true, Some(velocity)) = (plan.role.moves(), &plan.velocity) {
                displacement.axpy(change, velocity);
            }
        }
    }

    /// The reverse traversal from the errors of held and driven vertices.
    fn reverse_errors(&mut self, network: &mut N) -> Result<()> {
        for (index, prediction) in network.topology().predictions().iter().enumerate() {
            self.predictions.pull[index] = !self.free[prediction.of.index()];
        }
        self.weigh_errors(network);
        let cotangents = self.predictions.cotangents();
        let drives = Drives {
            cotangents,
            driven: &self.predictions.pull,
            forces: &self.free,
            weights: &[],
            arrivals: true,
        };
        self.run.pulled = true;
        network.reverse(&self.state, drives, None, &mut self.at)
    }
}
