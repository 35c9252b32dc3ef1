//! Numbers between two bounds.

use crate::{Error, Result, projection::Projection, tensor::Tensor};

/// Every element in `[low, high]`; either bound may be infinite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    low: f64,
    high: f64,
}

impl Interval {
    /// `[low, high]`.
    ///
    /// # Errors
    /// The bounds are in the wrong order, or one is not a number.
    pub fn new(low: f64, high: f64) -> Result<Self> {
        if low <= high {
            return Ok(Self { low, high });
        }
        Err(Error::graph(format!("an interval from {low} to {high} holds no numbers")))
    }

    /// `[0, infinity)`.
    pub fn non_negative() -> Self {
        Self { low: 0.0, high: f64::INFINITY }
    }
}

impl<T: Tensor> Projection<T> for Interval {
    fn kind(&self) -> &str {
        "interval"
    }

    fn project(&self, value: &mut T, _rate: f64) {
        T::by_rows(&[], &mut [value], &mut |_, rows| {
            for v in rows[0].iter_mut() {
                // Written so that a NaN stays one.
                if *v < self.low {
                    *v = self.low;
                } else if *v > self.high {
                    *v = self.high;
                }
            }
        });
    }
}
