//! The multi-layer perceptron.

use pc_core::{
    Result,
    host::{Activation, Element, HostLayers},
};

use super::{kind::Size, model::Layout, parts::Parts};

/// Inputs from which the hidden layers are large.
const LARGE: usize = 256;

impl<F: Element> Parts<F> {
    /// Two hidden relu layers: of 512 for inputs of 256 numbers and more, else of 64.
    pub(super) fn mlp(&mut self) -> Result<()> {
        let features = self.shape.features();
        let hidden = match self.size {
            Size::Small => 12,
            Size::Standard if features >= LARGE => 512,
            Size::Standard => 64,
        };
        let mut last = self.input(Layout::Flat)?;
        for layer in 1..=2 {
            last = self.b.dense(
                &format!("dense{layer}"),
                last,
                hidden,
                Activation::Relu,
                &mut self.init,
            )?;
        }
        self.head(last)?;
        self.description = format!("{features}-{hidden}-{hidden}-{}, relu", self.classes);
        Ok(())
    }
}
