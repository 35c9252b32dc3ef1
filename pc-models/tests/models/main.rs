//! The proofs of the literature's networks and memories, one program for all.

#![allow(clippy::unwrap_used, clippy::panic)]

mod associative;
mod asymmetric;
mod backends;
mod bidirectional;
mod causal;
mod covariance;
mod dense_plain;
mod diverging;
mod features;
mod generative;
mod hopfield;
mod hybrid;
mod linear;
mod monte_carlo;
mod pc_graph;
mod separation;
mod temporal;
mod theory;
