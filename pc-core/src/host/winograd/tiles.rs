//! The products of tiles.

use rayon::prelude::*;

use crate::{
    host::{
        Element, HostTensor,
        convolve::Onto,
        gemm::{Matrix, Threads},
        im2col::Patches,
        packed::{Panels, aligned, spare},
    },
    tensor::Tensor,
};

use super::tile::{Band, PLACES, Tiles, Way, minus, pays, plus};

/// Channels of the result that are summed and transformed back at once.
const ROWS: usize = 96;

impl Tiles {
    /// The convolution of at most as many samples as lie side by side.
    fn group<F: Element>(&self, filter: &[F], x: &[F], onto: Onto<'_, F>, output: &mut [F]) {
        match self.samples {
            1 => self.each_band::<F, 1>(filter, x, onto, output),
            2 => self.each_band::<F, 2>(filter, x, onto, output),
            4 => self.each_band::<F, 4>(filter, x, onto, output),
            8 => self.each_band::<F, 8>(filter, x, onto, output),
            _ => self.each_band::<F, 16>(filter, x, onto, output),
        }
    }

    /// The same, band by band, with `S` samples side by side.
    fn each_band<F: Element, const S: usize>(
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
        let [lines, besides] = self.lines::<S>(self.rows);
        let all = spare::<F>() + moved + sums + lines + besides;
        F::with_scratch(all, |scratch| {
            let (_, scratch) = scratch.split_at_mut(aligned(scratch));
            let (moved, rest) = scratch.split_at_mut(moved);
            let (sums, rest) = rest.split_at_mut(sums);
            let (lines, rest) = rest.split_at_mut(lines);
            for band in self.bands() {
                let panels = Panels::new::<F>(band.rows * self.grid[1] * S);
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
        let [under, besides] = self.lines::<S>(band.rows);
        let (lines, rest) = (&mut lines[..under], &mut rest[..besides]);
        lines.fill(F::zero());
        let place = panels.len(self.channels);
        for channel in 0..self.channels {
            let put = |k: usize, column: usize, row: &[[F; S]; 4]| {
                let (start, step) = panels.place(column, self.channels);
                let at = k * place + start + channel * step;
                for (j, own) in row.iter().enumerate() {
                    moved[at + j * place..][..S].copy_from_slice(own);
                }
            };
            self.image::<F, S>((x, channel), band, (&mut *lines, &mut *rest), put);
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

/// `output <- weight * x`, onto what `onto` says, or with [`Way::Back`] the pullback of `x`, the
/// cotangent, to the image; `filter` is what [`transform`] has made of the weight.
pub(in crate::host) fn convolve<F: Element>(
    patches: &Patches,
    way: Way,
    filter: &HostTensor<F>,
    x: &HostTensor<F>,
    onto: Onto<'_, F>,
    output: &mut HostTensor<F>,
) {
    let out = filter.data().len() / (PLACES * patches.channels);
    let batch = x.batch();
    let parallel = pays(patches, out, batch);
    let threads = if parallel { rayon::current_num_threads() } else { 1 };
    // Every thread gets some.
    let tiles = Tiles::new::<F>(patches, out, way, batch.div_ceil(threads));
    let (image, result) = (tiles.samples * tiles.image_len(), tiles.samples * tiles.result_len());
    let (filter, x, output) = (filter.data(), x.data(), output.data_mut());
    if parallel {
        let groups = output.par_chunks_mut(result).zip(x.par_chunks(image));
        groups.for_each(|(output, x)| tiles.group(filter, x, onto, output));
    } else {
        let groups = output.chunks_mut(result).zip(x.chunks(image));
        groups.for_each(|(output, x)| tiles.group(filter, x, onto, output));
    }
}
