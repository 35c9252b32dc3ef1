//! Losses that drive an output: `e_L = -dL/dmu_L`.

use crate::{Result, tensor::Tensor};

/// A loss on one vertex's prediction, which holds its own target. It is summed over the batch,
/// never averaged. A mean would make the drive weaker by the batch size, which is another learning
/// rule if predictions are live. Ask for a mean with [`crate::Reduction::Mean`] instead.
///
/// Any closure `FnMut(&T, &mut T) -> Result<f64>` is a loss.
///
/// # Example
/// ```
/// use pc_core::{Loss, Tensor, host::HostTensor};
/// let target = HostTensor::<f64>::new(&[1, 2], vec![1.0, 0.0])?;
/// // A quarter of the fourth power of the distance; its drive is minus its derivative.
/// let mut quartic = move |prediction: &HostTensor<f64>, drive: &mut HostTensor<f64>| {
///     drive.set_difference(&target, prediction);
///     let distances = drive.clone();
///     drive.multiply(&distances);
///     drive.multiply(&distances);
///     Ok(0.25 * drive.dot(&distances))
/// };
/// let prediction = HostTensor::new(&[1, 2], vec![0.0, 2.0])?;
/// let mut drive = prediction.zeros(&[1, 2]);
/// assert_eq!(quartic.evaluate(&prediction, &mut drive)?, 0.25 * (1.0 + 16.0));
/// assert_eq!(drive.to_vec(), [1.0, -8.0]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub trait Loss<T> {
    /// Writes the drive `-dL/dmu` at `prediction` to `drive` and returns `L`, summed over the
    /// batch.
    ///
    /// # Errors
    /// The target does not fit the prediction, or the framework reports a failure.
    fn evaluate(&mut self, prediction: &T, drive: &mut T) -> Result<f64>;

    /// Which loss it is, for a network that computes drives in code of its own.
    fn form(&self) -> LossForm<'_, T> {
        LossForm::Opaque
    }
}

/// What a loss is, as [`Loss::form`] says.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum LossForm<'a, T> {
    /// It does not say.
    Opaque,
    /// `1/2 |y - mu|^2` towards this target.
    SquaredError(&'a T),
    /// `-sum_k y_k log softmax(mu)_k` over the last axis, towards this distribution.
    CrossEntropy(&'a T),
}

impl<T, F: FnMut(&T, &mut T) -> Result<f64>> Loss<T> for F {
    fn evaluate(&mut self, prediction: &T, drive: &mut T) -> Result<f64> {
        self(prediction, drive)
    }
}

/// `L = 1/2 |y - mu|^2`, with drive `y - mu`: what holding the output at `y` does too.
#[derive(Clone, Debug)]
pub struct SquaredError<T> {
    target: T,
}

impl<T: Tensor> SquaredError<T> {
    /// Towards `target`, shaped as the prediction.
    pub fn new(target: T) -> Self {
        Self { target }
    }
}

impl<T: Tensor> Loss<T> for SquaredError<T> {
    fn evaluate(&mut self, prediction: &T, drive: &mut T) -> Result<f64> {
        if !self.target.has_shape(&prediction.shape()) {
            return Err(crate::Error::shape(format!(
                "the target has shape {:?}, the prediction {:?}",
                self.target.shape(),
                prediction.shape()
            )));
        }
        prediction.check_like(&self.target)?;
        drive.set_difference(&self.target, prediction);
        Ok(0.5 * drive.norm_squared())
    }

    fn form(&self) -> LossForm<'_, T> {
        LossForm::SquaredError(&self.target)
    }
}

/// The sum of the prediction's numbers: what drives a term of the energy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Total;

impl<T: Tensor> Loss<T> for Total {
    fn evaluate(&mut self, prediction: &T, drive: &mut T) -> Result<f64> {
        drive.fill(-1.0);
        Ok(-prediction.dot(drive))
    }
}
