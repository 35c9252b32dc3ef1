//! Setting a relaxation to its starting point.

use crate::{
    Error, Result,
    clamp::{self, Clamp, Clamps, Role},
    network::Network,
    paths,
    relaxation::{
        Method, Phase, Relaxation,
        frame::{Frame, stream},
        point::{Point, Wants},
    },
    schedule::{Start, StepRule, Steps},
    tensor::Tensor,
    topology::PredictionId,
};

impl<N: Network> Relaxation<N> {
    /// Sets clamps and starting values for one batch. Memory is reused: nothing is allocated when
    /// the batch is as large as the last.
    ///
    /// # Errors
    /// A vertex that nothing predicts and nothing clamps; clamps of a wrong shape, or on a vertex or
    /// by a rule that cannot take them; numbers that are not finite; a forward start that nothing
    /// held leads to; another network than this relaxation was made for.
    pub fn begin(&mut self, network: &mut N, clamps: &Clamps<N::Tensor>) -> Result<()> {
        self.phase = Phase::Idle;
        self.same_network(network)?;
        let start = self.frame.schedule.start;
        clamp::check(network, clamps, self.method.rules(), start == Start::Forward)?;
        let frame = &mut self.frame;
        let fresh = network.prepare(clamps, &mut frame.point.state.values)?;
        if fresh {
            // What the last batch left fits no other size.
            frame.at = network.linearisation();
            frame.allocate(network);
        }
        frame.set_roles(network, clamps)?;
        frame.reset(network);
        self.watch.begin();
        self.method.begin();
        self.merge = false;

        let carried = start == Start::Carried && !fresh;
        let forward = start == Start::Forward || (start == Start::Carried && fresh);
        let frame = &mut self.frame;
        frame.start_values(network, clamps, start, carried);
        if frame.by_errors || forward {
            frame.find_order(network)?;
        }
        if let Method::Frozen(frozen) = &mut self.method {
            frozen.settle(frame, network)?;
        }
        if frame.by_errors {
            frame.first_offsets(network, clamps)?;
        } else {
            let sweep = match &self.method {
                Method::Frozen(frozen) => frozen.sweep(),
                _ => None,
            };
            frame.first_errors(network, clamps, forward, sweep)?;
        }
        self.phase = Phase::Start;
        Ok(())
    }
}

impl<N: Network> Frame<N> {
    /// Makes room for a batch whose values are there.
    fn allocate(&mut self, network: &N) {
        let wants = Wants {
            references: self.settings.live,
            displacements: self.settings.live || self.by_errors,
            velocities: self.schedule.rule != StepRule::Plain || self.by_errors,
        };
        self.point.batch = self.point.state.values.first().map_or(0, Tensor::batch);
        self.point.allocate(network.topology(), wants);
    }

    /// What this batch's clamps make of every vertex.
    fn set_roles(&mut self, network: &N, clamps: &Clamps<N::Tensor>) -> Result<()> {
        let topology = network.topology();
        let noisy = self.schedule.noise.is_some();
        let Point { roles, vertices, state, free, follows, counts, .. } = &mut self.point;
        for vertex in topology.vertices() {
            let index = vertex.index();
            let clamp = clamps.get(vertex);
            let (value, moving) = (&state.values[index], &mut vertices[index]);
            let role = Role::of(clamp);
            let slow = noisy || matches!(role, Role::Masked) || topology.own(vertex).len() > 1;
            if role.moves() && slow && moving.scratch.is_none() {
                moving.scratch = Some(value.zeros(&value.shape()));
            } else if !(role.moves() && slow) {
                moving.scratch = None;
            }
            if let (Some(Clamp::Masked { mask, .. }), Some(room)) = (clamp, &mut moving.scratch) {
                let free = moving.free_mask.get_or_insert_with(|| value.zeros(&value.shape()));
                free.fill(1.0);
                free.axpy(-1.0, mask);
                // Of 0 and 1 alone is the product with what is left of 1 nothing.
                room.copy_from(mask);
                room.multiply(free);
                if room.norm_squared() != 0.0 {
                    let message = "its mask must be 1 where it is held and 0 where it is free";
                    return Err(Error::clamp(message).at(topology.label(vertex)));
                }
            } else {
                moving.free_mask = None;
            }
            // A nudged or masked vertex needs its prediction before it is set.
            let set = matches!(clamp, Some(Clamp::Held(_) | Clamp::Intervened(_) | Clamp::Free(_)));
            follows[index] = !set && !topology.is_root(vertex);
            free[index] = role.moves();
            for id in topology.own(vertex) {
                counts[id.index()] = !matches!(role, Role::Intervened);
            }
            roles[index] = role;
        }
        Ok(())
    }

