//! The host backend: tensors on the CPU, in `f64` (the oracle of every adapter) and `f32` (the quick default), and vertices whose pullbacks are derived
//! by hand.
//!
//! [`HostLayers`] adds ready layers to a graph under construction; the vertices behind them ([`Linear`], [`Conv2d`], ...) can be put together
//! directly too.

mod activation;
mod chain;
mod element;
mod gemm;
mod layers;
mod linear;
mod loss;
mod optimiser;
mod tensor;

pub use activation::{Activate, Activation};
pub use chain::Chain;
pub use element::Element;
pub use layers::{HostLayers, Init};
pub use linear::Linear;
pub use loss::CrossEntropy;
pub use optimiser::{Adam, Sgd};
pub use tensor::{HostTensor, HostVertex};
