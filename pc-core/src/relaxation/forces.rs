//! Forces on vertices that do not move by them.

use crate::{
    Error, Result,
    network::{Network, Want},
    point::Point,
    relaxation::{
        Relaxation,
        frame::{Frame, Which},
    },
    tensor::Tensor,
    topology::{Topology, VertexId, foreign_vertex},
};

/// The forces that were asked for.
#[derive(Debug)]
pub(super) struct Forces<T> {
    asked: Vec<VertexId>,
    /// By vertex, the same; by prediction, which of them have an asked parent.
    wanted: Vec<bool>,
    above: Vec<bool>,
    /// By prediction: room for which of them are pulled.
    pulled: Vec<bool>,
    /// In the order of `asked`.
    found: Vec<T>,
    ready: bool,
}

impl<T: Tensor> Forces<T> {
    pub(super) fn none() -> Self {
        Self {
            asked: Vec::new(),
            wanted: Vec::new(),
            above: Vec::new(),
            pulled: Vec::new(),
            found: Vec::new(),
            ready: false,
        }
    }

    /// Whether any were asked for.
    pub(super) fn any(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Sets them to zero for a new batch.
    ///
    /// # Errors
    /// A vertex that a loss drives.
    pub(super) fn begin(&mut self, topology: &Topology, point: &Point<T>) -> Result<()> {
        self.ready = false;
        for vertex in &self.asked {
            if point.roles[vertex.index()].is_driven() {
                let message = "a force on it is asked for, but a loss drives it, so it follows its \
                               prediction and nothing acts on it";
                return Err(Error::clamp(message).at(topology.label(*vertex)));
            }
        }
        let values = |vertex: &VertexId| &point.state.values[vertex.index()];
        let fits = self.found.len() == self.asked.len()
            && self.found.iter().zip(&self.asked).all(|(found, v)| found.is_like(values(v)));
        if fits {
            self.found.iter_mut().for_each(|found| found.fill(0.0));
        } else {
            let zeros = |value: &T| value.zeros(&value.shape());
            self.found = self.asked.iter().map(|vertex| zeros(values(vertex))).collect();
        }
        Ok(())
    }

    /// Says whether what has been added up is the whole.
    pub(super) fn set_ready(&mut self, ready: bool) {
        self.ready = ready && self.any();
    }
}

impl<N: Network> Frame<N> {
    /// The forces from all errors, where a relaxation ends.
    pub(super) fn find_forces(&mut self, network: &mut N) -> Result<()> {
        self.add_forces(network, Which::Active)?;
        self.forces.set_ready(true);
        Ok(())
    }

    /// Adds what the errors of `which` predictions contribute to the forces that were asked for:
    /// `J^T pi e` to a parent, `-pi e` to the vertex itself. Earlier pulls are forgotten.
    pub(super) fn add_forces(&mut self, network: &mut N, which: Which<'_>) -> Result<()> {
        if !self.forces.any() {
            return Ok(());
        }
        let Forces { above, pulled, .. } = &mut self.forces;
        let chosen = which.of(&self.point);
        pulled.clear();
        pulled.extend(above.iter().zip(chosen).map(|(above, chosen)| *above && *chosen));
        if pulled.contains(&true) {
            self.renew(network)?;
            network.forget_pulls(&mut self.at);
            self.point.weigh(network.topology());
            let Forces { wanted, pulled, .. } = &self.forces;
            let want = Want { predictions: pulled, forces: wanted };
            self.pulled = true;
            let point = &self.point;
            network.pull(&point.state, point.cotangents(), want, None, &mut self.at)?;
        }
        let topology = network.topology();
        let (point, at) = (&self.point, &self.at);
        let chosen = which.of(point);
        let Forces { asked, found, pulled, .. } = &mut self.forces;
        for (vertex, total) in asked.iter().zip(found) {
            if topology.uses(*vertex).iter().any(|(child, _)| pulled[child.index()]) {
                let force = network.force(at, *vertex).ok_or_else(|| {
                    Error::unsupported("this network finds no force on a vertex that is held")
                        .at(topology.label(*vertex))
                })?;
                total.axpy(1.0, force);
            }
            for id in topology.own(*vertex).iter().filter(|id| chosen[id.index()]) {
                match &point.terms[id.index()] {
                    Some(term) => total.axpy(1.0, &term.on_value),
                    None => total.axpy(-topology.at(*id).precision, &point.errors[id.index()]),
                }
            }
        }
        Ok(())
    }
}

impl<N: Network> Relaxation<N> {
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
        let topology = network.topology();
        if let Some(vertex) = vertices.iter().find(|vertex| vertex.index() >= topology.len()) {
            return Err(foreign_vertex(*vertex));
        }
        let mut forces = Forces::none();
        forces.asked = vertices.to_vec();
        forces.wanted = topology.vertices().map(|vertex| vertices.contains(&vertex)).collect();
        let asked = |parents: &[VertexId]| parents.iter().any(|parent| vertices.contains(parent));
        forces.above = topology.predictions().iter().map(|p| asked(&p.parents)).collect();
        self.frame.forces = forces;
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
        let forces = &self.frame.forces;
        let place = forces.asked.iter().position(|asked| *asked == vertex)?;
        forces.found.get(place).filter(|_| forces.ready)
    }
}
