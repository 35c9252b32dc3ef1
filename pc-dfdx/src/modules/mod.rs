//! dfdx's own modules as vertices.

mod activations;
mod attention;
mod bias;
mod causal;
mod combine;
mod dense;
mod dropout;
mod embedding;
mod norm;
mod pool;

pub use causal::Causal;
