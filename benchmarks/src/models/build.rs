//! Any model for any input that it fits.

use pc_core::{Result, host::Element};

use super::{
    kind::{InputShape, ModelKind, Size},
    model::Model,
    parts::{Parts, misfit},
};

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
    assemble(Parts::new(kind, shape, classes, seed, size, false)?)
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
    assemble(Parts::new(kind, shape, classes, seed, size, true)?)
}

fn assemble<F: Element>(mut parts: Parts<F>) -> Result<Model<F>> {
    match parts.kind {
        ModelKind::Mlp => parts.mlp()?,
        ModelKind::Cnn => parts.cnn()?,
        ModelKind::Rnn => parts.rnn()?,
        ModelKind::Lstm => parts.lstm()?,
        ModelKind::Residual => parts.residual()?,
        ModelKind::Attention => parts.attention()?,
    }
    parts.finish()
}
