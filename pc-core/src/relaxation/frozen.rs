//! Relaxation with predictions and Jacobians frozen at the start, in four evaluations of one linear
//! recursion.

use crate::{
    Error, Result,
    network::{Drives, Network, Want},
    relaxation::{Energy, Phase, Plan, Predictions, Relaxation, Role, Status},
    tensor::Tensor,
    topology::{Topology, VertexId},
};

impl<N: Network> Relaxation<N> {
    /// Runs to the learning event (true) or to the end (false).
    pub(super) fn advance_frozen(&mut self, network: &mut N) -> Result<bool> {
        let form = self.form(network)?;
        match form {
            Form::Sweep => self.sweep(network)?,
            Form::Layers => self.layers(network)?,
            Form::None => self.simulate(network)?,
        }
        let sweep = form == Form::Sweep;
        if self.run.status == Status::Diverged || self.note_energy_once(network) {
            return Ok(self.diverge());
        }
        if !sweep {
            self.learn_all(network)?;
        }
        self.run.phase = Phase::Done;
        Ok(true)
    }

    /// What the plan comes to with these clamps, and the weights of its sweep, if it is one.
    fn form(&mut self, network: &N) -> Result<Form> {
        match self.plan {
            Plan::Sweep => {
                self.predictions.weights.fill(1.0);
                Ok(Form::Sweep)
            }
            Plan::Layers { required } => self.closed_form(network, required),
            _ => Ok(Form::None),
        }
    }

    /// Whether one reverse sweep is all that follows the forward pass.
    pub(super) fn sweeps(&mut self, network: &N) -> Result<bool> {
        Ok(self.form(network)? == Form::Sweep)
    }

    /// The energy at the end, where a trace has not brought it already.
    fn note_energy_once(&mut self, network: &N) -> bool {
        if self.watched() {
            return false;
        }
        if self.schedule.unmeasured {
            self.run.energy = Energy { internal: f64::NAN, loss: self.loss_energy() };
            return false;
        }
        self.note_energy(network)
    }

    /// Plain steps, of every vertex or of the front alone.
    fn simulate(&mut self, network: &mut N) -> Result<()> {
        let front = self.plan != Plan::Simulate;
        let tolerance = self.schedule.stop.tolerance;
        self.predictions.changed.copy_from_slice(&self.predictions.active);
        if !front {
            self.fuse(network)?;
        }
        loop {
            if self.watched() && self.note_energy(network) {
                self.run.status = Status::Diverged;
                return Ok(());
            }
            let last = self.run.step >= self.run.steps;
            if last && tolerance.is_none() {
                return Ok(());
            }
            self.renew(network)?;
            self.weigh_errors(network);
            let cotangents = self.predictions.cotangents();
            let which = if front { &self.predictions.changed } else { &self.predictions.counts };
            let still = front && !which.contains(&true);
            if !still {
                network.pull(
                    &self.state,
                    cotangents,
                    Want { predictions: which, forces: &self.free },
                    None,
                    &mut self.at,
                )?;
                self.run.pulled = true;
            }
            if let Some(tolerance) = tolerance {
                let residual = self.measure_residual(network);
                self.run.residual = Some(residual);
                if residual <= tolerance * self.run.scale() {
                    self.run.status = Status::Converged;
                    return Ok(());
                }
                if last {
                    return Ok(());
                }
            }
            self.step_errors(network, front);
            self.run.step += 1;
        }
    }

    /// One synchronous step of the errors. With `front`, notes which of them it may have changed.
    fn step_errors(&mut self, network: &N, front: bool) {
        let topology = network.topology();
        let rate = self.run.rate;
        let momentum = self.schedule.rule.momentum();
        // Held errors are constant: only what moved below can have changed by the next step.
        let mut reached = std::mem::take(&mut self.predictions.pull);
        reached.fill(false);
        for vertex in topology.vertices() {
            if !self.free[vertex.index()] {
                continue;
            }
            let own = topology.own(vertex);
            let Some(first) = own.first() else { continue };
            let precision = topology.predictions()[first.index()].precision;
            // At gamma pi = 1 an error is forgotten at each step; else it goes on changing once the
            // front has reached it.
            let forgets = rate * precision == 1.0 && momentum == 0.0 && own.len() == 1;
            let children_changed = topology
                .uses(vertex)
                .iter()
                .any(|(child, _)| self.predictions.changed[child.index()]);
            let changes = children_changed
                || own.iter().any(|id| {
                    self.predictions.active[id.index()]
                        && (!forgets || self.predictions.residual[id.index()])
                });
            if front && !changes {
                continue;
            }
            let composed = self.compose_step(network, vertex);
            let plan = &mut self.vertices[vertex.index()];
            let velocity = plan.velocity.as_mut().map(|velocity| (velocity, momentum));
            if composed {
                if let Some(step) = &plan.scratch {
                    let step = match velocity {
                        Some((velocity, momentum)) => {
                            velocity.scale(momentum);
                            velocity.axpy(1.0, step);
                            &*velocity
                        }
                        None => step,
                    };
                    for id in own {
                        self.predictions.errors[id.index()].axpy(rate, step);
                    }
                }
            } else {
                let error = &mut self.predictions.errors[first.index()];
                N::Tensor::step_error(
                    error,
                    precision,
                    network.force(&self.at, vertex),
                    rate,
                    velocity,
                );
            }
            for id in own {
                reached[id.index()] = true;
                self.predictions.active[id.index()] = self.predictions.counts[id.index()];
            }
        }
        self.predictions.changed.copy_from_slice(&reached);
        self.predictions.pull = reached;
    }

