//! What a model is.

use pc_core::{
    Graph, Result, VertexId,
    host::{Element, HostTensor},
};

use super::kind::{InputShape, ModelKind, Wanted};

/// How a model wants a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// One row of numbers.
    Flat,
    /// Channels, height, width.
    Picture,
    /// One vertex `[steps, features]`.
    Table,
    /// One vertex `[features]` for each step.
    Steps,
}

/// A graph with what a training loop needs to know of it.
#[derive(Debug)]
pub struct Model<F: Element> {
    /// The graph, with its parameters.
    pub graph: Graph<HostTensor<F>>,
    /// The vertices that take the data, in order: one, or one for each step of a sequence.
    pub inputs: Vec<VertexId>,
    /// The vertices that give the logits: one, or one for each step of a sequence.
    pub outputs: Vec<VertexId>,
    /// The logits of each label. An output has as many in its last axis; where it has another axis,
    /// it has a row for each step. Where the picture is wanted, the numbers of one.
    pub classes: usize,
    /// What the outputs are to be.
    pub wanted: Wanted,
    /// What it was built as.
    pub kind: ModelKind,
    /// What it was built for.
    pub shape: InputShape,
    /// The architecture in a few words, such as `mlp 64-64-64-10, relu`.
    pub description: String,
    /// Roots that are held at zero: the state before the first step.
    pub zeros: Vec<VertexId>,
    /// A root that is found by relaxation on each batch, in place of inputs: it starts at zero.
    pub latent: Option<VertexId>,
    pub(super) layout: Layout,
}

impl<F: Element> Model<F> {
    /// The same model with every edge spanning one level, which Z-IL needs; see
    /// [`Graph::levelled`].
    ///
    /// # Errors
    /// A cyclic graph, which none of these models has.
    pub fn levelled(self) -> Result<Self> {
        Ok(Self { graph: self.graph.levelled()?, ..self })
    }
}
