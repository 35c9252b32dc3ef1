//! Setting a relaxation to its starting point.

use crate::{
    Error, Result,
    clamp::{Clamp, Clamps},
    method::{Frame, Method},
    network::Network,
    outcome::Status,
    plan,
    point::{Point, Wants},
    relaxation::{Phase, Relaxation},
    rule::StepForm,
    schedule::{ErrorStart, Schedule, Start, Steps},
    tensor::Tensor,
    topology::{PredictionId, VertexId},
};

impl<N: Network> Relaxation<N> {
    /// Sets clamps and starting values for one batch. Memory is reused: nothing is allocated when
    /// the batch is as large as the last.
    ///
    /// # Errors
    /// A vertex that nothing predicts and nothing clamps; clamps of a wrong shape, or on a vertex
    /// or by a rule that cannot take them; numbers that are not finite; a forward start that
    /// nothing held leads to; another network than this relaxation was made for.
    pub fn begin(&mut self, network: &mut N, clamps: &Clamps<N::Tensor>) -> Result<()> {
        self.begin_from(network, clamps, self.frame.schedule.start)
    }

    /// The same from another start.
    pub(super) fn begin_from(
        &mut self,
        network: &mut N,
        clamps: &Clamps<N::Tensor>,
        start: Start,
    ) -> Result<()> {
        self.phase = Phase::Idle;
        self.same_network(network)?;
        plan::check(network, clamps, self.method.rules(), start == Start::Forward)?;
        let refit = self.keep_carried();
        let frame = &mut self.frame;
        let gives = |clamp: &Clamp<N::Tensor>| matches!(clamp, Clamp::Free(_));
        let none = !clamps.iter().any(|(_, clamp)| gives(clamp));
        if frame.schedule.errors == ErrorStart::Given && none {
            let why = "errors are to start from given ones, and no clamp gives any";
            return Err(Error::schedule(format!("{}: {why}", frame.schedule.name)));
        }
        let fresh = network.prepare(clamps, &mut frame.point.state.values)?;
        if fresh || refit {
            // What the last batch left fits no other size.
            frame.at = network.linearisation();
            frame.allocate(network);
        }
        frame.point.allocate_weights(network.topology());
        let composed = frame.schedule.noise.is_some() || frame.form.is_none();
        let given = frame.schedule.errors == ErrorStart::Given;
        frame.point.set_roles(network.topology(), clamps, composed, given)?;
        frame.memory.begin(&*frame.schedule.rule, &frame.point, fresh || refit);
        frame.forces.begin(network.topology(), &frame.point)?;
        frame.reset(network)?;
        // What has diverged is nowhere to go on from.
        let anew = fresh || self.watch.status == Status::Diverged;
        self.watch.begin();
        self.method.begin();
        self.merge = false;

        let carried = start == Start::Carried && !anew;
        let forward = start == Start::Forward || (start == Start::Carried && anew);
        let frame = &mut self.frame;
        frame.point.start_values(network.topology(), clamps, start, carried, frame.draws);
        if frame.by_errors || forward {
            frame.point.find_order(network.topology())?;
        }
        frame.point.find_initial(network.topology(), frame.by_errors || forward);
        if let Method::Frozen(frozen) = &mut self.method {
            frozen.settle(frame, network)?;
        }
        if frame.by_errors {
            frame.first_offsets(network, clamps)?;
            frame.check_offsets(network)?;
        } else {
            let sweep = match &self.method {
                Method::Frozen(frozen) => frozen.sweep(),
                _ => None,
            };
            frame.first_errors(network, clamps, forward, sweep)?;
            let Frame { schedule: Schedule { errors, .. }, draws, .. } = &*frame;
            let (errors, draws) = (*errors, *draws);
            frame.point.start_errors(network.topology(), clamps, errors, draws, false);
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
            velocities: self.form.is_some_and(|f| f != StepForm::Plain || self.by_errors),
        };
        self.point.batch = self.point.state.values.first().map_or(0, Tensor::batch);
        self.point.allocate(network.topology(), wants);
        self.point.allocate_terms(network);
    }

