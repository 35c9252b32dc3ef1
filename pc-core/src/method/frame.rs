//! What every method works on, and the calls to the network that they share.

use crate::{
    Result,
    gradients::Gradients,
    method::Forces,
    network::{Forward, Network, Residuals, Settings, State, Want},
    point::Point,
    rule::{Memory, StepForm, Taken, View},
    schedule::{Learning, Noise, Schedule, stream},
    tensor::Tensor,
    topology::VertexId,
};

/// One relaxation's place: a point, what the network has left there, and the step it is at.
pub(crate) struct Frame<N: Network> {
    pub(crate) schedule: Schedule,
    pub(crate) settings: Settings,
    /// The form of the rule's steps, or what a rule of no form keeps.
    pub(crate) form: Option<StepForm>,
    pub(crate) memory: Memory<N::Tensor>,
    /// Whether errors are the coordinates, so that the network is linearised by a forward pass.
    pub(crate) by_errors: bool,
    /// Whether steps go down the energy, so that it may be bounded.
    pub(crate) descends: bool,
    pub(crate) at: N::Linearisation,
    pub(crate) point: Point<N::Tensor>,
    pub(crate) gradients: Gradients<N::Tensor>,
    /// Steps taken, and the most to take.
    pub(crate) step: usize,
    pub(crate) steps: usize,
    /// `gamma`, which an adaptive rule changes.
    pub(crate) rate: f64,
    /// By vertex, its factor of `gamma`.
    pub(crate) factors: Vec<f64>,
    /// The precisions that these were found for.
    pub(crate) precisions: Vec<f64>,
    /// Counts the batches, so that each has random numbers of its own.
    pub(crate) draws: u64,
    /// Whether the linearisation has been pulled, which some networks allow once only.
    pub(crate) pulled: bool,
    /// Whether weights are left alone: nothing is pulled for them.
    pub(crate) infers: bool,
    /// The forces on held vertices, where some were asked for.
    pub(crate) forces: Forces<N::Tensor>,
}

impl<N: Network> Frame<N> {
    /// The rate of a vertex at this step.
    pub(crate) fn rate_of(&self, vertex: VertexId) -> f64 {
        self.rate * self.schedule.rates.pace.at(self.step) * self.factors[vertex.index()]
    }

    /// The momentum of the rule, 0 where it has none, or is of no form.
    pub(crate) fn momentum(&self) -> f64 {
        if let Some(StepForm::Momentum(momentum)) = self.form { momentum } else { 0.0 }
    }

    /// Lets a rule of no form move the displacements of all free vertices, whose directions lie in
    /// their scratch. Marks what may have moved.
    pub(crate) fn follow_rule(&mut self, network: &N) -> Result<Taken> {
        let Self { schedule, point, memory, factors, .. } = self;
        let rule = &*schedule.rule;
        let energy =
            if rule.watches() { point.energy(network.topology()).total() } else { f64::NAN };
        let rate = self.rate * schedule.rates.pace.at(self.step);
        let view = View { point, memory, factors, rate, taken: self.step, energy, fault: None };
        let taken = view.take(rule, schedule.name)?;
        let whole = taken == Taken::Step;
        memory.part = if whole { 0 } else { memory.part + 1 };
        memory.parts += usize::from(!whole);
        for vertex in network.topology().vertices().filter(|_| whole) {
            if self.point.free[vertex.index()] {
                self.add_noise(vertex);
            }
        }
        for (moved, free) in self.point.state.moved.iter_mut().zip(&self.point.free) {
            *moved |= free;
        }
        Ok(taken)
    }

    /// Whether there is no step left.
    pub(crate) fn is_last(&self) -> bool {
        self.step >= self.steps
    }

    /// Whether the energy at the end is measured.
    pub(crate) fn measures(&self) -> bool {
        self.infers || !self.schedule.unmeasured
    }

    /// Whether the first thing asked of the linearisation at this step is known to be parameter
    /// gradients.
    pub(crate) fn learns_here(&self) -> bool {
        match self.schedule.learning() {
            _ if self.infers => false,
            Learning::AtEnd => self.is_last() && self.schedule.tolerance.is_none(),
            learning => learning.is_due(self.step, self.steps),
        }
    }

