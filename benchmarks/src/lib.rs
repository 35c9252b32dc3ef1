//! The library behind `pc-bench`: data, models, reports and the commands.

pub mod data;
pub mod report;
