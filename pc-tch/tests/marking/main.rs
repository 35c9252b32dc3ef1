//! Programs whose vertices are marked, trained by every rule.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod care;
#[path = "../drop_in/common.rs"]
#[allow(dead_code)]
mod common;
mod exact;
mod lasting;
mod live;
mod models;
mod refusals;
mod spared;
mod trains;
