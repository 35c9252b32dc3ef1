//! Numbers whose absolute sum is bounded.

use crate::{Error, Result, projection::Projection, tensor::Tensor};

/// The nearest point whose elements over the last axis have an absolute sum of `radius` at most
/// (Duchi, Shalev-Shwartz, Singer and Chandra 2008): a soft threshold whose strength is just what
/// is needed, and none inside the ball. `non_negative` also sets what is below 0 to 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct L1Ball {
    radius: f64,
    non_negative: bool,
}

impl L1Ball {
    /// Of this radius.
    ///
    /// # Errors
    /// The radius is not a positive number.
    pub fn new(radius: f64) -> Result<Self> {
        if radius > 0.0 && radius.is_finite() {
            return Ok(Self { radius, non_negative: false });
        }
        Err(Error::graph(format!("the radius of a ball must be positive, not {radius}")))
    }

    /// Its part where no element is negative.
    #[must_use]
    pub fn non_negative(mut self) -> Self {
        self.non_negative = true;
        self
    }
}

impl<T: Tensor> Projection<T> for L1Ball {
    fn kind(&self) -> &str {
        "l1 ball"
    }

    fn check(&self, shape: &[usize]) -> Result<()> {
        match shape.last() {
            Some(_) => Ok(()),
            None => Err(Error::shape("an l1 ball takes a last axis, whose absolute sum it bounds")),
        }
    }

    fn project(&self, value: &mut T, _rate: f64) {
        let length = value.shape().last().copied().unwrap_or(1).max(1);
        let mut sorted = Vec::with_capacity(length);
        T::by_rows(&[], &mut [value], &mut |_, rows| {
            for own in rows[0].chunks_mut(length) {
                if self.non_negative {
                    // Written so that a NaN stays one.
                    own.iter_mut().filter(|v| **v < 0.0).for_each(|v| *v = 0.0);
                }
                sorted.clear();
                sorted.extend(own.iter().map(|v| v.abs()));
                if sorted.iter().sum::<f64>() <= self.radius {
                    continue;
                }
                sorted.sort_unstable_by(|a: &f64, b| b.total_cmp(a));
                let (mut sum, mut shift) = (0.0, 0.0);
                for (count, v) in sorted.iter().enumerate() {
                    sum += v;
                    let candidate = (sum - self.radius) / (count + 1) as f64;
                    if *v - candidate > 0.0 || v.is_nan() {
                        shift = candidate;
                    }
                }
                for v in own {
                    let size = v.abs() - shift;
                    *v = if size < 0.0 { 0.0 } else { size.copysign(*v) };
                }
            }
        });
    }
}
