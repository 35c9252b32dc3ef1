//! What a vertex keeps of parameters that move while states relax: a weight and perhaps a bias.

use pc_core::{
    Result, Tensor,
    backend::{Cache, Inputs},
};

use crate::tensor::DeviceTensor;

// Slots of the cache, by parameter: the old ones and their change. A vertex's own begin at `OWN`.
const OLD: usize = 0;
const MOVED: usize = 2;
/// The first slot that is free for other things.
pub(super) const OWN: usize = 4;

/// Keeps all parameters as they are at a prediction, where they may move.
pub(super) fn keep(at: &Inputs<'_, DeviceTensor>, cache: &mut Cache<DeviceTensor>) {
    if at.plastic() {
        for k in 0..at.parameter_count() {
            let own = at.parameter(k);
            cache.slot(OLD + k, own.dims(), own).copy_from(own);
        }
    }
}

/// Parameter `k` as it was then.
pub(super) fn before<'a>(
    at: &Inputs<'a, DeviceTensor>,
    k: usize,
    cache: &'a Cache<DeviceTensor>,
) -> Result<&'a DeviceTensor> {
    if at.plastic() { cache.get(OLD + k) } else { Ok(at.parameter(k)) }
}

/// What parameter `k` has moved by since then, to be put back by [`done`].
pub(super) fn moved(
    at: &Inputs<'_, DeviceTensor>,
    k: usize,
    cache: &mut Cache<DeviceTensor>,
) -> Result<DeviceTensor> {
    let own = at.parameter(k);
    let mut moved = cache.take(MOVED + k, own.dims(), own);
    moved.set_difference(own, cache.get(OLD + k)?);
    Ok(moved)
}

/// Puts back what [`moved`] gave.
pub(super) fn done(k: usize, moved: DeviceTensor, cache: &mut Cache<DeviceTensor>) {
    cache.put(MOVED + k, moved);
}
