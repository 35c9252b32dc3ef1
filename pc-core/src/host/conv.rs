//! Convolutions.

use crate::{
    Error, Result,
    host::{
        Element, HostTensor,
        convolve::{Onto, convolve, convolve_back, weight_gradient},
        im2col::Patches,
        packed::{forget, is_packed},
        parts::{add_plane_sums, image},
        winograd::{self, Way},
    },
    structure::Structure,
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
/// Samples run on all threads, a few at a time as one product. Windows of 3x3 at stride 1 between
/// 24 and more channels are products of tiles, which take 16 multiplications where the definition
/// has 36 (Winograd's minimal filtering; Lavin and Gray 2016). Weight gradients of few channels are
/// summed over as many runs of samples as there are threads, and those sums in order, so that the
/// same number of threads gives the same bits.
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

// Slots of the cache, after that of `weight_gradient`: for moving weights the old ones and their
// change.
const OLD_WEIGHT: usize = 1;
const OLD_BIAS: usize = 2;
const MOVED_WEIGHT: usize = 3;
const MOVED_BIAS: usize = 4;
/// The weight as products of tiles take it, for predictions and for pullbacks.
const FORWARD: usize = 5;
const BACK: usize = 6;

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

    /// `output <- weight * x`, onto what `onto` says. What is in the cache for this weight is used.
    fn convolved<F: Element>(
        &self,
        [weight, x]: [&HostTensor<F>; 2],
        onto: Onto<'_, F>,
        cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let patches = self.patches_of(x, weight)?;
        if winograd::suits(&patches, weight.dims()[0]) {
            if !is_packed(cache, FORWARD) {
                winograd::transform(weight, &patches, Way::Forward, cache, FORWARD);
            }
            winograd::convolve(&patches, Way::Forward, cache.get(FORWARD)?, x, onto, output);
        } else {
            convolve(&patches, weight.data(), x.data(), onto, output.data_mut());
        }
        Ok(())
    }

    /// `force <- weight^T * cotangent`, in the same way.
    fn pulled_back<F: Element>(
        &self,
        patches: &Patches,
        [weight, cotangent]: [&HostTensor<F>; 2],
        cache: &mut Cache<HostTensor<F>>,
        force: &mut HostTensor<F>,
    ) -> Result<()> {
        if winograd::suits(patches, weight.dims()[0]) {
            if !is_packed(cache, BACK) {
                winograd::transform(weight, patches, Way::Back, cache, BACK);
            }
            let filter = cache.get(BACK)?;
            winograd::convolve(patches, Way::Back, filter, cotangent, Onto::Zero, force);
        } else {
            convolve_back(patches, weight.data(), cotangent.data(), force.data_mut());
        }
        Ok(())
    }
}

impl<F: Element> Vertex<HostTensor<F>> for Conv2d {
    fn kind(&self) -> &str {
        "conv2d"
    }

    fn structure(&self) -> Structure {
        let Self { stride, padding, bias } = *self;
        Structure::Conv2d { stride, padding, bias }
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
        forget(cache, FORWARD);
        forget(cache, BACK);
        if at.plastic() {
            cache.slot(OLD_WEIGHT, weight.dims(), weight).copy_from(weight);
            if self.bias {
                cache.slot(OLD_BIAS, at.parameter(1).dims(), weight).copy_from(at.parameter(1));
            }
        }
        let onto = if self.bias { Onto::Bias(at.parameter(1).data()) } else { Onto::Zero };
        self.convolved([weight, x], onto, cache, output)
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        _predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let (weight, reference) = (at.parameter(0), at.reference(0));
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
            forget(cache, FORWARD);
            self.convolved([&moved, reference], first, cache, output)?;
            forget(cache, FORWARD);
            cache.put(MOVED_WEIGHT, moved);
            if let Some(bias) = bias {
                cache.put(MOVED_BIAS, bias);
            }
            onto = Onto::Output;
        }
        match at.displacement(0) {
            Some(displacement) => self.convolved([weight, displacement], onto, cache, output)?,
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
            // Only while states relax does a weight stay from one pullback to the next.
            if at.plastic() || !at.live() {
                forget(cache, BACK);
            }
            self.pulled_back(&patches, [weight, cotangent], cache, force)?;
        }
        let scale = F::of(pulled.scale());
        if let Some((gradient, fresh)) = pulled.gradient_or_fresh(0) {
            weight_gradient(&patches, [x, cotangent], cache, scale, (gradient.data_mut(), fresh));
        }
        if self.bias
            && let Some(gradient) = pulled.gradient(1)
        {
            add_plane_sums(cotangent.data(), patches.columns(), scale, gradient.data_mut());
        }
        Ok(())
    }
}
