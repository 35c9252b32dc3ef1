//! Forces on vertices that do not move by them.

use crate::{
    Error, Result,
    method::{Frame, Which},
    network::{Network, Want},
    point::Point,
    tensor::Tensor,
    topology::{Topology, VertexId, foreign_vertex},
};

/// The forces that were asked for.
#[derive(Debug)]
pub(crate) struct Forces<T> {
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
    pub(crate) fn none() -> Self {
        Self {
            asked: Vec::new(),
            wanted: Vec::new(),
            above: Vec::new(),
            pulled: Vec::new(),
            found: Vec::new(),
            ready: false,
        }
    }

    /// The forces on these vertices.
    ///
    /// # Errors
    /// A vertex that is not in the network.
    pub(crate) fn asking(topology: &Topology, vertices: &[VertexId]) -> Result<Self> {
        if let Some(vertex) = vertices.iter().find(|vertex| vertex.index() >= topology.len()) {
            return Err(foreign_vertex(*vertex));
        }
        let asked = |parents: &[VertexId]| parents.iter().any(|parent| vertices.contains(parent));
        Ok(Self {
            asked: vertices.to_vec(),
            wanted: topology.vertices().map(|vertex| vertices.contains(&vertex)).collect(),
            above: topology.predictions().iter().map(|p| asked(&p.parents)).collect(),
            ..Self::none()
        })
    }

    /// The force on a vertex, where it was asked for and has been found.
    pub(crate) fn get(&self, vertex: VertexId) -> Option<&T> {
        let place = self.asked.iter().position(|asked| *asked == vertex)?;
        self.found.get(place).filter(|_| self.ready)
    }

    /// Whether any were asked for.
    pub(crate) fn any(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Sets them to zero for a new batch.
    ///
    /// # Errors
    /// A vertex that a loss drives.
    pub(crate) fn begin(&mut self, topology: &Topology, point: &Point<T>) -> Result<()> {
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
    pub(crate) fn set_ready(&mut self, ready: bool) {
        self.ready = ready && self.any();
    }
}

impl<N: Network> Frame<N> {
    /// The forces from all errors, where a relaxation ends.
    pub(crate) fn find_forces(&mut self, network: &mut N) -> Result<()> {
        self.add_forces(network, Which::Active)?;
        self.forces.set_ready(true);
        Ok(())
    }

    /// Adds what the errors of `which` predictions contribute to the forces that were asked for:
    /// `J^T pi e` to a parent, `-pi e` to the vertex itself. Earlier pulls are forgotten.
    pub(crate) fn add_forces(&mut self, network: &mut N, which: Which<'_>) -> Result<()> {
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
            let mut uses = topology.uses(*vertex).iter();
            if uses.any(|(child, k)| pulled[child.index()] && topology.at(*child).sends(*k)) {
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
