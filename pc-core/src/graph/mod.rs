//! The explicit graph: vertices and edges built by hand.

mod additions;
mod builder;
mod hand_over;
mod levelling;
mod node;
mod predict;
mod run;
#[cfg(feature = "safetensors")]
mod save;
mod tensor;

use additions::Settled;
pub use builder::{GraphBuilder, Mark};
pub use node::{GraphFrame, NodeState};
pub use predict::Predictor;
pub use run::GraphLinearisation;
pub use tensor::{GraphTensor, NodeJob};

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::{
    Error, Result,
    structure::Structure,
    topology::{
        ParamId, PredictionId, Topology, VertexId, foreign_parameter, foreign_prediction,
        foreign_vertex, listed,
    },
    vertex::Vertex,
};

/// A computation graph whose vertices are objects. It is a [`crate::Network`] with all abilities.
///
/// Any topology is allowed: skips, shared parameters, several outputs, several predictions of one
/// vertex, cycles. The graph owns its parameters.
///
/// # Example
/// ```
/// use pc_core::{
///     Clamps, Graph, Relaxation, Schedule,
///     host::{Activation, HostLayers, HostTensor, Init},
/// };
///
/// let mut init = Init::new(7);
/// let mut b = Graph::<HostTensor<f64>>::builder();
/// let x = b.input("x", &[2])?;
/// let h = b.dense("h", x, 8, Activation::Tanh, &mut init)?;
/// let y = b.dense("y", h, 1, Activation::Identity, &mut init)?;
/// let mut graph = b.build()?;
///
/// let clamps = Clamps::new()
///     .hold(x, HostTensor::new(&[1, 2], vec![0.5, -1.0])?)
///     .hold(y, HostTensor::new(&[1, 1], vec![1.0])?);
/// let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 20)?)?;
/// let outcome = relaxation.run(&mut graph, &clamps)?;
/// assert_eq!(outcome.steps, 20);
/// assert!(relaxation.gradients().iter().all(|(_, gradient)| gradient.is_some()));
/// # Ok::<(), pc_core::Error>(())
/// ```
pub struct Graph<T: GraphTensor> {
    pub(crate) topology: Topology,
    pub(crate) vertices: Vec<T::Vertex>,
    pub(crate) shapes: Vec<Vec<usize>>,
    pub(crate) parameters: Vec<T>,
    /// One `false` a vertex: nothing has moved.
    still: Vec<bool>,
    /// What the parameters' shapes were when the graph was built. Optimisers hold the tensors, so
    /// nothing but a comparison can tell whether they put others there.
    parameter_shapes: Vec<Vec<usize>>,
    /// See [`crate::Network::signature`].
    signature: u64,
    pub(crate) additions: Settled<T>,
}

impl<T: GraphTensor> fmt::Debug for Graph<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.vertices.iter().map(Vertex::kind);
        let vertices = self
            .topology
            .predictions()
            .iter()
            .zip(kinds)
            .map(|(p, kind)| (self.topology.label(p.of), kind));
        f.debug_map().entries(vertices).finish()
    }
}

impl<T: GraphTensor> Graph<T> {
    pub(crate) fn assemble(
        topology: Topology,
        vertices: Vec<T::Vertex>,
        shapes: Vec<Vec<usize>>,
        parameters: Vec<T>,
        additions: Settled<T>,
    ) -> Self {
        let still = vec![false; topology.len()];
        let parameter_shapes: Vec<Vec<usize>> = parameters.iter().map(T::shape).collect();
        let mut hasher = DefaultHasher::new();
        (topology.signature(), &shapes, &parameter_shapes).hash(&mut hasher);
        additions.hash(&mut hasher);
        let signature = hasher.finish();
        Self {
            topology,
            vertices,
            shapes,
            parameters,
            still,
            parameter_shapes,
            signature,
            additions,
        }
    }

