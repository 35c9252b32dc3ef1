//! The subcommands, a folder each.

pub mod check;
pub mod gradients;
pub mod speed;
pub mod train;
