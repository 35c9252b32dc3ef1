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
//! channels. Turning a window around exchanges the first and the last row of `G g`.

use rayon::prelude::*;

use crate::{
    host::{
        Element, HostTensor,
        convolve::Onto,
        gemm::{Matrix, Threads},
        im2col::Patches,
        packed::{Panels, aligned, lanes, spare},
        parts::threads_pay,
    },
    vertex::Cache,
};

/// Places of a transformed tile.
const PLACES: usize = 16;

/// Channels of the image and of the result from which tiles are quicker: below, transforms take
/// what the products save.
const CHANNELS: usize = 16;

/// Tiles that share a product, about: whole panels, whose transforms stay in cache.
const TOGETHER: usize = 128;

/// Channels of the result that are summed and transformed back at once.
const ROWS: usize = 96;

/// Whether this convolution is made of tiles, to so many channels. It does not depend on the batch,
/// so that a sample's numbers do not.
pub(super) fn suits(patches: &Patches, out: usize) -> bool {
    fits(patches) && patches.channels.min(out) >= CHANNELS
}

/// Whether it can be.
fn fits(patches: &Patches) -> bool {
    patches.kernel == [3, 3] && patches.stride == 1 && patches.padding <= 2
}

/// Which way a weight is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the image to the result.
    Forward,
    /// From the result back to the image.
    Back,
}

