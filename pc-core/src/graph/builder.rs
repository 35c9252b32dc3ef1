//! Building a graph, vertex by vertex.

use std::collections::{HashMap, HashSet};

use crate::{
    Error, Identity, Result,
    graph::{Graph, GraphTensor, additions::Additions},
    tensor::elements,
    topology::{
        ParamId, Prediction, PredictionId, Topology, VertexId, foreign_parameter, foreign_vertex,
        positive,
    },
    vertex::Vertex,
};

/// Collects vertices, predictions and parameters, checking each as it comes.
pub struct GraphBuilder<T: GraphTensor> {
    pub(super) names: Vec<String>,
    pub(super) shapes: Vec<Vec<usize>>,
    vertices: Vec<T::Vertex>,
    pub(super) predictions: Vec<Prediction>,
    pub(super) parameter_names: Vec<String>,
    pub(super) parameters: Vec<T>,
    taken: HashSet<String>,
    taken_by_parameters: HashSet<String>,
    /// By predicted vertex: its first prediction.
    pub(super) first: HashMap<VertexId, usize>,
    /// The precisions that were set, as (prediction, precision before), for
    /// [`GraphBuilder::rollback`].
    pub(super) precisions: Vec<(usize, f64)>,
    pub(super) additions: Additions<T>,
}

/// How far a [`GraphBuilder`] has come: see [`GraphBuilder::mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    vertices: usize,
    predictions: usize,
    parameters: usize,
    precisions: usize,
    additions: [usize; 5],
}

impl Mark {
    /// The number of vertices there were.
    pub fn vertices(&self) -> usize {
        self.vertices
    }

    /// The number of parameters there were.
    pub fn parameters(&self) -> usize {
        self.parameters
    }
}

impl<T: GraphTensor> std::fmt::Debug for GraphBuilder<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GraphBuilder")
            .field("names", &self.names)
            .field("shapes", &self.shapes)
            .finish_non_exhaustive()
    }
}

impl<T: GraphTensor> Default for GraphBuilder<T> {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            shapes: Vec::new(),
            vertices: Vec::new(),
            predictions: Vec::new(),
            parameter_names: Vec::new(),
            parameters: Vec::new(),
            taken: HashSet::new(),
            taken_by_parameters: HashSet::new(),
            first: HashMap::new(),
            precisions: Vec::new(),
            additions: Additions::default(),
        }
    }
}

impl<T: GraphTensor> GraphBuilder<T> {
    /// Adds a vertex that nothing predicts (yet): an input, or a vertex of a cycle, to which
    /// [`GraphBuilder::predict`] adds predictions. `shape` leaves the batch out.
    ///
    /// # Errors
    /// A name that is taken; an empty dimension; more numbers than any memory holds.
    pub fn input(&mut self, name: &str, shape: &[usize]) -> Result<VertexId> {
        if self.taken.contains(name) {
            return Err(Error::graph("the name is taken by an earlier vertex").at(name));
        }
        if shape.contains(&0) {
            return Err(
                Error::shape(format!("the shape {shape:?} has an empty dimension")).at(name)
            );
        }
        elements(shape).map_err(|error| error.at(name))?;
        self.taken.insert(name.to_owned());
        self.names.push(name.to_owned());
        self.shapes.push(shape.to_vec());
        Ok(VertexId::new(self.names.len() - 1))
    }

    /// Adds a parameter. Several predictions may use it; their gradients are summed.
    ///
    /// # Errors
    /// A name that is taken; numbers that are not finite.
    pub fn parameter(&mut self, name: &str, value: T) -> Result<ParamId> {
        if self.taken_by_parameters.contains(name) {
            return Err(Error::graph(format!("the parameter name `{name}` is taken")));
        }
        if !value.is_finite() {
            return Err(Error::not_finite(format!("a number of parameter `{name}` is not finite")));
        }
        self.taken_by_parameters.insert(name.to_owned());
        self.parameter_names.push(name.to_owned());
        self.parameters.push(value);
        Ok(ParamId::new(self.parameters.len() - 1))
    }

