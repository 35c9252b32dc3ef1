//! Predictive coding for [dfdx](https://docs.rs/dfdx/0.13.0): a model whose shapes are types is
//! read as a graph, and trains by any of pc-core's schedules, with the dfdx optimiser that it has.
//!
//! [`PredictiveCoding::learn`] stands in the place of the traced forward pass and `backward()`.
//! Nothing in the model's definition changes, and nothing is marked: what feeds what is in its
//! type. A part that cannot be read does not compile, and the message says which part.
//!
//! # What can be read
//! - **One vertex each, with the host's own code:** `Linear`, `UnbiasedLinear`, `LayerNorm1D`,
//!   `Embedding`.
//! - **Part of the vertex before, with the host's own code:** `ReLU`, `LeakyReLU`, `Tanh`,
//!   `Sigmoid`, `AccurateGeLU`, `FastGeLU`, `Sin`, `Cos`, `Exp`, `Ln`, `Square`, `Sqrt`, `Abs`,
//!   `Softmax`, `Dropout`, `DropoutOneIn`, `Bias2D`; `Reshape`, which may be part of the one after
//!   instead.
//! - **Part of the vertex before, by dfdx's tape:** `LogSoftmax`, `AvgPoolGlobal`, `MaxPoolGlobal`,
//!   `MinPoolGlobal`.
//! - **One vertex each, by dfdx's tape:** `PReLU`, `BatchNorm1D`, `BatchNorm2D`, and a module of
//!   one's own ([`OneVertex`]).
//! - **Several vertices:** `MultiHeadAttention` (queries, keys, values, scores, weights, mix,
//!   output), `TransformerEncoderBlock`, `TransformerEncoder`, and a module of one's own
//!   ([`Vertices`]).
//! - **Those of their parts, and a sum:** tuples, `()`, `Residual`, `GeneralizedResidual`,
//!   `SplitInto`, `AddInto`, `Repeated`.
//! - **Brought by this crate:** [`Conv2d`], [`MaxPool2d`], [`AvgPool2d`], [`FlattenTo`] (dfdx 0.13
//!   has theirs on nightly Rust alone, where they no longer compile), [`Rnn`], [`Lstm`], [`Causal`]
//!   attention.
//!
//! A module with parameters and the parameterless ones that follow it are **one** vertex, and a
//! parameterless one that follows no such module is a vertex of its own. That changes every rule
//! but the exact ones; [`Granularity::Modules`] makes every module a vertex. Not read are the
//! transformer's decoder, `Upscale2D`, `PReLU1D`, and what dfdx has on nightly Rust.
//!
//! # Where it computes
//! dfdx's tensors on the CPU are lists of numbers, and so are pc-core's: relaxations run on the
//! host's tensors and vertices, whose live predictions do not lose digits in `f32`. What the host
//! does not have is run by dfdx's tape, which can be pulled once, so that every pull traces again.
//! Parameters are copied in before each step, and gradients come out as dfdx's [`Gradients`].
//! dfdx's CUDA feature wants an old cudarc and is not used.
//!
//! # Traps of dfdx 0.13
//! - Its softmax, log-softmax, logsumexp and cross-entropy give wrong gradients on a permuted
//!   tensor. What vertices and losses are handed lies in order; in code of your own call
//!   `.contiguous()` first.
//! - The derivative of its `AccurateGeLU` is wrong by a factor of the square root of 2 in one term.
//!   The vertex has the right one, so its gradients are not those of `backward()`.
//! - Its losses are means over all numbers. Say so, [`LossReduction::Mean`]: the mean over the
//!   batch is undone on the drive and applied to the gradients. The mean over a sample's numbers
//!   stays part of the loss, and drives `mse_loss` weakly where there are many.
//! - `Dropout` and batch norms draw and move their statistics once in a step of training, and not
//!   once in a step of relaxation.
//!
//! [`Gradients`]: dfdx::tensor::Gradients

// Shapes are types here, and name themselves in full.
#![allow(clippy::type_complexity)]

mod cells;
mod conv;
mod ends;
mod learn;
mod loss;
mod modules;
mod parameters;
mod reader;
mod reading;
mod scalar;
mod store;
mod taped;
mod value;
mod vertices;

pub use cells::{Gate, Lstm, Rnn};
pub use conv::{AvgPool2d, Conv2d, FlattenTo, MaxPool2d, builders};
pub use ends::{Input, Outputs};
pub use learn::{Learned, PredictiveCoding};
pub use modules::Causal;
pub use parameters::{gradients_of, parameters_of, set_parameters};
pub use pc_core::{self, LossReduction};
pub use reader::Reader;
pub use reading::{Granularity, Reading, read};
pub use scalar::Scalar;
pub use value::{Indices, Value};
pub use vertices::{OneVertex, Vertices};
