//! How a program reduces its loss, and whether it does.

use burn::{module::Module, tensor::Tensor};
use pc_core::{Error, ErrorKind, LossReduction, Result};

use crate::{
    PredictiveCoding,
    marked::{Forward, probe},
};

impl PredictiveCoding {
    /// Checks the reduction that was named against the loss itself: `once` is the loss of a batch,
    /// and `twice` that of the same batch twice over (`Tensor::cat(vec![x.clone(), x], 0)`). A sum
    /// doubles, and a mean stays. Once before training is enough.
    ///
    /// Of [`LossReduction::MeanOver`] it checks that the loss is a mean, and not of how many: that
    /// is a choice of what counts as one sample.
    ///
    /// # Errors
    /// A loss that behaves otherwise than was named; for [`LossReduction::Mean`], a first vertex
    /// whose first dimension is not the batch; a batch whose loss is zero or not finite.
    ///
    /// # Example
    /// ```
    /// # use burn::module::Module;
    /// # use burn::nn::{Linear, LinearConfig, loss::{MseLoss, Reduction}};
    /// # use burn::tensor::{Device, Tensor};
    /// use pc_burn::{LossReduction, PredictiveCoding, vertex};
    /// use pc_core::Schedule;
    ///
    /// # let device = Device::flex().autodiff();
    /// # let model = LinearConfig::new(3, 2).init(&device);
    /// # let (x, y) = (Tensor::<2>::ones([4, 3], &device), Tensor::<2>::zeros([4, 2], &device));
    /// let loss = |model: &Linear, x: Tensor<2>, y: Tensor<2>| {
    ///     MseLoss::new().forward(vertex(model.forward(x)), y, Reduction::Mean)
    /// };
    /// let double = |x: &Tensor<2>| Tensor::cat(vec![x.clone(), x.clone()], 0);
    /// let once = |m: &Linear| loss(m, x.clone(), y.clone());
    /// let twice = |m: &Linear| loss(m, double(&x), double(&y));
    /// let named = |reduction| PredictiveCoding::new(Schedule::backprop(), reduction);
    /// assert!(named(LossReduction::Mean).check_reduction(&model, once, twice).is_ok());
    /// assert!(named(LossReduction::Sum).check_reduction(&model, once, twice).is_err());
    /// ```
    pub fn check_reduction<M: Module>(
        &self,
        model: &M,
        once: impl FnMut(&M) -> Tensor<1>,
        twice: impl FnMut(&M) -> Tensor<1>,
    ) -> Result<()> {
        let (loss, samples) = probe(model, &mut Forward(once))?;
        let (doubled, of_double) = probe(model, &mut Forward(twice))?;
        let refuse = |message: String| Err(Error::new(ErrorKind::Misuse, message).at("loss"));
        let ratio = doubled / loss;
        if !(loss != 0.0 && ratio.is_finite()) {
            return refuse(format!(
                "a reduction cannot be checked by losses of {loss} and {doubled}: take a batch \
                 whose loss is a number other than zero"
            ));
        }
        // Dropout may tell the two losses apart, by less than this.
        let near = |expected: f64| (ratio / expected - 1.0).abs() < 0.25;
        let named = self.reduction();
        let expected = if named == LossReduction::Sum { 2.0 } else { 1.0 };
        if !near(expected) {
            let is = if near(1.0) {
                "a mean (`LossReduction::Mean`, or `MeanOver` what it divides by)"
            } else if near(2.0) {
                "a sum (`LossReduction::Sum`)"
            } else {
                "neither a sum nor a mean of what each sample gives"
            };
            return refuse(format!(
                "the loss was said to be `{named:?}`, but it is {is}: of a batch it is {loss}, and \
                 of the batch twice over {doubled}"
            ));
        }
        if named == LossReduction::Mean && of_double != 2 * samples {
            return refuse(format!(
                "`LossReduction::Mean` is over the first dimension of the first vertex, which is \
                 {samples} for a batch and {of_double} for the batch twice over: say what it is \
                 over by `LossReduction::MeanOver`"
            ));
        }
        Ok(())
    }
}
