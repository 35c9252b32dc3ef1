//! Explicit graphs: vertices and edges built by hand, from Burn's modules or from closures.

mod activation;
mod arrange;
mod conv;
mod linear;
mod ops;
mod parts;
mod pool;
mod product;

use pc_core::{Cache, Inputs, Pulled};

use crate::BurnTensor;

pub use activation::Activate;
pub use arrange::{Concat, Reshape, Scale, Split, Sum, SwapAxes};
pub use conv::Conv2d;
pub use linear::Linear;
pub use pool::{AdaptiveAvgPool2d, AvgPool2d, MaxPool2d};
pub use product::{Gated, MatMul, Product, SumOfProducts};

// The long names of what a vertex is handed.
type At<'a> = Inputs<'a, BurnTensor>;
type Kept = Cache<BurnTensor>;
type Pulls<'a> = Pulled<'a, BurnTensor>;