    /// # Errors
    /// A rate for a vertex that is not there, which the relaxation was refused for when it was
    /// made.
    fn reset(&mut self, network: &N) -> Result<()> {
        let topology = network.topology();
        if !topology.precisions().eq(self.precisions.iter().copied()) {
            // Rates may follow precisions, which may be set anew.
            self.factors = self.schedule.rates.factors(self.schedule.name(), topology)?;
            self.precisions = topology.precisions().collect();
        }
        self.step = 0;
        self.steps = match self.schedule.steps {
            Steps::Count(count) => count,
            // On a cycle that clamps break, a path visits no vertex twice.
            Steps::Depth => network.topology().depth().unwrap_or(network.topology().len()),
        };
        self.rate = self.schedule.rate;
        self.draws += 1;
        self.pulled = false;
        self.gradients.clear();
        self.point.state.moved.fill(false);
        let velocities = self.point.vertices.iter_mut().filter_map(|v| v.velocity.as_mut());
        velocities.for_each(|velocity| velocity.fill(0.0));
        self.point.state.displacements.iter_mut().for_each(|d| d.fill(0.0));
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
        self.point.project_start(network, forward);
        if forward {
            let learns = !self.infers && (sweep.is_some() || self.learns_here());
            self.forward(network, learns, sweep)?;
            while self.point.settle(network.topology(), clamps) {
                self.forward(network, learns, sweep)?;
            }
        }
        // What has been settled does not follow its prediction any more.
        self.point.find_initial(network.topology(), forward);
        let Point { order, state, .. } = &mut self.point;
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
                if let Some(kept) = &point.vertices[of].kept {
                    error.multiply(kept);
                }
                point.residual[index] = true;
                if self.settings.live {
                    point.residuals[index].copy_from(error);
                }
            }
            let drives = role.drives() && counts;
            point.active[index] = drives || point.residual[index];
            if !point.active[index] {
                // Plain simulation pulls what is zero yet, too.
                point.clear_weighted(index);
            }
        }
        point.evaluate_terms(network, &self.at)?;
        point.find_drive(network);
        Ok(())
    }

    /// # Errors
    /// Where errors are the coordinates: a vertex that moves and that no prediction sets.
    fn check_offsets(&self, network: &N) -> Result<()> {
        let (topology, point) = (network.topology(), &self.point);
        let loose = |v: &VertexId| point.free[v.index()] && point.setting(topology, *v).is_none();
        match topology.vertices().find(loose) {
            None => Ok(()),
            Some(vertex) => Err(Error::clamp(
                "it is free and only its start breaks the cycle that it lies on, so it has no \
                 error to move: relax states instead",
            )
            .at(topology.label(vertex))),
        }
    }

    /// Where errors are the coordinates: those of vertices that start elsewhere than at their
    /// prediction, which they follow from there on.
    fn first_offsets(&mut self, network: &mut N, clamps: &Clamps<N::Tensor>) -> Result<()> {
        let (start, draws) = (self.schedule.errors, self.draws);
        let sets =
            |clamp: &Clamp<N::Tensor>| matches!(clamp, Clamp::Nudged { .. } | Clamp::Free(_));
        if start == ErrorStart::Zero && !clamps.iter().any(|(_, clamp)| sets(clamp)) {
            return Ok(());
        }
        self.forward(network, false, None)?;
        while self.point.settle(network.topology(), clamps) {
            self.forward(network, false, None)?;
        }
        let topology = network.topology();
        self.point.start_errors(topology, clamps, start, draws, true);
        let free = |clamp: &Clamp<_>| matches!(clamp, Clamp::Free(_)) && start != ErrorStart::Given;
        for (vertex, _) in clamps.iter().filter(|(_, clamp)| free(clamp)) {
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
        self.point.find_initial(topology, true);
        Ok(())
    }
}
