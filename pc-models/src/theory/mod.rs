//! What is known of predictive coding in closed form, and how to measure what is not.

mod alignment;
mod linear;

pub use alignment::{output_change, target_alignment};
pub use linear::LinearTheory;
