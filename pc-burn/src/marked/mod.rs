//! Marked vertices: a `forward` that exists already says where its values are.

mod cut;
mod gradients;
mod layout;
mod network;
mod pass;
mod program;
mod random;
mod step;

pub(crate) use layout::Layouts;
pub(crate) use program::{Forward, Program};
pub(crate) use step::Marked;

use burn::tensor::Tensor;

/// Says that `x` is a vertex: a value of the predictive-coding graph. Everything between two marks
/// is one vertex's prediction function.
///
/// Mark the output too. The last marks, those that feed the loss and no other vertex, are held at
/// the loss's drive, `e = -dL/dmu`; what comes after them counts as part of the loss. A vertex that
/// feeds both the loss and other vertices stays free, and the loss pulls at it.
///
/// Outside of a relaxation, and on tensors without autodiff, it is the identity and costs nothing.
///
/// # Example
/// ```
/// use burn::{nn::{Linear, LinearConfig}, module::Module, tensor::{Device, Tensor, activation}};
/// use pc_burn::vertex;
///
/// #[derive(Module, Debug)]
/// struct Mlp { hidden: Linear, output: Linear }
///
/// impl Mlp {
///     fn forward(&self, x: Tensor<2>) -> Tensor<2> {
///         let h = vertex(activation::tanh(self.hidden.forward(x)));
///         vertex(self.output.forward(h))
///     }
/// }
/// # let device = Device::flex();
/// # let hidden = LinearConfig::new(3, 4).init(&device);
/// # let mlp = Mlp { hidden, output: LinearConfig::new(4, 2).init(&device) };
/// assert_eq!(mlp.forward(Tensor::ones([5, 3], &device)).dims(), [5, 2]);
/// ```
pub fn vertex<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    mark(x, None)
}

/// As [`vertex`], with a name that errors and reports will use. A name may come more than once (a
/// layer in a loop): the count is added to it.
pub fn named_vertex<const D: usize>(name: &'static str, x: Tensor<D>) -> Tensor<D> {
    mark(x, Some(name))
}

fn mark<const D: usize>(x: Tensor<D>, name: Option<&'static str>) -> Tensor<D> {
    if !x.is_autodiff() {
        return x;
    }
    let x = x.into_dispatch();
    Tensor::from_dispatch(pass::mark(&x, name).unwrap_or(x))
}
