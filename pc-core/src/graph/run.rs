//! A graph as a network: predictions, linearisations and pulls, node by node.

use crate::{
    Error, Result,
    clamp::Clamps,
    gradients::Gradients,
    graph::Graph,
    network::{Abilities, Drives, Forward, Network, Residuals, Settings, State, Want},
    tensor::Tensor,
    topology::{Topology, VertexId},
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// What an evaluation of one prediction leaves behind.
#[derive(Debug)]
pub struct NodeState<T> {
    cache: Cache<T>,
    /// The prediction at the reference, and its change since.
    predicted: Option<T>,
    change: Option<T>,
    /// Whether `predicted` is of the current reference.
    current: bool,
    /// By parent: the cotangent pulled back to it.
    forces: Vec<Option<T>>,
    /// Whether `forces` counts towards the parents' forces.
    contributes: bool,
    outcome: Result<()>,
}

/// What an evaluation of a whole [`Graph`] leaves behind.
#[derive(Debug)]
pub struct GraphLinearisation<T> {
    nodes: Vec<NodeState<T>>,
    /// By vertex: the sum of several children's contributions.
    sums: Vec<Option<T>>,
    /// By vertex: the node and slot of its only contribution.
    only: Vec<Option<(usize, usize)>>,
    /// By vertex: whether `sums` holds its force.
    summed: Vec<bool>,
}

/// What every node's job reads: the graph and the point it is evaluated at.
pub struct GraphFrame<'a, T: Tensor> {
    graph: &'a Graph<T>,
    values: &'a [T],
    references: &'a [T],
    displacements: &'a [T],
    moved: &'a [bool],
    settings: Settings,
    after_forward: bool,
    residuals: Option<Residuals<'a, T>>,
    cotangents: &'a [T],
    want: Want<'a>,
}

impl<'a, T: Tensor> GraphFrame<'a, T> {
    fn new(graph: &'a Graph<T>, state: &'a State<T>, settings: Settings) -> Self {
        Self {
            graph,
            values: &state.values,
            references: &state.references,
            displacements: &state.displacements,
            moved: &state.moved,
            settings,
            after_forward: false,
            residuals: None,
            cotangents: &[],
            want: Want { predictions: &[], forces: &[] },
        }
    }

    fn inputs(&self, index: usize) -> Inputs<'_, T> {
        let prediction = &self.graph.topology.predictions()[index];
        Inputs {
            values: self.values,
            references: self.references,
            displacements: self.displacements,
            moved: self.moved,
            parents: &prediction.parents,
            parameters: &self.graph.parameters,
            uses: &prediction.parameters,
            plastic: self.settings.plastic,
            live: self.settings.live,
        }
    }

    fn name(&self, index: usize) -> &str {
        self.graph.topology.name(self.graph.topology.predictions()[index].of)
    }

    /// Whether prediction `index` may differ from its value at the reference.
    fn changed(&self, index: usize) -> bool {
        let prediction = &self.graph.topology.predictions()[index];
        (self.settings.plastic && !prediction.parameters.is_empty()) || prediction.parents.iter().any(|parent| self.moved[parent.index()])
    }
}

impl<T: Tensor> NodeState<T> {
    fn predict(&mut self, index: usize, frame: &GraphFrame<'_, T>) -> Result<()> {
        let like = &frame.values[frame.graph.topology.predictions()[index].of.index()];
        let output = match &mut self.predicted {
            Some(predicted) => predicted,
            none => none.insert(like.zeros(&like.shape())),
        };
        frame.graph.vertices[index].predict(&frame.inputs(index), &mut self.cache, output)?;
        self.current = true;
        Ok(())
    }

    fn change(&mut self, index: usize, error: &mut T, frame: &GraphFrame<'_, T>) -> Result<()> {
        let of = frame.graph.topology.predictions()[index].of.index();
        let displacement = frame.moved[of].then(|| &frame.displacements[of]);
        let changed = frame.changed(index);
        if !changed && displacement.is_none() {
            return Ok(());
        }
        if changed {
            let predicted = self.predicted.as_ref().ok_or_else(|| Error::misuse("it was linearised before it had a reference"))?;
            let output = match &mut self.change {
                Some(change) => change,
                none => none.insert(error.zeros(&error.shape())),
            };
            frame.graph.vertices[index].change(&frame.inputs(index), &mut self.cache, predicted, output)?;
        }
        let residual = frame.residuals.as_ref().and_then(|residuals| residuals.get(index));
        error.set_error(residual, displacement, if changed { self.change.as_ref() } else { None });
        Ok(())
    }

