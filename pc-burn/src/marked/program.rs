//! A user's program, as a relaxation runs it.

use burn::{module::Module, optim::GradientsParams, tensor::Tensor};

/// A whole step: forward to a loss, and backward.
pub(crate) trait Program<M: Module> {
    /// What a step gives besides gradients.
    type Output;

    /// Forward and backward: the gradients of the model's parameters, the loss, and what else there
    /// is.
    fn step(&mut self, model: &M) -> (GradientsParams, Tensor<1>, Self::Output);
}

/// A closure that returns the loss.
#[derive(Debug)]
pub(crate) struct Forward<F>(pub(crate) F);

impl<M: Module, F: FnMut(&M) -> Tensor<1>> Program<M> for Forward<F> {
    type Output = ();

    fn step(&mut self, model: &M) -> (GradientsParams, Tensor<1>, ()) {
        let loss = (self.0)(model);
        let gradients = if loss.is_tracked() {
            GradientsParams::from_grads(loss.backward(), model)
        } else {
            GradientsParams::new()
        };
        (gradients, loss, ())
    }
}
