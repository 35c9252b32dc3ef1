//! The engine against fixtures, closed forms, independent programs and backprop.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod abilities;
mod builder;
mod choices;
mod clamps;
mod common;
mod dags;
mod delta;
mod faults;
mod forces;
mod golden;
mod independent;
mod infer;
mod linear;
mod losses;
mod optimisers;
mod pinned;
mod predict;
mod refusals;
mod saving;
mod shapes;
