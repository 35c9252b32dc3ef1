//! One prediction of a graph: its evaluations, and the frame they read.

use crate::{
    Error, Result,
    gradients::Gradients,
    graph::{Graph, GraphTensor},
    network::{Residuals, Settings, State, Want},
    topology::{PredictionId, VertexId},
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// What an evaluation of one prediction leaves behind.
#[derive(Debug)]
pub struct NodeState<T> {
    pub(super) cache: Cache<T>,
    /// The prediction at the reference, and its change since.
    pub(super) predicted: Option<T>,
    change: Option<T>,
    /// Whether the prediction may have moved from the reference.
    changed: bool,
    /// Whether `predicted` is of the current reference.
    pub(super) current: bool,
    /// By parent: the cotangent pulled back to it.
    pub(super) forces: Vec<Option<T>>,
    /// Whether `forces` counts towards the parents' forces.
    pub(super) contributes: bool,
    pub(super) outcome: Result<()>,
}

/// What every node's job reads: the graph and the point it is evaluated at.
pub struct GraphFrame<'a, T: GraphTensor> {
    pub(super) graph: &'a Graph<T>,
    pub(super) values: &'a [T],
    pub(super) references: &'a [T],
    pub(super) displacements: &'a [T],
    pub(super) moved: &'a [bool],
    pub(super) settings: Settings,
    pub(super) after_forward: bool,
    pub(super) residuals: Option<Residuals<'a, T>>,
    pub(super) cotangents: &'a [T],
    pub(super) want: Want<'a>,
}

impl<'a, T: GraphTensor> GraphFrame<'a, T> {
    pub(super) fn new(graph: &'a Graph<T>, state: &'a State<T>, settings: Settings) -> Self {
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

    /// What node `index` has written for vertex `of`, where it has that vertex's shape: a vertex
    /// may replace the tensor it is handed. A tensor of another shape is dropped.
    fn checked(
        &self,
        index: usize,
        what: &str,
        of: usize,
        batch: usize,
        written: Option<T>,
    ) -> Result<Option<T>> {
        let shape = &self.graph.shapes[of];
        match written {
            Some(tensor) if !tensor.has_batch_shape(batch, shape) => Err(Error::shape(format!(
                "its {} wrote a {what} of shape {:?} for `{}`, whose shape is {shape:?} in a batch \
                 of {batch}",
                self.graph.vertices[index].kind(),
                tensor.shape(),
                self.graph.topology.label(VertexId::new(of)),
            ))),
            fits => Ok(fits),
        }
    }

    pub(super) fn name(&self, index: usize) -> &str {
        self.graph.topology.label(self.graph.topology.predictions()[index].of)
    }
}

impl<T: GraphTensor> NodeState<T> {
    pub(super) fn new() -> Self {
        Self {
            cache: Cache::default(),
            predicted: None,
            change: None,
            changed: false,
            current: false,
            forces: Vec::new(),
            contributes: false,
            outcome: Ok(()),
        }
    }

    pub(super) fn predict(&mut self, index: usize, frame: &GraphFrame<'_, T>) -> Result<()> {
        let of = frame.graph.topology.predictions()[index].of.index();
        let like = &frame.values[of];
        let output = match &mut self.predicted {
            Some(predicted) => predicted,
            none => none.insert(like.zeros(&like.shape())),
        };
        frame.graph.vertices[index].predict(&frame.inputs(index), &mut self.cache, output)?;
        self.predicted =
            frame.checked(index, "prediction", of, like.batch(), self.predicted.take())?;
        self.current = true;
        self.changed = false;
        Ok(())
    }

    pub(super) fn change_so_far(&self) -> Option<&T> {
        self.change.as_ref().filter(|_| self.changed)
    }

    pub(super) fn change(
        &mut self,
        index: usize,
        error: &mut T,
        frame: &GraphFrame<'_, T>,
    ) -> Result<()> {
        let prediction = &frame.graph.topology.predictions()[index];
        let of = prediction.of.index();
        let displacement = frame.moved[of].then(|| &frame.displacements[of]);
        let changed = frame.settings.may_change(prediction, frame.moved);
        self.changed = changed;
        if !changed && displacement.is_none() {
            return Ok(());
        }
        if changed {
            let predicted = self
                .predicted
                .as_ref()
                .ok_or_else(|| Error::misuse("it was linearised before it had a reference"))?;
            let output = match &mut self.change {
                Some(change) => change,
                none => none.insert(error.zeros(&error.shape())),
            };
            frame.graph.vertices[index].change(
                &frame.inputs(index),
                &mut self.cache,
                predicted,
                output,
            )?;
            let batch = error.batch();
            self.change = frame.checked(index, "change", of, batch, self.change.take())?;
        }
        let residual = frame.residuals.as_ref().and_then(|all| all.get(PredictionId::new(index)));
        error.set_error(residual, displacement, if changed { self.change.as_ref() } else { None });
        Ok(())
    }

    /// Makes a buffer for every parent whose force is of interest, and drops the others.
    fn want_forces(&mut self, index: usize, frame: &GraphFrame<'_, T>) {
        let prediction = &frame.graph.topology.predictions()[index];
        let parents = &prediction.parents;
        if self.forces.len() != parents.len() {
            self.forces.resize_with(parents.len(), || None);
        }
        for (slot, (force, parent)) in self.forces.iter_mut().zip(parents).enumerate() {
            if !(frame.want.force(*parent) && prediction.sends(slot)) {
                *force = None;
            } else if force.is_none() {
                let like = &frame.values[parent.index()];
                *force = Some(like.zeros(&like.shape()));
            }
        }
    }

    pub(super) fn pull(
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
            gradients: gradients
                .filter(|_| !uses.is_empty())
                .map(|gradients| gradients.slots.as_mut_slice()),
            uses,
            scale,
        };
        if !pulled.wants_forces() && !pulled.wants_gradients() {
            return Ok(());
        }
        frame.graph.vertices[index].pull(
            &frame.inputs(index),
            &mut self.cache,
            cotangent,
            &mut pulled,
        )?;
        if with_forces {
            let parents = &frame.graph.topology.predictions()[index].parents;
            for (force, parent) in self.forces.iter_mut().zip(parents) {
                let batch = cotangent.batch();
                *force = frame.checked(index, "force", parent.index(), batch, force.take())?;
            }
        }
        Ok(())
    }
}
