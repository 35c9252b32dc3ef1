//! Marked vertices: a `forward` that exists already says where its values are.

mod cut;
mod gradients;
mod layout;
mod model;
mod network;
mod pass;
mod program;
mod random;
mod reach;
mod step;
mod wiring;

pub(crate) use layout::{Layouts, probe};
pub(crate) use program::{Forward, Program};
pub(crate) use step::Marked;

use burn::{nn::Dropout, tensor::Tensor};

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

/// As [`vertex`] of what `predict` gives, which is not asked again while nothing that it is made of
/// has moved. In a live relaxation that spares the first layers: what is predicted from the batch
/// alone is predicted once.
///
/// `predict` may use the model, values and constants, but hold no mark of its own, and what it does
/// besides does not happen where it is not called. Passes that learn call it always, and so do
/// programs that draw random numbers, which have to be drawn in one order.
///
/// # Example
/// ```
/// use burn::{nn::LinearConfig, tensor::{Device, Tensor, activation::tanh}};
/// use pc_burn::vertex_of;
///
/// let device = Device::flex();
/// let (hidden, x) = (LinearConfig::new(3, 4).init(&device), Tensor::<2>::ones([5, 3], &device));
/// // `vertex(tanh(hidden.forward(x)))`, and faster where the first layer is a large one:
/// let h = vertex_of(|| tanh(hidden.forward(x)));
/// assert_eq!(h.dims(), [5, 4]);
/// ```
pub fn vertex_of<const D: usize>(predict: impl FnOnce() -> Tensor<D>) -> Tensor<D> {
    pass::mark_of(None, predict)
}

/// As [`vertex_of`], with a name ([`named_vertex`]).
pub fn named_vertex_of<const D: usize>(
    name: &'static str,
    predict: impl FnOnce() -> Tensor<D>,
) -> Tensor<D> {
    pass::mark_of(Some(name), predict)
}

fn mark<const D: usize>(x: Tensor<D>, name: Option<&'static str>) -> Tensor<D> {
    if !x.is_autodiff() {
        return x;
    }
    let x = x.into_dispatch();
    Tensor::from_dispatch(pass::mark(&x, name).unwrap_or(x))
}

/// A random tensor that belongs to the step: what `draw` gives in the first pass of a relaxation is
/// given again in every later one. Outside of a relaxation it is what `draw` gives.
///
/// Random numbers that a program draws without it stay the same too, since the device's generator
/// is set back before every pass. But that generator belongs to the process: where other threads
/// draw from it meanwhile (the workers of a data loader, for augmentation), passes are run again,
/// and refused in the end. What is drawn by this function is out of their reach.
///
/// # Example
/// Stochastic depth and noise:
/// ```
/// use burn::tensor::{Device, Distribution, Tensor};
/// use pc_burn::drawn;
///
/// let x = Tensor::<2>::ones([4, 3], &Device::flex().autodiff());
/// let noise = drawn(|| x.random_like(Distribution::Normal(0.0, 0.1)));
/// let kept = drawn(|| Tensor::<1>::random([1], Distribution::Bernoulli(0.8), &x.device()));
/// assert_eq!((x * kept.unsqueeze() + noise).dims(), [4, 3]);
/// ```
///
/// What was drawn must not depend on parameters or vertices: that is an error of the relaxation. A
/// program that uses it beside threads that draw should draw all its numbers so.
pub fn drawn<const D: usize>(draw: impl FnOnce() -> Tensor<D>) -> Tensor<D> {
    pass::drawn(draw)
}

/// Burn's dropout with a mask that belongs to the step ([`drawn`]); it is
/// `dropout.forward(x)` otherwise.
///
/// # Example
/// ```
/// use burn::{nn::DropoutConfig, tensor::{Device, Tensor}};
///
/// let x = Tensor::<2>::ones([4, 3], &Device::flex().autodiff());
/// let dropout = DropoutConfig::new(0.5).init();
/// // Not `dropout.forward(x)`:
/// assert_eq!(pc_burn::dropout(&dropout, x).dims(), [4, 3]);
/// ```
pub fn dropout<const D: usize>(dropout: &Dropout, x: Tensor<D>) -> Tensor<D> {
    let mask = drawn(|| dropout.forward(x.ones_like()));
    x * mask
}
