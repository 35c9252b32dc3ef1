//! Predictive coding for [`tch`]: any libtorch model trains by it, unmarked and unchanged.

mod autograd;
mod backward;
mod function;
mod optimiser;
mod sys;
mod tensor;

pub use backward::{Outcome, Pc, depth};
pub use function::Function;
pub use optimiser::PcOptimizer;
pub use pc_core;
pub use sys::live_graphs;
pub use tensor::TchTensor;
