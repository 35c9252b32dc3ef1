//! The engine against fixtures, closed forms, independent programs and backprop.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod abilities;
mod accelerated;
mod builder;
mod choices;
mod clamps;
mod common;
mod dags;
mod delta;
mod errors_started;
mod faults;
mod golden;
mod independent;
mod linear;
mod losses;
mod observing;
mod optimisers;
mod pinned;
mod rates;
mod refusals;
mod rules;
mod sampling;
mod shapes;
mod walk;
