//! Setting a relaxation to its starting point.

use std::rc::Rc;

use crate::{
    Error, Result,
    clamp::{Clamp, Clamps},
    network::{Forward, Network, Settings},
    relaxation::{Energy, Phase, Relaxation, Role, Status},
    schedule::{Coordinates, Start, StepRule, Steps},
    tensor::Tensor,
    topology::VertexId,
};

impl<N: Network> Relaxation<N> {
    /// Sets clamps and starting values for one batch. Memory is reused: nothing is allocated when
    /// the batch is as large as the last.
    ///
    /// # Errors
    /// A vertex that nothing predicts and nothing clamps; clamps of a wrong shape, or on a vertex
    /// that cannot take them; numbers that are not finite.
    pub fn begin(&mut self, network: &mut N, clamps: &Clamps<N::Tensor>) -> Result<()> {
        self.run.phase = Phase::Idle;
        self.same_network(network)?;
        self.check(network, clamps)?;
        let fresh = network.prepare(clamps, &mut self.state.values)?;
        self.batch = self.state.values.first().map_or(0, Tensor::batch);
        if fresh {
            self.allocate(network);
        }
        self.set_roles(network, clamps);
        let carried = self.schedule.start == Start::Carried && !fresh;
        self.start_values(network, clamps, carried)?;

        let run = &mut self.run;
        run.step = 0;
        run.steps = match self.schedule.steps {
            Steps::Count(count) => count,
            Steps::Depth => network.topology().depth().unwrap_or(0),
        };
        run.rate = self.schedule.rate;
        run.status = Status::Spent;
        run.energy = Energy::default();
        run.last_energy = f64::INFINITY;
        run.first_energy = f64::NAN;
        run.residual = None;
        run.trace.clear();
        run.draws += 1;
        run.merge = false;
        run.pulled = false;
        self.gradients.clear();
        self.partial.clear();
        self.state.moved.fill(false);

        let forward = self.starts_forward(carried);
        if self.schedule.coordinates == Coordinates::Errors {
            if clamps.iter().any(|(_, clamp)| matches!(clamp, Clamp::Nudged { .. })) {
                network.forward(
                    Forward {
                        values: &mut self.state.values,
                        follows: &self.follows,
                        offsets: &[],
                        settings: self.settings,
                        sweep: None,
                    },
                    &mut self.at,
                )?;
                self.settle_clamped(network, clamps)?;
            }
            for displacement in &mut self.state.displacements {
                displacement.fill(0.0);
            }
        } else {
            if forward {
                let sweeps = self.sweeps(network)?;
                let settings = Settings { learns: sweeps || self.learns_here(), ..self.settings };
                let pass = Forward {
                    values: &mut self.state.values,
                    follows: &self.follows,
                    offsets: &[],
                    settings,
                    sweep: sweeps.then_some(&self.predictions.weights),
                };
                network.forward(pass, &mut self.at)?;
                self.settle_clamped(network, clamps)?;
            }
            if self.settings.live {
                for (reference, value) in self.state.references.iter_mut().zip(&self.state.values) {
                    reference.copy_from(value);
                }
                for displacement in &mut self.state.displacements {
                    displacement.fill(0.0);
                }
            }
            // A forward pass leaves only second predictions to evaluate, and only where some vertex
            // has them.
            if !forward
                || network.topology().predictions().len()
                    > network.topology().forward_order()?.len()
            {
                network.refer(&self.state, self.settings, forward, &mut self.at)?;
            }
            self.first_errors(network, forward)?;
        }
        for plan in &mut self.vertices {
            if let Some(velocity) = &mut plan.velocity {
                velocity.fill(0.0);
            }
        }
        self.run.phase = Phase::Evaluate;
        Ok(())
    }

    fn starts_forward(&self, carried: bool) -> bool {
        match self.schedule.start {
            Start::Forward => true,
            Start::Carried => !carried,
            Start::Zero | Start::Noise { .. } => false,
        }
    }

