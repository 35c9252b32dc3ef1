//! A graph as a network: predictions, linearisations and pulls, node by node.

use crate::{
    Error, Result,
    clamp::Clamps,
    energy::EnergyOf,
    gradients::Gradients,
    graph::{Graph, GraphFrame, GraphTensor, NodeState},
    network::{Abilities, Drives, Forward, Network, Residuals, Settings, State, Want},
    projection::Projection,
    tensor::elements,
    topology::{PredictionId, Topology, VertexId},
};

/// What an evaluation of a whole [`Graph`] leaves behind.
#[derive(Debug)]
pub struct GraphLinearisation<T> {
    nodes: Vec<NodeState<T>>,
    /// What was asked for at the last evaluation, which pullbacks are told too.
    settings: Settings,
    /// By vertex: the sum of several children's contributions.
    sums: Vec<Option<T>>,
    /// By vertex: the node and slot of its only contribution.
    only: Vec<Option<(usize, usize)>>,
    /// By vertex: whether `sums` holds its force.
    summed: Vec<bool>,
    /// By prediction: whether it is one of a traversal's order.
    listed: Vec<bool>,
}

impl<T: GraphTensor> GraphLinearisation<T> {
    fn new(graph: &Graph<T>) -> Self {
        let vertices = graph.topology.len();
        Self {
            nodes: graph.vertices.iter().map(|_| NodeState::new()).collect(),
            settings: Settings::default(),
            sums: (0..vertices).map(|_| None).collect(),
            only: vec![None; vertices],
            summed: vec![false; vertices],
            listed: vec![false; graph.vertices.len()],
        }
    }

    /// The first failure among the nodes, with its vertex named.
    fn check(&mut self, frame: &GraphFrame<'_, T>) -> Result<()> {
        match self.nodes.iter_mut().enumerate().find(|(_, node)| node.outcome.is_err()) {
            Some((index, node)) => std::mem::replace(&mut node.outcome, Ok(()))
                .map_err(|error| error.at(frame.name(index))),
            None => Ok(()),
        }
    }

    /// Notes which predictions a traversal's order has.
    fn list(&mut self, order: &[PredictionId]) {
        self.listed.fill(false);
        for id in order {
            self.listed[id.index()] = true;
        }
    }

    /// Takes a cotangent off the force on `vertex`.
    fn take_off(&mut self, vertex: VertexId, cotangent: &T) {
        let index = vertex.index();
        if !self.summed[index] {
            let only = self.only[index].take();
            let only = only.and_then(|(node, slot)| self.nodes[node].forces[slot].as_ref());
            let sum = self.sums[index].take().filter(|sum| sum.is_like(cotangent));
            let mut sum = sum.unwrap_or_else(|| cotangent.zeros(&cotangent.shape()));
            match only {
                Some(only) => sum.copy_from(only),
                None => sum.fill(0.0),
            }
            self.sums[index] = Some(sum);
            self.summed[index] = true;
        }
        if let Some(sum) = &mut self.sums[index] {
            sum.axpy(-1.0, cotangent);
        }
    }

    /// Finds the force on `vertex` from the contributions of its children.
    fn gather(&mut self, vertex: VertexId, topology: &Topology) {
        let index = vertex.index();
        self.only[index] = None;
        self.summed[index] = false;
        let mut sum: Option<T> = None;
        for &(child, slot) in topology.uses(vertex) {
            let child = child.index();
            if !self.nodes[child].contributes {
                continue;
            }
            let Some(force) = self.nodes[child].forces.get(slot).and_then(Option::as_ref) else {
                continue;
            };
            if let Some(sum) = &mut sum {
                sum.axpy(1.0, force);
            } else if let Some((node, slot)) = self.only[index].take() {
                // A second contribution: from here on a sum.
                if let Some(first) = &self.nodes[node].forces[slot] {
                    let mut total = match self.sums[index].take() {
                        Some(total) if total.batch() == first.batch() => total,
                        _ => first.clone(),
                    };
                    total.set_sum(first, force);
                    sum = Some(total);
                }
            } else {
                self.only[index] = Some((child, slot));
            }
        }
        if let Some(sum) = sum {
            self.sums[index] = Some(sum);
            self.summed[index] = true;
        }
    }
}

