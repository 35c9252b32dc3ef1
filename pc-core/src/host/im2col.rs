//! The patches of an image under a sliding window, as the columns of a matrix, and back.

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
        // All sizes below are at most these.
        for shape in [
            [channels, height, width, 1],
            [channels, kernel[0], kernel[1], 1],
            [out[0].saturating_add(kernel[0]), out[1], 1, 1],
        ] {
            elements(&shape)?;
        }
        elements(&[channels * kernel[0] * kernel[1], out[0], out[1]])?;
        Ok(Self { channels, height, width, kernel, stride, padding, out })
    }

    /// The elements of one patch: the rows of the matrix, by channel, row and column of the window.
    pub(crate) fn rows(&self) -> usize {
        self.channels * self.kernel[0] * self.kernel[1]
    }

    /// The patches: the columns of the matrix, by row and column of the result.
    pub(crate) fn columns(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// The elements of the image.
    pub(crate) fn image_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Whether the image is its own matrix of patches.
    pub(crate) fn pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == 1 && self.padding == 0
    }

    /// The working memory of [`Patches::spread`] and [`Patches::gather`].
    pub(crate) fn scratch_len(&self) -> usize {
        self.rows() * self.columns() + self.strip_len()
    }

    /// With stride 1 the rows of the matrix for one channel and one column of the window are shifts
    /// of one another by whole rows of the result: all are slices of one strip, the image shifted
    /// sideways.
    fn strip_len(&self) -> usize {
        if self.stride == 1 { (self.out[0] + self.kernel[0] - 1) * self.out[1] } else { 0 }
    }

    /// The columns of the result that column `kx` of the window finds inside the image.
    fn inside(&self, kx: usize) -> (usize, usize) {
        let first = self.padding.saturating_sub(kx).div_ceil(self.stride).min(self.out[1]);
        let end =
            (self.width + self.padding).saturating_sub(kx).div_ceil(self.stride).min(self.out[1]);
        (first, end.max(first))
    }

    /// The row of the image at `y` of the padded image; `None` in the padding.
    fn image_row(&self, y: usize) -> Option<usize> {
        y.checked_sub(self.padding).filter(|y| *y < self.height)
    }

    /// Writes one row of the result's width: the elements that column `kx` of the window meets on
    /// row `y` of the padded image.
    fn spread_row<F: Element>(
        &self,
        plane: &[F],
        y: usize,
        kx: usize,
        (first, end): (usize, usize),
        to: &mut [F],
    ) {
        let Some(y) = self.image_row(y).filter(|_| first < end) else {
            to.fill(F::zero());
            return;
        };
        to[..first].fill(F::zero());
        to[end..].fill(F::zero());
        let from =
            &plane[y * self.width + first * self.stride + kx - self.padding..(y + 1) * self.width];
        if self.stride == 1 {
            to[first..end].copy_from_slice(&from[..end - first]);
        } else {
            to[first..end]
                .iter_mut()
                .zip(from.iter().step_by(self.stride))
                .for_each(|(to, from)| *to = *from);
        }
    }

    /// Adds one row of the result's width back to the image.
    fn gather_row<F: Element>(
        &self,
        from: &[F],
        y: usize,
        kx: usize,
        (first, end): (usize, usize),
        plane: &mut [F],
    ) {
        let Some(y) = self.image_row(y).filter(|_| first < end) else { return };
        let to = &mut plane
            [y * self.width + first * self.stride + kx - self.padding..(y + 1) * self.width];
        if self.stride == 1 {
            to.iter_mut().zip(&from[first..end]).for_each(|(to, from)| *to += *from);
        } else {
            to.iter_mut()
                .step_by(self.stride)
                .zip(&from[first..end])
                .for_each(|(to, from)| *to += *from);
        }
    }

    /// The matrix of patches `[rows, columns]`, made in `scratch` where the image is not that
    /// matrix itself.
    pub(crate) fn spread<'a, F: Element>(&self, image: &'a [F], scratch: &'a mut [F]) -> &'a [F] {
        if self.pointwise() {
            return image;
        }
        let (columns, [kh, kw], width) = (self.columns(), self.kernel, self.out[1]);
        let (matrix, strip) = scratch.split_at_mut(self.rows() * columns);
        let planes = image.chunks_exact(self.height * self.width);
        for (plane, rows) in planes.zip(matrix.chunks_exact_mut(kh * kw * columns)) {
            for kx in 0..kw {
                let inside = self.inside(kx);
                if self.stride == 1 {
                    let strip = &mut strip[..self.strip_len()];
                    for (y, to) in strip.chunks_exact_mut(width).enumerate() {
                        self.spread_row(plane, y, kx, inside, to);
                    }
                    for ky in 0..kh {
                        rows[(ky * kw + kx) * columns..][..columns]
                            .copy_from_slice(&strip[ky * width..][..columns]);
                    }
                } else {
                    for ky in 0..kh {
                        let row = &mut rows[(ky * kw + kx) * columns..][..columns];
                        for (y, to) in row.chunks_exact_mut(width).enumerate() {
                            self.spread_row(plane, y * self.stride + ky, kx, inside, to);
                        }
                    }
                }
            }
        }
        matrix
    }

    /// Writes to `image` the sum over patches of the matrix's columns, each where its patch lies.
    /// `strip` is the rest of the working memory.
    pub(crate) fn gather<F: Element>(&self, matrix: &[F], strip: &mut [F], image: &mut [F]) {
        let (columns, [kh, kw], width) = (self.columns(), self.kernel, self.out[1]);
        image.fill(F::zero());
        let planes = image.chunks_exact_mut(self.height * self.width);
        for (plane, rows) in planes.zip(matrix.chunks_exact(kh * kw * columns)) {
            for kx in 0..kw {
                let inside = self.inside(kx);
                if self.stride == 1 {
                    let strip = &mut strip[..self.strip_len()];
                    strip[..columns].copy_from_slice(&rows[kx * columns..][..columns]);
                    strip[columns..].fill(F::zero());
                    for ky in 1..kh {
                        let row = &rows[(ky * kw + kx) * columns..][..columns];
                        strip[ky * width..][..columns]
                            .iter_mut()
                            .zip(row)
                            .for_each(|(to, from)| *to += *from);
                    }
                    for (y, from) in strip.chunks_exact(width).enumerate() {
                        self.gather_row(from, y, kx, inside, plane);
                    }
                } else {
                    for ky in 0..kh {
                        let row = &rows[(ky * kw + kx) * columns..][..columns];
                        for (y, from) in row.chunks_exact(width).enumerate() {
                            self.gather_row(from, y * self.stride + ky, kx, inside, plane);
                        }
                    }
                }
            }
        }
    }
}
