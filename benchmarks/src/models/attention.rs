//! A transformer block.

use pc_core::{
    Result,
    host::{Activation, Element, HostLayers},
};

use super::{kind::Size, model::Layout, parts::Parts};

impl<F: Element> Parts<F> {
    /// An embedding with learned positions; self-attention with two heads, whose queries, keys,
    /// values, scores, softmax, mix and projection are vertices of their own; a skip and a layer
    /// norm; two dense layers; a skip and a layer norm; and the head over all steps at once. With
    /// one output a step the attention is causal, and the head acts at each step with the same
    /// weights.
    pub(super) fn attention(&mut self) -> Result<()> {
        let width = match self.size {
            Size::Small => 4,
            Size::Standard => 32,
        };
        let [length, features] = self.shape.steps();
        let x = self.input(Layout::Table)?;
        let (b, init) = (&mut self.b, &mut self.init);
        let embedded = b.dense("embed", x, width, Activation::Identity, init)?;
        let placed = b.add_parameter("positions", embedded, 0.1, init)?;
        let attention = b.self_attention("attention", placed, 2, self.per_step, init)?;
        let skip = b.sum("skip1", &[placed, attention.output])?;
        let normed = b.layer_norm("norm1", skip)?;
        let wide = b.dense("wide", normed, 2 * width, Activation::Relu, init)?;
        let narrow = b.dense("narrow", wide, width, Activation::Identity, init)?;
        let skip = b.sum("skip2", &[normed, narrow])?;
        let normed = b.layer_norm("norm2", skip)?;
        if self.per_step {
            self.head(normed)?;
        } else {
            let output = self.dense_flat("head", normed, self.classes, Activation::Identity)?;
            self.outputs.push(output);
        }
        self.description =
            format!("{length} steps of {features}, width {width}, 2 heads, {}", self.classes);
        Ok(())
    }
}
