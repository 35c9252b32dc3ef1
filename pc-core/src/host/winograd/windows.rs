//! The transform of windows.

use crate::{
    host::{Element, HostTensor, im2col::Patches},
    vertex::Cache,
};

use super::tile::{PLACES, Way, minus, plus};

/// Writes the transformed windows of a weight `[out, channels, 3, 3]` to a slot of the cache, as 16
/// matrices `[out, channels]`, or `[channels, out]` of the windows turned around. The slot then
/// says that they are there, as after [`crate::host::packed::pack`].
pub(in crate::host) fn transform<F: Element>(
    weight: &HostTensor<F>,
    patches: &Patches,
    way: Way,
    cache: &mut Cache<HostTensor<F>>,
    slot: usize,
) {
    let channels = patches.channels;
    let out = weight.data().len() / patches.rows();
    let (rows, columns) = match way {
        Way::Forward => (out, channels),
        Way::Back => (channels, out),
    };
    cache.indices(slot).push(0);
    let to = cache.slot(slot, &[PLACES, rows, columns], weight).data_mut();
    let all = rows * columns;
    let mut one = |row: usize, first: usize| {
        let count = LANES.min(columns - first);
        // The last place of a window turned around is its first.
        let mut windows = [[F::zero(); 9]; LANES];
        for (lane, to) in windows.iter_mut().enumerate().take(count) {
            let window = match way {
                Way::Forward => row * columns + first + lane,
                Way::Back => (first + lane) * rows + row,
            };
            to.copy_from_slice(&weight.data()[9 * window..][..9]);
            if way == Way::Back {
                to.reverse();
            }
        }
        let g: [[F; LANES]; 9] =
            std::array::from_fn(|place| std::array::from_fn(|lane| windows[lane][place]));
        // G g, and that times G^T, row by row.
        let [left, middle, right]: [_; 3] =
            std::array::from_fn(|j| by_g(&g[j], &g[3 + j], &g[6 + j]));
        for (i, (a, (b, c))) in left.iter().zip(middle.iter().zip(&right)).enumerate() {
            for (j, numbers) in by_g(a, b, c).iter().enumerate() {
                let at = (4 * i + j) * all + row * columns + first;
                to[at..][..count].copy_from_slice(&numbers[..count]);
            }
        }
    };
    // In the order in which windows lie in memory, nearly.
    let firsts = || (0..columns).step_by(LANES);
    match way {
        Way::Forward => (0..rows).for_each(|row| firsts().for_each(|first| one(row, first))),
        Way::Back => firsts().for_each(|first| (0..rows).for_each(|row| one(row, first))),
    }
}

/// The columns of windows that are transformed at once.
const LANES: usize = 16;

/// `G (a, b, c)^T`.
#[inline(always)]
fn by_g<F: Element>(a: &[F; LANES], b: &[F; LANES], c: &[F; LANES]) -> [[F; LANES]; 4] {
    let half = F::of(0.5);
    let ends: [F; LANES] = std::array::from_fn(|k| (a[k] + c[k]) * half);
    let middle: [F; LANES] = std::array::from_fn(|k| b[k] * half);
    [*a, plus(&ends, &middle), minus(&ends, &middle), *c]
}
