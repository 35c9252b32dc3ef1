//! How neurons are held.

use pc_core::{Clamps, Tensor, VertexId};

/// How a neuron is held while the others relax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Not at all: it is inferred.
    Free,
    /// At its value. Its error drives those that send to it.
    Seen,
    /// At its value, and its own error cut (Pearl's `do`): it says nothing about those that send to
    /// it, and their weights learn nothing from it. It is also how inputs are held whose errors do
    /// not count.
    Set,
}

/// Zeros and ones `[batch, width]`, by neuron.
fn mask<T: Tensor>(like: &T, how: &[Hold], which: Hold) -> T {
    let row = how.iter().map(|hold| f64::from(u8::from(*hold == which)));
    let row: Vec<f64> = row.collect();
    let mut mask = like.zeros(&like.shape());
    mask.assign(&row.repeat(like.batch()));
    mask
}

/// The clamp of one block.
pub(super) fn part<T: Tensor>(
    clamps: Clamps<T>,
    vertex: VertexId,
    value: T,
    how: &[Hold],
    root: bool,
) -> Clamps<T> {
    let all = |which: Hold| how.iter().all(|hold| *hold == which);
    if all(Hold::Seen) || (root && !how.contains(&Hold::Free)) {
        clamps.hold(vertex, value)
    } else if all(Hold::Set) {
        clamps.intervene(vertex, value)
    } else if all(Hold::Free) && root {
        clamps.free(vertex, value)
    } else if all(Hold::Free) {
        clamps
    } else if how.contains(&Hold::Set) {
        let (seen, set) = (mask(&value, how, Hold::Seen), mask(&value, how, Hold::Set));
        clamps.intervene_part(vertex, value, seen, set)
    } else {
        let seen = mask(&value, how, Hold::Seen);
        clamps.mask(vertex, value, seen)
    }
}
