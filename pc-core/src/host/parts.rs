//! What the vertices' implementations share: checks of shapes, inputs of inner vertices, sums over
//! rows, and when threads are worth it.

use std::ops::Range;

pub(crate) use crate::composites::single;
use crate::{
    Error, Result,
    host::Element,
    vertex::{Inputs, Pulled},
};

/// The one parent's shape, as `[channels, height, width]`.
pub(crate) fn image(kind: &str, parents: &[&[usize]]) -> Result<[usize; 3]> {
    let parent = single(kind, parents)?;
    <[usize; 3]>::try_from(parent).map_err(|_| {
        Error::shape(format!(
            "a {kind} vertex takes a parent [channels, height, width], not {parent:?}"
        ))
    })
}

/// The places of a window of `kernel` on `size` elements with `padding` zeros on either side.
pub(crate) fn positions(
    kind: &str,
    size: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Result<usize> {
    if kernel == 0 || stride == 0 {
        return Err(Error::shape(format!(
            "a {kind} vertex needs a window and a stride of at least 1, not {kernel} and {stride}"
        )));
    }
    let padded = padding.checked_mul(2).and_then(|both| size.checked_add(both));
    let room = padded.and_then(|padded| padded.checked_sub(kernel));
    let room = room.ok_or_else(|| {
        Error::shape(format!(
            "the window of its {kind} is {kernel} long, but its parent is {size} \
            long and padded by {padding}"
        ))
    })?;
    Ok(room / stride + 1)
}

/// The same inputs with some of the parents and of the parameters alone, for a vertex inside.
pub(crate) fn part<'a, T>(
    at: &Inputs<'a, T>,
    parents: Range<usize>,
    uses: Range<usize>,
) -> Inputs<'a, T> {
    Inputs { parents: &at.parents[parents], uses: &at.uses[uses], ..*at }
}

/// The same results with some of the parents and of the parameters alone, for a vertex inside.
pub(crate) fn part_pulled<'a, T>(
    pulled: &'a mut Pulled<'_, T>,
    parents: Range<usize>,
    uses: Range<usize>,
) -> Pulled<'a, T> {
    Pulled {
        forces: pulled.forces.get_mut(parents).unwrap_or(&mut []),
        gradients: pulled.gradients.as_deref_mut(),
        uses: &pulled.uses[uses],
        scale: pulled.scale,
    }
}

/// Whether `jobs` independent jobs of so many multiplications in all are worth the threads.
pub(crate) fn threads_pay(jobs: usize, multiplications: usize) -> bool {
    jobs > 1 && multiplications >= 1 << 17 && rayon::current_num_threads() > 1
}

const LANES: usize = 16;

/// `sum_i term(a_i)`, in lanes so that it vectorises.
pub(crate) fn sum_by<F: Element>(a: &[F], term: impl Fn(F) -> F) -> F {
    let (blocks, rest) = a.as_chunks::<LANES>();
    let mut lanes = [F::zero(); LANES];
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane += term(*x);
        }
    }
    rest.iter().fold(F::zero(), |sum, x| sum + term(*x))
        + lanes.iter().fold(F::zero(), |sum, x| sum + *x)
}

/// `sum_i a_i`.
pub(crate) fn sum<F: Element>(a: &[F]) -> F {
    sum_by(a, |x| x)
}

/// Adds `scale` times the sum of each channel's planes, of so many numbers, to its number of
/// `gradient`.
pub(crate) fn add_plane_sums<F: Element>(planes: &[F], plane: usize, scale: F, gradient: &mut [F]) {
    for planes in planes.chunks_exact(gradient.len() * plane) {
        for (g, plane) in gradient.iter_mut().zip(planes.chunks_exact(plane)) {
            *g += scale * sum(plane);
        }
    }
}

/// `sum_i term(a_i, b_i)`, in lanes so that it vectorises.
pub(crate) fn sum_pairs<F: Element>(a: &[F], b: &[F], term: impl Fn(F, F) -> F) -> F {
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [F::zero(); LANES];
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for (lane, (x, y)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += term(*x, *y);
        }
    }
    let rest = a_rest.iter().zip(b_rest).fold(F::zero(), |sum, (x, y)| sum + term(*x, *y));
    rest + lanes.iter().fold(F::zero(), |sum, x| sum + *x)
}

/// `gradient <- scale terms` where it is fresh, `gradient <- gradient + scale terms` else.
pub(crate) fn accumulate<F: Element>(
    gradient: &mut [F],
    fresh: bool,
    scale: F,
    terms: impl Iterator<Item = F>,
) {
    if fresh {
        gradient.iter_mut().zip(terms).for_each(|(g, term)| *g = scale * term);
    } else {
        gradient.iter_mut().zip(terms).for_each(|(g, term)| *g += scale * term);
    }
}
