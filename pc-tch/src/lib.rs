//! Predictive coding for [`tch`]: any libtorch model trains by it, unmarked and unchanged.

mod autograd;
mod backward;
mod optimiser;
mod sys;

pub use backward::{Outcome, Pc, depth};
pub use optimiser::PcOptimizer;
pub use pc_core;
pub use sys::live_graphs;
