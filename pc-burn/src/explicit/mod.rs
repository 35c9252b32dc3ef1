//! Explicit graphs: vertices and edges built by hand, from Burn's modules or from closures.
//!
//! [`ModuleGraph`] takes modules (`Linear`, `Conv2d`, `Embedding`, `BatchNorm`, `Lstm`, ...), each
//! a vertex or several, and builds a [`pc_core::Graph`] of [`BurnTensor`]s, the network that every
//! schedule runs on. These vertices are **analytic**: their pullbacks and the change of their
//! predictions are computed by Burn's operations directly, so that relaxation runs no autograd, and
//! frozen relaxation no forward either. Anything else becomes a vertex by [`ModuleGraph::module`],
//! through Burn's autodiff.
//!
//! # The way round
//! 1. Build the graph from the modules: [`ModuleGraph::build`] returns it with its [`Parameters`],
//!    the table of which of Burn's parameters is which.
//! 2. Run a relaxation; [`Parameters::gradients`] makes `GradientsParams` of its gradients, for any
//!    optimiser of Burn's.
//! 3. The optimiser moves the module; [`Parameters::load`] puts its numbers back into the graph.
//!    Modules stay what they were: save them, validate with them, as ever.
//!
//! [`pc_core::HandOver`] hands weights from the graph of any backend to one of these, matrices
//! turned and running statistics included; [`Parameters::store`] puts them into the module.
//!
//! # What to know
//! - A weight that two vertices share is one parameter of the graph; its gradients are summed.
//! - [`BatchNorm`] uses the statistics of the batch, and the running ones move at each feed-forward
//!   evaluation, once a relaxation; [`FrozenBatchNorm`] uses the running ones.
//! - In `f32` and live, errors keep their digits: linear vertices map displacements, activations,
//!   softmax and norms have differences of their own.
//! - On Flex the numbers are worked on in place, in `f32` and `f64`; on other backends all goes
//!   through Burn's operations.
//! - Gaussian error units are the `erf` form. Vertices of a net in half precision work, with the
//!   digits of half precision.

pub(crate) mod activation;
mod builder;
mod cells;
mod conv;
mod embedding;
mod layers;
mod linear;
mod matmul;
mod module;
mod norm;
mod ops;
mod parts;
mod pool;
mod running;
mod softmax;

use pc_core::backend::{Cache, Inputs, Pulled};

use crate::BurnTensor;

pub use activation::Activate;
pub use builder::{BurnVertex, ModuleGraph, Parameters};
pub use conv::Conv2d;
pub use embedding::Embedding;
pub use linear::Linear;
pub use matmul::MatMul;
pub use module::ModuleInputs;
pub use norm::{BatchNorm, FrozenBatchNorm, LayerNorm};
pub use pc_core::composites::{
    AddParameter, Attention, Concat, Gated, LstmCell, Product, Reshape, Scale, Split, Sum,
    SumOfProducts, SwapAxes,
};
pub use pool::{AdaptiveAvgPool2d, AvgPool2d, MaxPool2d};
pub use softmax::Softmax;

// The long names of what a vertex is handed.
type At<'a> = Inputs<'a, BurnTensor>;
type Kept = Cache<BurnTensor>;
type Pulls<'a> = Pulled<'a, BurnTensor>;
