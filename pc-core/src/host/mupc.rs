//! The scaling of very deep nets.

use crate::{
    Activation,
    host::{Dense, Fan, Parameterisation},
};

/// The layers of a muPC net (Innocenti, Achour and Buckley 2025, "muPC: Scaling predictive coding
/// to 100+ layer networks", arXiv:2505.13124): with `phi` the activation,
/// ```text
/// u_1 = a_1 W_1 x,   u_l = a W_l phi(h_(l-1)) [+ h_(l-1)],   u_L = a_L W_L phi(h_(L-1))
/// ```
/// without biases, all weights starting normal of variance 1, and with
/// `a_1 = 1 / sqrt(D)`, `a = 1 / sqrt(N)` or with skips `1 / sqrt(N L)`, and `a_L = 1 / N`, where
/// `D` is the width of the input, `N` that of the hidden layers, and `L` the number of layers, the
/// first and the last included. Then hidden states start of order 1 at any depth, and the output of
/// order `1 / sqrt(N)`. [`MuPc::parameterised`] makes the same net in another [`Parameterisation`],
/// to compare with.
///
/// # Example
/// ```
/// use pc_core::{Graph, host::{Activation, HostLayers, HostTensor, Init, MuPc}};
/// let (mupc, mut init) = (MuPc::new(784, 64, 5, Activation::Relu).with_skips(), Init::new(0));
/// let mut b = Graph::<HostTensor<f32>>::builder();
/// let x = b.input("x", &[784])?;
/// let mut h = b.layer("h1", &[x], &mupc.first(), &mut init)?;
/// for l in 2..5 {
///     h = b.layer(&format!("h{l}"), &[h], &mupc.hidden(), &mut init)?;
/// }
/// let y = b.layer("y", &[h], &mupc.last(10), &mut init)?;
/// assert_eq!(b.shape(y)?, [10]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MuPc {
    inputs: usize,
    width: usize,
    layers: usize,
    activation: Activation,
    skips: bool,
    by: Parameterisation,
}

impl MuPc {
    /// For `inputs` numbers (`D`), hidden layers of this width (`N`), and so many layers in all
    /// (`L`); without skips.
    pub fn new(inputs: usize, width: usize, layers: usize, activation: Activation) -> Self {
        Self { inputs, width, layers, activation, skips: false, by: Parameterisation::MuPc }
    }

    /// Adds to every layer but the first and the last what it is predicted from.
    #[must_use]
    pub fn with_skips(mut self) -> Self {
        self.skips = true;
        self
    }

    /// By this parameterisation.
    #[must_use]
    pub fn parameterised(mut self, by: Parameterisation) -> Self {
        self.by = by;
        self
    }

    /// The places of the first layer's weight, of those of the hidden ones after it, of the last's.
    fn fans(&self) -> [Fan; 3] {
        let depth = if self.skips { self.layers } else { 1 };
        [Fan::first(self.inputs), Fan::hidden(self.width).over(depth), Fan::last(self.width)]
    }

    /// The constant factors: of the first layer, of the hidden ones after it, of the last.
    pub fn scales(&self) -> [f64; 3] {
        self.fans().map(|fan| self.by.factor(fan))
    }

    fn layer(&self, outputs: usize, fan: Fan) -> Dense {
        Dense::new(outputs).without_bias().parameterised(self.by, fan)
    }

    /// The first layer, from the input, which no activation is applied to.
    pub fn first(&self) -> Dense {
        self.layer(self.width, self.fans()[0])
    }

    /// A hidden layer, from the one below.
    pub fn hidden(&self) -> Dense {
        let layer = self.layer(self.width, self.fans()[1]);
        let layer = layer.activation_before(self.activation);
        if self.skips { layer.residual() } else { layer }
    }

    /// The last layer, to so many outputs.
    pub fn last(&self, outputs: usize) -> Dense {
        let layer = self.layer(outputs, self.fans()[2]);
        layer.activation_before(self.activation)
    }
}
