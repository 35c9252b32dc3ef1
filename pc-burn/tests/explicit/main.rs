//! Explicit graphs of Burn's modules: exact schedules against Burn's own backward, the way to an
//! optimiser and back, and bad input.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod exact;
mod hand_over;
mod modules;
mod refusals;
#[path = "../support/mod.rs"]
mod support;
mod vertices;
