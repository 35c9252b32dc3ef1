//! Burn models train by predictive coding.

pub mod explicit;
#[cfg(feature = "train")]
mod learner;
mod marked;
mod predictive;
mod tensor;

#[cfg(feature = "train")]
pub use learner::{AgreementMetric, EnergyMetric, HasLoss, PassesMetric, PcModel, PcOutput, RelaxationInput, Relaxed, ResidualMetric};
pub use marked::{named_vertex, vertex};
pub use predictive::{Learned, LossReduction, PredictiveCoding};
pub use tensor::BurnTensor;
#[doc(hidden)]
pub use tensor::with_operations_only;
