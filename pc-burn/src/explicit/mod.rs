//! Explicit graphs: vertices and edges built by hand, from Burn's modules or from closures.

mod activation;
mod arrange;
mod builder;
mod cells;
mod conv;
mod embedding;
mod layers;
mod linear;
mod module;
mod norm;
mod ops;
mod parts;
mod pool;
mod product;
mod softmax;

use pc_core::{Cache, Inputs, Pulled};

use crate::BurnTensor;

pub use activation::Activate;
pub use arrange::{Concat, Reshape, Scale, Split, Sum, SwapAxes};
pub use builder::{BurnVertex, ModuleGraph, Parameters};
pub use cells::{Attention, LstmCell};
pub use conv::Conv2d;
pub use embedding::Embedding;
pub use linear::Linear;
pub use module::ModuleInputs;
pub use norm::{BatchNorm, FrozenBatchNorm, LayerNorm};
pub use pool::{AdaptiveAvgPool2d, AvgPool2d, MaxPool2d};
pub use product::{Gated, MatMul, Product, SumOfProducts};
pub use softmax::Softmax;

// The long names of what a vertex is handed.
type At<'a> = Inputs<'a, BurnTensor>;
type Kept = Cache<BurnTensor>;
type Pulls<'a> = Pulled<'a, BurnTensor>;
