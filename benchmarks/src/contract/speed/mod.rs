//! What `speed` asks of a backend, and the figures that come of it.

mod arithmetic;
mod case;
mod contender;
mod kind;
mod measured;
mod statistics;
mod target;
mod timed;

pub use arithmetic::Arithmetic;
pub use case::Case;
pub use contender::{Contender, ContenderRole, GEMM_FLOP, GEMM_SIDE, RATE, Seconds};
pub use kind::{STEPS, TimedKind};
pub use measured::{Measured, Parts};
pub use statistics::Median;
pub use target::Target;
pub use timed::Timed;
