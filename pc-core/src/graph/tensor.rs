//! What explicit graphs ask of a tensor beyond what the engine asks.

use crate::{
    graph::{GraphFrame, NodeState},
    tensor::Tensor,
    topology::PredictionId,
    vertex::Vertex,
};

/// A tensor that [`crate::Graph`]s can be made of: it says how a vertex is owned, and on which
/// threads vertices run.
pub trait GraphTensor: Tensor {
    /// How this backend owns a vertex of an explicit graph: `Box<dyn Vertex<Self>>`, with `Send +
    /// Sync` added where vertices run in parallel.
    type Vertex: Vertex<Self>;

    /// A vertex whose prediction is its one parent (levelling inserts these): [`crate::Identity`],
    /// owned as above.
    fn identity_vertex() -> Self::Vertex;

    /// Runs `job` once for every node of an explicit graph: with the id of its prediction, which
    /// counts as the nodes do, its own state, and its own tensor of `outputs` (which may be empty).
    /// The jobs are independent of one another; a backend whose tensors are shareable runs them in
    /// parallel.
    fn for_each_node(
        nodes: &mut [NodeState<Self>],
        outputs: &mut [Self],
        frame: &GraphFrame<'_, Self>,
        job: NodeJob<Self>,
    ) {
        let mut outputs = outputs.iter_mut();
        for (index, node) in nodes.iter_mut().enumerate() {
            job(PredictionId::new(index), node, outputs.next(), frame);
        }
    }
}

/// A job of [`GraphTensor::for_each_node`]: the node of one prediction.
pub type NodeJob<T> = fn(PredictionId, &mut NodeState<T>, Option<&mut T>, &GraphFrame<'_, T>);