    /// Makes a buffer for every parent whose force is of interest, and drops the others.
    fn want_forces(&mut self, index: usize, frame: &GraphFrame<'_, T>) {
        let parents = &frame.graph.topology.predictions()[index].parents;
        if self.forces.len() != parents.len() {
            self.forces.resize_with(parents.len(), || None);
        }
        for (force, parent) in self.forces.iter_mut().zip(parents) {
            if !frame.want.force(*parent) {
                *force = None;
            } else if force.is_none() {
                let like = &frame.values[parent.index()];
                *force = Some(like.zeros(&like.shape()));
            }
        }
    }

    fn pull(
        &mut self,
        index: usize,
        cotangent: &T,
        gradients: Option<&mut Gradients<T>>,
        scale: f64,
        frame: &GraphFrame<'_, T>,
    ) -> Result<()> {
        let with_forces = !frame.want.forces.is_empty();
        if with_forces {
            self.want_forces(index, frame);
            self.contributes = true;
        }
        let uses = &frame.graph.topology.predictions()[index].parameters;
        let mut pulled = Pulled {
            forces: if with_forces { &mut self.forces } else { &mut [] },
            gradients: gradients.filter(|_| !uses.is_empty()).map(|gradients| gradients.slots.as_mut_slice()),
            uses,
            scale,
        };
        if !pulled.wants_forces() && !pulled.wants_gradients() {
            return Ok(());
        }
        frame.graph.vertices[index].pull(&frame.inputs(index), &mut self.cache, cotangent, &mut pulled)
    }
}

impl<T: Tensor> GraphLinearisation<T> {
    fn new(graph: &Graph<T>) -> Self {
        let node = |_| NodeState {
            cache: Cache::default(),
            predicted: None,
            change: None,
            current: false,
            forces: Vec::new(),
            contributes: false,
            outcome: Ok(()),
        };
        let vertices = graph.topology.len();
        Self {
            nodes: (0..graph.vertices.len()).map(node).collect(),
            sums: (0..vertices).map(|_| None).collect(),
            only: vec![None; vertices],
            summed: vec![false; vertices],
        }
    }

    /// The first failure among the nodes, with its vertex named.
    fn check(&mut self, frame: &GraphFrame<'_, T>) -> Result<()> {
        match self.nodes.iter_mut().enumerate().find(|(_, node)| node.outcome.is_err()) {
            Some((index, node)) => std::mem::replace(&mut node.outcome, Ok(())).map_err(|error| error.at(frame.name(index))),
            None => Ok(()),
        }
    }