    fn check_parameters(&self) -> Result<()> {
        for (index, (held, shape)) in self.parameters.iter().zip(&self.parameter_shapes).enumerate()
        {
            if !held.has_shape(shape) {
                let name = &self.topology.parameter_names()[index];
                return Err(Error::shape(format!(
                    "parameter `{name}` was built with shape {shape:?} and now has {:?}",
                    held.shape()
                )));
            }
        }
        Ok(())
    }

    /// Starts an empty graph.
    pub fn builder() -> GraphBuilder<T> {
        GraphBuilder::default()
    }

    /// The vertices and predictions.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The vertex of this name.
    ///
    /// # Errors
    /// No vertex has this name.
    pub fn vertex(&self, name: &str) -> Result<VertexId> {
        self.topology.vertex(name)
    }

    /// The shape of a vertex's state, without the batch.
    ///
    /// # Errors
    /// A vertex that is not in this graph.
    pub fn shape(&self, vertex: VertexId) -> Result<&[usize]> {
        let shape = self.shapes.get(vertex.index()).map(Vec::as_slice);
        shape.ok_or_else(|| foreign_vertex(vertex))
    }

    /// What a prediction is made of, and the kind of its vertex for messages.
    ///
    /// # Errors
    /// A prediction that is not in this graph.
    pub fn structure(&self, prediction: PredictionId) -> Result<(Structure, &str)> {
        let vertex =
            self.vertices.get(prediction.index()).ok_or_else(|| foreign_prediction(prediction))?;
        Ok((vertex.structure(), vertex.kind()))
    }

    /// The parameters, in order of their [`ParamId`]s.
    pub fn parameters(&self) -> &[T] {
        &self.parameters
    }

    /// The parameters, to be moved by an optimiser.
    pub fn parameters_mut(&mut self) -> &mut [T] {
        &mut self.parameters
    }

    /// The parameters with their names.
    pub fn named_parameters(&self) -> impl ExactSizeIterator<Item = (&str, &T)> {
        self.topology.parameter_names().iter().map(String::as_str).zip(&self.parameters)
    }

    /// The parameter of this name.
    ///
    /// # Errors
    /// No parameter has this name.
    pub fn parameter(&self, name: &str) -> Result<ParamId> {
        let names = self.topology.parameter_names();
        names.iter().position(|known| known == name).map(ParamId::new).ok_or_else(|| {
            Error::graph(format!("no parameter is called `{name}`; there are {}", listed(names)))
        })
    }

    /// Sets a parameter, and moves it to where it keeps its constraints, if it has any.
    ///
    /// # Errors
    /// The shape is another, or a number is not finite.
    pub fn set_parameter(&mut self, parameter: ParamId, value: T) -> Result<()> {
        let names = self.topology.parameter_names();
        let name = names.get(parameter.index()).map_or("?", String::as_str);
        let Some(held) = self.parameters.get_mut(parameter.index()) else {
            return Err(foreign_parameter(parameter));
        };
        if !held.has_shape(&value.shape()) {
            return Err(Error::shape(format!(
                "parameter `{name}` has shape {:?}, not {:?}",
                held.shape(),
                value.shape()
            )));
        }
        if !value.is_finite() {
            return Err(Error::not_finite(format!(
                "a number for parameter `{name}` is not finite"
            )));
        }
        *held = value;
        self.additions.hold(parameter, held);
        Ok(())
    }

    /// Replaces all parameters by ones of the same shapes, each moved to where it keeps its
    /// constraints.
    fn set_all(&mut self, mut parameters: Vec<T>) {
        for (index, parameter) in parameters.iter_mut().enumerate() {
            self.additions.hold(ParamId::new(index), parameter);
        }
        self.parameters = parameters;
    }

    /// The number of scalars in all parameters, buffers left out.
    pub fn parameter_count(&self) -> usize {
        let all = self.parameters.iter().enumerate();
        all.filter(|(index, _)| !self.is_buffer(ParamId::new(*index)))
            .map(|(_, parameter)| parameter.shape().iter().product::<usize>())
            .sum()
    }
}
