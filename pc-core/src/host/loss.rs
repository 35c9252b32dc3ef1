//! Cross-entropy.

use crate::{
    Error, Result,
    host::{Element, HostTensor},
    loss::{Loss, LossForm},
};

/// `L = -sum_k y_k log softmax(mu)_k` over the last axis, with drive `y - softmax(mu)` for targets
/// that sum to one.
///
/// # Example
/// ```
/// use pc_core::{Loss, Tensor, host::{CrossEntropy, HostTensor}};
/// let mut loss = CrossEntropy::<f64>::labels(&[1], 2)?;
/// let logits = HostTensor::new(&[1, 2], vec![0.0, 0.0])?;
/// let mut drive = logits.zeros(&[1, 2]);
/// assert!((loss.evaluate(&logits, &mut drive)? - 2f64.ln()).abs() < 1e-15);
/// assert_eq!(drive.to_vec(), [-0.5, 0.5]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CrossEntropy<F> {
    target: HostTensor<F>,
}

impl<F: Element> CrossEntropy<F> {
    /// Towards a distribution over the last axis.
    pub fn new(target: HostTensor<F>) -> Self {
        Self { target }
    }

    /// Towards one class of `classes` for each sample.
    ///
    /// # Errors
    /// A label that is no class.
    pub fn labels(labels: &[usize], classes: usize) -> Result<Self> {
        HostTensor::one_hot(labels, classes).map(Self::new)
    }
}

impl<F: Element> Loss<HostTensor<F>> for CrossEntropy<F> {
    fn evaluate(&mut self, prediction: &HostTensor<F>, drive: &mut HostTensor<F>) -> Result<f64> {
        if prediction.dims() != self.target.dims() {
            return Err(Error::shape(format!(
                "the target has shape {:?}, the prediction {:?}",
                self.target.dims(),
                prediction.dims()
            )));
        }
        let classes = prediction.dims().last().copied().unwrap_or(1).max(1);
        let mut total = 0.0;
        let rows =
            prediction.data().chunks_exact(classes).zip(self.target.data().chunks_exact(classes));
        for ((logits, target), drive) in rows.zip(drive.data_mut().chunks_exact_mut(classes)) {
            // In f64, and by differences from the largest logit, whose own term of the sum is 1: so
            // neither large logits nor a probability close to 1 cost digits.
            let top = logits
                .iter()
                .enumerate()
                .fold(0, |top, (k, x)| if *x > logits[top] || x.is_nan() { k } else { top });
            let largest = logits[top].value();
            let power = |x: &F| (x.value() - largest).exp();
            let others = logits[..top].iter().chain(&logits[top + 1..]);
            let rest: f64 = others.map(power).sum();
            let (log_sum, inverse) = (rest.ln_1p(), (1.0 + rest).recip());
            let mass: f64 = target.iter().map(|y| y.value()).sum();
            for ((d, x), y) in drive.iter_mut().zip(logits).zip(target) {
                if *y != F::zero() {
                    total += y.value() * (log_sum + (largest - x.value()));
                }
                *d = F::of(y.value() - mass * power(x) * inverse);
            }
        }
        Ok(total)
    }

    fn form(&self) -> LossForm<'_, HostTensor<F>> {
        LossForm::CrossEntropy(&self.target)
    }
}