impl<T: GraphTensor> Graph<T> {
    /// Makes `values` hold a tensor for every vertex, in a batch of this size. True where it had to
    /// be made anew.
    ///
    /// # Errors
    /// A vertex with more numbers than any memory holds.
    pub(super) fn make_room(&self, batch: usize, like: &T, values: &mut Vec<T>) -> Result<bool> {
        let fits = |(value, shape): (&T, &Vec<usize>)| value.has_batch_shape(batch, shape);
        if values.len() == self.shapes.len() && values.iter().zip(&self.shapes).all(fits) {
            return Ok(false);
        }
        let shapes: Vec<_> = self.shapes.iter().map(|shape| batch_shape(batch, shape)).collect();
        for (vertex, shape) in self.topology.vertices().zip(&shapes) {
            elements(shape).map_err(|error| error.at(self.topology.label(vertex)))?;
        }
        *values = shapes.iter().map(|shape| like.zeros(shape)).collect();
        Ok(true)
    }
}

impl<T: GraphTensor> Network for Graph<T> {
    type Tensor = T;
    type Linearisation = GraphLinearisation<T>;

    fn topology(&self) -> &Topology {
        &self.topology
    }

    fn abilities(&self) -> Abilities {
        Abilities::ALL
    }

    fn prepare(&mut self, clamps: &Clamps<T>, values: &mut Vec<T>) -> Result<bool> {
        let batch = clamps.batch(&self.topology)?;
        let like = self
            .parameters
            .first()
            .or_else(|| clamps.iter().find_map(|(_, clamp)| clamp.tensors().next()));
        for (vertex, clamp) in clamps.iter() {
            let shape = self.shapes.get(vertex.index());
            let shape = shape.ok_or_else(|| {
                Error::clamp(format!("vertex {} is clamped but not in this graph", vertex.index()))
            })?;
            if let Some(tensor) =
                clamp.tensors().find(|tensor| !tensor.has_batch_shape(batch, shape))
            {
                return Err(Error::shape(format!(
                    "its clamp has shape {:?}, not {:?}",
                    tensor.shape(),
                    batch_shape(batch, shape)
                ))
                .at(self.topology.label(vertex)));
            }
            if let Some(like) = like {
                clamp
                    .tensors()
                    .try_for_each(|tensor| like.check_like(tensor))
                    .map_err(|error| error.at(self.topology.label(vertex)))?;
            }
        }
        let like = clamps.iter().find_map(|(_, clamp)| clamp.tensors().next()).or(like);
        let like = like.ok_or_else(|| {
            Error::clamp("no vertex is clamped and there are no parameters to go by")
        })?;
        self.make_room(batch, like, values)
    }

    fn failure(&self) -> Result<()> {
        T::failure()
    }

    fn step_ends(&self) -> Result<()> {
        self.parameters.first().map_or(Ok(()), GraphTensor::step_ends)
    }

    fn signature(&self) -> u64 {
        self.signature
    }

    fn check(&self) -> Result<()> {
        self.check_parameters()
    }

    fn linearisation(&self) -> GraphLinearisation<T> {
        GraphLinearisation::new(self)
    }

