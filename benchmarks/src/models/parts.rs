//! A model under construction: what all architectures are put together from.

use pc_core::{
    Error, ErrorKind, Graph, GraphBuilder, Result, VertexId,
    host::{Activation, Dense, Element, HostLayers, HostTensor, Init},
};

use super::{
    kind::{InputShape, ModelKind, Size, Wanted},
    model::{Layout, Model},
};

/// A model that does not fit what it is asked for.
pub(super) fn misfit(message: String) -> Error {
    Error::new(ErrorKind::Shape, message)
}

/// A model under construction.
pub(super) struct Parts<F: Element> {
    pub(super) b: GraphBuilder<HostTensor<F>>,
    pub(super) init: Init,
    pub(super) kind: ModelKind,
    pub(super) shape: InputShape,
    pub(super) classes: usize,
    pub(super) size: Size,
    pub(super) per_step: bool,
    pub(super) inputs: Vec<VertexId>,
    pub(super) outputs: Vec<VertexId>,
    pub(super) zeros: Vec<VertexId>,
    pub(super) wanted: Wanted,
    pub(super) latent: Option<VertexId>,
    pub(super) layout: Layout,
    pub(super) description: String,
}

impl<F: Element> Parts<F> {
    pub(super) fn new(
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
            wanted: Wanted::Label,
            latent: None,
            layout: Layout::Flat,
            description: String::new(),
        })
    }

    /// The model, all of whose vertices are there.
    pub(super) fn finish(self) -> Result<Model<F>> {
        Ok(Model {
            graph: self.b.build()?,
            inputs: self.inputs,
            outputs: self.outputs,
            classes: self.classes,
            kind: self.kind,
            shape: self.shape,
            description: format!("{} {}", self.kind, self.description),
            zeros: self.zeros,
            wanted: self.wanted,
            latent: self.latent,
            layout: self.layout,
        })
    }

    /// The one input, laid out as `layout` says.
    pub(super) fn input(&mut self, layout: Layout) -> Result<VertexId> {
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
    pub(super) fn step_inputs(&mut self) -> Result<Vec<VertexId>> {
        let [length, features] = self.shape.steps();
        for step in 0..length {
            self.inputs.push(self.b.input(&format!("x{step}"), &[features])?);
        }
        self.layout = Layout::Steps;
        Ok(self.inputs.clone())
    }

    /// The logits.
    pub(super) fn head(&mut self, parent: VertexId) -> Result<()> {
        let classes = self.classes;
        let output = self.b.dense("head", parent, classes, Activation::Identity, &mut self.init)?;
        self.outputs.push(output);
        Ok(())
    }

    /// `f(W v + b)` of all the numbers of a vertex, whatever its shape, as one vertex.
    pub(super) fn dense_flat(
        &mut self,
        name: &str,
        parent: VertexId,
        outputs: usize,
        activation: Activation,
    ) -> Result<VertexId> {
        let layer = Dense::new(outputs).flatten().activation(activation);
        self.b.layer(name, &[parent], &layer, &mut self.init)
    }
}
