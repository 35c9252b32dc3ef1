//! Losses on an explicit graph's output.

use std::fmt;

use pc_core::{Error, ErrorKind, Loss, Result, backend::LossForm};
use tch::{Kind, TchError, Tensor};

use crate::{TchTensor, sys, tensor::reported};

/// `-sum_k y_k log softmax(mu)_k` over the last axis, summed over everything else, with the drive
/// `y - softmax(mu)`. The batch is summed, as by every loss of [`pc_core`].
///
/// # Example
/// ```
/// use pc_tch::{CrossEntropy, TchTensor, pc_core::{Loss, Tensor as _}};
/// use tch::Tensor;
/// let logits = TchTensor::new(&Tensor::from_slice(&[0.0, 0.0]).view([1, 2]));
/// let mut drive = logits.clone();
/// let mut loss = CrossEntropy::labels(&Tensor::from_slice(&[1_i64]), 2)?;
/// assert!((loss.evaluate(&logits, &mut drive)? - 2.0_f64.ln()).abs() < 1e-15);
/// assert_eq!(drive.to_vec(), [-0.5, 0.5]);
/// # Ok::<(), pc_tch::pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CrossEntropy {
    target: TchTensor,
    /// The classes, where they were given as labels.
    labels: bool,
}

impl CrossEntropy {
    /// Towards labels `[batch, ..]`, each one of so many classes.
    ///
    /// # Errors
    /// A label that is none of them; labels that are no whole numbers; what libtorch reports.
    pub fn labels(labels: &Tensor, classes: i64) -> Result<Self> {
        if labels.f_kind().map_err(reported)? != Kind::Int64 {
            return Err(Error::new(ErrorKind::Misuse, "labels are whole numbers (Kind::Int64)"));
        }
        let outside = labels
            .f_lt(0)
            .and_then(|low| low.f_logical_or(&labels.f_ge(classes)?)?.f_any())
            .and_then(|any| any.f_int64_value(&[]))
            .map_err(reported)?;
        if outside != 0 {
            return Err(Error::new(
                ErrorKind::Misuse,
                format!("a label is none of the {classes} classes"),
            ));
        }
        let target = labels.f_one_hot(classes).map_err(reported)?;
        Ok(Self { target: TchTensor::new(&target), labels: true })
    }

    /// Towards a distribution, shaped as the prediction.
    pub fn new(target: &Tensor) -> Self {
        Self { target: TchTensor::new(target), labels: false }
    }

    /// The target in the prediction's kind.
    fn fit(&mut self, prediction: &Tensor) -> Result<()> {
        let target = self.target.tensor();
        if target.size() != prediction.size() {
            return Err(Error::new(
                ErrorKind::Shape,
                format!(
                    "the target has shape {:?}, the prediction {:?}",
                    target.size(),
                    prediction.size()
                ),
            ));
        }
        if self.labels && target.kind() != prediction.kind() {
            let fitted = target
                .f_to_kind(prediction.kind())
                .and_then(|target| target.f_to_device(prediction.device()));
            self.target = TchTensor::new(&fitted.map_err(reported)?);
        }
        Ok(())
    }
}

impl Loss<TchTensor> for CrossEntropy {
    fn evaluate(&mut self, prediction: &TchTensor, drive: &mut TchTensor) -> Result<f64> {
        let logits = prediction.tensor();
        self.fit(logits)?;
        let target = self.target.tensor();
        let found = (|| {
            // In f64, so that neither large logits nor a probability close to 1 cost digits.
            let logs = logits.f_log_softmax(-1, Kind::Double)?;
            let wanted = target.f_to_kind(Kind::Double)?;
            // Where nothing is wanted of a class, its logarithm may be infinite.
            let terms = logs.f_mul(&wanted)?.f_masked_fill(&wanted.f_eq(0.0)?, 0.0)?;
            let mass = wanted.f_sum_dim_intlist(-1, true, Kind::Double)?;
            let away = wanted.f_sub(&logs.f_exp()?.f_mul(&mass)?)?;
            let loss = terms.f_sum(Kind::Double)?.f_double_value(&[])?;
            Ok((away.f_to_kind(logits.kind())?, -loss))
        })();
        let (away, loss) = found.map_err(reported)?;
        *drive = TchTensor::new(&away);
        Ok(loss)
    }

    fn form(&self) -> LossForm<'_, TchTensor> {
        LossForm::CrossEntropy(&self.target)
    }
}

/// Any loss that libtorch can differentiate: a function of the prediction, to one real number. It
/// must sum over the batch; a mean would make every drive smaller by the batch's size.
///
/// # Example
/// ```
/// use pc_tch::{LossFunction, TchTensor, pc_core::{Loss, Tensor as _}};
/// use tch::{Kind, Tensor};
/// let mut loss = LossFunction::new(|mu| mu.f_abs()?.f_sum(Kind::Double));
/// let prediction = TchTensor::new(&Tensor::from_slice(&[2.0, -3.0]).view([1, 2]));
/// let mut drive = prediction.clone();
/// assert_eq!(loss.evaluate(&prediction, &mut drive)?, 5.0);
/// assert_eq!(drive.to_vec(), [-1.0, 1.0]);
/// # Ok::<(), pc_tch::pc_core::Error>(())
/// ```
pub struct LossFunction(Box<Compute>);

type Compute = dyn Fn(&Tensor) -> std::result::Result<Tensor, TchError>;

impl fmt::Debug for LossFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LossFunction").finish_non_exhaustive()
    }
}

impl LossFunction {
    /// The loss that `compute` gives.
    pub fn new(
        compute: impl Fn(&Tensor) -> std::result::Result<Tensor, TchError> + 'static,
    ) -> Self {
        Self(Box::new(compute))
    }
}

impl Loss<TchTensor> for LossFunction {
    fn evaluate(&mut self, prediction: &TchTensor, drive: &mut TchTensor) -> Result<f64> {
        // Ends with whatever the function does to the mode, a panic included.
        let _restore = tch::no_grad_guard();
        let leaf = prediction.tensor().f_detach().and_then(|own| own.f_set_requires_grad(true));
        let leaf = leaf.map_err(reported)?;
        let loss = tch::with_grad(|| (self.0)(&leaf)).map_err(reported)?;
        let one = crate::autograd::check_loss(&loss)?;
        let slope = sys::gradients(&loss, &one, &[Some(&leaf)])?.pop().flatten();
        *drive = match slope {
            Some(slope) => TchTensor::new(&slope.f_neg().map_err(reported)?),
            None => TchTensor::new(&leaf.f_zeros_like().map_err(reported)?),
        };
        loss.f_reshape([]).and_then(|loss| loss.f_double_value(&[])).map_err(reported)
    }
}
