//! Burn models train by predictive coding.

mod tensor;

pub use tensor::BurnTensor;
