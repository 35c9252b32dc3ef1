//! How far products may round.

/// The precision of the products inside a relaxation and its pulls: the least that their operands
/// are rounded to. Sums, states, errors, weights, feed-forward passes and weight gradients are
/// `f32` always.
///
/// Errors are kept as displacements, so that rounding costs digits of the result only in
/// proportion. Live relus are the exception: a slope jumps where its argument crosses zero, and
/// rounding moves the crossing, whether it is the predictions' products or the pullbacks' that are
/// rounded. So a net with a relu, relaxed live, has its products made of both parts of each number
/// (the rounded one and the rest, three products for one) in a cluster and in grouped products, and
/// in full `f32` elsewhere.
///
/// A cluster, grouped products and convolutions round as it says here. Where products of linear
/// maps are cuBLASLt's (`relax_graph`, the engine's loop,
/// [`graph_to_device`](crate::graph_to_device)) operands are `f32` in memory, and the library is
/// told that it may round them to this much, and no further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Every product in full `f32`.
    #[default]
    F32,
    /// Operands rounded to 10 bits of mantissa, for tensor cores.
    Tf32,
    /// Operands rounded to 7 bits of mantissa. Grouped products (`relax_gemm`, for wide nets) and
    /// convolutions keep them in half the memory; elsewhere this saves instructions at most.
    Bf16,
}