    fn reset(&mut self, network: &N) {
        self.step = 0;
        self.steps = match self.schedule.steps {
            Steps::Count(count) => count,
            Steps::Depth => network.topology().depth().unwrap_or(0),
        };
        self.rate = self.schedule.rate;
        self.draws += 1;
        self.pulled = false;
        self.gradients.clear();
        self.point.state.moved.fill(false);
        let velocities = self.point.vertices.iter_mut().filter_map(|v| v.velocity.as_mut());
        velocities.for_each(|velocity| velocity.fill(0.0));
        self.point.state.displacements.iter_mut().for_each(|d| d.fill(0.0));
    }

    /// Sets what is held, and where the schedule does not start from a forward pass, the rest.
    fn start_values(
        &mut self,
        network: &N,
        clamps: &Clamps<N::Tensor>,
        start: Start,
        carried: bool,
    ) {
        let topology = network.topology();
        for vertex in topology.vertices() {
            let value = &mut self.point.state.values[vertex.index()];
            let clamp = clamps.get(vertex);
            match (clamp, start) {
                (Some(Clamp::Held(held) | Clamp::Intervened(held)), _) => value.copy_from(held),
                _ if carried => {}
                (Some(Clamp::Free(start)), _) => value.copy_from(start),
                (Some(Clamp::Masked { value: held, .. }), _) if topology.is_root(vertex) => {
                    value.copy_from(held);
                }
                (_, Start::Zero) => value.fill(0.0),
                (_, Start::Noise { deviation, seed }) => {
                    value.fill(0.0);
                    value.add_normal(deviation, stream(seed, self.draws, 0, vertex));
                }
                (_, Start::Forward | Start::Carried) => {}
            }
            if let Some(Clamp::Masked { value: held, mask }) = clamp {
                hold_part(value, held, mask);
            }
        }
    }

    /// The order of a forward pass, which depends on what is known.
    fn find_order(&mut self, network: &N) -> Result<()> {
        let Point { order, known, follows, .. } = &mut self.point;
        let same = known.len() == follows.len() && known.iter().zip(&*follows).all(|(k, f)| k != f);
        if !same {
            known.clear();
            known.extend(follows.iter().map(|follows| !follows));
            let found = paths::outward(network.topology(), known, order);
            // What was found for what is known now must not be taken for found.
            found.inspect_err(|_| known.clear())?;
        }
        Ok(())
    }

    /// A forward pass from the start, if it starts by one, and the errors there.
    fn first_errors(
        &mut self,
        network: &mut N,
        clamps: &Clamps<N::Tensor>,
        forward: bool,
        sweep: Option<&[f64]>,
    ) -> Result<()> {
        if forward {
            let learns = sweep.is_some() || self.learns_here();
            self.forward(network, learns, sweep)?;
            if self.settle(network, clamps) {
                self.forward(network, learns, sweep)?;
            }
        }
        let Point { initial, order, follows, state, .. } = &mut self.point;
        initial.fill(false);
        for id in order.iter().filter(|_| forward) {
            initial[id.index()] = follows[network.topology().at(*id).of.index()];
        }
        for (reference, value) in state.references.iter_mut().zip(&state.values) {
            reference.copy_from(value);
        }
        // A forward pass leaves predictions to evaluate only where some vertex has several, or is
        // held on a cycle.
        if !forward || network.topology().predictions().len() > order.len() {
            network.refer(state, self.settings, forward, &mut self.at)?;
        }
        self.compare(network)
    }

