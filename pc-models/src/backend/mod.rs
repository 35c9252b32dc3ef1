//! What a model asks of a backend.

#[cfg(feature = "burn")]
mod burn;
mod host;
#[cfg(feature = "tch")]
mod tch;

use pc_core::{Result, backend::GraphTensor};

#[cfg(feature = "burn")]
pub use self::burn::Burn;
#[cfg(feature = "tch")]
pub use self::tch::Tch;
pub use host::Host;

use crate::Dense;

/// Where a model's tensors and linear maps come from. All else a model is made of is written once
/// for every tensor, in [`pc_core`].
///
/// # Example
/// ```
/// use pc_core::Tensor;
/// use pc_models::{Backend, Host};
/// let x = Host::<f32>::new().tensor(&[1, 2], &[0.5, -1.0])?;
/// assert_eq!(x.to_vec(), [0.5, -1.0]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub trait Backend: Clone {
    /// Its tensor.
    type Tensor: GraphTensor + 'static;

    /// A tensor of these numbers, in row-major order.
    ///
    /// # Errors
    /// The numbers do not fill the shape; what the framework reports.
    fn tensor(&self, shape: &[usize], numbers: &[f64]) -> Result<Self::Tensor>;

    /// The vertex of a dense layer above so many parents: weights `[outputs, inputs]`, one for each
    /// parent, then its bias.
    ///
    /// # Errors
    /// The backend does not know the activation, or there are no parents.
    fn dense(&self, layer: &Dense, parents: usize)
    -> Result<<Self::Tensor as GraphTensor>::Vertex>;

    /// The vertex of a sum of these, one for each parent ([`pc_core::SumOf`]).
    fn sum_of(
        &self,
        parts: Vec<<Self::Tensor as GraphTensor>::Vertex>,
    ) -> <Self::Tensor as GraphTensor>::Vertex;
}
