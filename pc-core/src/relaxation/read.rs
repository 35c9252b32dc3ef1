//! What can be read off a relaxation.

use crate::{
    Result,
    gradients::Gradients,
    method::{Forces, Method},
    network::Network,
    relaxation::Relaxation,
    schedule::Schedule,
    tensor::Tensor,
    topology::{PredictionId, VertexId},
};

impl<N: Network> Relaxation<N> {
    /// The gradients of the last learning event.
    pub fn gradients(&self) -> &Gradients<N::Tensor> {
        &self.frame.gradients
    }

    /// The gradients of the last learning event, moved out of the relaxation, which ends here.
    pub fn into_gradients(self) -> Gradients<N::Tensor> {
        self.frame.gradients
    }

    /// The schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.frame.schedule
    }

    /// How it is computed, in words. For a frozen relaxation that has begun, this is what
    /// [`crate::Evaluation::Auto`] has chosen.
    pub fn evaluation(&self) -> &'static str {
        self.method.describe()
    }

    /// How often the network has been evaluated for this batch, if by steps: at the start, after
    /// every step, and within steps of rules that take several evaluations for one.
    pub fn passes(&self) -> usize {
        1 + self.frame.step + self.frame.memory.parts
    }

    /// Sets how many batches have drawn random numbers so far. A relaxation made anew then goes on
    /// where another has stopped, instead of repeating its draws.
    pub fn set_draws(&mut self, batches: u64) {
        self.frame.draws = batches;
    }

    /// The error of a prediction, as last evaluated. Returns `None` before the first batch, or if
    /// the prediction is not in the network.
    pub fn error(&self, prediction: PredictionId) -> Option<&N::Tensor> {
        self.frame.point.errors.get(prediction.index())
    }

    /// The value of a vertex, as last evaluated. In a frozen relaxation it is the feed-forward
    /// prediction plus the error. Returns `None` before the first batch, or if the vertex is not in
    /// the network.
    pub fn value(&self, network: &N, vertex: VertexId) -> Option<N::Tensor> {
        let point = &self.frame.point;
        let value = point.state.values.get(vertex.index())?;
        if let (Method::Frozen(_), true, Some(first)) =
            (&self.method, point.free[vertex.index()], network.topology().own(vertex).first())
        {
            let mut moved = network.prediction(&self.frame.at, *first)?.clone();
            moved.axpy(1.0, &point.errors[first.index()]);
            if let Some(kept) = &point.vertices[vertex.index()].kept {
                // Where the error is cut, the value is the one that was set.
                moved.axpy(-1.0, value);
                moved.multiply(kept);
                moved.axpy(1.0, value);
            }
            return Some(moved);
        }
        Some(value.clone())
    }

    /// What a prediction adds to the energy, as last evaluated and summed over the batch:
    /// `1/2 pi |e|^2` or another energy, and `lambda L` where a loss drives its vertex. The
    /// predictions of an intervened vertex add nothing. All of these, and what projections stand
    /// for, make up [`crate::Outcome::energy`]. By Z-IL it is the energy as the level's weights
    /// read it, and 0 before. Returns `None` as [`Relaxation::error`] does.
    pub fn energy(&self, network: &N, prediction: PredictionId) -> Option<f64> {
        let (point, index) = (&self.frame.point, prediction.index());
        point.errors.get(index)?;
        let topology = network.topology();
        let of = topology.predictions().get(index)?.of;
        Some(match &self.method {
            Method::Levels(levels) => levels.energy_of(prediction) + levels.loss_of(of),
            _ => point.energy_of(topology, index) + point.roles[of.index()].loss(),
        })
    }

    /// Asks for the force on these vertices at the end of every relaxation from here on, in place
    /// of what was asked for before. It is read by [`Relaxation::force`], and costs one more pull
    /// of the vertices' children. This is how a relaxation says what it makes of an input:
    /// saliency, adversarial pictures, a link to a network before this one.
    ///
    /// # Errors
    /// A vertex that is not in the network.
    ///
    /// # Example
    /// Under backprop the force on an input is minus the derivative of the loss:
    /// ```
    /// use pc_core::{
    ///     Clamps, Graph, Relaxation, Schedule, SquaredError, Tensor,
    ///     host::{HostLayers, HostTensor, Linear},
    /// };
    /// let mut b = Graph::<HostTensor<f64>>::builder();
    /// let x = b.input("x", &[1])?;
    /// let w = b.parameter("w", HostTensor::new(&[1, 1], vec![3.0])?)?;
    /// let y = b.vertex("y", Box::new(Linear::without_bias()), &[x], &[w])?;
    /// let mut graph = b.build()?;
    /// let one = HostTensor::new(&[1, 1], vec![1.0])?;
    /// let mut relaxation = Relaxation::new(&graph, Schedule::backprop())?;
    /// relaxation.ask_forces(&graph, &[x])?;
    /// let clamps = Clamps::new().hold(x, one.clone()).drive(y, SquaredError::new(one));
    /// relaxation.infer(&mut graph, &clamps)?;
    /// // L = 1/2 (3 x - 1)^2 at x = 1.
    /// assert_eq!(relaxation.force(x).map(Tensor::to_vec), Some(vec![-6.0]));
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn ask_forces(&mut self, network: &N, vertices: &[VertexId]) -> Result<()> {
        self.same_network(network)?;
        self.frame.forces = Forces::asking(network.topology(), vertices)?;
        Ok(())
    }

    /// The force on a vertex that [`Relaxation::ask_forces`] has asked for: minus the derivative of
    /// the energy in the vertex's value, `sum over children of J^T pi e`, less the vertex's own
    /// `pi e` where something predicts it and it is no intervention. It is summed over no batch and
    /// divided by nothing, whatever [`crate::Reduction`] says.
    ///
    /// Errors and Jacobians are those that weights learn from:
    /// - Backprop and Z-IL: exactly `-dL/dv` at the feed-forward values.
    /// - Fixed prediction: relaxed errors, feed-forward Jacobians.
    /// - Standard PC, iPC and error-based PC: relaxed errors at the relaxed values. On a vertex
    ///   that is held it is `-dF/dv` there, on a free one what is left of it.
    ///
    /// Returns `None` where it was not asked for before the relaxation began, before the end, and
    /// after a relaxation that diverged.
    pub fn force(&self, vertex: VertexId) -> Option<&N::Tensor> {
        self.frame.forces.get(vertex)
    }
}
