//! Marked vertices: a `forward` that exists already says where its values are.

mod care;
mod layout;
mod learn;
mod network;
mod pass;
mod step;

pub use learn::{Learned, PredictiveCoding};

use tch::Tensor;

/// Says that `x` is a vertex: a value of the predictive-coding graph. Everything between two marks
/// is one vertex's prediction function.
///
/// Outside of a step of learning ([`PredictiveCoding`]), and without gradients (`tch::no_grad`), it
/// is the identity: another handle to the same tensor. Inside one it has the value of the vertex,
/// and is a leaf, which must not be changed in place: `vertex(&x).relu_()` panics as it does on a
/// parameter.
///
/// Mark the hidden values, after their activations, and the output. The last marks, those that feed
/// the loss and no other vertex, are held at the loss's drive, `e = -dL/dmu`; what comes after them
/// counts as part of the loss. A vertex that feeds both the loss and other vertices stays free, and
/// the loss pulls at it. Marks that the loss does not depend on are none. Do not mark the data: a
/// marked input is a vertex that is free to move.
///
/// # Example
/// ```
/// use pc_tch::vertex;
/// use tch::{Device, Kind, Tensor, nn::{self, Module}};
/// let vs = nn::VarStore::new(Device::Cpu);
/// let hidden = nn::linear(vs.root() / "hidden", 3, 4, Default::default());
/// let output = nn::linear(vs.root() / "output", 4, 2, Default::default());
/// let forward = |x: &Tensor| {
///     let h = vertex(&hidden.forward(x).tanh());
///     vertex(&output.forward(&h))
/// };
/// assert_eq!(forward(&Tensor::ones([5, 3], (Kind::Float, Device::Cpu))).size(), [5, 2]);
/// ```
pub fn vertex(x: &Tensor) -> Tensor {
    pass::mark(x, None)
}

/// As [`vertex`], with a name that errors use. A name may come more than once (a layer in a loop):
/// the count is added to it.
///
/// # Example
/// ```
/// let x = tch::Tensor::from_slice(&[1.0, 2.0]);
/// assert_eq!(pc_tch::named_vertex("hidden", &x), x);
/// ```
pub fn named_vertex(name: &str, x: &Tensor) -> Tensor {
    pass::mark(x, Some(name))
}