/// Writes the transformed windows of a weight `[out, channels, 3, 3]` to a slot of the cache, as 16
/// matrices `[out, channels]`, or `[channels, out]` of the windows turned around; the slot then says
/// that they are there, as after [`crate::host::packed::pack`].
pub(super) fn transform<F: Element>(
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
        let mut g = [[F::zero(); LANES]; 9];
        for k in 0..count {
            let window = match way {
                Way::Forward => row * columns + first + k,
                Way::Back => (first + k) * rows + row,
            };
            let window = &weight.data()[9 * window..][..9];
            for (place, x) in window.iter().enumerate() {
                // The last place of a window turned around is its first.
                g[if way == Way::Forward { place } else { 8 - place }][k] = *x;
            }
        }
        // G g, and that times G^T, row by row.
        let columns_of_g: [_; 3] = std::array::from_fn(|j| by_g(&g[j], &g[3 + j], &g[6 + j]));
        for i in 0..4 {
            let row_of_g = by_g(&columns_of_g[0][i], &columns_of_g[1][i], &columns_of_g[2][i]);
            for (j, numbers) in row_of_g.iter().enumerate() {
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

#[inline(always)]
fn plus<F: Element, const S: usize>(a: &[F; S], b: &[F; S]) -> [F; S] {
    std::array::from_fn(|k| a[k] + b[k])
}

#[inline(always)]
fn minus<F: Element, const S: usize>(a: &[F; S], b: &[F; S]) -> [F; S] {
    std::array::from_fn(|k| a[k] - b[k])
}

/// A convolution of samples by tiles, from `channels` to `out`.
#[derive(Clone, Copy)]
struct Tiles {
    channels: usize,
    out: usize,
    /// The image's sides, and the zeros around it.
    image: [usize; 2],
    padding: usize,
    /// The result's sides, and how many tiles it has.
    result: [usize; 2],
    grid: [usize; 2],
    /// Samples side by side: a power of two, at most a vector of columns.
    samples: usize,
    /// Rows of tiles that share a product.
    rows: usize,
    parallel: bool,
}

impl Tiles {
    fn new<F: Element>(patches: &Patches, out: usize, batch: usize, way: Way) -> Self {
        let side = [patches.height, patches.width];
        let (channels, out, image, result, padding) = match way {
            Way::Forward => (patches.channels, out, side, patches.out, patches.padding),
            // `suits` has it that the padding is at most 2.
            Way::Back => (out, patches.channels, patches.out, side, 2 - patches.padding),
        };
        let grid = result.map(|side| side.div_ceil(2));
        let work = batch.saturating_mul(channels * out);
        let parallel = threads_pay(batch, work.saturating_mul(PLACES * grid[0] * grid[1]));
        let threads = if parallel { rayon::current_num_threads() } else { 1 };
        let most = (TOGETHER / grid[1]).min(batch.div_ceil(threads)).min(lanes::<F>()).max(1);
        let samples = 1 << most.ilog2();
        let bands = grid[0].div_ceil((TOGETHER / (grid[1] * samples)).clamp(1, grid[0]));
        let rows = grid[0].div_ceil(bands);
        Self { channels, out, image, padding, result, grid, samples, rows, parallel }
    }

    fn image_len(&self) -> usize {
        self.channels * self.image[0] * self.image[1]
    }

    fn result_len(&self) -> usize {
        self.out * self.result[0] * self.result[1]
    }

    /// The convolution of at most as many samples as lie side by side.
    fn group<F: Element>(&self, filter: &[F], x: &[F], onto: Onto<'_, F>, output: &mut [F]) {
        match self.samples {
            1 => self.bands::<F, 1>(filter, x, onto, output),
            2 => self.bands::<F, 2>(filter, x, onto, output),
            4 => self.bands::<F, 4>(filter, x, onto, output),
            8 => self.bands::<F, 8>(filter, x, onto, output),
            _ => self.bands::<F, 16>(filter, x, onto, output),
        }
    }

    /// The same, band by band, with `S` samples side by side.
    fn bands<F: Element, const S: usize>(
        &self,
        filter: &[F],
        x: &[F],
        onto: Onto<'_, F>,
        output: &mut [F],
    ) {
        let columns = self.rows * self.grid[1] * S;
        let panels = Panels::new::<F>(columns);
        let moved = PLACES * panels.len(self.channels);
        let sums = PLACES * ROWS.min(self.out) * columns;
        let wide = 2 * self.grid[1] * S;
        let lines = (2 * self.rows + 2) * (wide + 2 * S);
        let all = spare::<F>() + moved + sums + lines + 4 * (wide + 2 * S);
        F::with_scratch(all, |scratch| {
            let (_, scratch) = scratch.split_at_mut(aligned(scratch));
            let (moved, rest) = scratch.split_at_mut(moved);
            let (sums, rest) = rest.split_at_mut(sums);
            let (lines, rest) = rest.split_at_mut(lines);
            for first in (0..self.grid[0]).step_by(self.rows) {
                let rows = self.rows.min(self.grid[0] - first);
                let band = Band { first, rows };
                let panels = Panels::new::<F>(rows * self.grid[1] * S);
                self.transform_images::<F, S>(x, band, panels, (lines, rest), moved);
                self.sum::<F, S>(filter, band, (panels, moved), (sums, lines), onto, output);
            }
        });
    }

    /// Writes `B^T d B` of a band's tiles, of all channels, to 16 packed matrices `[channels,
    /// tiles]`.
    fn transform_images<F: Element, const S: usize>(
        &self,
        x: &[F],
        band: Band,
        panels: Panels,
        (lines, rest): (&mut [F], &mut [F]),
        moved: &mut [F],
    ) {
        let [height, width] = self.image;
        let length = (2 * self.grid[1] + 2) * S;
        let (lines, rest) = (&mut lines[..(2 * band.rows + 2) * length], &mut rest[..4 * length]);
        // Outside the image, and where there are fewer samples, it stays like this.
        lines.fill(F::zero());
        let place = panels.len(self.channels);
        for channel in 0..self.channels {
            for (row, line) in lines.chunks_exact_mut(length).enumerate() {
                let Some(y) = (2 * band.first + row).checked_sub(self.padding) else { continue };
                if y >= height {
                    continue;
                }
                for (sample, image) in x.chunks_exact(self.image_len()).enumerate() {
                    let from = &image[(channel * height + y) * width..][..width];
                    let to = line[self.padding * S + sample..].iter_mut().step_by(S);
                    to.zip(from).for_each(|(to, from)| *to = *from);
                }
            }
            for tile_row in 0..band.rows {
                let four = lines[2 * tile_row * length..][..4 * length].chunks_exact(length);
                let four: [&[F]; 4] = rows_of(four);
                let (first, others) = rest.split_at_mut(length);
                let (second, others) = others.split_at_mut(length);
                let (third, fourth) = others.split_at_mut(length);
                for k in 0..length {
                    let [a, b, c, d] = four.map(|row| row[k]);
                    first[k] = a - c;
                    second[k] = b + c;
                    third[k] = c - b;
                    fourth[k] = b - d;
                }
                for (i, row) in rest.chunks_exact(length).enumerate() {
                    let (row, _) = row.as_chunks::<S>();
                    for tile in 0..self.grid[1] {
                        let column = (tile_row * self.grid[1] + tile) * S;
                        let (start, step) = panels.place(column, self.channels);
                        let at = 4 * i * place + start + channel * step;
                        let [a, b, c, d]: [_; 4] = std::array::from_fn(|k| &row[2 * tile + k]);
                        let all = [minus(a, c), plus(b, c), minus(c, b), minus(b, d)];
                        for (j, own) in all.iter().enumerate() {
                            moved[at + j * place..][..S].copy_from_slice(own);
                        }
                    }
                }
            }
        }
    }

    /// The products of a band, and `A^T m A` of them onto the output.
    fn sum<F: Element, const S: usize>(
        &self,
        filter: &[F],
        band: Band,
        (panels, moved): (Panels, &[F]),
        (sums, lines): (&mut [F], &mut [F]),
        onto: Onto<'_, F>,
        output: &mut [F],
    ) {
        let columns = band.rows * self.grid[1] * S;
        let place = panels.len(self.channels);
        for first in (0..self.out).step_by(ROWS) {
            let count = ROWS.min(self.out - first);
            let all = count * columns;
            for (k, sum) in sums[..PLACES * all].chunks_exact_mut(all).enumerate() {
                let own = &filter[k * self.out * self.channels..];
                let own = Matrix::new(&own[first * self.channels..], count, self.channels);
                let images = panels.packed(&moved[k * place..][..place], self.channels);
                images.product(own, F::zero(), sum, Threads::One);
            }
            for channel in 0..count {
                let own: [&[[F; S]]; PLACES] = std::array::from_fn(|k| {
                    sums[k * all + channel * columns..][..columns].as_chunks::<S>().0
                });
                self.back::<F, S>(&own, band, lines);
                self.put::<F, S>(band, first + channel, lines, onto, output);
            }
        }
    }

    /// Writes `A^T m A` of one channel of a band to `lines`, in rows of the result with samples
    /// side by side.
    fn back<F: Element, const S: usize>(
        &self,
        own: &[&[[F; S]]; PLACES],
        band: Band,
        lines: &mut [F],
    ) {
        let length = 2 * self.grid[1] * S;
        let both = lines.chunks_exact_mut(2 * length).take(band.rows);
        for (tile_row, both) in both.enumerate() {
            let (upper, lower) = both.split_at_mut(length);
            let pairs = upper.as_chunks_mut::<S>().0.chunks_exact_mut(2);
            let pairs = pairs.zip(lower.as_chunks_mut::<S>().0.chunks_exact_mut(2));
            for (tile, (upper, lower)) in pairs.enumerate() {
                let at = tile_row * self.grid[1] + tile;
                // m A, row by row, and A^T times that.
                let halves: [[[F; S]; 2]; 4] = std::array::from_fn(|i| {
                    let m = |j: usize| &own[4 * i + j][at];
                    let (sum, difference) = (plus(m(1), m(2)), minus(m(1), m(2)));
                    [plus(m(0), &sum), minus(&difference, m(3))]
                });
                let [a, b, c, d] = &halves;
                for side in 0..2 {
                    let (sum, difference) = (plus(&b[side], &c[side]), minus(&b[side], &c[side]));
                    upper[side] = plus(&a[side], &sum);
                    lower[side] = minus(&difference, &d[side]);
                }
            }
        }
    }

    /// Puts the rows of one channel of a band onto those of the output.
    fn put<F: Element, const S: usize>(
        &self,
        band: Band,
        channel: usize,
        lines: &[F],
        onto: Onto<'_, F>,
        output: &mut [F],
    ) {
        let ([height, width], length) = (self.result, 2 * self.grid[1] * S);
        let first = 2 * band.first;
        let rows = (2 * band.rows).min(height - first);
        for (sample, output) in output.chunks_exact_mut(self.result_len()).enumerate() {
            let to = &mut output[(channel * height + first) * width..][..rows * width];
            for (to, from) in to.chunks_exact_mut(width).zip(lines.chunks_exact(length)) {
                let both = to.iter_mut().zip(from.iter().skip(sample).step_by(S));
                match onto {
                    Onto::Zero => both.for_each(|(to, x)| *to = *x),
                    Onto::Bias(bias) => both.for_each(|(to, x)| *to = *x + bias[channel]),
                    Onto::Output => both.for_each(|(to, x)| *to += *x),
                }
            }
        }
    }
}

/// Some rows of tiles.
#[derive(Clone, Copy)]
struct Band {
    first: usize,
    rows: usize,
}

/// Four rows as an array.
fn rows_of<'a, F>(mut rows: impl Iterator<Item = &'a [F]>) -> [&'a [F]; 4] {
    std::array::from_fn(|_| rows.next().unwrap_or(&[]))
}

/// `output <- weight * x`, onto what `onto` says, or with [`Way::Back`] the pullback of `x`, the
/// cotangent, to the image; `filter` is what [`transform`] has made of the weight.
pub(super) fn convolve<F: Element>(
    patches: &Patches,
    way: Way,
    filter: &HostTensor<F>,
    x: &HostTensor<F>,
    onto: Onto<'_, F>,
    output: &mut HostTensor<F>,
) {
    let out = filter.data().len() / (PLACES * patches.channels);
    let batch = crate::tensor::Tensor::batch(x);
    let tiles = Tiles::new::<F>(patches, out, batch, way);
    let (image, result) = (tiles.samples * tiles.image_len(), tiles.samples * tiles.result_len());
    let (filter, x, output) = (filter.data(), x.data(), output.data_mut());
    if tiles.parallel {
        let groups = output.par_chunks_mut(result).zip(x.par_chunks(image));
        groups.for_each(|(output, x)| tiles.group(filter, x, onto, output));
    } else {
        let groups = output.chunks_mut(result).zip(x.chunks(image));
        groups.for_each(|(output, x)| tiles.group(filter, x, onto, output));
    }
}

#[cfg(test)]
mod tests;
