//! What errors reach.

use std::collections::VecDeque;

use crate::topology::{PredictionId, Topology};

/// Which predictions a sweep's errors reach, and with them which parameters; and from where.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    from: Vec<bool>,
    free: Vec<bool>,
    pub(crate) predictions: Vec<bool>,
    pub(crate) parameters: Vec<bool>,
}

impl Reached {
    /// Finds what errors reach in all steps, where they start from other places than last time.
    pub(crate) fn find(
        &mut self,
        topology: &Topology,
        active: &[bool],
        free: &[bool],
        counts: &[bool],
        steps: usize,
        parameters: usize,
    ) {
        if self.from == active && self.free == free {
            return;
        }
        self.from = active.to_vec();
        self.free = free.to_vec();
        self.predictions = active.to_vec();
        reach(topology, free, counts, steps, &mut self.predictions);
        // What a topology names no use of is not judged.
        self.parameters = vec![true; parameters];
        let uses = || {
            let each = topology.predictions().iter().zip(&self.predictions);
            each.flat_map(|(p, reached)| p.parameters.iter().map(|id| (id.index(), *reached)))
        };
        uses().for_each(|(parameter, _)| self.parameters[parameter] = false);
        for (parameter, _) in uses().filter(|(_, reached)| *reached) {
            self.parameters[parameter] = true;
        }
    }
}

/// Adds to `active`, by prediction, what errors arrive at within `steps` steps: an error goes on to
/// the free parents of its prediction, one edge a step. Whether a number there happens to be zero
/// does not matter, so that every evaluation of a schedule reaches the same weights.
pub(crate) fn reach(
    topology: &Topology,
    free: &[bool],
    counts: &[bool],
    steps: usize,
    active: &mut [bool],
) {
    let starts = active.iter().enumerate().filter(|(_, active)| **active);
    let mut queue: VecDeque<(PredictionId, usize)> =
        starts.map(|(index, _)| (PredictionId::new(index), 0)).collect();
    while let Some((id, taken)) = queue.pop_front() {
        if taken >= steps {
            continue;
        }
        for parent in topology.at(id).receivers().filter(|p| free[p.index()]) {
            for own in topology.own(parent) {
                let reached = &mut active[own.index()];
                if counts[own.index()] && !std::mem::replace(reached, true) {
                    queue.push_back((*own, taken + 1));
                }
            }
        }
    }
}
