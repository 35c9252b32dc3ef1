//! What a vertex is made of, in words that a backend can act on.

use crate::activation::Activation;

/// What a vertex is made of, as [`crate::backend::Vertex::structure`] says. A backend that takes a
/// whole host graph over makes each vertex anew from it, and refuses what it does not know.
///
/// Shapes and layouts of parameters are those of the vertex of the same name in [`crate::host`] or
/// [`crate::composites`].
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum Structure {
    /// It does not say.
    Opaque,
    /// `W v + b` of one parent over its last axis, with parameters `W [out, in]` and, where there
    /// is a bias, `b [out]`.
    Linear {
        /// Whether there is a bias.
        bias: bool,
    },
    /// An activation of one parent.
    Activation(Activation),
    /// One after the other; parameters are shared out in order.
    Chain(Vec<Structure>),
    /// A vertex of each parent, and their sum; parameters are shared out in order.
    SumOf(Vec<Structure>),
    /// A vertex of one parent, and that parent added.
    Residual(Box<Structure>),
    /// A convolution of images `[channels, height, width]`, with parameters `W [out, channels,
    /// kernel height, kernel width]` and, where there is a bias, `b [out]`.
    Conv2d {
        /// How far the window moves at a time.
        stride: usize,
        /// The rows and columns of zeros on each side.
        padding: usize,
        /// Whether there is a bias.
        bias: bool,
    },
    /// The transpose of a convolution, with parameters `W [channels, out, kernel height, kernel
    /// width]` and, where there is a bias, `b [out]`.
    ConvTranspose2d {
        /// How far apart the windows of neighbours are.
        stride: usize,
        /// The rows and columns that are cut off on each side.
        padding: usize,
        /// Rows and columns more, at the bottom and on the right.
        output_padding: usize,
        /// Whether there is a bias.
        bias: bool,
    },
    /// The maximum over square windows of an image, the first of equals.
    MaxPool2d {
        /// The side of the window.
        size: usize,
        /// How far it moves at a time.
        stride: usize,
    },
    /// The mean over square windows of an image.
    AvgPool2d {
        /// The side of the window.
        size: usize,
        /// How far it moves at a time.
        stride: usize,
    },
    /// `scale A B`, or `scale A B^T`, of two parents whose last two axes are matrices.
    MatMul {
        /// Whether the second parent is transposed.
        transpose_b: bool,
        /// The constant factor.
        scale: f64,
    },
    /// Softmax over the last axis.
    Softmax {
        /// Whether query `i` of `m` sees only the first `n - m + i + 1` of `n` keys.
        causal: bool,
    },
    /// Normalisation over the last axis, with parameters `gain` and `bias`.
    LayerNorm {
        /// What is added to the variance.
        epsilon: f64,
    },
    /// Rows of a weight `[vocabulary, width]` by the parent's numbers.
    Embedding,
    /// The parent as it is.
    Identity,
    /// The sum of the parents, each by its weight: 1 where the list is empty.
    Sum {
        /// By parent.
        weights: Vec<f64>,
    },
    /// A constant factor.
    Scale(
        /// The factor.
        f64,
    ),
    /// One parameter of the parent's shape, added to every sample.
    AddParameter,
    /// The product of the parents, element by element.
    Product,
    /// The sum of the products of pairs of parents.
    SumOfProducts,
    /// The first parent times an activation of the second.
    Gated(Activation),
    /// The parents one after the other.
    Concat {
        /// The axis, counted without the batch.
        axis: usize,
    },
    /// A part of the parent.
    Split {
        /// The axis that is cut, counted without the batch.
        axis: usize,
        /// The first element that is kept.
        start: usize,
        /// How many are kept.
        length: usize,
    },
    /// The parent's numbers in another shape.
    Reshape {
        /// The shape without the batch; none for one axis.
        shape: Option<Vec<usize>>,
    },
    /// The first two axes exchanged.
    SwapAxes,
}
