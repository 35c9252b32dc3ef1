//! Convolutions.

use rayon::prelude::*;

use crate::{
    Error, Result,
    host::{
        Element, HostTensor,
        gemm::{Matrix, Threads, gemm},
        im2col::Patches,
        parts::{accumulate, image, sum, threads_pay},
    },
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// A convolution (a cross-correlation, as everywhere in deep learning) of images `[channels,
/// height, width]`:
///
/// `mu[o, y, x] = b[o] + sum over c, i, j of W[o, c, i, j] v[c, y stride + i - padding, x stride +
/// j - padding]`, with zeros outside the image.
///
/// Parameters: `W [out, channels, kernel height, kernel width]` and, where there is a bias, `b
/// [out]`. The result is `[out, (height + 2 padding - kernel height) / stride + 1, ...]`, rounded
/// down.
///
/// Samples run on all threads. Weight gradients are summed over as many runs of samples as there
/// are threads, and those sums in order, so that the same number of threads gives the same bits.
///
/// # Example
/// ```
/// use pc_core::{backend::Vertex, host::{Conv2d, HostTensor}};
/// let conv = Conv2d { stride: 1, padding: 2, bias: true };
/// let shape = Vertex::<HostTensor<f32>>::shape(&conv, &[&[1, 28, 28]], &[&[6, 1, 5, 5], &[6]])?;
/// assert_eq!(shape, [6, 28, 28]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    /// How far the window moves at a time, in both directions.
    pub stride: usize,
    /// The rows and columns of zeros on each side.
    pub padding: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

// Slots of the cache: partial sums of the weight gradient; for moving weights the old ones and
// their change.
const PARTIAL: usize = 0;
const OLD_WEIGHT: usize = 1;
const OLD_BIAS: usize = 2;
const MOVED_WEIGHT: usize = 3;
const MOVED_BIAS: usize = 4;

/// What a convolution is added to.
#[derive(Clone, Copy)]
enum Onto<'a, F> {
    Zero,
    Bias(&'a [F]),
    Output,
}

impl Conv2d {
    fn patches(&self, parent: [usize; 3], weight: &[usize]) -> Result<Patches> {
        let &[out, channels, height, width] = weight else {
            return Err(Error::shape(format!(
                "a conv2d vertex takes a weight [out, channels, kernel height, kernel width], not \
                 {weight:?}"
            )));
        };
        if out == 0 {
            return Err(Error::shape(format!("its weight {weight:?} is empty")));
        }
        if channels != parent[0] {
            return Err(Error::shape(format!(
                "its weight takes {channels} channels, but its parent has {} (shape {parent:?})",
                parent[0]
            )));
        }
        Patches::new(parent, [height, width], self.stride, self.padding)
    }

    /// The patches of a batch of images under this weight.
    fn patches_of<F: Element>(&self, x: &HostTensor<F>, weight: &HostTensor<F>) -> Result<Patches> {
        self.patches(image("conv2d", &[&x.dims()[1..]])?, weight.dims())
    }
}

/// `output <- weight * x`, sample by sample, onto what `onto` says.
fn convolve<F: Element>(
    patches: &Patches,
    weight: &[F],
    x: &[F],
    onto: Onto<'_, F>,
    output: &mut [F],
) {
    let (rows, columns) = (patches.rows(), patches.columns());
    let channels = weight.len() / rows;
    let (image, result) = (patches.image_len(), channels * columns);
    let weight = Matrix::new(weight, channels, rows);
    let one = |x: &[F], output: &mut [F]| {
        let beta = match onto {
            Onto::Zero => F::zero(),
            Onto::Output => F::one(),
            Onto::Bias(bias) => {
                output.chunks_exact_mut(columns).zip(bias).for_each(|(plane, b)| plane.fill(*b));
                F::one()
            }
        };
        F::with_scratch(patches.scratch_len(), |scratch| {
            let matrix = Matrix::new(patches.spread(x, scratch), rows, columns);
            gemm(F::one(), weight, matrix, beta, output, Threads::One);
        });
    };
    if threads_pay(output.len() / result, output.len() * rows) {
        output
            .par_chunks_exact_mut(result)
            .zip(x.par_chunks_exact(image))
            .for_each(|(output, x)| one(x, output));
    } else {
        output
            .chunks_exact_mut(result)
            .zip(x.chunks_exact(image))
            .for_each(|(output, x)| one(x, output));
    }
}

/// `force <- weight^T * cotangent`, sample by sample.
fn convolve_back<F: Element>(patches: &Patches, weight: &[F], cotangent: &[F], force: &mut [F]) {
    let (rows, columns) = (patches.rows(), patches.columns());
    let channels = weight.len() / rows;
    let (image, result) = (patches.image_len(), channels * columns);
    let weight = Matrix::new(weight, channels, rows).t();
    let one = |u: &[F], force: &mut [F]| {
        let u = Matrix::new(u, channels, columns);
        if patches.pointwise() {
            gemm(F::one(), weight, u, F::zero(), force, Threads::One);
            return;
        }
        F::with_scratch(patches.scratch_len(), |scratch| {
            let (matrix, strip) = scratch.split_at_mut(rows * columns);
            gemm(F::one(), weight, u, F::zero(), matrix, Threads::One);
            patches.gather(matrix, strip, force);
        });
    };
    if threads_pay(cotangent.len() / result, cotangent.len() * rows) {
        force
            .par_chunks_exact_mut(image)
            .zip(cotangent.par_chunks_exact(result))
            .for_each(|(force, u)| one(u, force));
    } else {
        force
            .chunks_exact_mut(image)
            .zip(cotangent.chunks_exact(result))
            .for_each(|(force, u)| one(u, force));
    }
}

/// Adds `scale` times the gradient of a weight `[channels, rows]` to `gradient`, or writes it
/// there.
fn weight_gradient<F: Element>(
    patches: &Patches,
    x: &HostTensor<F>,
    cotangent: &HostTensor<F>,
    cache: &mut Cache<HostTensor<F>>,
    scale: F,
    (gradient, fresh): (&mut [F], bool),
) {
    let (rows, columns) = (patches.rows(), patches.columns());
    let channels = gradient.len() / rows;
    let (image, result) = (patches.image_len(), channels * columns);
    let samples = x.batch();
    let parallel = threads_pay(samples, cotangent.data().len() * rows);
    let runs = if parallel { rayon::current_num_threads().min(samples) } else { 1 };
    let length = samples.div_ceil(runs).max(1);
    // [rows, channels]: the product that the matrix of patches, and not its transpose, enters is
    // the quick one.
    let partial = cache.slot(PARTIAL, &[runs, rows, channels], x);
    let one = |run: usize, sum: &mut [F]| {
        let pairs = x.data().chunks_exact(image).zip(cotangent.data().chunks_exact(result));
        let mut beta = F::zero();
        for (x, u) in pairs.skip(run * length).take(length) {
            F::with_scratch(patches.scratch_len(), |scratch| {
                let matrix = Matrix::new(patches.spread(x, scratch), rows, columns);
                gemm(
                    F::one(),
                    matrix,
                    Matrix::new(u, channels, columns).t(),
                    beta,
                    sum,
                    Threads::One,
                );
            });
            beta = F::one();
        }
        if beta == F::zero() {
            sum.fill(F::zero());
        }
    };
    if parallel {
        partial
            .data_mut()
            .par_chunks_exact_mut(rows * channels)
            .enumerate()
            .for_each(|(run, sum)| one(run, sum));
    } else {
        one(0, partial.data_mut());
    }
    let (total, others) = partial.data_mut().split_at_mut(rows * channels);
    for other in others.chunks_exact(rows * channels) {
        total.iter_mut().zip(other).for_each(|(total, other)| *total += *other);
    }
    for (channel, gradient) in gradient.chunks_exact_mut(rows).enumerate() {
        let terms = total[channel..].iter().step_by(channels).copied();
        accumulate(gradient, fresh, scale, terms);
    }
}

impl<F: Element> Vertex<HostTensor<F>> for Conv2d {
    fn kind(&self) -> &str {
        "conv2d"
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let parent = image("conv2d", parents)?;
        let weight = parameters.first().copied().unwrap_or(&[]);
        let patches = self.patches(parent, weight)?;
        let out = weight[0];
        if self.bias && parameters.get(1).copied() != Some(&[out][..]) {
            return Err(Error::shape(format!(
                "its bias has shape {:?}, not [{out}]",
                parameters.get(1)
            )));
        }
        Ok(vec![out, patches.out[0], patches.out[1]])
    }

    fn parameters(&self) -> usize {
        1 + usize::from(self.bias)
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
        let (weight, x) = (at.parameter(0), at.value(0));
        if at.plastic() {
            cache.slot(OLD_WEIGHT, weight.dims(), weight).copy_from(weight);
            if self.bias {
                cache.slot(OLD_BIAS, at.parameter(1).dims(), weight).copy_from(at.parameter(1));
            }
        }
        let onto = if self.bias { Onto::Bias(at.parameter(1).data()) } else { Onto::Zero };
        convolve(&self.patches_of(x, weight)?, weight.data(), x.data(), onto, output.data_mut());
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let (weight, reference) = (at.parameter(0), at.reference(0));
        let patches = self.patches_of(reference, weight)?;
        let mut onto = Onto::Zero;
        if at.plastic() {
            // (W - W_old) * v_ref + (b - b_old): the change that moving weights make at the
            // reference, without large numbers.
            let mut moved = cache.take(MOVED_WEIGHT, weight.dims(), weight);
            moved.set_difference(weight, cache.get(OLD_WEIGHT)?);
            let mut bias = None;
            if self.bias {
                let new = at.parameter(1);
                let mut moved = cache.take(MOVED_BIAS, new.dims(), new);
                moved.set_difference(new, cache.get(OLD_BIAS)?);
                bias = Some(moved);
            }
            let first = bias.as_ref().map_or(Onto::Zero, |bias| Onto::Bias(bias.data()));
            convolve(&patches, moved.data(), reference.data(), first, output.data_mut());
            cache.put(MOVED_WEIGHT, moved);
            if let Some(bias) = bias {
                cache.put(MOVED_BIAS, bias);
            }
            onto = Onto::Output;
        }
        match at.displacement(0) {
            Some(displacement) => {
                convolve(&patches, weight.data(), displacement.data(), onto, output.data_mut())
            }
            None if matches!(onto, Onto::Zero) => output.fill(0.0),
            None => {}
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        let (weight, x) = (at.parameter(0), at.value(0));
        let patches = self.patches_of(x, weight)?;
        if let Some(force) = pulled.force(0) {
            convolve_back(&patches, weight.data(), cotangent.data(), force.data_mut());
        }
        let scale = F::of(pulled.scale());
        if let Some((gradient, fresh)) = pulled.gradient_or_fresh(0) {
            weight_gradient(&patches, x, cotangent, cache, scale, (gradient.data_mut(), fresh));
        }
        if self.bias
            && let Some(gradient) = pulled.gradient(1)
        {
            let channels = gradient.data().len();
            for planes in cotangent.data().chunks_exact(channels * patches.columns()) {
                for (g, plane) in
                    gradient.data_mut().iter_mut().zip(planes.chunks_exact(patches.columns()))
                {
                    *g += scale * sum(plane);
                }
            }
        }
        Ok(())
    }
}
