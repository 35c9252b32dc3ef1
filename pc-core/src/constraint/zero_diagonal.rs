//! Matrices that send nothing back to where it comes from.

use crate::{Error, Result, constraint::Constraint, tensor::Tensor};

/// The diagonal of a square matrix stays 0: no unit predicts itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ZeroDiagonal;

impl<T: Tensor> Constraint<T> for ZeroDiagonal {
    fn kind(&self) -> &str {
        "zero diagonal"
    }

    fn check(&self, shape: &[usize]) -> Result<()> {
        match shape {
            [rows, columns] if rows == columns => Ok(()),
            _ => Err(Error::shape(format!("a zero diagonal takes a square matrix, not {shape:?}"))),
        }
    }

    fn restrict(&self, gradient: &mut T) {
        let mut row = 0;
        T::by_rows(&[], &mut [gradient], &mut |_, rows| {
            // A NaN is not hidden: it has to be seen.
            if let Some(x) = rows[0].get_mut(row).filter(|x| x.is_finite()) {
                *x = 0.0;
            }
            row += 1;
        });
    }
}