    fn forward(&mut self, pass: Forward<'_, T>, into: &mut GraphLinearisation<T>) -> Result<()> {
        into.settings = pass.settings;
        for node in &mut into.nodes {
            node.current = false;
        }
        for id in pass.order {
            let index = id.index();
            let of = self.topology.predictions()[index].of.index();
            let frame = GraphFrame {
                graph: self,
                values: pass.values,
                references: pass.values,
                displacements: &[],
                moved: &self.still,
                settings: pass.settings,
                after_forward: false,
                residuals: None,
                cotangents: &[],
                want: Want { predictions: &[], forces: &[] },
            };
            into.nodes[index]
                .predict(index, &frame)
                .map_err(|error| error.at(frame.name(index)))?;
            if pass.follows[of]
                && let Some(predicted) = &into.nodes[index].predicted
            {
                match pass.offsets.get(of) {
                    Some(offset) => pass.values[of].set_sum(predicted, offset),
                    None => pass.values[of].copy_from(predicted),
                }
                if let (true, Some(projection)) =
                    (pass.projects[of], self.additions.projection(VertexId::new(of)))
                {
                    projection.project(&mut pass.values[of], 0.0);
                }
            }
        }
        self.forget_pulls(into);
        Ok(())
    }

    fn refer(
        &mut self,
        state: &State<T>,
        settings: Settings,
        after_forward: bool,
        into: &mut GraphLinearisation<T>,
    ) -> Result<()> {
        into.settings = settings;
        let mut frame = GraphFrame::new(self, state, settings);
        frame.after_forward = after_forward;
        frame.moved = &self.still;
        T::for_each_node(&mut into.nodes, &mut [], &frame, |id, node, _, frame| {
            if !(frame.after_forward && node.current) {
                node.outcome = node.predict(id.index(), frame);
            }
        });
        into.check(&frame)?;
        self.forget_pulls(into);
        Ok(())
    }

