//! Which vertex predicts which: the part of a network that is the same for every framework.

mod ids;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::{Error, Result};

pub use ids::{ParamId, PredictionId, VertexId};
pub(crate) use ids::{foreign_parameter, foreign_prediction, foreign_vertex};

/// Names for a message, which no one could read if it had thousands.
pub(crate) fn listed(names: &[String]) -> String {
    const MOST: usize = 20;
    if names.len() <= MOST {
        return names.join(", ");
    }
    format!("{} and {} more", names[..MOST].join(", "), names.len() - MOST)
}

/// One prediction: of which vertex, from which parents, with which parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The vertex that is predicted.
    pub of: VertexId,
    /// The vertices it is predicted from, in the order the prediction takes them.
    pub parents: Vec<VertexId>,
    /// The parameters it uses, in the order the prediction takes them.
    pub parameters: Vec<ParamId>,
    /// `pi`, the weight of its error in the energy.
    pub precision: f64,
    /// By parent: whether the prediction sends it no force. Empty if it sends one to each.
    pub cut: Vec<bool>,
    /// If it is a term of the energy, the weight with which its numbers are added to the energy.
    /// Its vertex is no state then.
    pub term: Option<f64>,
}

impl Prediction {
    /// A prediction of precision 1 that sends forces to all of its parents.
    pub fn new(of: VertexId, parents: Vec<VertexId>, parameters: Vec<ParamId>) -> Self {
        Self { of, parents, parameters, precision: 1.0, cut: Vec::new(), term: None }
    }

    /// Whether it sends a force to its parent `slot`.
    pub fn sends(&self, slot: usize) -> bool {
        !self.cut.get(slot).copied().unwrap_or(false)
    }

    /// The parents that it sends forces to.
    pub(crate) fn receivers(&self) -> impl Iterator<Item = VertexId> {
        let all = self.parents.iter().enumerate();
        all.filter(|(slot, _)| self.sends(*slot)).map(|(_, parent)| *parent)
    }
}

/// # Errors
/// Not a positive number.
pub(crate) fn positive(precision: f64) -> Result<f64> {
    if precision > 0.0 && precision.is_finite() {
        return Ok(precision);
    }
    Err(Error::graph(format!("the precision must be a positive number, not {precision}")))
}

/// The vertices and predictions of a network, checked, with the orders that schedules ask for.
#[derive(Clone, Debug)]
pub struct Topology {
    names: Vec<String>,
    by_name: HashMap<String, VertexId>,
    parameter_names: Vec<String>,
    predictions: Vec<Prediction>,
    predictions_of: Vec<Vec<PredictionId>>,
    children: Vec<Vec<(PredictionId, usize)>>,
    forward_order: Result<Vec<PredictionId>>,
    acyclic: bool,
    levels: Vec<usize>,
    depth: usize,
    signature: u64,
}

