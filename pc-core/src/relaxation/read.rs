//! What can be read off a relaxation.

use crate::{
    network::Network,
    relaxation::{Method, Relaxation},
    tensor::Tensor,
    topology::{PredictionId, VertexId},
};

impl<N: Network> Relaxation<N> {
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
}
