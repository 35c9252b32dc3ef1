//! The activations by name.

use pc_core::host::Activation;
use serde::{Deserialize, Serialize};

/// What is applied element by element.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum ActivationKind {
    /// Nothing.
    #[default]
    Identity,
    /// The positive part.
    Relu,
    /// The positive part, and a part of the negative one.
    LeakyRelu,
    /// The part between -1 and 1.
    HardTanh,
    /// The hyperbolic tangent.
    Tanh,
    /// The logistic function.
    Sigmoid,
    /// `x Phi(x)`, by the error function.
    Gelu,
    /// `x sigmoid(x)`.
    Silu,
    /// `log(1 + exp(x))`.
    Softplus,
}

impl ActivationKind {
    /// The slope of the negative part of leaky relu where none is given.
    pub const LEAK: f64 = 0.01;

    /// The function; `slope` is that of leaky relu below 0.
    pub const fn function(self, slope: f64) -> Activation {
        match self {
            Self::Identity => Activation::Identity,
            Self::Relu => Activation::Relu,
            Self::LeakyRelu => Activation::LeakyRelu(slope),
            Self::HardTanh => Activation::HardTanh,
            Self::Tanh => Activation::Tanh,
            Self::Sigmoid => Activation::Sigmoid,
            Self::Gelu => Activation::Gelu,
            Self::Silu => Activation::Silu,
            Self::Softplus => Activation::Softplus,
        }
    }
}