impl Topology {
    /// Checks the parts and finds the orders.
    ///
    /// A forward pass sets a vertex to its first prediction. Cycles are allowed here. What needs an
    /// order asks for it, and is refused then.
    ///
    /// # Errors
    /// An unknown vertex or parameter, a doubled name, a precision that is not a positive number.
    pub fn new(
        names: Vec<String>,
        parameter_names: Vec<String>,
        predictions: Vec<Prediction>,
    ) -> Result<Self> {
        let mut by_name = HashMap::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            if by_name.insert(name.clone(), VertexId(index)).is_some() {
                return Err(Error::graph("the name is taken by an earlier vertex").at(name));
            }
        }
        let mut predictions_of = vec![Vec::new(); names.len()];
        let mut children = vec![Vec::new(); names.len()];
        for (index, prediction) in predictions.iter().enumerate() {
            let id = PredictionId(index);
            let Some(name) = names.get(prediction.of.0) else {
                return Err(Error::graph(format!(
                    "prediction {index} is of vertex {}, which is not in this graph",
                    prediction.of.0
                )));
            };
            positive(prediction.precision).map_err(|error| error.at(name))?;
            for (slot, parent) in prediction.parents.iter().enumerate() {
                let Some(uses) = children.get_mut(parent.0) else {
                    return Err(Error::graph(format!(
                        "parent {slot} is vertex {}, which is not in this graph",
                        parent.0
                    ))
                    .at(name));
                };
                uses.push((id, slot));
            }
            if let Some(parameter) =
                prediction.parameters.iter().find(|p| p.0 >= parameter_names.len())
            {
                return Err(foreign_parameter(*parameter).at(name));
            }
            predictions_of[prediction.of.0].push(id);
        }
        let mut topology = Self {
            forward_order: Ok(Vec::new()),
            acyclic: false,
            levels: Vec::new(),
            depth: 0,
            signature: 0,
            names,
            by_name,
            parameter_names,
            predictions,
            predictions_of,
            children,
        };
        topology.forward_order = topology.sort(|topology, id| {
            topology.predictions_of[topology.predictions[id].of.0]
                .first()
                .is_some_and(|p| p.0 == id)
        });
        topology.acyclic = topology.sort(|_, _| true).is_ok();
        if topology.acyclic {
            topology.levels = topology.find_levels(false)?;
            let lengths = topology.find_levels(true)?;
            let predicted = topology.vertices().filter(|&v| !topology.is_root(v));
            topology.depth = predicted.map(|v| lengths[v.0]).max().unwrap_or(0);
        }
        topology.signature = topology.find_signature();
        Ok(topology)
    }

    /// A chain `0 -> 1 -> ... -> n - 1`, one prediction each but for the first.
    pub fn chain(names: Vec<String>) -> Result<Self> {
        let predictions = (1..names.len())
            .map(|i| Prediction::new(VertexId(i), vec![VertexId(i - 1)], Vec::new()))
            .collect();
        Self::new(names, Vec::new(), predictions)
    }

    /// Kahn's sort of the predictions that `counts` selects, stable in their index.
    fn sort(&self, counts: impl Fn(&Self, usize) -> bool) -> Result<Vec<PredictionId>> {
        let selected: Vec<bool> = (0..self.predictions.len()).map(|id| counts(self, id)).collect();
        let mut waiting: Vec<usize> = vec![0; self.names.len()];
        for (prediction, _) in
            self.predictions.iter().zip(&selected).filter(|(_, selected)| **selected)
        {
            waiting[prediction.of.0] += 1;
        }
        // A prediction is ready when every parent is known; a vertex is known when its selected
        // predictions are.
        let mut missing: Vec<usize> = self
            .predictions
            .iter()
            .map(|p| p.parents.iter().filter(|parent| waiting[parent.0] > 0).count())
            .collect();
        let mut ready: std::collections::BinaryHeap<std::cmp::Reverse<usize>> =
            (0..self.predictions.len())
                .filter(|&id| selected[id] && missing[id] == 0)
                .map(std::cmp::Reverse)
                .collect();
        let mut order = Vec::with_capacity(self.predictions.len());
        while let Some(std::cmp::Reverse(id)) = ready.pop() {
            order.push(PredictionId(id));
            let of = self.predictions[id].of.0;
            waiting[of] -= 1;
            if waiting[of] == 0 {
                for &(child, _) in &self.children[of] {
                    missing[child.0] -= 1;
                    if missing[child.0] == 0 && selected[child.0] {
                        ready.push(std::cmp::Reverse(child.0));
                    }
                }
            }
        }
        if order.len() == selected.iter().filter(|selected| **selected).count() {
            return Ok(order);
        }
        let stuck = waiting.iter().position(|&left| left > 0).unwrap_or(0);
        Err(Error::graph("lies on a cycle, or below one, so the graph has no order")
            .at(&self.names[stuck]))
    }

    /// By vertex: the longest way that an error comes to it. Terms of the energy come on top of a
    /// graph and leave its levels as they are, but their errors come along ways too.
    fn find_levels(&self, with_terms: bool) -> Result<Vec<usize>> {
        let mut levels = vec![0; self.names.len()];
        for id in self.sort(|_, _| true)?.into_iter().rev() {
            let prediction = &self.predictions[id.0];
            let counts = with_terms || prediction.term.is_none();
            for parent in prediction.receivers().filter(|_| counts) {
                levels[parent.0] = levels[parent.0].max(levels[prediction.of.0] + 1);
            }
        }
        Ok(levels)
    }

    fn find_signature(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.names, &self.parameter_names).hash(&mut hasher);
        for Prediction { of, parents, parameters, precision: _, cut, term } in &self.predictions {
            (of, parents, parameters, cut, term.map(f64::to_bits)).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// A number that differs between topologies of different names, wiring or parameters.
    /// Precisions, which may be set anew, are no part of it.
    pub fn signature(&self) -> u64 {
        self.signature
    }

    /// The number of vertices.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no vertices.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The precisions, by prediction.
    pub(crate) fn precisions(&self) -> impl Iterator<Item = f64> {
        self.predictions.iter().map(|prediction| prediction.precision)
    }

    /// Sets the precision of a prediction.
    ///
    /// # Errors
    /// A prediction that is not in this graph; a precision that is not a positive number.
    pub fn set_precision(&mut self, prediction: PredictionId, precision: f64) -> Result<()> {
        let (of, term) = self.prediction(prediction).map(|own| (own.of, own.term))?;
        if term.is_some() {
            let message = "it is a term of the energy, which has a weight and no precision";
            return Err(Error::graph(message).at(self.label(of)));
        }
        let precision = positive(precision).map_err(|error| error.at(self.label(of)))?;
        self.predictions[prediction.0].precision = precision;
        Ok(())
    }

    /// The weight of a vertex that is a term of the energy.
    pub fn term(&self, vertex: VertexId) -> Option<f64> {
        let first = self.predictions_of.get(vertex.0)?.first()?;
        self.predictions[first.0].term
    }

    /// Every vertex.
    pub fn vertices(&self) -> impl ExactSizeIterator<Item = VertexId> + use<> {
        (0..self.names.len()).map(VertexId)
    }

    /// A vertex's name.
    ///
    /// # Errors
    /// A vertex that is not in this graph.
    pub fn name(&self, vertex: VertexId) -> Result<&str> {
        self.names.get(vertex.0).map(String::as_str).ok_or_else(|| foreign_vertex(vertex))
    }

    /// What an error calls a vertex. Clamps may name vertices of other graphs.
    pub(crate) fn label(&self, vertex: VertexId) -> &str {
        self.names.get(vertex.0).map_or("?", String::as_str)
    }

    /// The vertex of this name.
    ///
    /// # Errors
    /// No vertex has this name; the message lists the names there are, or the first of many.
    pub fn vertex(&self, name: &str) -> Result<VertexId> {
        self.by_name.get(name).copied().ok_or_else(|| {
            Error::graph(format!("no vertex is called `{name}`; there are {}", listed(&self.names)))
        })
    }

    /// The parameters' names.
    pub fn parameter_names(&self) -> &[String] {
        &self.parameter_names
    }

    /// Every prediction.
    pub fn predictions(&self) -> &[Prediction] {
        &self.predictions
    }

    /// One prediction.
    ///
    /// # Errors
    /// A prediction that is not in this graph.
    pub fn prediction(&self, id: PredictionId) -> Result<&Prediction> {
        self.predictions.get(id.0).ok_or_else(|| foreign_prediction(id))
    }

    /// [`Topology::predictions_of`], for ids of this topology.
    pub(crate) fn own(&self, vertex: VertexId) -> &[PredictionId] {
        &self.predictions_of[vertex.0]
    }

    /// [`Topology::prediction`], for ids of this topology.
    pub(crate) fn at(&self, prediction: PredictionId) -> &Prediction {
        &self.predictions[prediction.0]
    }

    /// [`Topology::children`], for ids of this topology.
    pub(crate) fn uses(&self, vertex: VertexId) -> &[(PredictionId, usize)] {
        &self.children[vertex.0]
    }

    /// The predictions of one vertex, the one that initialises it first.
    ///
    /// # Errors
    /// A vertex that is not in this graph.
    pub fn predictions_of(&self, vertex: VertexId) -> Result<&[PredictionId]> {
        let own = self.predictions_of.get(vertex.0).map(Vec::as_slice);
        own.ok_or_else(|| foreign_vertex(vertex))
    }

    /// The predictions that use a vertex, and as which of their parents.
    ///
    /// # Errors
    /// A vertex that is not in this graph.
    pub fn children(&self, vertex: VertexId) -> Result<&[(PredictionId, usize)]> {
        let uses = self.children.get(vertex.0).map(Vec::as_slice);
        uses.ok_or_else(|| foreign_vertex(vertex))
    }

    /// Whether nothing predicts the vertex. This is also true of a vertex that is not in this
    /// graph.
    pub fn is_root(&self, vertex: VertexId) -> bool {
        self.predictions_of.get(vertex.0).is_none_or(Vec::is_empty)
    }

    /// The order of a forward pass: each vertex's first prediction after its parents'.
    ///
    /// # Errors
    /// Those predictions form a cycle; the error names a vertex on or below it.
    pub fn forward_order(&self) -> Result<&[PredictionId]> {
        self.forward_order.as_deref().map_err(Clone::clone)
    }

    /// Whether no prediction leads back to its own parents.
    pub fn is_acyclic(&self) -> bool {
        self.acyclic
    }

    /// A vertex's level: its longest distance to a vertex without children. Returns `None` if the
    /// graph is cyclic, or if the vertex is not in it.
    pub fn level(&self, vertex: VertexId) -> Option<usize> {
        self.levels.get(vertex.0).copied()
    }

    /// The length, in edges, of the longest path to a predicted vertex from a vertex without
    /// children. After so many steps at rate 1 the last error has arrived. Returns `None` if the
    /// graph is cyclic.
    pub fn depth(&self) -> Option<usize> {
        self.acyclic.then_some(self.depth)
    }

    /// The first edge from a predicted vertex that spans more than one level, as (parent, child).
    /// Returns `None` if there is no such edge; Z-IL is exact only then. Also returns `None` if the
    /// graph is cyclic, since it has no levels.
    pub fn unlevelled_edge(&self) -> Option<(VertexId, VertexId)> {
        if !self.acyclic {
            return None;
        }
        self.predictions.iter().find_map(|prediction| {
            let parent = prediction.receivers().find(|parent| {
                !self.is_root(*parent) && self.levels[parent.0] != self.levels[prediction.of.0] + 1
            })?;
            Some((parent, prediction.of))
        })
    }
}
