//! Values between modules, while a model is read.

use dfdx::shapes::Shape;
use pc_core::{ParamId, VertexId, host::HostVertex};

/// What a module is handed, and hands on, while a model is read: a place in the graph with its
/// dfdx shape, batch first, in the type.
///
/// A module with parameters begins a vertex, and the parameterless ones that follow join it; the
/// vertex is made when a value is needed as a parent or as an output.
#[derive(Debug)]
pub struct Value<S, E> {
    pub(crate) shape: S,
    pub(crate) piece: Piece<E>,
}

/// Indices that a model is handed, for an embedding.
#[derive(Debug)]
pub struct Indices<S> {
    pub(crate) shape: S,
    pub(crate) vertex: VertexId,
}

/// How far a vertex has come.
pub(crate) enum Piece<E> {
    /// Held data that no module has taken yet; which of those.
    Root(usize),
    /// A vertex of the graph.
    Vertex(VertexId),
    /// A vertex that may still grow.
    Open(Open<E>),
}

/// A vertex that is not in the graph yet.
pub(crate) struct Open<E> {
    pub(crate) name: String,
    pub(crate) parents: Vec<VertexId>,
    pub(crate) links: Vec<HostVertex<E>>,
    pub(crate) parameters: Vec<ParamId>,
    /// Whether a module with parameters has begun it. Else it only gives its parent another shape.
    pub(crate) begun: bool,
}

impl<E> std::fmt::Debug for Piece<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root(index) => f.debug_tuple("Root").field(index).finish(),
            Self::Vertex(vertex) => f.debug_tuple("Vertex").field(vertex).finish(),
            Self::Open(open) => f.debug_tuple("Open").field(&open.name).finish(),
        }
    }
}

impl<S: Shape, E> Value<S, E> {
    /// The shape, batch first.
    pub fn shape(&self) -> &S {
        &self.shape
    }
}

impl<S: Shape> Indices<S> {
    /// The shape, batch first.
    pub fn shape(&self) -> &S {
        &self.shape
    }
}

/// The dimensions of a shape.
pub(crate) fn dimensions<S: Shape>(shape: &S) -> Vec<usize> {
    shape.concrete().into()
}

/// The dimensions without the batch.
pub(crate) fn of_sample<S: Shape>(shape: &S) -> Vec<usize> {
    dimensions(shape).into_iter().skip(1).collect()
}
