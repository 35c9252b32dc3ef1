//! The energy of independent coins.

use crate::{
    Result,
    energy::{EnergyInputs, PredictionEnergy, Slopes},
    tensor::Tensor,
};

/// `E = -sum [v log s(mu) + (1 - v) log(1 - s(mu))]` with the logistic function `s`: the prediction
/// holds logits, the value the probabilities of ones, in `[0, 1]`.
///
/// It is linear in `v`, so a vertex that moves needs an [`crate::Interval`] to stay in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bernoulli;

impl<T: Tensor> PredictionEnergy<T> for Bernoulli {
    fn kind(&self) -> &str {
        "bernoulli"
    }

    fn evaluate(&self, at: &EnergyInputs<'_, T>, slopes: Slopes<'_, T>) -> Result<f64> {
        let mut energy = 0.0;
        let Slopes { on_prediction, on_value } = slopes;
        let inputs = [at.value(), at.prediction()];
        T::by_rows(&inputs, &mut [on_prediction, on_value], &mut |rows, slopes| {
            for (k, (v, mu)) in rows[0].iter().zip(rows[1]).enumerate() {
                let tail = (-mu.abs()).exp();
                // log(1 + e^mu), which does not overflow.
                energy += if *mu > 0.0 { *mu } else { 0.0 } + tail.ln_1p() - v * mu;
                let probability = if *mu >= 0.0 { 1.0 } else { tail } / (1.0 + tail);
                slopes[0][k] = v - probability;
                slopes[1][k] = *mu;
            }
        });
        Ok(energy)
    }
}
