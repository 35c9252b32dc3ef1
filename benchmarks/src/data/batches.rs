//! The order in which samples are trained on.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;

use super::error::{Error, Result};

/// A random generator for one `stream` of a `seed`, such as one epoch.
///
/// Streams of one seed do not overlap, so epoch 7's generator needs no knowledge of epochs 0 to 6:
/// a run resumed there draws what the uninterrupted run drew.
pub fn seeded(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// One pass over the samples `0..len`, in batches of indices.
///
/// Every index comes exactly once. The last batch is yielded too, and is shorter than the others
/// where `len` is no multiple of the batch size. To resume inside an epoch, make the same `Batches`
/// again and `skip` the batches already done.
///
/// # Example
/// ```
/// use pc_bench::data::Batches;
/// let sizes: Vec<usize> = Batches::new(10, 4, 7, 0)?.map(|batch| batch.len()).collect();
/// assert_eq!(sizes, [4, 4, 2]);
/// # Ok::<(), pc_bench::data::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Batches {
    order: Vec<usize>,
    batch: usize,
    next: usize,
}

impl Batches {
    /// An epoch in shuffled order: the order depends on `len`, `seed` and `epoch`, and on nothing
    /// else.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](super::ErrorKind::Argument) if `batch` is 0.
    pub fn new(len: usize, batch: usize, seed: u64, epoch: u64) -> Result<Self> {
        let mut batches = Self::in_order(len, batch)?;
        batches.order.shuffle(&mut seeded(seed, epoch));
        Ok(batches)
    }

    /// A pass in the samples' own order, as for testing.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](super::ErrorKind::Argument) if `batch` is 0.
    pub fn in_order(len: usize, batch: usize) -> Result<Self> {
        if batch == 0 {
            return Err(Error::argument("the batch size is 0; give a batch size of at least 1"));
        }
        Ok(Self { order: (0..len).collect(), batch, next: 0 })
    }
}

impl Iterator for Batches {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let end = self.next.saturating_add(self.batch).min(self.order.len());
        let batch = self.order.get(self.next..end)?;
        if batch.is_empty() {
            return None;
        }
        self.next = end;
        Some(batch.to_vec())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.order.len() - self.next).div_ceil(self.batch);
        (left, Some(left))
    }

    fn nth(&mut self, n: usize) -> Option<Vec<usize>> {
        self.next = self.next.saturating_add(n.saturating_mul(self.batch)).min(self.order.len());
        self.next()
    }
}

impl ExactSizeIterator for Batches {}

impl std::iter::FusedIterator for Batches {}
