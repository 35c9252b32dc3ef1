//! What a feed-forward pass means once it is known what is held.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{
    Error, Result,
    topology::{PredictionId, Topology, VertexId},
};

/// Finds the order of a pass outward from the vertices that are `known`: held, or given a start.
/// Each other vertex is set by one prediction, after all of that prediction's parents: by its first
/// one, unless that one waits for the vertex itself. `order` is overwritten.
///
/// Where the first predictions form no cycle, this is [`Topology::forward_order`], whatever is
/// known: the predictions of known vertices are visited too, but set nothing.
///
/// # Errors
/// A vertex that nothing known leads to.
pub(crate) fn outward(
    topology: &Topology,
    known: &[bool],
    order: &mut Vec<PredictionId>,
) -> Result<()> {
    match as_far_as_known(topology, known, order) {
        None => Ok(()),
        Some(vertex) => Err(Error::schedule(
            "a forward start reaches it from nothing that is held: it lies on a cycle, or below \
             one. Hold a vertex on the cycle, or start elsewhere with `Schedule::starting`",
        )
        .at(topology.label(vertex))),
    }
}

/// The same order, as far as what is known leads. Returns the first vertex that it does not lead
/// to, if there is one.
pub(crate) fn as_far_as_known(
    topology: &Topology,
    known: &[bool],
    order: &mut Vec<PredictionId>,
) -> Option<VertexId> {
    order.clear();
    if let Ok(forward) = topology.forward_order() {
        order.extend_from_slice(forward);
        return None;
    }
    let mut sweep = Sweep {
        topology,
        known: known.to_vec(),
        missing: topology.predictions().iter().map(|p| p.parents.len()).collect(),
        first: BinaryHeap::new(),
        further: BinaryHeap::new(),
    };
    for (index, missing) in sweep.missing.clone().into_iter().enumerate() {
        if missing == 0 {
            sweep.ready(index);
        }
    }
    for vertex in topology.vertices().filter(|vertex| known[vertex.index()]) {
        sweep.arrive(vertex);
    }
    while let Some(id) = sweep.next() {
        order.push(id);
        let of = topology.at(id).of;
        sweep.known[of.index()] = true;
        sweep.arrive(of);
    }
    topology.vertices().find(|vertex| !sweep.known[vertex.index()])
}

struct Sweep<'a> {
    topology: &'a Topology,
    known: Vec<bool>,
    /// By prediction: how many of its parents are still unknown.
    missing: Vec<usize>,
    /// Predictions whose parents are known: first ones of their vertices, and further ones, which
    /// are only taken where no first one is left.
    first: BinaryHeap<Reverse<usize>>,
    further: BinaryHeap<Reverse<usize>>,
}

impl Sweep<'_> {
    fn ready(&mut self, index: usize) {
        let own = self.topology.own(self.topology.predictions()[index].of);
        let queue = if own[0].index() == index { &mut self.first } else { &mut self.further };
        queue.push(Reverse(index));
    }

    fn arrive(&mut self, vertex: VertexId) {
        let topology = self.topology;
        for (child, _) in topology.uses(vertex) {
            self.missing[child.index()] -= 1;
            if self.missing[child.index()] == 0 {
                self.ready(child.index());
            }
        }
    }

    fn next(&mut self) -> Option<PredictionId> {
        while let Some(Reverse(index)) = self.first.pop().or_else(|| self.further.pop()) {
            if !self.known[self.topology.predictions()[index].of.index()] {
                return Some(PredictionId::new(index));
            }
        }
        None
    }
}
