//! Transposed convolutions.

use crate::{
    Error, Result,
    host::{
        Element, HostTensor,
        convolve::{Onto, convolve, convolve_back, weight_gradient},
        im2col::{Patches, add},
        parts::{add_plane_sums, image},
    },
    structure::Structure,
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// The transpose of a convolution ([`crate::host::Conv2d`]): every number of an image `[channels,
/// height, width]` spreads over a window of a larger one.
///
/// `mu[o, y stride + i - padding, x stride + j - padding] = b[o] + sum over c, y, x, i, j that come
/// there of W[c, o, i, j] v[c, y, x]`; what would fall outside is left out.
///
/// Parameters: `W [channels, out, kernel height, kernel width]` and, where there is a bias, `b
/// [out]`. The result is `[out, (height - 1) stride + kernel height + output padding - 2 padding,
/// ...]`.
///
/// # Example
/// ```
/// use pc_core::{backend::Vertex, host::{ConvTranspose2d, HostTensor}};
/// let doubles = ConvTranspose2d { stride: 2, padding: 1, output_padding: 0, bias: true };
/// let parameters: [&[usize]; 2] = [&[8, 6, 4, 4], &[6]];
/// let shape = Vertex::<HostTensor<f32>>::shape(&doubles, &[&[8, 4, 4]], &parameters)?;
/// assert_eq!(shape, [6, 8, 8]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose2d {
    /// How far apart the windows of neighbours are, in both directions.
    pub stride: usize,
    /// The rows and columns that are cut off on each side.
    pub padding: usize,
    /// Rows and columns more, at the bottom and on the right: fewer than the stride.
    pub output_padding: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

// Slots of the cache, after that of `weight_gradient`: for moving weights the old ones and their
// change, and the part of a change that is theirs.
const OLD_WEIGHT: usize = 1;
const OLD_BIAS: usize = 2;
const MOVED_WEIGHT: usize = 3;
const MOVED_BIAS: usize = 4;
const MOVED: usize = 5;

const KIND: &str = "conv_transpose2d";

impl ConvTranspose2d {
    /// The larger image of one side.
    fn side(&self, small: usize, kernel: usize) -> Result<usize> {
        let Self { stride, padding, output_padding, .. } = *self;
        let whole = small.checked_sub(1).and_then(|steps| steps.checked_mul(stride));
        let whole = whole.and_then(|steps| steps.checked_add(kernel)?.checked_add(output_padding));
        let cut = padding.checked_mul(2);
        let side = whole.zip(cut).and_then(|(whole, cut)| whole.checked_sub(cut));
        side.filter(|side| *side > 0).ok_or_else(|| {
            Error::shape(format!(
                "the windows of its {KIND} are {kernel} long, {stride} apart; from a parent \
                 {small} long nothing is left where {padding} are cut off on each side"
            ))
        })
    }

    /// The windows over the larger image, whose convolution this is the transpose of.
    fn patches(&self, parent: [usize; 3], weight: &[usize]) -> Result<Patches> {
        let &[channels, out, height, width] = weight else {
            return Err(Error::shape(format!(
                "a {KIND} vertex takes a weight [channels, out, kernel height, kernel width], not \
                 {weight:?}"
            )));
        };
        if channels != parent[0] || channels == 0 {
            return Err(Error::shape(format!(
                "its weight takes {channels} channels, but its parent has {} (shape {parent:?})",
                parent[0]
            )));
        }
        if height == 0 || width == 0 || self.stride == 0 {
            return Err(Error::shape(format!(
                "a {KIND} vertex needs a window and a stride of at least 1, not {height} by \
                 {width} and {}",
                self.stride
            )));
        }
        if self.output_padding >= self.stride {
            return Err(Error::shape(format!(
                "the output padding of a {KIND} vertex, {}, must be below its stride, {}",
                self.output_padding, self.stride
            )));
        }
        let large = [out, self.side(parent[1], height)?, self.side(parent[2], width)?];
        let patches = Patches::new(large, [height, width], self.stride, self.padding)?;
        debug_assert_eq!(patches.out, [parent[1], parent[2]]);
        Ok(patches)
    }

    fn patches_of<F: Element>(&self, x: &HostTensor<F>, weight: &HostTensor<F>) -> Result<Patches> {
        self.patches(image(KIND, &[&x.dims()[1..]])?, weight.dims())
    }
}

/// Adds a bias to every number of its channel.
fn add_bias<F: Element>(bias: &[F], patches: &Patches, output: &mut [F]) {
    let plane = patches.height * patches.width;
    for sample in output.chunks_exact_mut(patches.image_len()) {
        for (plane, b) in sample.chunks_exact_mut(plane).zip(bias) {
            plane.iter_mut().for_each(|x| *x += *b);
        }
    }
}

impl<F: Element> Vertex<HostTensor<F>> for ConvTranspose2d {
    fn kind(&self) -> &str {
        KIND
    }

    fn structure(&self) -> Structure {
        let Self { stride, padding, output_padding, bias } = *self;
        Structure::ConvTranspose2d { stride, padding, output_padding, bias }
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let weight = parameters.first().copied().unwrap_or(&[]);
        let patches = self.patches(image(KIND, parents)?, weight)?;
        let out = patches.channels;
        if self.bias && parameters.get(1).copied() != Some(&[out][..]) {
            return Err(Error::shape(format!(
                "its bias has shape {:?}, not [{out}]",
                parameters.get(1)
            )));
        }
        Ok(vec![out, patches.height, patches.width])
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
        let patches = self.patches_of(x, weight)?;
        convolve_back(&patches, weight.data(), x.data(), output.data_mut());
        if self.bias {
            add_bias(at.parameter(1).data(), &patches, output.data_mut());
        }
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
        match at.displacement(0) {
            Some(displacement) => {
                convolve_back(&patches, weight.data(), displacement.data(), output.data_mut());
            }
            None => output.fill(0.0),
        }
        if at.plastic() {
            // The change that moving weights make at the reference, without large numbers.
            let mut moved = cache.take(MOVED_WEIGHT, weight.dims(), weight);
            moved.set_difference(weight, cache.get(OLD_WEIGHT)?);
            let mut part = cache.take(MOVED, output.dims(), output);
            convolve_back(&patches, moved.data(), reference.data(), part.data_mut());
            add(part.data(), output.data_mut());
            cache.put(MOVED, part);
            cache.put(MOVED_WEIGHT, moved);
            if self.bias {
                let new = at.parameter(1);
                let mut moved = cache.take(MOVED_BIAS, new.dims(), new);
                moved.set_difference(new, cache.get(OLD_BIAS)?);
                add_bias(moved.data(), &patches, output.data_mut());
                cache.put(MOVED_BIAS, moved);
            }
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
            let (w, u) = (weight.data(), cotangent.data());
            convolve(&patches, w, u, Onto::Zero, force.data_mut());
        }
        let scale = F::of(pulled.scale());
        if let Some((gradient, fresh)) = pulled.gradient_or_fresh(0) {
            // What is convolved is the larger image, and `x` is what would come back.
            weight_gradient(&patches, [cotangent, x], cache, scale, (gradient.data_mut(), fresh));
        }
        if self.bias
            && let Some(gradient) = pulled.gradient(1)
        {
            let plane = patches.height * patches.width;
            add_plane_sums(cotangent.data(), plane, scale, gradient.data_mut());
        }
        Ok(())
    }
}