    /// Backprop's errors, each weighed by what the closed form says, in one reverse traversal.
    fn sweep(&mut self, network: &mut N) -> Result<()> {
        for (index, prediction) in network.topology().predictions().iter().enumerate() {
            // The cut error of an intervened vertex drives too: by zero.
            self.predictions.pull[index] = !self.free[prediction.of.index()];
        }
        self.weigh_errors(network);
        self.gradients.clear();
        let cotangents = self.predictions.cotangents();
        let arrivals = !self.schedule.unmeasured || self.watched();
        let weights = &self.predictions.weights;
        let drives = Drives {
            cotangents,
            driven: &self.predictions.pull,
            forces: &self.free,
            weights,
            arrivals,
        };
        network.reverse(&self.state, drives, Some(&mut self.gradients), &mut self.at)?;
        self.run.step = self.run.steps;
        if !arrivals {
            return Ok(());
        }
        let topology = network.topology();
        for (index, prediction) in topology.predictions().iter().enumerate() {
            if self.free[prediction.of.index()]
                && let Some(force) = network.force(&self.at, prediction.of)
            {
                let error = &mut self.predictions.errors[index];
                error.copy_from(force);
                error.scale(self.predictions.weights[index] / prediction.precision);
                self.predictions.active[index] = true;
            }
        }
        Ok(())
    }

    /// What the closed form comes to for these clamps; found anew only where other vertices are
    /// free.
    fn closed_form(&mut self, network: &N, required: bool) -> Result<Form> {
        let known = self
            .closed_form
            .as_ref()
            .filter(|known| known.free == self.free && known.counts == self.predictions.counts);
        if known.is_none() {
            let found = self.find_closed_form(network);
            self.closed_form = Some(ClosedForm {
                free: self.free.clone(),
                counts: self.predictions.counts.clone(),
                found,
            });
        }
        match self.closed_form.as_ref().map(|known| &known.found) {
            Some(Ok((form, weights))) => {
                self.predictions.weights.clear();
                self.predictions.weights.extend_from_slice(weights);
                Ok(*form)
            }
            Some(Err(why)) if required => Err(why.clone()),
            _ => Ok(Form::None),
        }
    }

    /// One weight a prediction where one sweep does it, one a path length where paths of several
    /// lengths meet; else why it does not hold.
    fn find_closed_form(&self, network: &N) -> Result<(Form, Vec<f64>)> {
        let topology = network.topology();
        let can = network.abilities();
        let obstacle = |why: &str, vertex: VertexId| {
            Err(Error::schedule(format!("the closed form does not hold here: {why}"))
                .at(topology.label(vertex)))
        };
        let mut common: Option<(f64, VertexId)> = None;
        for vertex in topology.vertices().filter(|&v| self.free[v.index()]) {
            if matches!(self.vertices[vertex.index()].role, Role::Masked) {
                return obstacle("it is partly held", vertex);
            }
            let Some(first) = topology.own(vertex).first() else { continue };
            let precision = topology.predictions()[first.index()].precision;
            if common.get_or_insert((precision, vertex)).0 != precision {
                return obstacle(
                    "free vertices differ in precision, so they relax at different rates",
                    vertex,
                );
            }
        }
        let rate = self.run.rate * common.map_or(1.0, |(precision, _)| precision);
        let first = common.map_or(VertexId::FIRST, |(_, vertex)| vertex);
        if !(rate <= 1.0) {
            return obstacle("rate times precision is above 1", first);
        }
        let depth = topology.depth().unwrap_or(0);
        let tails = binomial_tails(rate, self.run.steps, depth);
        let all_arrived = rate == 1.0 && self.run.steps >= depth;
        if all_arrived && can.traverse {
            return Ok((Form::Sweep, vec![1.0; topology.predictions().len()]));
        }
        let lengths = self.path_lengths(topology);
        let unique =
            lengths.iter().all(|lengths| lengths.iter().filter(|present| **present).count() <= 1);
        if unique && can.traverse {
            let weight =
                |of: VertexId| match lengths[of.index()].iter().position(|present| *present) {
                    Some(length) if self.free[of.index()] => tails[length],
                    _ => 1.0,
                };
            return Ok((
                Form::Sweep,
                topology.predictions().iter().map(|prediction| weight(prediction.of)).collect(),
            ));
        }
        if !can.single || !can.repull {
            return obstacle(
                "paths of several lengths meet, and the network cannot be pulled vertex by vertex",
                first,
            );
        }
        Ok((Form::Layers, tails))
    }

