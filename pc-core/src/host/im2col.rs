//! The patches of images under a sliding window, as the columns of a matrix, and back: for a few
//! channels of a few samples at a time, so that the matrix stays in cache.

use std::ops::Range;

use crate::{
    Error, Result,
    host::{Element, parts::positions},
    tensor::elements,
};

/// A window sliding over an image `[channels, height, width]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patches {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) out: [usize; 2],
}

impl Patches {
    /// A window of `kernel` over an image of this shape, with zeros around it.
    pub(crate) fn new(
        image: [usize; 3],
        kernel: [usize; 2],
        stride: usize,
        padding: usize,
    ) -> Result<Self> {
        let [channels, height, width] = image;
        let out = [
            positions("conv2d", height, kernel[0], stride, padding)?,
            positions("conv2d", width, kernel[1], stride, padding)?,
        ];
        if channels == 0 {
            return Err(Error::shape("a conv2d vertex needs at least one channel"));
        }
        // All sizes below are at most these; `positions` has shown that the padded sides are
        // numbers.
        for shape in [
            [channels, height, width, 1],
            [channels, kernel[0], kernel[1], 1],
            [height + 2 * padding, width + 2 * padding, 1, 1],
        ] {
            elements(&shape)?;
        }
        elements(&[channels * kernel[0] * kernel[1], out[0], out[1]])?;
        Ok(Self { channels, height, width, kernel, stride, padding, out })
    }

    /// The elements of one patch: the rows of the matrix, by channel, row and column of the window.
    pub(crate) fn rows(&self) -> usize {
        self.channels * self.window()
    }

