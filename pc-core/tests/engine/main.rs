//! The engine against fixtures, closed forms, independent programs and backprop.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod abilities;
mod accelerated;
mod additions;
mod both_ways;
mod builder;
mod choices;
mod clamps;
mod common;
mod dags;
mod delta;
mod energies;
mod errors_started;
mod faults;
mod forces;
mod golden;
mod hand_over;
mod independent;
mod infer;
mod layers;
mod linear;
mod losses;
mod observing;
mod optimisers;
mod parameters;
mod part;
mod phases;
mod pinned;
mod predict;
mod projections;
mod rates;
mod refusals;
mod rules;
mod sampling;
mod saving;
mod seams;
mod shapes;
mod starting;
mod walk;
mod wide_convolutions;
