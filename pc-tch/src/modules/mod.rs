//! Modules whose inner values are vertices, with the parameters of the plain modules by the same
//! names, so that weight files go both ways.

mod attention;
mod recurrent;
mod residual;

pub use attention::{Attention, AttentionConfig};
pub use recurrent::{Gru, Lstm};
pub use residual::ResidualBlock;