    /// Indices are only good for a network of the shape this relaxation was made for.
    pub(super) fn same_network(&self, network: &N) -> Result<()> {
        let topology = network.topology();
        if topology.len() == self.vertices.len()
            && topology.predictions().len() == self.predictions.counts.len()
        {
            return Ok(());
        }
        Err(Error::misuse(format!(
            "this relaxation was made for a network of {} vertices and {} predictions, not {} and \
             {}",
            self.vertices.len(),
            self.predictions.counts.len(),
            topology.len(),
            topology.predictions().len()
        )))
    }

    fn check(&self, network: &N, clamps: &Clamps<N::Tensor>) -> Result<()> {
        let topology = network.topology();
        let finite = N::Tensor::all_finite(clamps.iter().flat_map(|(_, clamp)| clamp.tensors()));
        for (vertex, clamp) in clamps.iter() {
            if vertex.index() >= topology.len() {
                return Err(Error::clamp(format!(
                    "vertex {} is clamped but not in this network",
                    vertex.index()
                )));
            }
            let name = topology.label(vertex);
            if !finite && clamp.tensors().any(|tensor| !tensor.is_finite()) {
                network.failure()?;
                return Err(
                    Error::not_finite("its clamp holds a number that is not finite").at(name)
                );
            }
            let root = topology.is_root(vertex);
            let by_error = self.schedule.coordinates == Coordinates::Errors;
            match clamp {
                Clamp::Masked { .. } if by_error => {
                    return Err(Error::clamp(
                        "it is partly held, so its error is no free \
                        coordinate: relax states instead",
                    )
                    .at(name));
                }
                Clamp::Free(_) if by_error && root => {
                    return Err(Error::clamp(
                        "it is free and nothing predicts it, so it has no error to \
                            move: relax states instead",
                    )
                    .at(name));
                }
                Clamp::Nudged { beta, .. } if !beta.is_finite() => {
                    return Err(
                        Error::clamp(format!("the strength of its nudge is {beta}")).at(name)
                    );
                }
                Clamp::Driven { lambda, .. } if !(*lambda > 0.0 && lambda.is_finite()) => {
                    return Err(Error::clamp(format!(
                        "the strength of its loss must be a positive number, not {lambda}"
                    ))
                    .at(name));
                }
                Clamp::Nudged { .. } | Clamp::Driven { .. } if root => {
                    return Err(Error::clamp(
                        "nothing predicts it, so there is no prediction to \
                        nudge or to take a loss of",
                    )
                    .at(name));
                }
                Clamp::Driven { .. } if !topology.uses(vertex).is_empty() => {
                    return Err(Error::clamp(
                        "a loss drives it, but it has children: give it an identity output of its \
                         own (`GraphBuilder::output`)",
                    )
                    .at(name));
                }
                Clamp::Driven { .. } if topology.own(vertex).len() > 1 => {
                    return Err(
                        Error::clamp("a loss drives it, but it has several predictions").at(name)
                    );
                }
                _ => {}
            }
        }
        match topology
            .vertices()
            .find(|&vertex| topology.is_root(vertex) && clamps.get(vertex).is_none())
        {
            Some(vertex) => Err(Error::clamp(
                "nothing predicts it and nothing clamps it: hold it, or let it \
                    start somewhere (`Clamps::free`)",
            )
            .at(topology.label(vertex))),
            None => Ok(()),
        }
    }

    fn allocate(&mut self, network: &N) {
        let topology = network.topology();
        let zeros = |value: &N::Tensor| value.zeros(&value.shape());
        let values = &self.state.values;
        let of = |index: usize| &values[topology.predictions()[index].of.index()];
        let count = topology.predictions().len();
        let states = self.settings.live || self.schedule.coordinates == Coordinates::Errors;
        self.state.references =
            if self.settings.live { values.iter().map(zeros).collect() } else { Vec::new() };
        self.state.displacements =
            if states { values.iter().map(zeros).collect() } else { Vec::new() };
        self.predictions.errors = (0..count).map(|index| zeros(of(index))).collect();
        self.predictions.residuals = (0..count).map(|index| zeros(of(index))).collect();
        self.predictions.weighted = if self.predictions.uniform {
            Vec::new()
        } else {
            (0..count).map(|index| zeros(of(index))).collect()
        };
        let keeps_velocity = self.schedule.rule != StepRule::Plain
            || self.schedule.coordinates == Coordinates::Errors;
        for (plan, value) in self.vertices.iter_mut().zip(values) {
            plan.velocity = keeps_velocity.then(|| zeros(value));
            plan.scratch = None;
            plan.free_mask = None;
        }
    }

