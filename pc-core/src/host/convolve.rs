//! A convolution and its transposes as products: of a few samples and a few channels at a time.

use rayon::prelude::*;

use crate::{
    host::{
        Element, HostTensor,
        gemm::{Matrix, Threads, gemm},
        im2col::{Patches, add, put_beside},
        parts::threads_pay,
    },
    tensor::Tensor,
    vertex::Cache,
};

/// The slot of the cache that holds partial sums of the weight gradient.
const PARTIAL: usize = 0;

/// Columns from which a product is quick: samples with fewer share one.
const COLUMNS: usize = 256;

/// Samples share a product by this many, where there are as many: what is copied is then longer,
/// and the product has whole vectors of columns.
const TOGETHER: usize = 4;

/// Elements of the matrix of patches that is made at once: half a second-level cache in f32.
const BLOCK: usize = 1 << 17;

/// What a convolution is added to.
#[derive(Clone, Copy)]
pub(super) enum Onto<'a, F> {
    /// Nothing: the output is overwritten.
    Zero,
    /// This bias, by channel; the output is overwritten.
    Bias(&'a [F]),
    /// The output.
    Output,
}

/// A convolution cut into products.
#[derive(Clone, Copy)]
struct Cut {
    patches: Patches,
    /// Channels of the result.
    out: usize,
    /// Samples that share a product.
    samples: usize,
    /// Channels of the image that a product takes.
    channels: usize,
    /// Whether products run on all threads.
    parallel: bool,
}

impl Cut {
    fn new(patches: &Patches, out: usize, batch: usize) -> Self {
        let (columns, work) = (patches.columns(), batch * out * patches.rows());
        let parallel = threads_pay(batch, work.saturating_mul(columns));
        let threads = if parallel { rayon::current_num_threads() } else { 1 };
        // Every thread gets some.
        let wanted = match COLUMNS.div_ceil(columns) {
            1 => 1,
            several => several.next_multiple_of(TOGETHER),
        };
        let samples = wanted.min(batch.div_ceil(threads)).max(1);
        let whole = patches.pointwise() && samples == 1;
        let fitting = BLOCK / (patches.window() * columns * samples);
        let blocks =
            patches.channels.div_ceil(if whole { patches.channels } else { fitting.max(1) });
        let channels = patches.channels.div_ceil(blocks.next_multiple_of(threads));
        Self { patches: *patches, out, samples, channels, parallel }
    }

    /// The elements of one sample's result.
    fn result(&self) -> usize {
        self.out * self.patches.columns()
    }

    /// The channels of every product, and the rows of the matrix of patches that they are.
    fn blocks(&self) -> impl Iterator<Item = (std::ops::Range<usize>, usize)> + use<> {
        let this = *self;
        (0..this.patches.channels).step_by(this.channels).map(move |first| {
            let channels = first..(first + this.channels).min(this.patches.channels);
            (channels.clone(), channels.len() * this.patches.window())
        })
    }

    /// Lends working memory for so many samples: the matrix of patches of a block, planes with
    /// their padding, and results of all the samples side by side.
    fn with_scratch<F: Element>(
        &self,
        samples: usize,
        work: impl FnOnce(&mut [F], &mut [F], &mut [F]),
    ) {
        let columns = samples * self.patches.columns();
        let matrix = self.channels * self.patches.window() * columns;
        let padded = self.patches.padded_len(samples);
        let results = if samples == 1 { 0 } else { self.out * columns };
        F::with_scratch(matrix + padded + results, |scratch| {
            let (matrix, rest) = scratch.split_at_mut(matrix);
            let (padded, results) = rest.split_at_mut(padded);
            work(matrix, padded, results);
        });
    }

