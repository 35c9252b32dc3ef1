//! How a convolution is cut into tiles, and the transform of the image's.

use crate::host::{Element, im2col::Patches, packed::lanes, parts::threads_pay};

/// Places of a transformed tile.
pub(super) const PLACES: usize = 16;

/// Channels of the image and of the result from which tiles are quicker: below, transforms take
/// what the products save.
const CHANNELS: usize = 24;

/// Tiles that share a product, about: whole panels, whose transforms stay in cache.
const TOGETHER: usize = 128;

/// Whether this convolution is made of tiles, to so many channels. It does not depend on the batch,
/// so that a sample's numbers do not.
pub(in crate::host) fn suits(patches: &Patches, out: usize) -> bool {
    fits(patches) && patches.channels.min(out) >= CHANNELS
}

/// Whether it can be.
pub(super) fn fits(patches: &Patches) -> bool {
    patches.kernel == [3, 3] && patches.stride == 1 && patches.padding <= 2
}

/// Whether this convolution is worth the threads.
pub(super) fn pays(patches: &Patches, out: usize, batch: usize) -> bool {
    let tiles = patches.out[0].div_ceil(2) * patches.out[1].div_ceil(2);
    let work = batch.saturating_mul(patches.channels * out);
    threads_pay(batch, work.saturating_mul(PLACES * tiles))
}

/// Which way a weight is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::host) enum Way {
    /// From the image to the result.
    Forward,
    /// From the result back to the image.
    Back,
}

#[inline(always)]
pub(super) fn plus<F: Element, const S: usize>(a: &[F; S], b: &[F; S]) -> [F; S] {
    std::array::from_fn(|k| a[k] + b[k])
}

#[inline(always)]
pub(super) fn minus<F: Element, const S: usize>(a: &[F; S], b: &[F; S]) -> [F; S] {
    std::array::from_fn(|k| a[k] - b[k])
}

/// Some rows of tiles.
#[derive(Clone, Copy)]
pub(super) struct Band {
    pub(super) first: usize,
    pub(super) rows: usize,
}

/// A convolution of samples by tiles, from `channels` to `out`.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    pub(super) channels: usize,
    pub(super) out: usize,
    /// The image's sides, and the zeros around it.
    pub(super) image: [usize; 2],
    pub(super) padding: usize,
    /// The result's sides, and how many tiles it has.
    pub(super) result: [usize; 2],
    pub(super) grid: [usize; 2],
    /// Samples side by side: a power of two, at most a vector of columns.
    pub(super) samples: usize,
    /// Rows of tiles that share a product.
    pub(super) rows: usize,
}

impl Tiles {
    /// For at most so many samples at once.
    pub(super) fn new<F: Element>(patches: &Patches, out: usize, way: Way, batch: usize) -> Self {
        let side = [patches.height, patches.width];
        let (channels, out, image, result, padding) = match way {
            Way::Forward => (patches.channels, out, side, patches.out, patches.padding),
            // `suits` has it that the padding is at most 2.
            Way::Back => (out, patches.channels, patches.out, side, 2 - patches.padding),
        };
        let grid = result.map(|side| side.div_ceil(2));
        let most = (TOGETHER / grid[1]).min(batch).min(lanes::<F>().min(16)).max(1);
        let samples = 1 << most.ilog2();
        let bands = grid[0].div_ceil((TOGETHER / (grid[1] * samples)).clamp(1, grid[0]));
        let rows = grid[0].div_ceil(bands);
        Self { channels, out, image, padding, result, grid, samples, rows }
    }

    /// All its bands.
    pub(super) fn bands(&self) -> impl Iterator<Item = Band> + use<> {
        let (all, rows) = (self.grid[0], self.rows);
        (0..all).step_by(rows).map(move |first| Band { first, rows: rows.min(all - first) })
    }

    pub(super) fn image_len(&self) -> usize {
        self.channels * self.image[0] * self.image[1]
    }

    pub(super) fn result_len(&self) -> usize {
        self.out * self.result[0] * self.result[1]
    }

    /// `put(4 i, column, row i of B^T d B)` for every tile of a band in one channel, with samples
    /// side by side. `lines` are zeros at first, which they stay outside the image and where there
    /// are fewer samples; of `rest` the contents do not matter.
    pub(super) fn image<F: Element, const S: usize>(
        &self,
        (x, channel): (&[F], usize),
        band: Band,
        (lines, rest): (&mut [F], &mut [F]),
        mut put: impl FnMut(usize, usize, &[[F; S]; 4]),
    ) {
        let [height, width] = self.image;
        let length = self.line::<S>();
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
            let mut four = lines[2 * tile_row * length..][..4 * length].chunks_exact(length);
            let four: [&[F]; 4] = std::array::from_fn(|_| four.next().unwrap_or(&[]));
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
                    let [a, b, c, d]: [_; 4] = std::array::from_fn(|k| &row[2 * tile + k]);
                    let all = [minus(a, c), plus(b, c), minus(c, b), minus(b, d)];
                    put(4 * i, (tile_row * self.grid[1] + tile) * S, &all);
                }
            }
        }
    }

    /// The elements of a row of the image with its padding, of samples side by side.
    pub(super) fn line<const S: usize>(&self) -> usize {
        (2 * self.grid[1] + 2) * S
    }

    /// The elements of the rows under a band, and of those that [`Tiles::image`] works in besides.
    pub(super) fn lines<const S: usize>(&self, rows: usize) -> [usize; 2] {
        [(2 * rows + 2) * self.line::<S>(), 4 * self.line::<S>()]
    }
}
