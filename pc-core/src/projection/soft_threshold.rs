//! Sparse numbers.

use crate::{Error, Result, projection::Projection, tensor::Tensor};

/// The proximal step of `R = lambda |v|_1`: every element comes nearer to 0 by `gamma lambda`, and
/// stays at 0 (iterative soft thresholding). `non_negative` also sets what is below 0 to 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoftThreshold {
    lambda: f64,
    non_negative: bool,
}

impl SoftThreshold {
    /// With strength `lambda`.
    ///
    /// # Errors
    /// The strength is not a positive number.
    pub fn new(lambda: f64) -> Result<Self> {
        if lambda > 0.0 && lambda.is_finite() {
            return Ok(Self { lambda, non_negative: false });
        }
        Err(Error::graph(format!(
            "the strength of a soft threshold must be positive, not {lambda}"
        )))
    }

    /// The same for elements that must not be negative.
    #[must_use]
    pub fn non_negative(mut self) -> Self {
        self.non_negative = true;
        self
    }
}

impl<T: Tensor> Projection<T> for SoftThreshold {
    fn kind(&self) -> &str {
        "soft threshold"
    }

    fn project(&self, value: &mut T, rate: f64) {
        let by = rate * self.lambda;
        T::by_rows(&[], &mut [value], &mut |_, rows| {
            for v in rows[0].iter_mut() {
                if *v > by {
                    *v -= by;
                } else if *v < -by && !self.non_negative {
                    *v += by;
                } else if !v.is_nan() {
                    *v = 0.0;
                }
            }
        });
    }

    fn energy(&self, value: &T) -> f64 {
        let mut sum = 0.0;
        T::by_rows(&[value], &mut [], &mut |rows, _| {
            sum += rows[0].iter().map(|v| v.abs()).sum::<f64>();
        });
        self.lambda * sum
    }
}
