//! dfdx models learn by predictive coding: beside dfdx's own backward pass, finite differences, and
//! the host.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// The types of models say everything here.
#![allow(clippy::type_complexity)]

mod change;
mod common;
mod exact;
mod hand_over;
mod refusals;
mod vertices;
