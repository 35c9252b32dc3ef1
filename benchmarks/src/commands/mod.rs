//! The subcommands, a folder each.

pub mod check;
pub mod gradients;
pub mod reproduce;
pub mod speed;
pub mod sweep;
pub mod train;