    /// By vertex and length: whether a path of that many edges leads from it to a driven or held
    /// vertex, through free ones.
    fn path_lengths(&self, topology: &Topology) -> Vec<Vec<bool>> {
        let depth = topology.depth().unwrap_or(0);
        let mut lengths = vec![vec![false; depth + 2]; topology.len()];
        let mut order: Vec<VertexId> = topology.vertices().collect();
        order.sort_by_key(|vertex| topology.level(*vertex));
        for vertex in order {
            let mut own = vec![false; depth + 2];
            if !self.free[vertex.index()] {
                own[0] = true;
            } else {
                for (child, _) in topology.uses(vertex) {
                    if self.predictions.counts[child.index()] {
                        let child = &lengths[topology.predictions()[child.index()].of.index()];
                        for (length, present) in child.iter().enumerate().take(depth + 1) {
                            own[length + 1] |= present;
                        }
                    }
                }
            }
            lengths[vertex.index()] = own;
        }
        lengths
    }

    /// `e_i(T) = sum over k of P[Binomial(T, gamma) >= k] delta_i^(k)`: one pull per vertex and
    /// distinct path length.
    fn layers(&mut self, network: &mut N) -> Result<()> {
        let Predictions { errors, weights: tails, front, pull, active, .. } = &mut self.predictions;
        if front.len() != errors.len()
            || front.first().map(Tensor::batch) != errors.first().map(Tensor::batch)
        {
            front.clone_from(errors);
        }
        // The errors of path length 0: of held and driven vertices.
        for (index, prediction) in network.topology().predictions().iter().enumerate() {
            front[index].copy_from(&errors[index]);
            if !matches!(self.vertices[prediction.of.index()].role, Role::Driven { .. }) {
                front[index].scale(prediction.precision);
            }
            pull[index] = active[index];
        }
        for tail in tails.iter().skip(1) {
            // Errors of more edges than there are steps have not set out.
            if *tail == 0.0 || !pull.contains(&true) {
                break;
            }
            network.forget_pulls(&mut self.at);
            network.pull(
                &self.state,
                front,
                Want { predictions: pull, forces: &self.free },
                None,
                &mut self.at,
            )?;
            for (index, prediction) in network.topology().predictions().iter().enumerate() {
                let force = if self.free[prediction.of.index()] {
                    network.force(&self.at, prediction.of)
                } else {
                    None
                };
                pull[index] = force.is_some();
                if let Some(force) = force {
                    front[index].copy_from(force);
                    errors[index].axpy(tail / prediction.precision, force);
                    active[index] = true;
                }
            }
        }
        self.run.step = self.run.steps;
        Ok(())
    }
}

/// What a frozen relaxation can be computed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One reverse sweep with a weight for each prediction.
    Sweep,
    /// One pull for each vertex and path length.
    Layers,
    /// Steps.
    None,
}

/// What was found of the closed form, and for which clamps.
#[derive(Debug)]
pub(super) struct ClosedForm {
    free: Vec<bool>,
    counts: Vec<bool>,
    found: Result<(Form, Vec<f64>)>,
}

impl ClosedForm {
    /// What it came to, in words.
    pub(super) fn describe(&self) -> Option<&'static str> {
        match &self.found {
            Ok((Form::Sweep, _)) => Some("closed form in one sweep"),
            Ok((Form::Layers, _)) => Some("closed form by path lengths"),
            // It does not hold for these clamps, and was not asked for.
            Ok((Form::None, _)) | Err(_) => Some(Plan::Front.describe()),
        }
    }
}

/// `P[Binomial(steps, rate) >= k]` for `k` up to `depth + 1`, by the recursion that the errors
/// themselves follow: `c_k(t + 1) = (1 - rate) c_k(t) + rate c_(k-1)(t)`, a sum of positive terms.
fn binomial_tails(rate: f64, steps: usize, depth: usize) -> Vec<f64> {
    let mut tails = vec![0.0; depth + 2];
    tails[0] = 1.0;
    for _ in 0..steps {
        for k in (1..tails.len()).rev() {
            tails[k] = (1.0 - rate) * tails[k] + rate * tails[k - 1];
        }
    }
    tails
}

#[cfg(test)]
mod tests {
    use super::binomial_tails;

    #[test]
    fn tails_are_those_of_the_binomial() {
        let (rate, steps) = (0.3_f64, 12_usize);
        let choose = |k: usize| (0..k).fold(1.0, |c, i| c * (steps - i) as f64 / (i + 1) as f64);
        let mass =
            |k: usize| choose(k) * rate.powi(k as i32) * (1.0 - rate).powi((steps - k) as i32);
        for (k, tail) in binomial_tails(rate, steps, 6).into_iter().enumerate() {
            let expected: f64 = (k..=steps).map(mass).sum();
            assert!((tail - expected).abs() < 1e-14, "k = {k}: {tail} is not {expected}");
        }
    }
}
