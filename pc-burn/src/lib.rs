//! Burn models train by predictive coding.

mod marked;
mod predictive;
mod tensor;

pub use marked::{named_vertex, vertex};
pub use predictive::{Learned, LossReduction, PredictiveCoding};
pub use tensor::BurnTensor;
