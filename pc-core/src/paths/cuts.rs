//! Ways that are cut.

use crate::topology::{Topology, VertexId};

/// The first way that is cut and leads from a predicted vertex of no higher level than where it
/// leads to, as (parent, child). By the time that Z-IL reads the child, its parent has moved.
pub(crate) fn early_cut(topology: &Topology) -> Option<(VertexId, VertexId)> {
    // A vertex that no error comes to does not move.
    let moves = |vertex: VertexId| {
        let mut uses = topology.uses(vertex).iter();
        !topology.is_root(vertex) && uses.any(|(child, k)| topology.at(*child).sends(*k))
    };
    topology.predictions().iter().find_map(|prediction| {
        let parents = prediction.parents.iter().enumerate();
        let mut cut = parents.filter(|(k, _)| !prediction.sends(*k)).map(|(_, parent)| *parent);
        let early = |v: &VertexId| moves(*v) && topology.level(*v) <= topology.level(prediction.of);
        cut.find(early).map(|parent| (parent, prediction.of))
    })
}