    /// The block's part of a weight `[out, rows]`.
    fn part<'a, F>(&self, weight: &'a [F], first: usize, rows: usize) -> Matrix<'a, F> {
        let all = self.patches.rows();
        let data = &weight[first * self.patches.window()..];
        Matrix { data, rows: self.out, columns: rows, row_stride: all, column_stride: 1 }
    }

    /// The results of samples as a matrix `[out, columns of all]`, with the columns as
    /// [`Patches::spread`] has them, made in `room` where the samples are several.
    fn side_by_side<'a, F: Element>(&self, results: &'a [F], room: &'a mut [F]) -> Matrix<'a, F> {
        let (columns, samples) = (self.patches.columns(), results.len() / self.result());
        if samples == 1 {
            return Matrix::new(results, self.out, columns);
        }
        for (sample, result) in results.chunks_exact(self.result()).enumerate() {
            let to = room.chunks_exact_mut(samples * columns);
            for (from, to) in result.chunks_exact(columns).zip(to) {
                put_beside(from, (sample, samples), to);
            }
        }
        Matrix::new(room, self.out, samples * columns)
    }

    /// The matrix of patches of a block of channels, made in `room` where these images are not that
    /// matrix themselves.
    fn patches_of<'a, F: Element>(
        &self,
        images: &'a [F],
        (channels, rows): (std::ops::Range<usize>, usize),
        padded: &mut [F],
        room: &'a mut [F],
    ) -> Matrix<'a, F> {
        let samples = images.len() / self.patches.image_len();
        let columns = samples * self.patches.columns();
        if self.patches.pointwise() && samples == 1 {
            return Matrix::new(
                &images[channels.start * columns..][..rows * columns],
                rows,
                columns,
            );
        }
        let matrix = &mut room[..rows * columns];
        self.patches.spread(images, channels, padded, matrix);
        Matrix::new(matrix, rows, columns)
    }

    /// Some samples' part of [`convolve`].
    fn convolve<F: Element>(&self, weight: &[F], x: &[F], onto: Onto<'_, F>, output: &mut [F]) {
        let (result, columns) = (self.result(), self.patches.columns());
        let samples = output.len() / result;
        self.with_scratch(samples, |matrix, padded, results| {
            let mut beta = F::zero();
            let target: &mut [F] = if samples == 1 { &mut *output } else { &mut *results };
            if samples == 1 {
                if let Onto::Bias(bias) = onto {
                    target.chunks_exact_mut(columns).zip(bias).for_each(|(to, b)| to.fill(*b));
                }
                if !matches!(onto, Onto::Zero) {
                    beta = F::one();
                }
            }
            for (channels, rows) in self.blocks() {
                let part = self.part(weight, channels.start, rows);
                let patches = self.patches_of(x, (channels, rows), padded, matrix);
                gemm(F::one(), part, patches, beta, target, Threads::One);
                beta = F::one();
            }
            if samples == 1 {
                return;
            }
            for (sample, output) in output.chunks_exact_mut(result).enumerate() {
                let own = results.chunks_exact(samples * columns);
                for (channel, (to, from)) in output.chunks_exact_mut(columns).zip(own).enumerate() {
                    let from = from.iter().skip(sample).step_by(samples);
                    let both = to.iter_mut().zip(from);
                    match onto {
                        Onto::Zero => both.for_each(|(to, x)| *to = *x),
                        Onto::Bias(bias) => both.for_each(|(to, x)| *to = *x + bias[channel]),
                        Onto::Output => both.for_each(|(to, x)| *to += *x),
                    }
                }
            }
        });
    }

    /// Some samples' part of [`convolve_back`].
    fn back<F: Element>(&self, weight: &[F], cotangent: &[F], force: &mut [F]) {
        let samples = cotangent.len() / self.result();
        self.with_scratch(samples, |matrix, padded, results| {
            let u = self.side_by_side(cotangent, results);
            for (channels, rows) in self.blocks() {
                let part = self.part(weight, channels.start, rows).t();
                if self.patches.pointwise() && samples == 1 {
                    let force = &mut force[channels.start * u.columns..][..rows * u.columns];
                    gemm(F::one(), part, u, F::zero(), force, Threads::One);
                    continue;
                }
                let matrix = &mut matrix[..rows * u.columns];
                gemm(F::one(), part, u, F::zero(), matrix, Threads::One);
                self.patches.gather(matrix, channels, padded, force);
            }
        });
    }

    /// Writes to `sum [rows, out]` the weight gradient of a block of channels over these samples.
    fn gradient<F: Element>(
        &self,
        x: &[F],
        cotangent: &[F],
        (channels, rows): (std::ops::Range<usize>, usize),
        sum: &mut [F],
    ) {
        let groups = x.chunks(self.samples * self.patches.image_len());
        let groups = groups.zip(cotangent.chunks(self.samples * self.result()));
        let mut beta = F::zero();
        for (x, u) in groups {
            self.with_scratch(u.len() / self.result(), |matrix, padded, results| {
                let u = self.side_by_side(u, results);
                let patches = self.patches_of(x, (channels.clone(), rows), padded, matrix);
                gemm(F::one(), patches, u.t(), beta, sum, Threads::One);
            });
            beta = F::one();
        }
        if beta == F::zero() {
            sum.fill(F::zero());
        }
    }
}

