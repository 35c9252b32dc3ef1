//! Errors that start elsewhere than at zero.

use crate::{
    clamp::{Clamp, Clamps},
    network::State,
    point::{Point, VertexPoint},
    schedule::{ErrorStart, stream},
    tensor::Tensor,
    topology::Topology,
};

impl<T: Tensor> Point<T> {
    /// Adds what errors start from to those at the starting point; with `offsets`, where errors are
    /// the coordinates, makes these of it.
    pub(crate) fn start_errors(
        &mut self,
        topology: &Topology,
        clamps: &Clamps<T>,
        start: ErrorStart,
        draws: u64,
        offsets: bool,
    ) {
        let Self { state, vertices, free, errors, residuals, residual, active, counts, .. } = self;
        let State { values, displacements, moved, .. } = state;
        for vertex in topology.vertices().filter(|vertex| free[vertex.index()]) {
            let (index, own) = (vertex.index(), topology.own(vertex));
            let Some(first) = own.first() else { continue };
            // Residuals are read while states are live alone, so there is room in them.
            let room =
                if offsets { &mut displacements[index] } else { &mut residuals[first.index()] };
            match (start, clamps.get(vertex)) {
                (ErrorStart::Given, Some(Clamp::Free(error))) => room.copy_from(error),
                (ErrorStart::Zero | ErrorStart::Given, _) | (_, Some(Clamp::Free(_))) => continue,
                (ErrorStart::Activations, _) => room.copy_from(&values[index]),
                (ErrorStart::Noise { deviation, seed }, _) => {
                    room.fill(0.0);
                    room.add_normal(deviation, stream(seed, draws, 0, vertex));
                }
            }
            if offsets {
                moved[index] = true;
                continue;
            }
            let VertexPoint { free_mask, .. } = &vertices[index];
            if let Some(mask) = free_mask {
                room.multiply(mask);
            }
            for id in own.iter().map(|id| id.index()) {
                errors[id].axpy(1.0, &residuals[first.index()]);
                active[id] = counts[id];
                residual[id] = true;
            }
        }
    }
}
