//! The host backend: tensors on the CPU, in `f64` (the oracle of every adapter) and `f32` (the
//! quick default), and vertices whose pullbacks are derived by hand.
//!
//! [`HostLayers`] adds ready layers to a graph under construction; the vertices behind them
//! ([`Linear`], [`Conv2d`], ...) can be put together directly too.

mod activation;
mod attention;
mod average_pool;
mod conv;
mod conv_layer;
mod conv_transpose;
mod convolve;
mod dense;
mod element;
mod embedding;
mod exponential;
mod gemm;
mod graph;
mod im2col;
mod init;
mod kernels;
mod layer;
mod layers;
mod linear;
mod linear_many;
mod loss;
mod matmul;
mod mupc;
mod norm;
mod normal;
mod optimiser;
mod packed;
mod parameterisation;
pub(crate) mod parts;
mod pool;
mod probe;
mod recurrent;
mod softmax;
mod starting;
mod tensor;
mod winograd;

pub use crate::{
    activation::Activation,
    composites::{
        AddParameter, Attention, Concat, Gated, LstmCell, Product, Reshape, Scale, Split, Sum,
        SumOfProducts, SwapAxes,
    },
};
pub use activation::Activate;
pub use attention::SelfAttention;
pub use average_pool::AvgPool2d;
pub use conv::Conv2d;
pub use conv_layer::{ConvLayer, Pool};
pub use conv_transpose::ConvTranspose2d;
pub use dense::Dense;
pub use element::Element;
pub use embedding::Embedding;
pub use gemm::{in_product, matrix_product};
pub use init::Init;
pub use layer::{Layer, LayerParameter, Parameters};
pub use layers::HostLayers;
pub use linear::Linear;
pub use linear_many::LinearMany;
pub use loss::CrossEntropy;
pub use matmul::MatMul;
pub use mupc::MuPc;
pub use norm::LayerNorm;
pub use optimiser::{Adam, Sgd};
pub use parameterisation::{Fan, Parameterisation, Planned, merges};
pub use pool::MaxPool2d;
pub use probe::Probe;
pub use recurrent::{GateParameters, LstmParameters};
pub use softmax::Softmax;
pub use starting::{Draws, Sizes, Starting, StartingRule};
pub use tensor::{HostTensor, HostVertex};

/// Several host vertices' functions as one vertex: [`crate::Chain`] of host tensors. It has a name
/// of its own, so that both can be imported with everything else.
///
/// # Example
/// ```
/// use pc_core::*;
/// use pc_core::host::*;
/// let links: Vec<HostVertex<f32>> = vec![Box::new(Linear::new()), Box::new(Softmax::new())];
/// let chain: Chain<HostTensor<f32>> = HostChain::new(links)?;
/// let mut b = Graph::<HostTensor<f32>>::builder();
/// let x = b.input("x", &[2])?;
/// let w = b.parameter("w", HostTensor::new(&[3, 2], vec![1.0, 0.0, 0.0, 1.0, 0.0, 0.0])?)?;
/// let bias = b.parameter("b", HostTensor::zeroed(&[3])?)?;
/// assert_eq!(b.vertex("y", Box::new(chain), &[x], &[w, bias]).and_then(|y| b.shape(y))?, [3]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub type HostChain<F> = crate::Chain<HostTensor<F>>;