    /// Adds a vertex with its prediction, which gives the vertex its shape.
    ///
    /// # Errors
    /// A name that is taken; unknown parents or parameters; shapes that do not fit.
    pub fn vertex(
        &mut self,
        name: &str,
        vertex: T::Vertex,
        parents: &[VertexId],
        parameters: &[ParamId],
    ) -> Result<VertexId> {
        let shape =
            self.predicted_shape(&vertex, parents, parameters).map_err(|error| error.at(name))?;
        let id = self.input(name, &shape)?;
        self.push(id, vertex, parents, parameters, 1.0);
        Ok(id)
    }

    /// Adds a (further) prediction to a vertex, its error weighted by `precision` in the energy.
    /// The first prediction of a vertex is the one that a forward pass sets it to.
    ///
    /// Returns the id of the prediction, by which its error is found.
    ///
    /// # Errors
    /// Unknown vertices or parameters; a prediction whose shape is not the vertex's; a precision
    /// that is not a positive number.
    pub fn predict(
        &mut self,
        of: VertexId,
        vertex: T::Vertex,
        parents: &[VertexId],
        parameters: &[ParamId],
        precision: f64,
    ) -> Result<PredictionId> {
        let Some(name) = self.names.get(of.index()) else {
            return Err(foreign_vertex(of));
        };
        self.not_a_term(of)?;
        let shape =
            self.predicted_shape(&vertex, parents, parameters).map_err(|error| error.at(name))?;
        if shape != self.shapes[of.index()] {
            return Err(Error::shape(format!(
                "its {} prediction has shape {shape:?}, the vertex {:?}",
                vertex.kind(),
                self.shapes[of.index()]
            ))
            .at(name));
        }
        positive(precision).map_err(|error| error.at(name))?;
        self.push(of, vertex, parents, parameters, precision);
        Ok(PredictionId::new(self.predictions.len() - 1))
    }

    /// The name and the shape of a parameter.
    pub(crate) fn parameter_named(&self, parameter: ParamId) -> Result<(&str, Vec<usize>)> {
        let index = parameter.index();
        match (self.parameter_names.get(index), self.parameters.get(index)) {
            (Some(name), Some(value)) => Ok((name, value.shape())),
            _ => Err(foreign_parameter(parameter)),
        }
    }

    /// Sets the precision of the first prediction of a vertex.
    ///
    /// # Errors
    /// A vertex that is unknown or that nothing predicts; a precision that is not a positive
    /// number.
    pub fn precision(&mut self, of: VertexId, precision: f64) -> Result<()> {
        self.precision_of(self.prediction_of(of)?, precision)
    }

    /// Gives a vertex that has children an output of its own: an identity vertex, on which a loss
    /// may act.
    ///
    /// # Errors
    /// As [`GraphBuilder::vertex`].
    pub fn output(&mut self, name: &str, of: VertexId) -> Result<VertexId> {
        self.vertex(name, T::boxed(Identity), &[of], &[])
    }

    /// The shape of a vertex, without the batch.
    ///
    /// # Errors
    /// A vertex that is not in this graph.
    pub fn shape(&self, vertex: VertexId) -> Result<&[usize]> {
        self.shapes.get(vertex.index()).map(Vec::as_slice).ok_or_else(|| foreign_vertex(vertex))
    }

    /// How far the graph has come, for [`GraphBuilder::rollback`].
    pub fn mark(&self) -> Mark {
        Mark {
            vertices: self.names.len(),
            predictions: self.predictions.len(),
            parameters: self.parameters.len(),
            precisions: self.precisions.len(),
            additions: self.additions.counts(),
        }
    }

