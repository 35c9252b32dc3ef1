//! Where the values of a vertex have to lie.

mod interval;
mod l1_ball;
mod simplex;
mod soft_threshold;

use std::fmt;

use crate::{Result, tensor::Tensor};

pub use interval::Interval;
pub use l1_ball::L1Ball;
pub use simplex::Simplex;
pub use soft_threshold::SoftThreshold;

/// What is done to a vertex's value after each step, and to where it starts: a projection onto a
/// set, or the proximal step of a further term `R` of the energy, `v <- argmin_u 1/2 |u - v|^2 +
/// gamma R(u)`. Set it with [`crate::GraphBuilder::project`].
///
/// It needs live states. The tolerance is then on what a step moves, `|v - P(v + gamma g)| /
/// gamma`.
///
/// # Example
/// Rounding down to whole numbers, over the numbers of every sample:
/// ```
/// use pc_core::{Projection, Tensor, host::HostTensor};
/// #[derive(Debug)]
/// struct Whole;
///
/// impl<T: Tensor> Projection<T> for Whole {
///     fn kind(&self) -> &str {
///         "whole numbers"
///     }
///     fn project(&self, value: &mut T, _rate: f64) {
///         T::by_rows(&[], &mut [value], &mut |_, rows| {
///             rows[0].iter_mut().for_each(|v| *v = v.floor());
///         });
///     }
/// }
/// let mut value = HostTensor::<f32>::new(&[1, 2], vec![1.5, -0.5])?;
/// Whole.project(&mut value, 0.1);
/// assert_eq!(value.data(), [1.0, -1.0]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub trait Projection<T: Tensor>: fmt::Debug + Send + Sync {
    /// What it is, for error messages: `interval`, ...
    fn kind(&self) -> &str;

    /// Checks that it fits a vertex of this shape (without the batch).
    ///
    /// # Errors
    /// It does not; the graph adds the vertex's name.
    fn check(&self, _shape: &[usize]) -> Result<()> {
        Ok(())
    }

    /// Moves the value to where it has to lie, after a step of rate `gamma`; 0 where it only
    /// starts.
    fn project(&self, value: &mut T, rate: f64);

    /// The further term `R` of the energy, summed over the batch. A projection onto a set has none.
    fn energy(&self, _value: &T) -> f64 {
        0.0
    }
}
