//! The kernels themselves, run on the CPU, against the host backend in f64.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod blocks;
mod common;
mod conformance;
mod fused_convolutions;
mod graphs;
mod hand_over;
mod optimisers;
mod parallel;
mod parity;
mod recorded;
mod refusals;
mod rounded;
mod stepped;