    /// The errors at the starting point.
    fn compare(&mut self, network: &N) -> Result<()> {
        let topology = network.topology();
        let mut drive = 0.0;
        let point = &mut self.point;
        for (index, prediction) in topology.predictions().iter().enumerate() {
            let of = prediction.of.index();
            let at = |error: Error| error.at(topology.label(prediction.of));
            let error = &mut point.errors[index];
            let role = &mut point.roles[of];
            let counts = point.counts[index];
            let missing = || at(Error::misuse("it has no prediction"));
            let predicted =
                || network.prediction(&self.at, PredictionId::new(index)).ok_or_else(missing);
            point.residual[index] = false;
            if role.is_driven() {
                let predicted = predicted()?;
                point.state.values[of].copy_from(predicted);
                if let Some(reference) = point.state.references.get_mut(of) {
                    reference.copy_from(predicted);
                }
                role.drive(predicted, error).map_err(at)?;
            } else if point.initial[index] || !counts {
                error.fill(0.0);
            } else {
                error.set_difference(&point.state.values[of], predicted()?);
                point.residual[index] = true;
                if self.settings.live {
                    point.residuals[index].copy_from(error);
                }
            }
            let drives = role.drives() && counts;
            if drives {
                drive += prediction.precision.powi(2) * error.norm_squared();
            }
            point.active[index] = drives || point.residual[index];
            if !point.active[index] {
                // Plain simulation pulls what is zero yet, too.
                point.clear_weighted(index);
            }
        }
        point.drive = network.drive_norm().unwrap_or_else(|| drive.sqrt());
        Ok(())
    }

    /// Where errors are the coordinates: those of vertices that start elsewhere than at their
    /// prediction, which they follow from there on.
    fn first_offsets(&mut self, network: &mut N, clamps: &Clamps<N::Tensor>) -> Result<()> {
        let sets =
            |clamp: &Clamp<N::Tensor>| matches!(clamp, Clamp::Nudged { .. } | Clamp::Free(_));
        if !clamps.iter().any(|(_, clamp)| sets(clamp)) {
            return Ok(());
        }
        self.forward(network, false, None)?;
        if self.settle(network, clamps) {
            self.forward(network, false, None)?;
        }
        let topology = network.topology();
        for (vertex, _) in clamps.iter().filter(|(_, clamp)| matches!(clamp, Clamp::Free(_))) {
            let (index, Some(first)) = (vertex.index(), topology.own(vertex).first()) else {
                continue;
            };
            let Point { state, follows, .. } = &mut self.point;
            if let Some(predicted) = network.prediction(&self.at, *first) {
                state.displacements[index].set_difference(&state.values[index], predicted);
                state.moved[index] = true;
                follows[index] = true;
            }
        }
        Ok(())
    }

    /// After a forward pass: nudged vertices go to their nudge, masked ones to what is held of
    /// them. True where their children have to be predicted again.
    fn settle(&mut self, network: &N, clamps: &Clamps<N::Tensor>) -> bool {
        let topology = network.topology();
        let mut again = false;
        for (vertex, clamp) in clamps.iter().filter(|(vertex, _)| !topology.is_root(*vertex)) {
            let value = &mut self.point.state.values[vertex.index()];
            match clamp {
                Clamp::Nudged { target, beta } => {
                    value.scale(1.0 - beta);
                    value.axpy(*beta, target);
                }
                Clamp::Masked { value: held, mask } => hold_part(value, held, mask),
                _ => continue,
            }
            self.point.follows[vertex.index()] = false;
            again |= !topology.uses(vertex).is_empty();
        }
        again
    }
}

/// `value <- mask * held + (1 - mask) * value`.
fn hold_part<T: Tensor>(value: &mut T, held: &T, mask: &T) {
    let mut difference = held.clone();
    difference.axpy(-1.0, value);
    difference.multiply(mask);
    value.axpy(1.0, &difference);
}
