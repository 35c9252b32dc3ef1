//! Vertices whose values have to lie somewhere.

use crate::{
    network::Network,
    point::{Point, VertexPoint},
    projection::Projection,
    tensor::Tensor,
    topology::VertexId,
};

impl<T: Tensor> Point<T> {
    /// Moves the value of a vertex to where it has to lie after a step at this rate. What is held
    /// of it stays.
    pub(crate) fn project(&mut self, vertex: VertexId, projection: &dyn Projection<T>, rate: f64) {
        let index = vertex.index();
        let VertexPoint { projected, free_mask, velocity, .. } = &mut self.vertices[index];
        let Some(projected) = projected else { return };
        let value = &mut self.state.values[index];
        projected.copy_from(value);
        projection.project(projected, rate);
        if let Some(mask) = free_mask {
            // Of the held part nothing moves.
            projected.axpy(-1.0, value);
            projected.multiply(mask);
            projected.axpy(1.0, value);
        }
        if let (Some(velocity), true) = (velocity, rate > 0.0) {
            // Momentum is of what has been moved: else it would push on against a bound.
            velocity.axpy(1.0 / rate, projected);
            velocity.axpy(-1.0 / rate, value);
        }
        value.copy_from(projected);
        let displacement = self.state.displacements.get_mut(index);
        if let Some((displacement, reference)) = displacement.zip(self.state.references.get(index))
        {
            displacement.set_difference(value, reference);
        }
    }

    /// Makes of the composed direction of a vertex what a step and its projection move together,
    /// over the rate.
    pub(super) fn aim(&mut self, vertex: VertexId, projection: &dyn Projection<T>, rate: f64) {
        let index = vertex.index();
        let value = &self.state.values[index];
        let VertexPoint { scratch, projected, free_mask, .. } = &mut self.vertices[index];
        let (Some(step), Some(projected)) = (scratch, projected) else { return };
        projected.copy_from(value);
        projected.axpy(rate, step);
        projection.project(projected, rate);
        step.set_difference(projected, value);
        step.scale(1.0 / rate);
        if let Some(mask) = free_mask {
            step.multiply(mask);
        }
    }

    /// Moves what does not start at its prediction to where it has to lie.
    pub(crate) fn project_start<N: Network<Tensor = T>>(&mut self, network: &N, forward: bool) {
        for vertex in network.topology().vertices() {
            let index = vertex.index();
            let starts = self.free[index] && !(forward && self.follows[index]);
            if let (true, Some(projection)) = (starts, network.projection(vertex)) {
                self.project(vertex, projection, 0.0);
                if let Some(displacement) = self.state.displacements.get_mut(index) {
                    displacement.fill(0.0);
                }
            }
        }
    }

    /// The further terms of the energy that projections stand for.
    pub(crate) fn projection_energy<N: Network<Tensor = T>>(&self, network: &N) -> f64 {
        let moves = |v: &VertexId| self.free[v.index()] && self.projects[v.index()];
        let moving = network.topology().vertices().filter(moves);
        moving
            .filter_map(|v| Some(network.projection(v)?.energy(&self.state.values[v.index()])))
            .sum()
    }
}
