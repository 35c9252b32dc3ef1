//! Weights that are not there.

use crate::{Error, Result, constraint::Constraint, tensor::Tensor};

/// Elements are 0 where the mask is 0, and learn where it is 1: wiring within a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    shape: Vec<usize>,
    mask: Vec<f64>,
}

impl Mask {
    /// From a tensor of the parameter's shape, of zeros and ones.
    ///
    /// # Errors
    /// A number that is neither 0 nor 1.
    pub fn new<T: Tensor>(mask: &T) -> Result<Self> {
        let numbers = mask.to_vec();
        match numbers.iter().find(|x| **x != 0.0 && **x != 1.0) {
            Some(other) => Err(Error::graph(format!("a mask is made of 0 and 1, not of {other}"))),
            None => Ok(Self { shape: mask.shape(), mask: numbers }),
        }
    }
}

impl<T: Tensor> Constraint<T> for Mask {
    fn kind(&self) -> &str {
        "mask"
    }

    fn check(&self, shape: &[usize]) -> Result<()> {
        if shape == self.shape {
            return Ok(());
        }
        Err(Error::shape(format!("its mask has shape {:?}, the parameter {shape:?}", self.shape)))
    }

    fn restrict(&self, gradient: &mut T) {
        let mut left = &self.mask[..];
        T::by_rows(&[], &mut [gradient], &mut |_, rows| {
            let (own, others) = left.split_at(rows[0].len().min(left.len()));
            left = others;
            for (x, mask) in rows[0].iter_mut().zip(own) {
                // A NaN is not masked: it has to be seen.
                if *mask == 0.0 && x.is_finite() {
                    *x = 0.0;
                }
            }
        });
    }
}
