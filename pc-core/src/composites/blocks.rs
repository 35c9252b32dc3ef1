//! Rearrangements of numbers that lie row by row in memory. Shapes have the batch first, axes are
//! counted without it, and both have been checked to fit.

use std::ops::Range;

/// The length of the blocks that a tensor consists of from `axis` on, and of one element there.
fn block(shape: &[usize], axis: usize) -> (usize, usize) {
    let inner: usize = shape[axis + 2..].iter().product();
    (shape[axis + 1] * inner, inner)
}

/// Copies the elements of `from` from `start` on along `axis`, as many as `to` has there.
pub(crate) fn cut<E: Copy>(
    from: &[E],
    from_shape: &[usize],
    to: &mut [E],
    to_shape: &[usize],
    axis: usize,
    start: usize,
) {
    let ((whole, inner), (part, _)) = (block(from_shape, axis), block(to_shape, axis));
    let start = start * inner;
    for (to, from) in to.chunks_exact_mut(part.max(1)).zip(from.chunks_exact(whole.max(1))) {
        to.copy_from_slice(&from[start..start + part]);
    }
}

/// Copies all of `from`, or zeros, to the elements `place` of `to` along `axis`.
pub(crate) fn lay<E: Copy>(
    to: &mut [E],
    to_shape: &[usize],
    axis: usize,
    place: Range<usize>,
    from: Option<&[E]>,
    zero: E,
) {
    let (whole, inner) = block(to_shape, axis);
    let place = place.start * inner..place.end * inner;
    let places = to.chunks_exact_mut(whole.max(1)).map(|block| &mut block[place.clone()]);
    match from {
        Some(from) => places
            .zip(from.chunks_exact(place.len().max(1)))
            .for_each(|(to, from)| to.copy_from_slice(from)),
        None => places.for_each(|to| to.fill(zero)),
    }
}

/// From blocks `[a, b]`, each of `inner` elements, to `[b, a]`, sample by sample.
pub(crate) fn swap<E: Copy>(from: &[E], shape: &[usize], to: &mut [E]) {
    let (a, b) = (shape[1], shape[2]);
    let inner: usize = shape[3..].iter().product();
    let sample = (a * b * inner).max(1);
    for (to, from) in to.chunks_exact_mut(sample).zip(from.chunks_exact(sample)) {
        for (j, to) in to.chunks_exact_mut(a * inner).enumerate() {
            for (i, to) in to.chunks_exact_mut(inner).enumerate() {
                to.copy_from_slice(&from[(i * b + j) * inner..][..inner]);
            }
        }
    }
}
