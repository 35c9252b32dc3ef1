//! The host backend: tensors on the CPU, in `f64` (the oracle of every adapter) and `f32` (the
//! quick default), and vertices whose pullbacks are derived by hand.
//!
//! [`HostLayers`] adds ready layers to a graph under construction; the vertices behind them
//! ([`Linear`], [`Conv2d`], ...) can be put together directly too.

mod activation;
mod attention;
mod conv;
mod element;
mod embedding;
mod exponential;
mod gemm;
mod graph;
mod im2col;
mod init;
mod layers;
mod linear;
mod linear_many;
mod loss;
mod matmul;
mod norm;
mod optimiser;
mod parts;
mod pool;
mod probe;
mod recurrent;
mod softmax;
mod tensor;

pub use crate::{
    activation::Activation,
    composites::{
        AddParameter, Attention, Concat, Gated, LstmCell, Product, Reshape, Scale, Split, Sum,
        SumOfProducts, SwapAxes,
    },
};
pub use activation::Activate;
pub use conv::Conv2d;
pub use element::Element;
pub use embedding::Embedding;
pub use gemm::{in_product, matrix_product};
pub use init::Init;
pub use layers::{ConvLayer, HostLayers, Pool};
pub use linear::Linear;
pub use linear_many::LinearMany;
pub use loss::CrossEntropy;
pub use matmul::MatMul;
pub use norm::LayerNorm;
pub use optimiser::{Adam, Sgd};
pub use pool::{AvgPool2d, MaxPool2d};
pub use probe::Probe;
pub use recurrent::{GateParameters, LstmParameters};
pub use softmax::Softmax;
pub use tensor::{HostTensor, HostVertex};

/// Several host vertices' functions as one vertex.
pub type Chain<F> = crate::Chain<HostTensor<F>>;