    fn prediction<'a>(
        &self,
        at: &'a GraphLinearisation<T>,
        prediction: PredictionId,
    ) -> Option<&'a T> {
        at.nodes.get(prediction.index())?.predicted.as_ref()
    }

    fn change<'a>(&self, at: &'a GraphLinearisation<T>, prediction: PredictionId) -> Option<&'a T> {
        at.nodes.get(prediction.index())?.change_so_far()
    }

    fn linearise(
        &mut self,
        state: &State<T>,
        settings: Settings,
        residuals: Residuals<'_, T>,
        errors: &mut [T],
        into: &mut GraphLinearisation<T>,
    ) -> Result<()> {
        into.settings = settings;
        let mut frame = GraphFrame::new(self, state, settings);
        frame.residuals = Some(residuals);
        T::for_each_node(&mut into.nodes, errors, &frame, |id, node, error, frame| {
            if let Some(error) = error {
                node.outcome = node.change(id.index(), error, frame);
            }
        });
        into.check(&frame)
    }

    fn pull(
        &mut self,
        state: &State<T>,
        cotangents: &[T],
        want: Want<'_>,
        gradients: Option<&mut Gradients<T>>,
        at: &mut GraphLinearisation<T>,
    ) -> Result<()> {
        let mut frame = GraphFrame::new(self, state, at.settings);
        frame.cotangents = cotangents;
        frame.want = want;
        match gradients {
            // Uses of one parameter add to one buffer, so these run in order; the vertices use the
            // threads themselves.
            Some(gradients) => {
                for (index, node) in at.nodes.iter_mut().enumerate() {
                    if !want.prediction(PredictionId::new(index)) {
                        continue;
                    }
                    node.pull(index, &cotangents[index], Some(&mut *gradients), -1.0, &frame)
                        .map_err(|error| error.at(frame.name(index)))?;
                }
            }
            None => {
                T::for_each_node(&mut at.nodes, &mut [], &frame, |id, node, _, frame| {
                    if frame.want.prediction(id) {
                        let index = id.index();
                        node.outcome = node.pull(index, &frame.cotangents[index], None, 1.0, frame);
                    }
                });
                at.check(&frame)?;
            }
        }
        for vertex in self.topology.vertices().filter(|&vertex| want.force(vertex)) {
            if self.topology.uses(vertex).iter().any(|(child, _)| want.prediction(*child)) {
                at.gather(vertex, &self.topology);
            }
        }
        Ok(())
    }

    fn forget_pulls(&self, at: &mut GraphLinearisation<T>) {
        for node in &mut at.nodes {
            node.contributes = false;
        }
        at.only.fill(None);
        at.summed.fill(false);
    }

    fn force<'a>(&self, at: &'a GraphLinearisation<T>, vertex: VertexId) -> Option<&'a T> {
        let index = vertex.index();
        if at.summed[index] {
            return at.sums[index].as_ref();
        }
        let (node, slot) = at.only[index]?;
        at.nodes[node].forces[slot].as_ref()
    }

    fn reverse(
        &mut self,
        state: &State<T>,
        drives: Drives<'_, T>,
        mut gradients: Option<&mut Gradients<T>>,
        at: &mut GraphLinearisation<T>,
    ) -> Result<()> {
        self.forget_pulls(at);
        let mut frame = GraphFrame::new(self, state, at.settings);
        frame.want = Want { predictions: &[], forces: drives.forces };
        at.list(drives.order);
        let weight = |index: usize| drives.weights.get(index).copied().unwrap_or(1.0);
        for index in (0..at.nodes.len()).filter(|index| drives.driven[*index]) {
            if !at.listed[index] {
                let (cotangent, into) = (&drives.cotangents[index], gradients.as_deref_mut());
                at.nodes[index]
                    .pull(index, cotangent, into, -weight(index), &frame)
                    .map_err(|error| error.at(frame.name(index)))?;
            }
        }
        for id in drives.order.iter().rev() {
            let index = id.index();
            let of = self.topology.predictions()[index].of;
            if !drives.driven[index] {
                at.gather(of, &self.topology);
                for own in self.topology.own(of) {
                    if !at.listed[own.index()] && drives.driven[own.index()] {
                        at.take_off(of, &drives.cotangents[own.index()]);
                    }
                }
            }
            // The arrival is taken out, so that the node's own buffers may be written.
            let arrived = (!drives.driven[index])
                .then(|| at.only[of.index()].filter(|_| !at.summed[of.index()]))
                .flatten();
            let mut held = arrived
                .and_then(|(node, slot)| Some((node, slot, at.nodes[node].forces[slot].take()?)));
            let summed = if held.is_none() && !drives.driven[index] && at.summed[of.index()] {
                at.sums[of.index()].take()
            } else {
                None
            };
            let cotangent = if drives.driven[index] {
                Some(&drives.cotangents[index])
            } else {
                held.as_ref().map(|(_, _, tensor)| tensor).or(summed.as_ref())
            };
            let result = match cotangent {
                Some(cotangent) => at.nodes[index].pull(
                    index,
                    cotangent,
                    gradients.as_deref_mut(),
                    -weight(index),
                    &frame,
                ),
                None => Ok(()),
            };
            if let Some((node, slot, tensor)) = held.take() {
                at.nodes[node].forces[slot] = Some(tensor);
            }
            if let Some(tensor) = summed {
                at.sums[of.index()] = Some(tensor);
            }
            result.map_err(|error| error.at(frame.name(index)))?;
        }
        for root in self
            .topology
            .vertices()
            .filter(|&v| self.topology.is_root(v) && drives.forces[v.index()])
        {
            at.gather(root, &self.topology);
        }
        Ok(())
    }

    fn energy(&self, prediction: PredictionId) -> Option<EnergyOf<'_, T>> {
        self.additions.energy(prediction, &self.parameters)
    }

    fn projection(&self, vertex: VertexId) -> Option<&dyn Projection<T>> {
        self.additions.projection(vertex)
    }

    fn constrain(&self, gradients: &mut Gradients<T>) {
        self.additions.constrain(gradients);
    }

    fn gradients(&self) -> Gradients<T> {
        self.additions.gradients(&self.parameters)
    }
}

fn batch_shape(batch: usize, shape: &[usize]) -> Vec<usize> {
    std::iter::once(batch).chain(shape.iter().copied()).collect()
}