    /// Takes back all that was added and set since a mark of this builder.
    pub fn rollback(&mut self, to: Mark) {
        self.additions.truncate(to.additions, &mut self.predictions);
        for (index, before) in
            self.precisions.drain(to.precisions.min(self.precisions.len())..).rev()
        {
            if let Some(prediction) = self.predictions.get_mut(index) {
                prediction.precision = before;
            }
        }
        let vertices = to.vertices.min(self.names.len());
        for name in self.names.drain(vertices..) {
            self.taken.remove(&name);
        }
        self.shapes.truncate(vertices);
        let parameters = to.parameters.min(self.parameters.len());
        for name in self.parameter_names.drain(parameters..) {
            self.taken_by_parameters.remove(&name);
        }
        self.parameters.truncate(parameters);
        let predictions = to.predictions.min(self.predictions.len());
        for (index, prediction) in self.predictions.drain(predictions..).enumerate() {
            if self.first.get(&prediction.of) == Some(&(predictions + index)) {
                self.first.remove(&prediction.of);
            }
        }
        self.vertices.truncate(predictions);
    }

    /// Adds all or nothing. If `add` fails, all that it has added and set is taken back, so that
    /// another try finds the builder as it was.
    ///
    /// # Errors
    /// What `add` returns.
    ///
    /// # Example
    /// ```
    /// use pc_core::{Graph, host::HostTensor};
    /// let mut b = Graph::<HostTensor<f32>>::builder();
    /// let added = b.all_or_nothing(|b| {
    ///     b.input("x", &[3])?;
    ///     b.input("y", &[0])
    /// });
    /// assert!(added.is_err());
    /// b.input("x", &[4])?;
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn all_or_nothing<R>(&mut self, add: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        let mark = self.mark();
        let added = add(self);
        if added.is_err() {
            self.rollback(mark);
        }
        added
    }

    /// Checks the whole and makes the graph.
    ///
    /// # Errors
    /// A graph without predictions.
    pub fn build(self) -> Result<Graph<T>> {
        if self.predictions.is_empty() {
            return Err(Error::graph("the graph has no predictions"));
        }
        let topology = Topology::new(self.names, self.parameter_names, self.predictions)?;
        let additions = self.additions.settle(&topology, self.parameters.len());
        let mut parameters = self.parameters;
        for (index, parameter) in parameters.iter_mut().enumerate() {
            additions.hold(ParamId::new(index), parameter);
        }
        Ok(Graph::assemble(topology, self.vertices, self.shapes, parameters, additions))
    }

    pub(super) fn parameter_shape(&self, parameter: ParamId) -> Result<Vec<usize>> {
        self.parameter_named(parameter).map(|(_, shape)| shape)
    }

    fn predicted_shape(
        &self,
        vertex: &T::Vertex,
        parents: &[VertexId],
        parameters: &[ParamId],
    ) -> Result<Vec<usize>> {
        parents.iter().try_for_each(|parent| self.not_a_term(*parent))?;
        let parents =
            parents.iter().map(|&parent| self.shape(parent)).collect::<Result<Vec<_>>>()?;
        let parameter_shapes =
            parameters.iter().map(|id| self.parameter_shape(*id)).collect::<Result<Vec<_>>>()?;
        if parameters.len() != vertex.parameters() {
            return Err(Error::graph(format!(
                "a {} vertex takes {} parameters, not {}",
                vertex.kind(),
                vertex.parameters(),
                parameters.len()
            )));
        }
        let parameter_shapes: Vec<&[usize]> = parameter_shapes.iter().map(Vec::as_slice).collect();
        vertex.shape(&parents, &parameter_shapes)
    }

    fn push(
        &mut self,
        of: VertexId,
        vertex: T::Vertex,
        parents: &[VertexId],
        parameters: &[ParamId],
        precision: f64,
    ) {
        self.first.entry(of).or_insert(self.predictions.len());
        let prediction = Prediction::new(of, parents.to_vec(), parameters.to_vec());
        self.predictions.push(Prediction { precision, ..prediction });
        self.vertices.push(vertex);
    }
}
