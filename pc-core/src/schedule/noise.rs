//! Random numbers of a schedule.

use crate::topology::VertexId;

/// Normal draws at every step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Noise {
    pub(crate) temperature: f64,
    pub(crate) seed: u64,
}

/// One stream of random numbers for every seed, batch, step and vertex.
pub(crate) fn stream(seed: u64, draw: u64, step: usize, vertex: VertexId) -> u64 {
    // SplitMix64's finaliser over the four, so that neighbouring counts give unrelated streams.
    [draw, step as u64, vertex.index() as u64].into_iter().fold(seed, |state, next| {
        let mut z = state.wrapping_add(next.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}
