//! Patterns as rows of numbers.

use pc_core::{Error, ErrorKind, Result, Tensor};

/// Rows of equal length, which once were samples of this shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rows {
    numbers: Vec<f64>,
    shape: Vec<usize>,
    count: usize,
}

impl Rows {
    /// The samples of a tensor `[count, shape...]`.
    ///
    /// # Errors
    /// There are none, or they are empty; a number that is not finite.
    pub(super) fn new<T: Tensor>(what: &str, patterns: &T) -> Result<Self> {
        let all = patterns.shape();
        let empty = || {
            Error::new(
                ErrorKind::Shape,
                format!("{what} of the shape {all:?} hold nothing: they are [count, shape...]"),
            )
        };
        let (count, shape) = all.split_first().ok_or_else(empty)?;
        if all.contains(&0) {
            return Err(empty());
        }
        if !patterns.is_finite() {
            let message = format!("a number of the {what} is not finite");
            return Err(Error::new(ErrorKind::NotFinite, message));
        }
        Ok(Self { numbers: patterns.to_vec(), shape: shape.to_vec(), count: *count })
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The shape of one.
    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(super) fn numbers(&self) -> &[f64] {
        &self.numbers
    }

    /// The shape of all.
    pub(super) fn whole(&self) -> Vec<usize> {
        [&[self.count], &self.shape[..]].concat()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.numbers.chunks_exact((self.numbers.len() / self.count).max(1))
    }
}