    fn set_roles(&mut self, network: &N, clamps: &Clamps<N::Tensor>) {
        let topology = network.topology();
        for vertex in topology.vertices() {
            let index = vertex.index();
            let clamp = clamps.get(vertex);
            let value = &self.state.values[index];
            let plan = &mut self.vertices[index];
            plan.role = match clamp {
                None | Some(Clamp::Free(_)) => Role::Free,
                Some(Clamp::Masked { mask, .. }) => {
                    let free = plan.free_mask.get_or_insert_with(|| value.zeros(&value.shape()));
                    free.fill(1.0);
                    free.axpy(-1.0, mask);
                    Role::Masked
                }
                Some(Clamp::Held(_) | Clamp::Nudged { .. }) => Role::Held,
                Some(Clamp::Intervened(_)) => Role::Intervened,
                Some(Clamp::Driven { loss, lambda }) => {
                    Role::Driven { loss: Rc::clone(loss), lambda: *lambda, value: 0.0 }
                }
            };
            let slow = matches!(plan.role, Role::Masked)
                || topology.own(vertex).len() > 1
                || self.schedule.temperature.is_some();
            if plan.role.moves() && slow && plan.scratch.is_none() {
                plan.scratch = Some(value.zeros(&value.shape()));
            }
            // A nudged or masked vertex needs its prediction before it is set.
            let waits = matches!(
                clamp,
                None | Some(Clamp::Nudged { .. } | Clamp::Driven { .. } | Clamp::Masked { .. })
            );
            self.follows[index] = waits && !topology.is_root(vertex);
            self.free[index] = plan.role.moves();
            for id in topology.own(vertex) {
                self.predictions.counts[id.index()] = !matches!(plan.role, Role::Intervened);
            }
        }
    }

    fn start_values(
        &mut self,
        network: &N,
        clamps: &Clamps<N::Tensor>,
        carried: bool,
    ) -> Result<()> {
        for vertex in network.topology().vertices() {
            let index = vertex.index();
            let value = &mut self.state.values[index];
            match clamps.get(vertex) {
                Some(Clamp::Held(held) | Clamp::Intervened(held)) => value.copy_from(held),
                Some(Clamp::Free(start)) if !carried => value.copy_from(start),
                Some(Clamp::Masked { value: held, mask })
                    if network.topology().is_root(vertex) || !self.schedule.start_is_forward() =>
                {
                    if !carried {
                        value.copy_from(held);
                    }
                    hold_part(value, held, mask);
                }
                Some(Clamp::Nudged { .. }) if !self.schedule.start_is_forward() => {
                    return Err(Error::clamp(
                        "a nudge counts from the feed-forward prediction, so the schedule must \
                         start from a forward pass",
                    )
                    .at(network.topology().label(vertex)));
                }
                _ if carried => {}
                _ => match self.schedule.start {
                    Start::Zero => value.fill(0.0),
                    Start::Noise { deviation, seed } => {
                        value.fill(0.0);
                        value.add_normal(deviation, stream(seed, self.run.draws, 0, vertex));
                    }
                    Start::Forward | Start::Carried => {}
                },
            }
        }
        Ok(())
    }

