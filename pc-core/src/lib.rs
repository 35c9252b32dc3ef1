//! Predictive coding on any computation graph.
//!
//! Every vertex of a graph holds a **value** `v`, its parents **predict** it, `mu = f(parents)`,
//! and the **error** is value minus prediction, `e = v - mu`. Relaxation moves values down the
//! **energy** `F = sum 1/2 pi |e|^2` (plus an output loss), and weights learn from the errors next
//! to them. No framework is named here: a model is a [`Network`] of some [`Tensor`], a rule is a
//! [`Schedule`], and [`Relaxation`] is the one loop that runs it. The [`host`] backend runs on the
//! CPU with nothing but this crate, in `f32` and `f64`.
//!
//! Start with [`Graph`] for a worked example, and [`Schedule`] for the rules. A program that builds
//! graphs and trains them finds the names it needs at this root. What a backend, a vertex or a
//! network of one's own needs is in [`backend`].

mod activation;
mod chain;
mod clamp;
mod clipping;
#[cfg(feature = "conformance")]
pub mod conformance;
mod constraint;
mod energy;
mod error;
mod gradients;
mod graph;
mod hand_over;
mod identity;
mod loss;
mod map;
mod method;
mod network;
mod numbers;
mod optimiser_state;
mod outcome;
mod parts;
mod paths;
mod plan;
mod point;
mod prior;
mod projection;
mod relaxation;
mod residual;
mod rows;
#[cfg(feature = "safetensors")]
mod saved;
mod schedule;
mod structure;
mod sum_of;
mod tensor;
mod topology;
mod vertex;
mod weight_rate;

pub mod backend;
pub mod composites;
pub mod host;
pub mod rule;

pub use activation::Activation;
pub use chain::Chain;
pub use clamp::{Clamp, Clamps, SharedLoss};
pub use clipping::Clipping;
pub use constraint::{Constraint, Mask, ZeroDiagonal};
pub use energy::{
    Bernoulli, Categorical, DiagonalPrecision, EnergyInputs, Laplace, LearnedDiagonalPrecision,
    LearnedMatrixPrecision, MatrixPrecision, PredictionEnergy, Slopes,
};
pub use error::{Error, ErrorKind, Result};
pub use gradients::{Agreement, Gradients};
pub use graph::{Graph, GraphBuilder, Predictor};
pub use hand_over::HandOver;
pub use identity::Identity;
pub use loss::{Loss, LossReduction, SquaredError};
pub use map::Map;
pub use network::Network;
pub use outcome::{Energy, Event, Outcome, Status};
pub use prior::Prior;
pub use projection::{Interval, L1Ball, Projection, Simplex, SoftThreshold};
pub use relaxation::Relaxation;
pub use residual::Residual;
pub use rule::Pace;
pub use schedule::{
    Coordinates, ErrorStart, Evaluation, Learning, Linearise, Reduction, Schedule, Start,
};
pub use sum_of::SumOf;
pub use tensor::Tensor;
pub use topology::{ParamId, PredictionId, Topology, VertexId};
pub use weight_rate::WeightRate;

/// The programs in the README compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadmeExamples;
