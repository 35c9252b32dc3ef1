//! Relaxation with live predictions, in the states.

use crate::{
    Result,
    network::{Forward, Network, Residuals, Settings, Want},
    relaxation::{Phase, Plan, Relaxation, Role, Status, VertexPlan, begin},
    schedule::{Coordinates, Learning, StepRule},
    tensor::{StateStep, Tensor},
    topology::ParamId,
};

impl<N: Network> Relaxation<N> {
    /// Runs to the next learning event (true) or to the end (false).
    pub(super) fn advance_live(&mut self, network: &mut N) -> Result<bool> {
        loop {
            if self.run.phase == Phase::Move {
                if let Some(finite) = self.fuse_learning(network)? {
                    return Ok(if finite { true } else { self.diverge() });
                }
                self.gradients.clear();
                self.move_states(network);
                self.run.step += 1;
                self.run.phase = Phase::Evaluate;
            }
            self.fuse(network)?;
            if !self.evaluate_live(network)? {
                return Ok(self.diverge());
            }
            let last = self.run.step >= self.run.steps;
            let event = match self.schedule.learning {
                Learning::AtEnd => self.pull_at_end(network, last)?,
                Learning::EveryStep => self.pull_every_step(network, last)?,
                Learning::AtLevel => self.pull_at_level(network, last)?,
            };
            if event {
                return Ok(true);
            }
            if self.run.phase == Phase::Done {
                return Ok(false);
            }
        }
    }

    /// Finds the errors at the current states. False where numbers are no longer finite or the
    /// energy has passed its bound.
    fn evaluate_live(&mut self, network: &mut N) -> Result<bool> {
        if self.run.step > 0 && self.plan != Plan::LiveLevels {
            let residuals = Residuals {
                tensors: &self.predictions.residuals,
                nonzero: &self.predictions.residual,
            };
            let settings = Settings { learns: self.learns_here(), ..self.settings };
            network.linearise(
                &self.state,
                settings,
                residuals,
                &mut self.predictions.errors,
                &mut self.at,
            )?;
            self.run.pulled = false;
            self.drive_losses(network)?;
        }
        let adaptive = matches!(self.schedule.rule, StepRule::Adaptive { .. });
        let measured = self.watched() || adaptive || self.run.step >= self.run.steps;
        // Where weights learn at their level, levels that have learned may go where they will: each
        // level's gradients are looked at instead.
        if measured && self.note_energy(network) && self.schedule.learning != Learning::AtLevel {
            return Ok(false);
        }
        if let StepRule::Adaptive { shrink, growth } = self.schedule.rule {
            self.adapt(network, shrink, growth)?;
        }
        Ok(true)
    }

    /// Whether the first thing asked of the linearisation at this step is known to be parameter
    /// gradients.
    pub(super) fn learns_here(&self) -> bool {
        let last = self.run.step >= self.run.steps;
        match self.schedule.learning {
            Learning::AtEnd => last && self.schedule.stop.tolerance.is_none(),
            Learning::EveryStep => !last,
            Learning::AtLevel => false,
        }
    }

    /// Where the last step did not lower the energy, takes part of it back (each time spending a
    /// step); else lets the rate grow.
    fn adapt(&mut self, network: &mut N, shrink: f64, growth: f64) -> Result<()> {
        while self.run.step > 0
            && !(self.run.energy.total() < self.run.last_energy)
            && self.run.step < self.run.steps
        {
            let shorter = self.run.rate * shrink;
            for (index, plan) in
                self.vertices.iter_mut().enumerate().filter(|(index, _)| self.state.moved[*index])
            {
                if let (true, Some(velocity)) = (plan.role.moves(), &plan.velocity) {
                    self.state.displacements[index].axpy(shorter - self.run.rate, velocity);
                    let (value, reference) =
                        (&mut self.state.values[index], &self.state.references[index]);
                    value.set_sum(reference, &self.state.displacements[index]);
                }
            }
            self.run.rate = shorter;
            self.run.step += 1;
            let residuals = Residuals {
                tensors: &self.predictions.residuals,
                nonzero: &self.predictions.residual,
            };
            network.linearise(
                &self.state,
                self.settings,
                residuals,
                &mut self.predictions.errors,
                &mut self.at,
            )?;
            self.run.pulled = false;
            self.drive_losses(network)?;
            if self.note_energy(network) {
                break;
            }
        }
        if self.run.step > 0 {
            self.run.rate *= growth;
        }
        self.run.last_energy = self.run.energy.total();
        Ok(())
    }

