//! The energy of Laplace's distribution.

use crate::{
    Error, Result,
    energy::{EnergyInputs, PredictionEnergy, Slopes},
    tensor::Tensor,
};

/// `E = sum |v - mu| / b`: the negative log-likelihood of Laplace's distribution with scale `b`, up
/// to a constant. Large errors pull no harder than small ones. At an error of 0 its slope counts as
/// 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Laplace {
    scale: f64,
}

impl Laplace {
    /// With scale `b`.
    ///
    /// # Errors
    /// The scale is not a positive number.
    pub fn new(scale: f64) -> Result<Self> {
        if scale > 0.0 && scale.is_finite() {
            return Ok(Self { scale });
        }
        Err(Error::graph(format!("the scale of a laplace energy must be positive, not {scale}")))
    }
}

impl<T: Tensor> PredictionEnergy<T> for Laplace {
    fn kind(&self) -> &str {
        "laplace"
    }

    fn evaluate(&self, at: &EnergyInputs<'_, T>, slopes: Slopes<'_, T>) -> Result<f64> {
        let mut energy = 0.0;
        let Slopes { on_prediction, on_value } = slopes;
        T::by_rows(&[at.error()], &mut [on_prediction, on_value], &mut |rows, slopes| {
            for (k, e) in rows[0].iter().enumerate() {
                energy += e.abs() / self.scale;
                // The sign of a zero is no direction; a NaN stays one.
                let slope = if *e == 0.0 { 0.0 } else { e.signum() / self.scale };
                slopes[0][k] = slope;
                slopes[1][k] = -slope;
            }
        });
        Ok(energy)
    }
}
