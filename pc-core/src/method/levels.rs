//! The method of levels: live states at rate 1, of which each level's weights learn at its step.

use crate::{
    Result,
    gradients::Gradients,
    method::{Frame, Which, live},
    network::Network,
    outcome::Energy,
    tensor::Tensor,
    topology::{PredictionId, Topology, VertexId},
};

/// What is kept between the levels.
#[derive(Debug)]
pub(crate) struct Levels<T> {
    /// Whether every vertex moves at every step, or only the level whose turn it is.
    pub(crate) whole: bool,
    /// Whether graphs that are not levelled are allowed.
    pub(crate) unlevelled: bool,
    /// By parameter: the last level that uses it.
    last: Vec<usize>,
    /// What is collected for weights whose turn has not come, since a shared weight learns when the
    /// last of its levels has.
    partial: Gradients<T>,
    /// By prediction: whether it is read at this step.
    turn: Vec<bool>,
    /// The energy of the levels read so far, by prediction that of each, and by vertex its loss.
    energy: Energy,
    read: Vec<f64>,
    losses: Vec<f64>,
}

impl<T: Tensor> Levels<T> {
    pub(crate) fn new<N: Network<Tensor = T>>(whole: bool, unlevelled: bool, network: &N) -> Self {
        let (topology, partial) = (network.topology(), network.gradients());
        let mut last = vec![0; partial.len()];
        for prediction in topology.predictions() {
            let level = topology.level(prediction.of).unwrap_or(0);
            for parameter in &prediction.parameters {
                last[parameter.index()] = level.max(last[parameter.index()]);
            }
        }
        let turn = vec![false; topology.predictions().len()];
        let (read, losses) = (vec![0.0; turn.len()], vec![0.0; topology.len()]);
        Self { whole, unlevelled, last, partial, turn, energy: Energy::default(), read, losses }
    }

    pub(crate) fn begin(&mut self) {
        self.partial.clear();
        self.energy = Energy::default();
        self.read.fill(0.0);
        self.losses.fill(0.0);
    }

    /// The energy of a prediction as its weights read it, 0 before.
    pub(crate) fn energy_of(&self, prediction: PredictionId) -> f64 {
        self.read.get(prediction.index()).copied().unwrap_or(0.0)
    }

    /// The loss that drives a vertex, as its weights read it.
    pub(crate) fn loss_of(&self, vertex: VertexId) -> f64 {
        self.losses.get(vertex.index()).copied().unwrap_or(0.0)
    }

    /// Finds the errors at the current states. Level by level they are known already: the parents
    /// of the level whose turn it is have not moved.
    pub(crate) fn evaluate<N: Network<Tensor = T>>(
        &mut self,
        frame: &mut Frame<N>,
        network: &mut N,
    ) -> Result<()> {
        if self.whole { live::evaluate(frame, network) } else { Ok(()) }
    }

    /// The energy of every level up to this step's, each as its weights read it.
    pub(crate) fn measure<N: Network<Tensor = T>>(
        &mut self,
        frame: &Frame<N>,
        network: &N,
    ) -> Energy {
        let topology = network.topology();
        let of_level = |index| at_level(topology, index, frame.step);
        for (index, read) in self.read.iter_mut().enumerate().filter(|(i, _)| of_level(*i)) {
            *read = frame.point.energy_of(topology, index);
            self.energy.internal += *read;
        }
        if frame.step == 0 {
            // What is driven has no children: it is of level 0.
            for (loss, role) in self.losses.iter_mut().zip(&frame.point.roles) {
                *loss = role.loss();
            }
            self.energy.loss = self.losses.iter().sum();
        }
        self.energy
    }

    /// Finds the forces that the next step goes by, then the gradients of this level's weights.
    /// True where these are finite.
    pub(crate) fn pull<N: Network<Tensor = T>>(
        &mut self,
        frame: &mut Frame<N>,
        network: &mut N,
    ) -> Result<bool> {
        let topology = network.topology();
        for (index, turn) in self.turn.iter_mut().enumerate() {
            *turn = frame.point.active[index] && at_level(topology, index, frame.step);
        }
        frame.add_forces(network, Which::These(&self.turn))?;
        if !frame.is_last() {
            if self.whole {
                frame.pull(network, Which::Active, true, false)?;
            } else {
                network.forget_pulls(&mut frame.at);
                frame.pull(network, Which::These(&self.turn), true, false)?;
            }
        }
        if frame.infers {
            return Ok(true);
        }
        std::mem::swap(&mut frame.gradients, &mut self.partial);
        let pulled = frame.pull(network, Which::These(&self.turn), false, true);
        std::mem::swap(&mut frame.gradients, &mut self.partial);
        pulled?;
        Ok(self.partial.is_finite())
    }

    /// Hands out the weights all of whose levels have been read with this one; with `all`, what has
    /// been collected since the start. True where there are any.
    pub(crate) fn hand_out<N: Network<Tensor = T>>(
        &mut self,
        frame: &mut Frame<N>,
        all: bool,
    ) -> bool {
        frame.gradients.clear();
        let (last, step, ends) = (&self.last, frame.step, frame.is_last());
        // A network may pull more than it is asked for: what was handed out is done with.
        let due = |level: usize| all || level == step || (ends && level > step);
        frame.gradients.take_from(&mut self.partial, |id| due(last[id.index()]))
    }

    /// Moves the next level, or everything, at rate `1 / pi`: then an error is found in one step,
    /// whatever its precision.
    pub(crate) fn step<N: Network<Tensor = T>>(&mut self, frame: &mut Frame<N>, network: &N) {
        let topology = network.topology();
        let next = Some(frame.step + 1);
        for vertex in topology.vertices().filter(|v| self.whole || topology.level(*v) == next) {
            if !frame.point.free[vertex.index()] {
                continue;
            }
            let first = topology.own(vertex).first();
            let precision = first.map_or(1.0, |id| topology.at(*id).precision);
            live::move_state(frame, network, vertex, frame.rate / precision);
            if self.whole || !frame.point.state.moved[vertex.index()] {
                continue;
            }
            // Parents of the level that moved have not, so its errors are its displacements.
            for id in topology.own(vertex) {
                let displacement = &frame.point.state.displacements[vertex.index()];
                frame.point.errors[id.index()].copy_from(displacement);
                frame.point.active[id.index()] = true;
            }
        }
        if self.whole {
            live::refresh_active(frame, network);
        }
    }
}

fn at_level(topology: &Topology, index: usize, step: usize) -> bool {
    topology.level(topology.predictions()[index].of) == Some(step)
}