    /// After a forward pass: nudged vertices go to their nudge, masked ones to what is held of
    /// them. Their children are predicted again.
    fn settle_clamped(&mut self, network: &mut N, clamps: &Clamps<N::Tensor>) -> Result<()> {
        let mut again = false;
        for (vertex, clamp) in clamps.iter() {
            let root = network.topology().is_root(vertex);
            let value = &mut self.state.values[vertex.index()];
            match clamp {
                Clamp::Nudged { target, beta } => {
                    value.scale(1.0 - beta);
                    value.axpy(*beta, target);
                }
                Clamp::Masked { value: held, mask } if !root => hold_part(value, held, mask),
                _ => continue,
            }
            self.follows[vertex.index()] = false;
            again |= !network.topology().uses(vertex).is_empty();
        }
        if again {
            let sweeps = self.sweeps(network)?;
            let settings = Settings { learns: sweeps || self.learns_here(), ..self.settings };
            let pass = Forward {
                values: &mut self.state.values,
                follows: &self.follows,
                offsets: &[],
                settings,
                sweep: sweeps.then_some(&self.predictions.weights),
            };
            network.forward(pass, &mut self.at)?;
        }
        Ok(())
    }

    /// The errors at the starting point.
    fn first_errors(&mut self, network: &N, forward: bool) -> Result<()> {
        let topology = network.topology();
        let mut drive = 0.0;
        for (index, prediction) in topology.predictions().iter().enumerate() {
            let of = prediction.of.index();
            let error = &mut self.predictions.errors[index];
            let name = topology.label(prediction.of);
            let first = topology.own(prediction.of).first().is_some_and(|id| id.index() == index);
            let zero = forward && first && self.follows[of];
            let counts = self.predictions.counts[index];
            self.predictions.residual[index] = counts && !zero;
            if let Role::Driven { loss, lambda, value } = &mut self.vertices[of].role {
                let predicted = network
                    .prediction(&self.at, index)
                    .ok_or_else(|| Error::misuse("it has no prediction").at(name))?;
                self.state.values[of].copy_from(predicted);
                if self.settings.live {
                    self.state.references[of].copy_from(predicted);
                }
                *value = loss
                    .try_borrow_mut()
                    .map_err(|_| in_use(name))?
                    .evaluate(predicted, error)
                    .map_err(|e| e.at(name))?;
                error.scale(*lambda);
                self.predictions.residual[index] = false;
            } else if zero || !counts {
                error.fill(0.0);
            } else {
                let predicted = network
                    .prediction(&self.at, index)
                    .ok_or_else(|| Error::misuse("it has no prediction").at(name))?;
                error.set_difference(&self.state.values[of], predicted);
                if self.settings.live {
                    self.predictions.residuals[index].copy_from(error);
                }
            }
            let driven =
                matches!(self.vertices[of].role, Role::Held | Role::Driven { .. } | Role::Masked);
            self.predictions.active[index] = counts && (self.predictions.residual[index] || driven);
            if let Some(weighted) = self.predictions.weighted.get_mut(index)
                && !self.predictions.active[index]
            {
                // Plain simulation pulls what is zero yet, too: nothing of the last batch may be
                // left here.
                weighted.fill(0.0);
            }
            if driven && counts {
                drive += prediction.precision
                    * prediction.precision
                    * self.predictions.errors[index].norm_squared();
            }
        }
        self.run.drive = network.drive_norm().unwrap_or_else(|| drive.sqrt());
        Ok(())
    }
}

impl crate::Schedule {
    fn start_is_forward(&self) -> bool {
        matches!(self.start, Start::Forward | Start::Carried)
    }
}

pub(super) fn in_use(name: &str) -> Error {
    Error::misuse("its loss is in use elsewhere").at(name)
}

/// `value <- mask * held + (1 - mask) * value`.
fn hold_part<T: Tensor>(value: &mut T, held: &T, mask: &T) {
    let mut difference = held.clone();
    difference.axpy(-1.0, value);
    difference.multiply(mask);
    value.axpy(1.0, &difference);
}

/// One stream of random numbers for every seed, batch, step and vertex.
pub(super) fn stream(seed: u64, draw: u64, step: usize, vertex: VertexId) -> u64 {
    // SplitMix64's finaliser over the four, so that neighbouring counts give unrelated streams.
    [draw, step as u64, vertex.index() as u64].into_iter().fold(seed, |state, next| {
        let mut z = state.wrapping_add(next.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}