    /// A forward pass. `sweep` gives the weights of the one traversal that follows it, where that
    /// is all that follows. Errors as coordinates are added on the way.
    pub(crate) fn forward(
        &mut self,
        network: &mut N,
        learns: bool,
        sweep: Option<&[f64]>,
    ) -> Result<()> {
        let Point { state: State { values, displacements, .. }, order, follows, free, .. } =
            &mut self.point;
        let offsets: &[N::Tensor] = if self.by_errors { displacements } else { &[] };
        let settings = Settings { learns, ..self.settings };
        let projects = &*free;
        let pass = Forward { values, order, follows, projects, offsets, settings, sweep };
        self.pulled = false;
        network.forward(pass, &mut self.at)
    }

    /// Moves the linearisation to where the states are, and finds the errors there.
    pub(crate) fn linearise(&mut self, network: &mut N, learns: bool) -> Result<()> {
        let settings = Settings { learns, ..self.settings };
        // Borrowed by field: the residuals are read while the errors are written.
        let point = &mut self.point;
        let residuals = Residuals { tensors: &point.residuals, nonzero: &point.residual };
        let at = &mut self.at;
        network.linearise(&point.state, settings, residuals, &mut point.errors, at)?;
        self.pulled = false;
        self.point.cut_errors(network.topology());
        self.point.drive_losses(network, &self.at)?;
        self.point.evaluate_terms(network, &self.at)
    }

    /// Linearises again at the same point, where a network's linearisation is used up by one pull
    /// and has had it.
    pub(crate) fn renew(&mut self, network: &mut N) -> Result<()> {
        if !self.pulled || network.abilities().repull {
            return Ok(());
        }
        self.pulled = false;
        if self.by_errors {
            self.forward(network, true, None)
        } else if self.settings.live && self.step > 0 {
            self.linearise(network, false)
        } else {
            network.refer(&self.point.state, self.settings, false, &mut self.at)
        }
    }

    /// Pulls the errors of `which` predictions back: to the free vertices where `forces`, and to
    /// the parameters where `learns`.
    pub(crate) fn pull(
        &mut self,
        network: &mut N,
        which: Which<'_>,
        forces: bool,
        learns: bool,
    ) -> Result<()> {
        self.point.weigh(network.topology());
        let Point { free, state, .. } = &self.point;
        let predictions = which.of(&self.point);
        let want = Want { predictions, forces: if forces { free } else { &[] } };
        let gradients = learns.then_some(&mut self.gradients);
        self.pulled = true;
        network.pull(state, self.point.cotangents(), want, gradients, &mut self.at)?;
        if learns {
            self.point.learn_terms(network, |index| predictions[index], &mut self.gradients)?;
        }
        Ok(())
    }

    /// The parameter gradients from the current errors.
    pub(crate) fn learn(&mut self, network: &mut N) -> Result<()> {
        self.renew(network)?;
        self.gradients.clear();
        self.pull(network, Which::Active, false, true)
    }

    /// After a step of a vertex whose step was put together in its scratch, or that takes none of
    /// its own: adds the noise of this step, where the schedule has any. True where it did.
    ///
    /// With momentum the noise belongs to the velocity, and reaches the states through it.
    pub(crate) fn add_noise(&mut self, vertex: VertexId) -> bool {
        let Some(Noise { temperature, seed }) = self.schedule.noise else { return false };
        let rate = self.rate_of(vertex);
        let momentum = self.momentum();
        let deviation = (2.0 * rate * (1.0 - momentum) * temperature).sqrt();
        let index = vertex.index();
        let moving = &mut self.point.vertices[index];
        let Some(noise) = &mut moving.scratch else { return false };
        noise.fill(0.0);
        noise.add_normal(deviation, stream(seed, self.draws, self.step + 1, vertex));
        if let Some(mask) = &moving.free_mask {
            noise.multiply(mask);
        }
        if let (Some(velocity), Some(StepForm::Momentum(_))) = (&mut moving.velocity, self.form) {
            velocity.axpy(1.0 / rate, noise);
        }
        self.point.state.displacements[index].axpy(1.0, noise);
        true
    }
}

/// Which predictions to pull.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which<'a> {
    /// Those whose errors may differ from zero.
    Active,
    /// All that count.
    Counted,
    /// These, by index.
    These(&'a [bool]),
}

impl<'a> Which<'a> {
    /// By prediction.
    pub(crate) fn of<T>(self, point: &'a Point<T>) -> &'a [bool] {
        match self {
            Which::Active => &point.active,
            Which::Counted => &point.counts,
            Which::These(which) => which,
        }
    }
}
