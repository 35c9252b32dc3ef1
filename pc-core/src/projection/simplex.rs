//! Distributions.

use crate::{Error, Result, projection::Projection, tensor::Tensor};

/// The nearest point whose elements over the last axis are not negative and have sum 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Simplex;

impl<T: Tensor> Projection<T> for Simplex {
    fn kind(&self) -> &str {
        "simplex"
    }

    fn check(&self, shape: &[usize]) -> Result<()> {
        match shape.last() {
            Some(_) => Ok(()),
            None => Err(Error::shape("a simplex takes a last axis, whose sum is 1")),
        }
    }

    fn project(&self, value: &mut T, _rate: f64) {
        let length = value.shape().last().copied().unwrap_or(1).max(1);
        let mut sorted = Vec::with_capacity(length);
        T::by_rows(&[], &mut [value], &mut |_, rows| {
            for own in rows[0].chunks_mut(length) {
                sorted.clear();
                sorted.extend_from_slice(own);
                sorted.sort_unstable_by(|a: &f64, b| b.total_cmp(a));
                // The largest elements stay, less what makes their sum 1; the others are 0.
                let (mut sum, mut shift) = (0.0, 0.0);
                for (count, v) in sorted.iter().enumerate() {
                    sum += v;
                    let candidate = (sum - 1.0) / (count + 1) as f64;
                    if *v - candidate > 0.0 || v.is_nan() {
                        shift = candidate;
                    }
                }
                for v in own {
                    let moved = *v - shift;
                    *v = if moved < 0.0 { 0.0 } else { moved };
                }
            }
        });
    }
}
