//! The models that every command trains, checks and times: explicit graphs of host vertices.
//!
//! [`build`] makes any [`ModelKind`] for any [`InputShape`] it fits; [`Model::clamps`] says what is
//! held for a batch, [`Predictor`] gives the logits of a forward pass. Equal seeds give equal
//! weights, whatever trains them.

mod attention;
mod cnn;
mod feed;
mod kind;
mod lstm;
mod mlp;
mod predict;
mod residual;
mod rnn;

use pc_core::{
    Error, ErrorKind, Graph, GraphBuilder, Result, VertexId,
    host::{
        Activate, Activation, Chain, Element, HostLayers, HostTensor, HostVertex, Init, Linear,
        Reshape,
    },
};

pub use feed::{Features, OutputLoss, one_for_all};
pub use kind::{InputShape, ModelKind, Size};
pub use predict::{Predictor, Score};

use feed::Layout;

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
    /// it has a row for each step.
    pub classes: usize,
    /// What it was built as.
    pub kind: ModelKind,
    /// What it was built for.
    pub shape: InputShape,
    /// The architecture in a few words, such as `mlp 64-64-64-10, relu`.
    pub description: String,
    /// Roots that are held at zero: the state before the first step.
    pub zeros: Vec<VertexId>,
    layout: Layout,
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

/// Builds a model with one output for each sample.
///
/// # Errors
/// A model that does not fit the shape, such as a convolution over characters; the message says
/// which would.
///
/// # Example
/// ```
/// use pc_bench::models::{InputShape, ModelKind, Size, build};
/// let model = build::<f32>(ModelKind::Mlp, &InputShape::Image([1, 8, 8]), 10, 0, Size::Standard)?;
/// assert_eq!(model.graph.shape(model.outputs[0])?, [10]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn build<F: Element>(
    kind: ModelKind,
    shape: &InputShape,
    classes: usize,
    seed: u64,
    size: Size,
) -> Result<Model<F>> {
    Parts::new(kind, shape, classes, seed, size, false)?.build()
}

/// Builds a model with an output for each step, to predict the next character everywhere in a text.
///
/// # Errors
/// As [`build`]; a model that sees all steps at once, and so the characters that it is to predict.
pub fn build_per_step<F: Element>(
    kind: ModelKind,
    shape: &InputShape,
    classes: usize,
    seed: u64,
    size: Size,
) -> Result<Model<F>> {
    if !kind.goes_by_step() {
        let why = "sees all steps at once, so it cannot predict each from those before: choose \
            rnn, lstm or attention";
        return Err(misfit(format!("a {kind} {why}")));
    }
    Parts::new(kind, shape, classes, seed, size, true)?.build()
}

/// A model that does not fit what it is asked for.
fn misfit(message: String) -> Error {
    Error::new(ErrorKind::Shape, message)
}

/// A model under construction.
struct Parts<F: Element> {
    b: GraphBuilder<HostTensor<F>>,
    init: Init,
    kind: ModelKind,
    shape: InputShape,
    classes: usize,
    size: Size,
    per_step: bool,
    inputs: Vec<VertexId>,
    outputs: Vec<VertexId>,
    zeros: Vec<VertexId>,
    layout: Layout,
    description: String,
}

impl<F: Element> Parts<F> {
    fn new(
        kind: ModelKind,
        shape: &InputShape,
        classes: usize,
        seed: u64,
        size: Size,
        per_step: bool,
    ) -> Result<Self> {
        if classes == 0 || shape.features() == 0 {
            return Err(misfit(format!(
                "a {kind} for inputs {shape} and {classes} classes would have nothing to do"
            )));
        }
        Ok(Self {
            b: Graph::builder(),
            init: Init::new(seed),
            kind,
            shape: *shape,
            classes,
            size,
            per_step,
            inputs: Vec::new(),
            outputs: Vec::new(),
            zeros: Vec::new(),
            layout: Layout::Flat,
            description: String::new(),
        })
    }

    fn build(mut self) -> Result<Model<F>> {
        match self.kind {
            ModelKind::Mlp => self.mlp()?,
            ModelKind::Cnn => self.cnn()?,
            ModelKind::Rnn => self.rnn()?,
            ModelKind::Lstm => self.lstm()?,
            ModelKind::Residual => self.residual()?,
            ModelKind::Attention => self.attention()?,
        }
        Ok(Model {
            graph: self.b.build()?,
            inputs: self.inputs,
            outputs: self.outputs,
            classes: self.classes,
            kind: self.kind,
            shape: self.shape,
            description: format!("{} {}", self.kind, self.description),
            zeros: self.zeros,
            layout: self.layout,
        })
    }

    /// The one input, laid out as `layout` says.
    fn input(&mut self, layout: Layout) -> Result<VertexId> {
        let shape = match layout {
            Layout::Flat => vec![self.shape.features()],
            Layout::Picture => self.shape.picture().map(Vec::from).unwrap_or_default(),
            Layout::Table | Layout::Steps => Vec::from(self.shape.steps()),
        };
        let id = self.b.input("x", &shape)?;
        self.inputs.push(id);
        self.layout = layout;
        Ok(id)
    }

    /// One input for each step.
    fn step_inputs(&mut self) -> Result<Vec<VertexId>> {
        let [length, features] = self.shape.steps();
        for step in 0..length {
            self.inputs.push(self.b.input(&format!("x{step}"), &[features])?);
        }
        self.layout = Layout::Steps;
        Ok(self.inputs.clone())
    }

    /// The logits.
    fn head(&mut self, parent: VertexId) -> Result<()> {
        let classes = self.classes;
        let output = self.b.dense("head", parent, classes, Activation::Identity, &mut self.init)?;
        self.outputs.push(output);
        Ok(())
    }

    /// `f(W v + b)` of all the numbers of a vertex, whatever its shape, as one vertex.
    fn dense_flat(
        &mut self,
        name: &str,
        parent: VertexId,
        outputs: usize,
        activation: Activation,
    ) -> Result<VertexId> {
        let inputs = self.b.shape(parent)?.iter().product();
        let weight = self.b.parameter(
            &format!("{name}.weight"),
            self.init.weight(&[outputs, inputs], inputs, activation)?,
        )?;
        let bias = self.b.parameter(&format!("{name}.bias"), HostTensor::zeroed(&[outputs])?)?;
        let mut links: Vec<HostVertex<F>> =
            vec![Box::new(Reshape::flatten()), Box::new(Linear::new())];
        if activation != Activation::Identity {
            links.push(Box::new(Activate(activation)));
        }
        self.b.vertex(name, Box::new(Chain::new(links)?), &[parent], &[weight, bias])
    }
}
