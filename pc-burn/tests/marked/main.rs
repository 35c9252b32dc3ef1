//! Marked programs against Burn's own backward pass, against the laws of the schedules, and against
//! the host backend.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alone;
mod care;
mod changes;
mod cost;
mod exact;
mod lazy;
mod live;
mod measure;
mod models;
mod reduction;
mod rounding;
#[path = "../support/mod.rs"]
mod support;
mod ties;