    /// Driven vertices follow their live prediction, and take their error from the loss there.
    fn drive_losses(&mut self, network: &N) -> Result<()> {
        let topology = network.topology();
        let edges = network.abilities().edges;
        for (index, prediction) in topology.predictions().iter().enumerate() {
            let of = prediction.of.index();
            let Role::Driven { loss, lambda, value } = &mut self.vertices[of].role else {
                continue;
            };
            let changed = !edges || self.settings.may_change(prediction, &self.state.moved);
            if changed {
                // Linearising has written 0 + 0 - change, as nothing else was said of this vertex.
                let error = &mut self.predictions.errors[index];
                self.state.values[of].set_difference(&self.state.references[of], error);
                let name = topology.label(prediction.of);
                let mut loss = loss.try_borrow_mut().map_err(|_| begin::in_use(name))?;
                *value = loss.evaluate(&self.state.values[of], error).map_err(|e| e.at(name))?;
                error.scale(*lambda);
            }
        }
        Ok(())
    }

    /// Pulls the errors that may differ from zero back to the free vertices.
    fn pull_forces(&mut self, network: &mut N) -> Result<()> {
        self.weigh_errors(network);
        let cotangents = self.predictions.cotangents();
        let want = Want { predictions: &self.predictions.active, forces: &self.free };
        self.run.pulled = true;
        network.pull(&self.state, cotangents, want, None, &mut self.at)
    }

    /// Linearises again at the same point, where a network's linearisation is used up by one pull
    /// and has had it.
    pub(super) fn renew(&mut self, network: &mut N) -> Result<()> {
        if !self.run.pulled || network.abilities().repull {
            return Ok(());
        }
        self.run.pulled = false;
        if self.schedule.coordinates == Coordinates::Errors {
            let offsets = &self.state.displacements;
            let settings = Settings { learns: true, ..self.settings };
            let pass = Forward {
                values: &mut self.state.values,
                follows: &self.follows,
                offsets,
                settings,
                sweep: None,
            };
            network.forward(pass, &mut self.at)
        } else if self.settings.live && self.run.step > 0 {
            // The errors it writes are those there are, but for driven vertices, whose losses are
            // taken anew.
            let residuals = Residuals {
                tensors: &self.predictions.residuals,
                nonzero: &self.predictions.residual,
            };
            network.linearise(
                &self.state,
                self.settings,
                residuals,
                &mut self.predictions.errors,
                &mut self.at,
            )?;
            self.drive_losses(network)
        } else {
            network.refer(&self.state, self.settings, false, &mut self.at)
        }
    }

    fn pull_at_end(&mut self, network: &mut N, last: bool) -> Result<bool> {
        if !last || self.schedule.stop.tolerance.is_some() {
            self.pull_forces(network)?;
        }
        let mut converged = false;
        if let Some(tolerance) = self.schedule.stop.tolerance {
            let residual = self.measure_residual(network);
            self.run.residual = Some(residual);
            converged = residual <= tolerance * self.run.scale();
        }
        if !(last || converged) {
            self.run.phase = Phase::Move;
            return Ok(false);
        }
        if converged {
            self.run.status = Status::Converged;
            let measured =
                last || self.watched() || matches!(self.schedule.rule, StepRule::Adaptive { .. });
            if !measured && self.note_energy(network) {
                return Ok(self.diverge());
            }
        }
        self.learn_all(network)?;
        self.run.phase = Phase::Done;
        Ok(true)
    }

    /// The parameter gradients from the current errors.
    pub(super) fn learn_all(&mut self, network: &mut N) -> Result<()> {
        self.renew(network)?;
        self.weigh_errors(network);
        self.gradients.clear();
        let cotangents = self.predictions.cotangents();
        let want = Want { predictions: &self.predictions.active, forces: &[] };
        self.run.pulled = true;
        network.pull(&self.state, cotangents, want, Some(&mut self.gradients), &mut self.at)
    }

    /// States and weights move from the same errors.
    fn pull_every_step(&mut self, network: &mut N, last: bool) -> Result<bool> {
        if last {
            self.run.phase = Phase::Done;
            return Ok(false);
        }
        self.renew(network)?;
        self.weigh_errors(network);
        self.gradients.clear();
        let cotangents = self.predictions.cotangents();
        let want = Want { predictions: &self.predictions.active, forces: &self.free };
        self.run.pulled = true;
        network.pull(&self.state, cotangents, want, Some(&mut self.gradients), &mut self.at)?;
        if !self.gradients.is_finite() {
            return Ok(self.diverge());
        }
        self.run.phase = Phase::Move;
        Ok(true)
    }

