//! What every method works on, and the calls to the network that they share.

use crate::{
    Result,
    gradients::Gradients,
    network::{Forward, Network, Residuals, Settings, State, Want},
    point::Point,
    relaxation::forces::Forces,
    schedule::{Learning, Noise, Schedule, StepRule, stream},
    tensor::Tensor,
    topology::VertexId,
};

/// One relaxation's place: a point, what the network has left there, and the step it is at.
pub(super) struct Frame<N: Network> {
    pub(super) schedule: Schedule,
    pub(super) settings: Settings,
    /// Whether errors are the coordinates, so that the network is linearised by a forward pass.
    pub(super) by_errors: bool,
    /// Whether steps go down the energy, so that it may be bounded.
    pub(super) descends: bool,
    pub(super) at: N::Linearisation,
    pub(super) point: Point<N::Tensor>,
    pub(super) gradients: Gradients<N::Tensor>,
    /// Steps taken, and the most to take.
    pub(super) step: usize,
    pub(super) steps: usize,
    /// `gamma`, which an adaptive rule changes.
    pub(super) rate: f64,
    /// By vertex, its factor of `gamma`.
    pub(super) factors: Vec<f64>,
    /// Counts the batches, so that each has random numbers of its own.
    pub(super) draws: u64,
    /// Whether the linearisation has been pulled, which some networks allow once only.
    pub(super) pulled: bool,
    /// Whether weights are left alone: nothing is pulled for them.
    pub(super) infers: bool,
    /// The forces on held vertices, where some were asked for.
    pub(super) forces: Forces<N::Tensor>,
}

impl<N: Network> Frame<N> {
    /// The rate of a vertex at this step.
    pub(super) fn rate_of(&self, vertex: VertexId) -> f64 {
        self.rate * self.schedule.rates.pace.at(self.step) * self.factors[vertex.index()]
    }

    /// Whether there is no step left.
    pub(super) fn is_last(&self) -> bool {
        self.step >= self.steps
    }

    /// Whether the energy at the end is measured.
    pub(super) fn measures(&self) -> bool {
        self.infers || !self.schedule.unmeasured
    }

    /// Whether the first thing asked of the linearisation at this step is known to be parameter
    /// gradients.
    pub(super) fn learns_here(&self) -> bool {
        match self.schedule.learning {
            _ if self.infers => false,
            Learning::AtEnd => self.is_last() && self.schedule.tolerance.is_none(),
            Learning::EveryStep => !self.is_last(),
            Learning::AtLevel => false,
        }
    }

    /// A forward pass. `sweep` gives the weights of the one traversal that follows it, where that
    /// is all that follows. Errors as coordinates are added on the way.
    pub(super) fn forward(
        &mut self,
        network: &mut N,
        learns: bool,
        sweep: Option<&[f64]>,
    ) -> Result<()> {
        let Point { state: State { values, displacements, .. }, order, follows, .. } =
            &mut self.point;
        let offsets: &[N::Tensor] = if self.by_errors { displacements } else { &[] };
        let settings = Settings { learns, ..self.settings };
        let pass = Forward { values, order, follows, offsets, settings, sweep };
        self.pulled = false;
        network.forward(pass, &mut self.at)
    }

    /// Moves the linearisation to where the states are, and finds the errors there.
    pub(super) fn linearise(&mut self, network: &mut N, learns: bool) -> Result<()> {
        let settings = Settings { learns, ..self.settings };
        // Borrowed by field: the residuals are read while the errors are written.
        let point = &mut self.point;
        let residuals = Residuals { tensors: &point.residuals, nonzero: &point.residual };
        let at = &mut self.at;
        network.linearise(&point.state, settings, residuals, &mut point.errors, at)?;
        self.pulled = false;
        self.point.drive_losses(network, &self.at)?;
        self.point.evaluate_terms(network, &self.at)
    }

    /// Linearises again at the same point, where a network's linearisation is used up by one pull
    /// and has had it.
    pub(super) fn renew(&mut self, network: &mut N) -> Result<()> {
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
    pub(super) fn pull(
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
    pub(super) fn learn(&mut self, network: &mut N) -> Result<()> {
        self.renew(network)?;
        self.gradients.clear();
        self.pull(network, Which::Active, false, true)
    }

    /// After a step of a vertex whose step was put together in its scratch, or that takes none of
    /// its own: adds the noise of this step, where the schedule has any. True where it did.
    ///
    /// With momentum the noise belongs to the velocity, and reaches the states through it.
    pub(super) fn add_noise(&mut self, vertex: VertexId) -> bool {
        let Some(Noise { temperature, seed }) = self.schedule.noise else { return false };
        let rate = self.rate_of(vertex);
        let momentum = self.schedule.rule.momentum();
        let deviation = (2.0 * rate * (1.0 - momentum) * temperature).sqrt();
        let index = vertex.index();
        let moving = &mut self.point.vertices[index];
        let Some(noise) = &mut moving.scratch else { return false };
        noise.fill(0.0);
        noise.add_normal(deviation, stream(seed, self.draws, self.step + 1, vertex));
        if let Some(mask) = &moving.free_mask {
            noise.multiply(mask);
        }
        if let (Some(velocity), StepRule::Momentum(_)) = (&mut moving.velocity, self.schedule.rule)
        {
            velocity.axpy(1.0 / rate, noise);
        }
        self.point.state.displacements[index].axpy(1.0, noise);
        true
    }
}

/// Which predictions to pull.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which<'a> {
    /// Those whose errors may differ from zero.
    Active,
    /// All that count.
    Counted,
    /// These, by index.
    These(&'a [bool]),
}

impl<'a> Which<'a> {
    /// By prediction.
    pub(super) fn of<T>(self, point: &'a Point<T>) -> &'a [bool] {
        match self {
            Which::Active => &point.active,
            Which::Counted => &point.counts,
            Which::These(which) => which,
        }
    }
}