    /// The elements of one patch in one channel.
    pub(crate) fn window(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The patches of a sample: the columns of the matrix, by row and column of the result.
    pub(crate) fn columns(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// The elements of the image.
    pub(crate) fn image_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether the image is its own matrix of patches.
    pub(crate) fn pointwise(&self) -> bool {
        self.window() == 1 && self.stride == 1 && self.padding == 0
    }

    /// The elements of one channel of so many samples with their padding, where they are not read
    /// from the images themselves: the working memory of [`Patches::spread`] and
    /// [`Patches::gather`].
    pub(crate) fn padded_len(&self, samples: usize) -> usize {
        if self.as_it_is(samples) { 0 } else { samples * self.padded_plane() }
    }

    /// Whether patches are read from the planes of the images and added to them.
    fn as_it_is(&self, samples: usize) -> bool {
        self.padding == 0 && samples == 1
    }

    fn padded_plane(&self) -> usize {
        (self.height + 2 * self.padding) * (self.width + 2 * self.padding)
    }

    /// Where the rows of an image's plane lie in the padded one.
    fn rows_in_padded(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let this = *self;
        let side = this.width + 2 * this.padding;
        (0..this.height).map(move |y| {
            let start = (y + this.padding) * side + this.padding;
            start..start + this.width
        })
    }

    /// How the elements of a matrix's row lie in the plane: `(runs, length of a run, from one run
    /// to the next in the plane)`, for planes of this width.
    fn runs(&self, width: usize) -> (usize, usize, usize) {
        if self.stride == 1 && width == self.out[1] {
            (1, self.columns(), 0)
        } else {
            (self.out[0], self.out[1], self.stride * width)
        }
    }

    /// Writes to `matrix`, in rows of as many columns as all the samples have, the patches that
    /// these samples have in these channels. The columns go by row and column of the result, and
    /// then by sample, so that what is copied lies in long pieces. `padded` is working memory.
    pub(crate) fn spread<F: Element>(
        &self,
        images: &[F],
        channels: Range<usize>,
        padded: &mut [F],
        matrix: &mut [F],
    ) {
        let (plane, image) = (self.height * self.width, self.image_len());
        let samples = images.len() / image;
        padded.fill(F::zero());
        let rows = matrix.chunks_exact_mut(self.window() * samples * self.columns());
        for (channel, rows) in channels.zip(rows) {
            if self.as_it_is(samples) {
                self.spread_plane(&images[channel * plane..][..plane], self.width, rows);
                continue;
            }
            for (sample, image) in images.chunks_exact(image).enumerate() {
                let from = image[channel * plane..][..plane].chunks_exact(self.width);
                for (to, from) in self.rows_in_padded().zip(from) {
                    let to = &mut padded[to.start * samples..to.end * samples];
                    put_beside(from, (sample, samples), to);
                }
            }
            self.spread_plane(padded, self.width + 2 * self.padding, rows);
        }
    }

    /// The rows of the matrix that belong to one channel, from its planes, which lie side by side,
    /// in rows of this width.
    fn spread_plane<F: Element>(&self, planes: &[F], width: usize, rows: &mut [F]) {
        let (runs, length, step) = self.runs(width);
        let row_len = rows.len() / self.window();
        let samples = row_len / self.columns();
        for (place, row) in rows.chunks_exact_mut(row_len).enumerate() {
            let corner = place / self.kernel[1] * width + place % self.kernel[1];
            for (run, to) in row.chunks_exact_mut(row_len / runs).enumerate() {
                let from = &planes[(corner + run * step) * samples..];
                if self.stride == 1 {
                    copy(&from[..length * samples], to);
                } else if samples == 1 {
                    let from = from.iter().step_by(self.stride);
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                } else {
                    let from = from.chunks_exact(samples).step_by(self.stride);
                    to.chunks_exact_mut(samples).zip(from).for_each(|(to, from)| copy(from, to));
                }
            }
        }
    }

    /// Writes to these channels of `images` the sum over patches of the matrix's columns, each
    /// where its patch lies: the transpose of [`Patches::spread`].
    pub(crate) fn gather<F: Element>(
        &self,
        matrix: &[F],
        channels: Range<usize>,
        padded: &mut [F],
        images: &mut [F],
    ) {
        let (plane, image) = (self.height * self.width, self.image_len());
        let samples = images.len() / image;
        let rows = matrix.chunks_exact(self.window() * samples * self.columns());
        for (channel, rows) in channels.zip(rows) {
            if self.as_it_is(samples) {
                let plane = &mut images[channel * plane..][..plane];
                plane.fill(F::zero());
                self.gather_plane(rows, self.width, plane);
                continue;
            }
            padded.fill(F::zero());
            self.gather_plane(rows, self.width + 2 * self.padding, padded);
            for (sample, image) in images.chunks_exact_mut(image).enumerate() {
                let to = image[channel * plane..][..plane].chunks_exact_mut(self.width);
                for (from, to) in self.rows_in_padded().zip(to) {
                    let from = &padded[from.start * samples..from.end * samples];
                    take_from_beside(from, (sample, samples), to);
                }
            }
        }
    }

    /// Adds the rows of one channel to its planes, which lie side by side, in rows of this width.
    fn gather_plane<F: Element>(&self, rows: &[F], width: usize, planes: &mut [F]) {
        let (runs, length, step) = self.runs(width);
        let row_len = rows.len() / self.window();
        let samples = row_len / self.columns();
        for (place, row) in rows.chunks_exact(row_len).enumerate() {
            let corner = place / self.kernel[1] * width + place % self.kernel[1];
            for (run, from) in row.chunks_exact(row_len / runs).enumerate() {
                let to = &mut planes[(corner + run * step) * samples..];
                if self.stride == 1 {
                    add(from, &mut to[..length * samples]);
                } else if samples == 1 {
                    let to = to.iter_mut().step_by(self.stride);
                    to.zip(from).for_each(|(to, from)| *to += *from);
                } else {
                    let to = to.chunks_exact_mut(samples).step_by(self.stride);
                    to.zip(from.chunks_exact(samples)).for_each(|(to, from)| add(from, to));
                }
            }
        }
    }
}

/// `to <- from` for one of several samples that lie side by side in `to`: the first elements of
/// all, then the second ones, and so on.
pub(crate) fn put_beside<F: Element>(from: &[F], (sample, samples): (usize, usize), to: &mut [F]) {
    if samples == 1 {
        copy(from, to);
    } else {
        let to = to.iter_mut().skip(sample).step_by(samples);
        to.zip(from).for_each(|(to, from)| *to = *from);
    }
}

/// The reverse of [`put_beside`].
fn take_from_beside<F: Element>(from: &[F], (sample, samples): (usize, usize), to: &mut [F]) {
    if samples == 1 {
        copy(from, to);
    } else {
        let from = from.iter().skip(sample).step_by(samples);
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }
}

/// What is copied at once: runs are short, and calls of `memcpy` would cost more than they do.
const PIECE: usize = 8;

/// `to <- from`, of the same length.
#[inline(always)]
pub(crate) fn copy<F: Element>(from: &[F], to: &mut [F]) {
    let ((from_pieces, from_rest), (to_pieces, to_rest)) =
        (from.as_chunks::<PIECE>(), to.as_chunks_mut::<PIECE>());
    to_pieces.iter_mut().zip(from_pieces).for_each(|(to, from)| *to = *from);
    let ((from_pieces, from_rest), (to_pieces, to_rest)) =
        (from_rest.as_chunks::<4>(), to_rest.as_chunks_mut::<4>());
    to_pieces.iter_mut().zip(from_pieces).for_each(|(to, from)| *to = *from);
    // At most three, one by one.
    for (to, from) in to_rest.iter_mut().zip(from_rest).take(3) {
        *to = *from;
    }
}

/// `to <- to + from`, of the same length.
#[inline(always)]
pub(crate) fn add<F: Element>(from: &[F], to: &mut [F]) {
    let ((from_pieces, from_rest), (to_pieces, to_rest)) =
        (from.as_chunks::<4>(), to.as_chunks_mut::<4>());
    for (to, from) in to_pieces.iter_mut().zip(from_pieces) {
        to.iter_mut().zip(from).for_each(|(to, from)| *to += *from);
    }
    to_rest.iter_mut().zip(from_rest).for_each(|(to, from)| *to += *from);
}
