//! Models that were not written for predictive coding, trained by it.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
mod edges;
mod exact;
mod explicit;
mod lasting;
mod layers;
mod models;
mod modules;
mod refusals;
mod resumable;
mod supported;
mod transient;
