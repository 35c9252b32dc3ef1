//! Devices of other processes, by Burn's `remote`: servers that are stock Burn's, marked programs
//! and explicit graphs on them, burn-train's `Learner` over two of them, and servers that are lost.
//!
//! `cargo xtask remote` builds the server (`examples/serve.rs`) and runs these.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../examples/common/devices.rs"]
mod devices;
mod lost;
mod model;
mod rules;
mod servers;
#[path = "../suite/mod.rs"]
mod suite;
#[path = "../support/mod.rs"]
mod support;
mod training;
