//! Burn's own example programs, built small and in their manner, with marks: they train by standard
//! PC and by exact rules, and exact gradients are Burn's backward. `docs/bring-your-model.md` shows
//! their marks as differences.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod check;
mod gpt;
mod lstm;
mod marks;

mod mlp;
mod mnist;
mod page;

mod resnet;
#[path = "../support/mod.rs"]
mod support;
mod text_classification;
