//! Losses that drive an output: `e_L = -dL/dmu_L`.

use crate::{Error, ErrorKind, Result, tensor::Tensor};

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

/// What a program of a tensor framework has reduced its own loss by. Drives are per sample, so an
/// adapter undoes a mean on the drive and applies it again to the gradients.
///
/// To name the wrong one is harmless to exact schedules and makes another rule of the others: a
/// mean that is called a sum drives the output `n` times too weakly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReduction {
    /// The sum over samples.
    Sum,
    /// The mean over samples, which are the first dimension of the program's first vertex.
    Mean,
    /// The mean over this many: over tokens, say, or where the batch is not the first dimension.
    MeanOver(usize),
}

impl LossReduction {
    /// `n`, what the loss of this many samples was divided by.
    ///
    /// # Errors
    /// A mean over none.
    ///
    /// # Example
    /// ```
    /// use pc_core::LossReduction;
    /// assert_eq!(LossReduction::Sum.divisor(8)?, 1.0);
    /// assert_eq!(LossReduction::Mean.divisor(8)?, 8.0);
    /// assert_eq!(LossReduction::MeanOver(20).divisor(8)?, 20.0);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn divisor(self, samples: usize) -> Result<f64> {
        match self {
            Self::Sum => Ok(1.0),
            Self::Mean => Ok(samples as f64),
            Self::MeanOver(0) => Err(Error::misuse("a mean over no samples")),
            Self::MeanOver(count) => Ok(count as f64),
        }
    }
}

/// The strength `lambda` of a weak loss, if it can be one: a weak loss nears backprop in direction.
///
/// # Errors
/// A strength that is not a positive number.
///
/// # Example
/// ```
/// use pc_core::backend::loss_strength;
/// assert_eq!(loss_strength(0.5)?, 0.5);
/// assert!(loss_strength(0.0).is_err() && loss_strength(f64::NAN).is_err());
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn loss_strength(lambda: f64) -> Result<f64> {
    if lambda > 0.0 && lambda.is_finite() {
        return Ok(lambda);
    }
    Err(Error::new(
        ErrorKind::Clamp,
        format!("the strength of a loss must be a positive number, not {lambda}"),
    ))
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
            return Err(Error::shape(format!(
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
