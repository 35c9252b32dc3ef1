//! Convolutions with 3x3 windows by tiles of 2x2 results: 16 multiplications a tile and pair of
//! channels instead of 36 (Winograd's minimal filtering F(2x2, 3x3); Lavin and Gray 2016).
//!
//! A tile of results is `Y = A^T [(G g G^T) . (B^T d B)] A` for a window `g` and the 4x4 elements
//! `d` of the image under it, where `.` multiplies element by element and
//!
//! ```text
//!       1  0 -1  0          1    0    0
//! B^T = 0  1  1  0     G = 1/2  1/2  1/2    A^T = 1  1  1  0
//!       0 -1  1  0         1/2 -1/2  1/2          0  1 -1 -1
//!       0  1  0 -1          0    0    1
//! ```
//!
//! Summed over channels, each of the 16 places is a matrix product. `B` and `A` only add, so that a
//! result in `f32` has about the digits of a direct sum.
//!
//! The pullback to the image is a convolution with windows turned half around, from results to
//! channels. The weight gradient, `G^T [(A dY A^T) . (B^T d B)] G` summed over tiles, is left to
//! the direct products: made like this it was hardly quicker, since sums as large as the weight are
//! read and written for every few tiles.

mod tile;
mod tiles;
mod windows;

pub(super) use tile::{Way, suits};
pub(super) use tiles::convolve;
pub(super) use windows::transform;

#[cfg(test)]
mod tests;