    /// Finds the force on `vertex` from the contributions of its children.
    fn gather(&mut self, vertex: VertexId, topology: &Topology) {
        let index = vertex.index();
        self.only[index] = None;
        self.summed[index] = false;
        let mut sum: Option<T> = None;
        for &(child, slot) in topology.children(vertex) {
            let child = child.index();
            if !self.nodes[child].contributes {
                continue;
            }
            let Some(force) = self.nodes[child].forces.get(slot).and_then(Option::as_ref) else { continue };
            if let Some(sum) = &mut sum {
                sum.axpy(1.0, force);
            } else if let Some((node, slot)) = self.only[index].take() {
                // A second contribution: from here on a sum.
                if let Some(first) = &self.nodes[node].forces[slot] {
                    let mut total = match self.sums[index].take() {
                        Some(total) if total.has_shape(&first.shape()) => total,
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

impl<T: Tensor> Graph<T> {
    /// The node's buffers fit no other batch size.
    fn reset(&self, linearisation: &mut GraphLinearisation<T>) {
        *linearisation = GraphLinearisation::new(self);
    }
}

impl<T: Tensor> Network for Graph<T> {
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
        for (vertex, clamp) in clamps.iter() {
            let shape = self.shapes.get(vertex.index());
            let shape = shape.ok_or_else(|| Error::clamp(format!("vertex {} is clamped but not in this graph", vertex.index())))?;
            if let Some(tensor) = clamp.tensors().find(|tensor| !tensor.has_batch_shape(batch, shape)) {
                return Err(Error::shape(format!("its clamp has shape {:?}, not {:?}", tensor.shape(), batch_shape(batch, shape)))
                    .at(self.topology.name(vertex)));
            }
        }
        let fits =
            values.len() == self.shapes.len() && values.iter().zip(&self.shapes).all(|(value, shape)| value.has_batch_shape(batch, shape));
        if !fits {
            let like = clamps.iter().find_map(|(_, clamp)| clamp.tensors().next());
            let like = like.ok_or_else(|| Error::clamp("no vertex is clamped"))?;
            *values = self.shapes.iter().map(|shape| like.zeros(&batch_shape(batch, shape))).collect();
        }
        Ok(!fits)
    }

    fn linearisation(&self) -> GraphLinearisation<T> {
        GraphLinearisation::new(self)
    }

    fn forward(&mut self, pass: Forward<'_, T>, into: &mut GraphLinearisation<T>) -> Result<()> {
        let stale = into.nodes.iter().zip(self.topology.predictions()).any(|(node, prediction)| {
            node.predicted.as_ref().is_some_and(|p| p.shape().first() != pass.values[prediction.of.index()].shape().first())
        });
        if stale {
            self.reset(into);
        }
        for node in &mut into.nodes {
            node.current = false;
        }
        for id in self.topology.forward_order()? {
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
            into.nodes[index].predict(index, &frame).map_err(|error| error.at(frame.name(index)))?;
            if pass.follows[of]
                && let Some(predicted) = &into.nodes[index].predicted
            {
                match pass.offsets.get(of) {
                    Some(offset) => pass.values[of].set_sum(predicted, offset),
                    None => pass.values[of].copy_from(predicted),
                }
            }
        }
        self.forget_pulls(into);
        Ok(())
    }

    fn refer(&mut self, state: &State<T>, settings: Settings, after_forward: bool, into: &mut GraphLinearisation<T>) -> Result<()> {
        let mut frame = GraphFrame::new(self, state, settings);
        frame.after_forward = after_forward;
        frame.moved = &self.still;
        T::for_each_node(&mut into.nodes, &mut [], &frame, |index, node, _, frame| {
            if !(frame.after_forward && node.current) {
                node.outcome = node.predict(index, frame);
            }
        });
        into.check(&frame)?;
        self.forget_pulls(into);
        Ok(())
    }

    fn prediction<'a>(&self, at: &'a GraphLinearisation<T>, index: usize) -> Option<&'a T> {
        at.nodes.get(index)?.predicted.as_ref()
    }

    fn linearise(
        &mut self,
        state: &State<T>,
        settings: Settings,
        residuals: Residuals<'_, T>,
        errors: &mut [T],
        into: &mut GraphLinearisation<T>,
    ) -> Result<()> {
        let mut frame = GraphFrame::new(self, state, settings);
        frame.residuals = Some(residuals);
        T::for_each_node(&mut into.nodes, errors, &frame, |index, node, error, frame| {
            if let Some(error) = error {
                node.outcome = node.change(index, error, frame);
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
        let mut frame = GraphFrame::new(self, state, Settings::default());
        frame.cotangents = cotangents;
        frame.want = want;
        match gradients {
            // Uses of one parameter add to one buffer, so these run in order; the vertices use the threads themselves.
            Some(gradients) => {
                for (index, node) in at.nodes.iter_mut().enumerate().filter(|(index, _)| want.prediction(*index)) {
                    node.pull(index, &cotangents[index], Some(&mut *gradients), -1.0, &frame)
                        .map_err(|error| error.at(frame.name(index)))?;
                }
            }
            None => {
                T::for_each_node(&mut at.nodes, &mut [], &frame, |index, node, _, frame| {
                    if frame.want.prediction(index) {
                        node.outcome = node.pull(index, &frame.cotangents[index], None, 1.0, frame);
                    }
                });
                at.check(&frame)?;
            }
        }
        for vertex in self.topology.vertices().filter(|&vertex| want.force(vertex)) {
            if self.topology.children(vertex).iter().any(|(child, _)| want.prediction(child.index())) {
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
        let mut frame = GraphFrame::new(self, state, Settings::default());
        frame.want = Want { predictions: &[], forces: drives.forces };
        for id in self.topology.forward_order()?.iter().rev() {
            let index = id.index();
            let of = self.topology.predictions()[index].of;
            if !drives.driven[index] {
                at.gather(of, &self.topology);
            }
            // The arrival is taken out, so that the node's own buffers may be written.
            let arrived = (!drives.driven[index]).then(|| at.only[of.index()].filter(|_| !at.summed[of.index()])).flatten();
            let mut held = arrived.and_then(|(node, slot)| Some((node, slot, at.nodes[node].forces[slot].take()?)));
            let summed = if held.is_none() && !drives.driven[index] && at.summed[of.index()] { at.sums[of.index()].take() } else { None };
            let cotangent = if drives.driven[index] {
                Some(&drives.cotangents[index])
            } else {
                held.as_ref().map(|(_, _, tensor)| tensor).or(summed.as_ref())
            };
            let weight = drives.weights.get(index).copied().unwrap_or(1.0);
            let result = match cotangent {
                Some(cotangent) => at.nodes[index].pull(index, cotangent, gradients.as_deref_mut(), -weight, &frame),
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
        for root in self.topology.vertices().filter(|&v| self.topology.is_root(v) && drives.forces[v.index()]) {
            at.gather(root, &self.topology);
        }
        Ok(())
    }

    fn gradients(&self) -> Gradients<T> {
        Gradients::like(&self.parameters)
    }
}

fn batch_shape(batch: usize, shape: &[usize]) -> Vec<usize> {
    std::iter::once(batch).chain(shape.iter().copied()).collect()
}