    /// The weights into level `t` learn after `t` steps; a shared weight when the last of its
    /// levels has.
    fn pull_at_level(&mut self, network: &mut N, last: bool) -> Result<bool> {
        let step = self.run.step;
        let by_level = self.plan == Plan::LiveLevels;
        let topology = network.topology();
        let at_level =
            |index: usize| topology.level(topology.predictions()[index].of) == Some(step);
        for index in 0..self.predictions.pull.len() {
            self.predictions.pull[index] =
                self.predictions.active[index] && (!by_level || at_level(index));
        }
        self.weigh_errors(network);
        if !last {
            if by_level {
                network.forget_pulls(&mut self.at);
            }
            let want = Want { predictions: &self.predictions.pull, forces: &self.free };
            network.pull(&self.state, self.predictions.cotangents(), want, None, &mut self.at)?;
        }
        let topology = network.topology();
        let at_level =
            |index: usize| topology.level(topology.predictions()[index].of) == Some(step);
        for index in 0..self.predictions.pull.len() {
            self.predictions.pull[index] = self.predictions.active[index] && at_level(index);
        }
        let want = Want { predictions: &self.predictions.pull, forces: &[] };
        network.pull(
            &self.state,
            self.predictions.cotangents(),
            want,
            Some(&mut self.partial),
            &mut self.at,
        )?;
        if !self.partial.is_finite() {
            return Ok(self.diverge());
        }
        self.run.phase = if last { Phase::Done } else { Phase::Move };
        if self.run.merge {
            if last {
                std::mem::swap(&mut self.gradients, &mut self.partial);
            }
            return Ok(last);
        }
        // Hand out the weights all of whose levels have passed.
        self.gradients.clear();
        let topology = network.topology();
        let mut any = false;
        for parameter in 0..self.partial.len() {
            let uses = topology
                .predictions()
                .iter()
                .filter(|p| p.parameters.contains(&ParamId::new(parameter)));
            let turn = uses.filter_map(|p| topology.level(p.of)).max();
            if turn == Some(step) && self.partial.slots[parameter].defined {
                std::mem::swap(
                    &mut self.gradients.slots[parameter],
                    &mut self.partial.slots[parameter],
                );
                self.partial.slots[parameter].defined = false;
                any = true;
            }
        }
        Ok(any)
    }

    /// One synchronous step of every free vertex.
    fn move_states(&mut self, network: &N) {
        let by_level = self.plan == Plan::LiveLevels;
        let (rate, step) = (self.run.rate, self.run.step);
        let momentum = self.schedule.rule.momentum();
        for vertex in network.topology().vertices() {
            if !self.free[vertex.index()] {
                continue;
            }
            let index = vertex.index();
            if by_level && network.topology().level(vertex) != Some(step + 1) {
                continue;
            }
            let composed = self.compose_step(network, vertex);
            let force = network.force(&self.at, vertex);
            let (error, precision) = match network.topology().own(vertex).first() {
                Some(id) if !composed && self.predictions.active[id.index()] => (
                    Some(&self.predictions.errors[id.index()]),
                    network.topology().predictions()[id.index()].precision,
                ),
                _ => (None, 1.0),
            };
            let VertexPlan { velocity, scratch, free_mask, .. } = &mut self.vertices[index];
            if !composed && error.is_none() && force.is_none() {
                continue;
            }
            N::Tensor::step_state(StateStep {
                displacement: &mut self.state.displacements[index],
                value: &mut self.state.values[index],
                reference: &self.state.references[index],
                error,
                precision,
                force: if composed { scratch.as_ref() } else { force },
                rate,
                velocity: velocity.as_mut().map(|velocity| (velocity, momentum)),
            });
            self.state.moved[index] = true;
            if let (Some((temperature, seed)), Some(noise)) = (self.schedule.temperature, scratch) {
                noise.fill(0.0);
                noise.add_normal(
                    (2.0 * rate * temperature).sqrt(),
                    begin::stream(seed, self.run.draws, step + 1, vertex),
                );
                if let Some(mask) = free_mask {
                    noise.multiply(mask);
                }
                self.state.displacements[index].axpy(1.0, noise);
                self.state.values[index]
                    .set_sum(&self.state.references[index], &self.state.displacements[index]);
            }
        }
        if by_level {
            // Parents of the level that moved have not, so its errors are its displacements.
            for vertex in network.topology().vertices().filter(|&v| {
                network.topology().level(v) == Some(step + 1) && self.state.moved[v.index()]
            }) {
                for id in network.topology().own(vertex) {
                    self.predictions.errors[id.index()]
                        .copy_from(&self.state.displacements[vertex.index()]);
                    self.predictions.active[id.index()] = true;
                }
            }
        } else {
            self.refresh_active(network);
        }
    }

    /// Which errors may differ from zero, now that states have moved.
    pub(super) fn refresh_active(&mut self, network: &N) {
        let edges = network.abilities().edges;
        for (index, prediction) in network.topology().predictions().iter().enumerate() {
            if self.predictions.counts[index] && !self.predictions.active[index] {
                let moved = &self.state.moved;
                self.predictions.active[index] = !edges
                    || moved[prediction.of.index()]
                    || self.settings.may_change(prediction, moved);
            }
        }
    }
}
