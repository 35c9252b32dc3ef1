//! The numbers of models and tensors.

use dfdx::prelude::Dtype;
use pc_core::host::Element;

/// A number that both dfdx and pc-core compute with: `f32` or `f64`.
pub trait Scalar: Element + Dtype {}

impl Scalar for f32 {}
impl Scalar for f64 {}
