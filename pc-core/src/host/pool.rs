//! Pooling over windows of an image.

use rayon::prelude::*;

use crate::{
    Error, Result,
    host::{
        Element, HostTensor,
        parts::{image, positions, threads_pay},
    },
    structure::Structure,
    tensor::{Tensor, elements},
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu[c, y, x] = max` of `v[c]` over a square window, on images `[channels, height, width]`. Of
/// equal elements the first is taken, row by row; a NaN wins. No parameters; the result is
/// `[channels, (height - size) / stride + 1, ...]`, rounded down, so that rows and columns that no
/// window reaches are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxPool2d {
    /// The side of the window.
    pub size: usize,
    /// How far the window moves at a time.
    pub stride: usize,
}

/// The planes that a thread takes at a time.
const PLANES: usize = 16;

/// Windows over planes of `height` by `width`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) out: [usize; 2],
    pub(super) size: usize,
    pub(super) stride: usize,
}

impl Windows {
    pub(super) fn new(kind: &str, image: [usize; 3], size: usize, stride: usize) -> Result<Self> {
        // Windows lie inside the image, so that no size below is beyond its own.
        elements(&image)?;
        let [_, height, width] = image;
        let out =
            [positions(kind, height, size, stride, 0)?, positions(kind, width, size, stride, 0)?];
        Ok(Self { height, width, out, size, stride })
    }

    pub(super) fn of<F: Element>(
        kind: &str,
        x: &HostTensor<F>,
        size: usize,
        stride: usize,
    ) -> Result<Self> {
        Self::new(kind, image(kind, &[&x.dims()[1..]])?, size, stride)
    }

    /// The elements of a plane, and of its result.
    pub(super) fn planes(&self) -> (usize, usize) {
        (self.height * self.width, self.out[0] * self.out[1])
    }

    /// Whether a thread of its own pays for every [`PLANES`] planes of `x`.
    fn threads_pay<F: Element>(&self, x: &HostTensor<F>) -> bool {
        let (plane, result) = self.planes();
        let jobs = x.data().len() / (PLANES * plane.min(result));
        // A comparison is about as much as two multiplications.
        threads_pay(jobs, 2 * x.data().len())
    }

    /// Whether the windows are two by two, side by side: the usual case, which has a quicker way.
    pub(super) fn tiles(&self) -> bool {
        self.size == 2 && self.stride == 2
    }

    /// Where in a plane the window of result `(y, x)` begins.
    fn corner(&self, y: usize, x: usize) -> usize {
        (y * self.width + x) * self.stride
    }

    /// By row of the results of one plane: the index of the row's first result, and where that
    /// one's window begins.
    pub(super) fn rows(&self) -> impl Iterator<Item = (usize, usize)> {
        let this = *self;
        (0..this.out[0]).map(move |y| (y * this.out[1], this.corner(y, 0)))
    }
}

/// Whether `x` takes the place of `best`: where it is larger, or the first NaN. Without branches,
/// for loops that vectorise.
#[inline(always)]
fn beats<F: Element>(x: F, best: F) -> bool {
    (x > best) | (x.is_nan() & !best.is_nan())
}

/// The largest of `at(k)` over the window that begins at `corner`, the first of equals, and where
/// it is.
#[inline(always)]
fn largest<F: Element>(windows: &Windows, corner: usize, at: impl Fn(usize) -> F) -> (F, usize) {
    let (mut best, mut index) = (at(corner), corner);
    for row in 0..windows.size {
        let start = corner + row * windows.width;
        for k in start..start + windows.size {
            let x = at(k);
            (best, index) = if beats(x, best) { (x, k) } else { (best, index) };
        }
    }
    (best, index)
}

/// The same for one row of windows of two by two, side by side, from the four elements of each, in
/// order.
#[inline(always)]
fn largest_of_four<F: Element>(
    windows: &Windows,
    start: usize,
    fours: impl Iterator<Item = [F; 4]>,
    output: &mut [F],
    indices: &mut [u32],
) {
    let below = windows.width as u32;
    for (column, (four, (y, index))) in fours.zip(output.iter_mut().zip(indices)).enumerate() {
        let (mut best, mut place) = (four[0], 0);
        for (x, k) in four[1..].iter().zip([1, below, below + 1]) {
            (best, place) = if beats(*x, best) { (*x, k) } else { (best, place) };
        }
        *y = best;
        *index = (start + 2 * column) as u32 + place;
    }
}

/// The two rows of a plane that windows of two by two from `start` on lie in, by pairs.
pub(super) fn pairs<'a, F>(
    windows: &Windows,
    start: usize,
    plane: &'a [F],
) -> impl Iterator<Item = (&'a [F; 2], &'a [F; 2])> {
    let row = |start: usize| plane[start..start + 2 * windows.out[1]].as_chunks::<2>().0;
    row(start).iter().zip(row(start + windows.width))
}

/// `output <- max`, `indices <- argmax` over the windows of every plane.
fn take_largest<F: Element>(windows: &Windows, x: &[F], output: &mut [F], indices: &mut [u32]) {
    let (plane, result) = windows.planes();
    let planes = output
        .chunks_exact_mut(result)
        .zip(indices.chunks_exact_mut(result))
        .zip(x.chunks_exact(plane));
    for ((output, indices), x) in planes {
        for (first, start) in windows.rows() {
            let row = first..first + windows.out[1];
            let (output, indices) = (&mut output[row.clone()], &mut indices[row]);
            if windows.tiles() {
                let fours = pairs(windows, start, x).map(|(a, b)| [a[0], a[1], b[0], b[1]]);
                largest_of_four(windows, start, fours, output, indices);
                continue;
            }
            for (column, (y, index)) in output.iter_mut().zip(indices).enumerate() {
                let (best, at) = largest(windows, start + column * windows.stride, |k| x[k]);
                (*y, *index) = (best, at as u32);
            }
        }
    }
}

/// `output <- max (a + d) - max a` and `indices <- argmax (a + d)` over the windows of every plane,
/// with `old = argmax a`.
///
/// With `j` the largest before, `max (a + d) - a_j = max ((a - a_j) + d)`, which neither cancels
/// nor rounds ties together.
fn take_largest_change<F: Element>(
    windows: &Windows,
    (a, d): (&[F], &[F]),
    old: &[u32],
    output: &mut [F],
    indices: &mut [u32],
) {
    let (plane, result) = windows.planes();
    let written = output.chunks_exact_mut(result).zip(indices.chunks_exact_mut(result));
    let read = a.chunks_exact(plane).zip(d.chunks_exact(plane)).zip(old.chunks_exact(result));
    F::with_scratch(windows.out[1], |tops| {
        for ((output, indices), ((a, d), old)) in written.zip(read) {
            for (first, start) in windows.rows() {
                let row = first..first + windows.out[1];
                let (output, indices) = (&mut output[row.clone()], &mut indices[row.clone()]);
                // Gathered first, so that the loop after this one vectorises.
                tops.iter_mut().zip(&old[row]).for_each(|(top, old)| *top = a[*old as usize]);
                if windows.tiles() {
                    let fours = pairs(windows, start, a).zip(pairs(windows, start, d)).zip(&*tops);
                    let fours = fours.map(|(((a, b), (da, db)), top)| {
                        [
                            (a[0] - *top) + da[0],
                            (a[1] - *top) + da[1],
                            (b[0] - *top) + db[0],
                            (b[1] - *top) + db[1],
                        ]
                    });
                    largest_of_four(windows, start, fours, output, indices);
                    continue;
                }
                for (column, ((y, index), top)) in
                    output.iter_mut().zip(indices).zip(&*tops).enumerate()
                {
                    let (best, at) =
                        largest(windows, start + column * windows.stride, |k| (a[k] - *top) + d[k]);
                    (*y, *index) = (best, at as u32);
                }
            }
        }
    });
}

/// `force <- ` the cotangent of each window at its largest element, zero elsewhere, for every
/// plane.
fn spread_back<F: Element>(windows: &Windows, cotangent: &[F], indices: &[u32], force: &mut [F]) {
    let (plane, result) = windows.planes();
    let planes = cotangent.chunks_exact(result).zip(indices.chunks_exact(result));
    for (force, (u, indices)) in force.chunks_exact_mut(plane).zip(planes) {
        force.fill(F::zero());
        for (u, index) in u.iter().zip(indices) {
            force[*index as usize] += *u;
        }
    }
}

// The lists of indices in the cache: the largest elements at the current point, and at the
// reference, within their planes.
const CURRENT: usize = 0;
const REFERENCE: usize = 1;

impl<F: Element> Vertex<HostTensor<F>> for MaxPool2d {
    fn kind(&self) -> &str {
        "max_pool2d"
    }

    fn structure(&self) -> Structure {
        Structure::MaxPool2d { size: self.size, stride: self.stride }
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let parent = image("max_pool2d", parents)?;
        let windows = Windows::new("max_pool2d", parent, self.size, self.stride)?;
        if u32::try_from(windows.planes().0).is_err() {
            return Err(Error::shape(format!(
                "a max_pool2d vertex takes planes of fewer than 2^32 elements, not {parent:?}"
            )));
        }
        Ok(vec![parent[0], windows.out[0], windows.out[1]])
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let x = at.value(0);
        let windows = Windows::of("max_pool2d", x, self.size, self.stride)?;
        let mut indices = std::mem::take(cache.indices(CURRENT));
        indices.resize(output.data().len(), 0);
        if windows.threads_pay(x) {
            let (plane, result) = windows.planes();
            output
                .data_mut()
                .par_chunks_mut(PLANES * result)
                .zip(indices.par_chunks_mut(PLANES * result))
                .zip(x.data().par_chunks(PLANES * plane))
                .for_each(|((output, indices), x)| take_largest(&windows, x, output, indices));
        } else {
            take_largest(&windows, x.data(), output.data_mut(), &mut indices);
        }
        let reference = cache.indices(REFERENCE);
        reference.clear();
        reference.extend_from_slice(&indices);
        *cache.indices(CURRENT) = indices;
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let a = at.reference(0);
        let windows = Windows::of("max_pool2d", a, self.size, self.stride)?;
        let mut indices = std::mem::take(cache.indices(CURRENT));
        let reference = std::mem::take(cache.indices(REFERENCE));
        match at.displacement(0) {
            Some(d) if windows.threads_pay(a) => {
                let (plane, result) = windows.planes();
                let old = reference.par_chunks(PLANES * result);
                let read = a.data().par_chunks(PLANES * plane);
                let read = read.zip(d.data().par_chunks(PLANES * plane)).zip(old);
                output
                    .data_mut()
                    .par_chunks_mut(PLANES * result)
                    .zip(indices.par_chunks_mut(PLANES * result))
                    .zip(read)
                    .for_each(|((output, indices), (moved, old))| {
                        take_largest_change(&windows, moved, old, output, indices);
                    });
            }
            Some(d) => {
                let moved = (a.data(), d.data());
                take_largest_change(&windows, moved, &reference, output.data_mut(), &mut indices);
            }
            None => {
                indices.copy_from_slice(&reference);
                output.fill(0.0);
            }
        }
        *cache.indices(CURRENT) = indices;
        *cache.indices(REFERENCE) = reference;
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        let Some(force) = pulled.force(0) else { return Ok(()) };
        let windows = Windows::of("max_pool2d", at.value(0), self.size, self.stride)?;
        let (plane, result) = windows.planes();
        let indices: &[u32] = cache.indices(CURRENT);
        if windows.threads_pay(cotangent) {
            let read = cotangent.data().par_chunks(PLANES * result);
            force
                .data_mut()
                .par_chunks_mut(PLANES * plane)
                .zip(read.zip(indices.par_chunks(PLANES * result)))
                .for_each(|(force, (u, indices))| spread_back(&windows, u, indices, force));
        } else {
            spread_back(&windows, cotangent.data(), indices, force.data_mut());
        }
        Ok(())
    }
}
