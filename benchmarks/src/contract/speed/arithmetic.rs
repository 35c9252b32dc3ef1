//! How much arithmetic a step takes.

use super::kind::TimedKind;
use crate::models::ModelKind;

/// Floating-point operations in matrix products and convolutions, two for each multiplication with
/// its addition; what else there is (activations, pooling, state updates) is not counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Arithmetic {
    /// Of one pass forward, layer by layer.
    layers: Vec<f64>,
}

impl Arithmetic {
    /// Of the nets that `speed` builds, as they come; none of those whose arithmetic is not
    /// counted.
    pub fn of(kind: impl Into<TimedKind>, batch: usize) -> Option<Self> {
        let products: &[usize] = match kind.into() {
            // Inputs times outputs of each layer, and for a convolution times the places of its
            // kernel.
            TimedKind::Model(ModelKind::Mlp) => &[784 * 512, 512 * 512, 512 * 10],
            TimedKind::Model(ModelKind::Cnn) => {
                &[25 * 6 * 28 * 28, 6 * 25 * 16 * 10 * 10, 400 * 120, 120 * 84, 84 * 10]
            }
            TimedKind::Vgg5 => &[
                9 * 3 * 128 * 32 * 32,
                9 * 128 * 256 * 16 * 16,
                9 * 256 * 512 * 8 * 8,
                9 * 512 * 512 * 4 * 4,
                2048 * 10,
            ],
            TimedKind::Model(_) => return None,
        };
        Some(Self::new(
            products.iter().map(|product| 2.0 * batch as f64 * *product as f64).collect(),
        ))
    }

    /// Of a pass forward with so many operations in each layer, first to last, whatever the
    /// backend.
    pub fn new(layers: Vec<f64>) -> Self {
        Self { layers }
    }

    /// A pass forward.
    pub fn forward(&self) -> f64 {
        self.layers.iter().sum()
    }

    /// Without the first layer, whose input is held.
    fn inner(&self) -> f64 {
        self.layers.iter().skip(1).sum()
    }

    /// Backprop: a pass forward, weight gradients of all layers, input gradients of all but the
    /// first.
    pub fn backprop(&self) -> f64 {
        2.0 * self.forward() + self.inner()
    }

    /// Standard PC of so many steps: a pass forward, each step a pullback and a new prediction of
    /// all layers but the first, and weight gradients at the end. The product with the held input
    /// counts once.
    pub fn standard(&self, steps: usize) -> f64 {
        2.0 * self.forward() + 2.0 * steps as f64 * self.inner()
    }

    /// Fixed prediction of so many steps, simulated: as standard PC, but nothing is predicted
    /// again.
    pub fn simulated(&self, steps: usize) -> f64 {
        2.0 * self.forward() + steps as f64 * self.inner()
    }
}
