//! What a parameter has to keep, whatever optimiser moves it.

mod mask;
mod zero_diagonal;

use std::fmt;

use crate::{Result, tensor::Tensor};

pub use mask::Mask;
pub use zero_diagonal::ZeroDiagonal;

/// A set that a parameter stays in. It is applied to the parameter when it is set, and to every
/// gradient before it is handed out, so that an optimiser of any framework that moves parameters
/// along combinations of gradients and of the parameter itself keeps it. Set it with
/// [`crate::GraphBuilder::constrain`].
///
/// # Example
/// Equal numbers in each row:
/// ```
/// use pc_core::{Constraint, Tensor, host::HostTensor};
/// #[derive(Debug)]
/// struct EqualRows;
///
/// impl<T: Tensor> Constraint<T> for EqualRows {
///     fn kind(&self) -> &str {
///         "equal rows"
///     }
///     fn restrict(&self, gradient: &mut T) {
///         T::by_rows(&[], &mut [gradient], &mut |_, rows| {
///             let mean = rows[0].iter().sum::<f64>() / rows[0].len() as f64;
///             rows[0].fill(mean);
///         });
///     }
/// }
/// let mut gradient = HostTensor::<f64>::new(&[2, 2], vec![1.0, 3.0, 0.0, 1.0])?;
/// EqualRows.restrict(&mut gradient);
/// assert_eq!(gradient.data(), [2.0, 2.0, 0.5, 0.5]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub trait Constraint<T: Tensor>: fmt::Debug + Send + Sync {
    /// What it is, for error messages: `mask`, ...
    fn kind(&self) -> &str;

    /// Checks that it fits a parameter of this shape.
    ///
    /// # Errors
    /// It does not; the graph adds the parameter's name.
    fn check(&self, _shape: &[usize]) -> Result<()> {
        Ok(())
    }

    /// Restricts a gradient to directions that keep it.
    fn restrict(&self, gradient: &mut T);

    /// Moves a parameter to where it keeps it. This is [`Constraint::restrict`] unless the set is
    /// no linear space.
    fn hold(&self, parameter: &mut T) {
        self.restrict(parameter);
    }
}
