//! Predictive coding for [dfdx](dfdx): a model whose shapes are types is read as a graph, and
//! trains by any of pc-core's schedules, with the optimiser that it has.
//!
//! [`PredictiveCoding::learn`] stands in the place of the traced forward pass and `backward()`.
//! Nothing in the model's definition changes. A part that cannot be read is a compile error.

mod ends;
mod learn;
mod loss;
mod modules;
mod parameters;
mod reader;
mod scalar;
mod taped;
mod value;
mod vertices;

pub use ends::{Input, Outputs};
pub use learn::{Granularity, Learned, LossReduction, PredictiveCoding, Reading, read};
pub use pc_core;
pub use reader::Reader;
pub use scalar::Scalar;
pub use value::{Indices, Value};
pub use vertices::{OneVertex, Vertices};