/// `output <- weight * x`, onto what `onto` says.
pub(super) fn convolve<F: Element>(
    patches: &Patches,
    weight: &[F],
    x: &[F],
    onto: Onto<'_, F>,
    output: &mut [F],
) {
    let cut = Cut::new(patches, weight.len() / patches.rows(), x.len() / patches.image_len());
    let (image, result) = (cut.samples * patches.image_len(), cut.samples * cut.result());
    if cut.parallel {
        let groups = output.par_chunks_mut(result).zip(x.par_chunks(image));
        groups.for_each(|(output, x)| cut.convolve(weight, x, onto, output));
    } else {
        let groups = output.chunks_mut(result).zip(x.chunks(image));
        groups.for_each(|(output, x)| cut.convolve(weight, x, onto, output));
    }
}

/// `force <- weight^T * cotangent`.
pub(super) fn convolve_back<F: Element>(
    patches: &Patches,
    weight: &[F],
    cotangent: &[F],
    force: &mut [F],
) {
    let cut = Cut::new(patches, weight.len() / patches.rows(), force.len() / patches.image_len());
    let (image, result) = (cut.samples * patches.image_len(), cut.samples * cut.result());
    if cut.parallel {
        let groups = force.par_chunks_mut(image).zip(cotangent.par_chunks(result));
        groups.for_each(|(force, u)| cut.back(weight, u, force));
    } else {
        let groups = force.chunks_mut(image).zip(cotangent.chunks(result));
        groups.for_each(|(force, u)| cut.back(weight, u, force));
    }
}

/// Adds `scale` times the gradient of a weight `[out, rows]` to `gradient`, or writes it there.
///
/// Blocks of channels are summed side by side; where there are fewer than threads, runs of samples
/// are too.
pub(super) fn weight_gradient<F: Element>(
    patches: &Patches,
    [x, cotangent]: [&HostTensor<F>; 2],
    cache: &mut Cache<HostTensor<F>>,
    scale: F,
    (gradient, fresh): (&mut [F], bool),
) {
    let (rows, batch) = (patches.rows(), x.batch());
    let out = gradient.len() / rows;
    let cut = Cut::new(patches, out, batch);
    let threads = if cut.parallel { rayon::current_num_threads() } else { 1 };
    let runs = if cut.blocks().count() < threads { threads.min(batch) } else { 1 };
    let length = batch.div_ceil(runs).max(1);
    // [rows, out]: the product that the matrix of patches, and not its transpose, enters is the
    // quick one.
    let partial = cache.slot(PARTIAL, &[runs, rows, out], x).data_mut();
    let (image, result) = (length * patches.image_len(), length * cut.result());
    let part = |data: &'_ [F], run: usize, length: usize| {
        let first = (run * length).min(data.len());
        first..(first + length).min(data.len())
    };
    let one = |run: usize, block: usize, sum: &mut [F]| {
        let first = block * cut.channels;
        let channels = first..(first + cut.channels).min(patches.channels);
        let rows = channels.len() * patches.window();
        let x = &x.data()[part(x.data(), run, image)];
        let u = &cotangent.data()[part(cotangent.data(), run, result)];
        cut.gradient(x, u, (channels, rows), sum);
    };
    let block = cut.channels * patches.window() * out;
    if cut.parallel {
        partial.par_chunks_exact_mut(rows * out).enumerate().for_each(|(run, sums)| {
            sums.par_chunks_mut(block).enumerate().for_each(|(block, sum)| one(run, block, sum));
        });
    } else {
        partial.chunks_mut(block).enumerate().for_each(|(block, sum)| one(0, block, sum));
    }
    let (total, others) = partial.split_at_mut(rows * out);
    for other in others.chunks_exact(rows * out) {
        add(other, total);
    }
    add_transposed(total, rows, scale, (gradient, fresh), cut.parallel);
}

/// `gradient [out, rows] <- scale total^T`, or that is added, with `total` in rows of `out`: by
/// tiles, for elements far from one another in memory are slow to reach.
fn add_transposed<F: Element>(
    total: &[F],
    rows: usize,
    scale: F,
    (gradient, fresh): (&mut [F], bool),
    parallel: bool,
) {
    const TILE: usize = 16;
    let out = gradient.len() / rows;
    let band = |band: usize, gradient: &mut [F]| {
        let channels = band * TILE..(band * TILE + gradient.len() / rows);
        for first in (0..rows).step_by(TILE) {
            for row in first..(first + TILE).min(rows) {
                let from = &total[row * out..][channels.clone()];
                for (to, x) in gradient[row..].iter_mut().step_by(rows).zip(from) {
                    *to = if fresh { scale * *x } else { *to + scale * *x };
                }
            }
        }
    };
    if parallel {
        gradient.par_chunks_mut(TILE * rows).enumerate().for_each(|(b, g)| band(b, g));
    } else {
        gradient.chunks_mut(TILE * rows).enumerate().for_each(|(b, g)| band(b, g));
    }
}

#[cfg(test)]
pub(super) mod tests;
