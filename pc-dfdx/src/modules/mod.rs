//! dfdx's own modules as vertices.

mod activations;
mod attention;
mod combine;
mod dense;
mod dropout;
mod embedding;
mod norm;
mod pool;
