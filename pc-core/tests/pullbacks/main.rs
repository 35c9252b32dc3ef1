//! Every host vertex alone: its pullback against differences of its prediction, its change against
//! direct subtraction, in full precision and where subtraction has no digits left; and what it
//! refuses.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod activations;
mod cells;
mod harness;
mod naive;
mod shapes;
mod sizes;
mod vertices;
