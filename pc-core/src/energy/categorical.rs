//! The energy between two distributions over classes.

use crate::{
    Error, Result,
    energy::{EnergyInputs, PredictionEnergy, Slopes},
    tensor::Tensor,
};

/// `E = sum KL(p || q)` over the last axis, with `q = softmax(mu)`: the prediction holds logits
/// (Pinchetti et al. 2022, "Predictive coding beyond Gaussian distributions").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Categorical {
    /// The value holds logits too, `p = softmax(v)`. This is for vertices that move.
    Logits,
    /// The value holds the probabilities, `p = v`, such as a label as one-hot. A vertex that moves
    /// needs a [`crate::Simplex`] to stay in, and rates below the smallest probability that it
    /// comes to, since the energy bends by `1 / v`. Where that is too slow, let it hold logits.
    Probabilities,
}

impl<T: Tensor> PredictionEnergy<T> for Categorical {
    fn kind(&self) -> &str {
        "categorical"
    }

    fn check(&self, shape: &[usize], _parameters: &[&[usize]]) -> Result<()> {
        match shape.last() {
            Some(_) => Ok(()),
            None => Err(Error::shape("a categorical energy takes a last axis of classes")),
        }
    }

    fn evaluate(&self, at: &EnergyInputs<'_, T>, slopes: Slopes<'_, T>) -> Result<f64> {
        let classes = at.value().shape().last().copied().unwrap_or(1).max(1);
        let mut energy = 0.0;
        let Slopes { on_prediction, on_value } = slopes;
        let inputs = [at.value(), at.prediction(), at.error()];
        T::by_rows(&inputs, &mut [on_prediction, on_value], &mut |rows, slopes| {
            for start in (0..rows[0].len()).step_by(classes) {
                let own = start..start + classes;
                let (v, mu, e) =
                    (&rows[0][own.clone()], &rows[1][own.clone()], &rows[2][own.clone()]);
                let (push, force) = slopes.split_at_mut(1);
                let (push, force) = (&mut push[0][own.clone()], &mut force[0][own]);
                energy += match self {
                    Self::Logits => of_logits(mu, e, push, force),
                    Self::Probabilities => of_probabilities(v, mu, push, force),
                };
            }
        });
        Ok(energy)
    }
}

/// Writes `softmax(mu)` and returns `log sum e^mu`.
fn softmax(mu: &[f64], to: &mut [f64]) -> f64 {
    let largest =
        mu.iter().fold(f64::NEG_INFINITY, |m, x| if *x > m || x.is_nan() { *x } else { m });
    let mut sum = 0.0;
    for (y, x) in to.iter_mut().zip(mu) {
        *y = (x - largest).exp();
        sum += *y;
    }
    to.iter_mut().for_each(|y| *y /= sum);
    largest + sum.ln()
}

/// With `e = v - mu`, `log p - log q = e - log sum q e^e`, which does not cancel where the two are
/// close.
fn of_logits(mu: &[f64], e: &[f64], push: &mut [f64], force: &mut [f64]) -> f64 {
    softmax(mu, push);
    let q = &mut *push;
    let close = e.iter().all(|e| e.abs() < 1.0);
    let shift = if close {
        q.iter().zip(e).map(|(q, e)| q * e.exp_m1()).sum::<f64>().ln_1p()
    } else {
        let largest = e.iter().fold(f64::NEG_INFINITY, |m, x| if *x > m { *x } else { m });
        largest + q.iter().zip(e).map(|(q, e)| q * (e - largest).exp()).sum::<f64>().ln()
    };
    let mut energy = 0.0;
    for ((q, e), p) in q.iter().zip(e).zip(force.iter_mut()) {
        *p = q * (e - shift).exp();
        energy += *p * (e - shift);
    }
    for ((q, e), p) in q.iter_mut().zip(e).zip(force) {
        // p - q, from the same difference.
        *q *= (e - shift).exp_m1();
        *p *= energy - (e - shift);
    }
    energy
}

fn of_probabilities(v: &[f64], mu: &[f64], push: &mut [f64], force: &mut [f64]) -> f64 {
    let log_sum = softmax(mu, push);
    let total: f64 = v.iter().sum();
    let mut energy = 0.0;
    for (k, (q, v)) in push.iter_mut().zip(v).enumerate() {
        let log_q = mu[k] - log_sum;
        // v log v is 0 at 0, where its slope is infinite: large, here.
        let log_v = v.max(f64::MIN_POSITIVE).ln();
        energy += if *v == 0.0 { 0.0 } else { v * (log_v - log_q) };
        force[k] = log_q - log_v - 1.0;
        *q = v - total * *q;
    }
    energy
}
