//! The library behind `pc-bench`: data, models, reports and the commands.

pub mod backends;
pub mod checkpoint;
pub mod cli;
pub mod commands;
pub mod contract;
pub mod data;
pub mod error;
pub mod experiments;
mod interrupt;
pub mod kept;
pub mod models;
pub mod output;
pub mod places;
mod progress;
pub mod report;
pub mod statistics;
pub mod threads;
