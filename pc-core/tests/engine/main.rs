//! The engine against fixtures, closed forms, independent programs and backprop.

mod clamps;
mod common;
mod dags;
mod delta;
mod golden;
mod independent;
mod linear;
mod refusals;
