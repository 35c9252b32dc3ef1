//! Convolutions.

use burn::{
    backend::{Dispatch, ops::ModuleOps},
    nn::PaddingConfig2d,
    tensor::ops::ConvOptions,
};
use pc_core::{Result, Tensor, backend::Vertex};

use super::{
    At, Kept, Pulls,
    ops::{accumulate, weighed},
    parts::{image, positions, shape},
};
use crate::BurnTensor;

/// A convolution of images `[channels, height, width]`, as Burn's `Conv2d`: stride, padding,
/// dilation and groups are the module's.
///
/// Parameters: the kernel `[out, channels / groups, height, width]` and, where there is a bias, `b
/// [out]`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    stride: [usize; 2],
    padding: PaddingConfig2d,
    dilation: [usize; 2],
    groups: usize,
    bias: bool,
}

// Slots of the cache: for moving parameters the old ones.
const OLD_WEIGHT: usize = 0;
const OLD_BIAS: usize = 1;

impl Conv2d {
    /// The settings of a module.
    pub fn of(module: &burn::nn::conv::Conv2d) -> Self {
        let padding = module.padding.clone();
        Self {
            stride: module.stride,
            padding,
            dilation: module.dilation,
            groups: module.groups,
            bias: module.bias.is_some(),
        }
    }

    /// Stride 1, so many zeros on every side, a bias.
    pub fn padded(padding: usize) -> Self {
        let padding = PaddingConfig2d::Explicit(padding, padding, padding, padding);
        Self { stride: [1, 1], padding, dilation: [1, 1], groups: 1, bias: true }
    }

    /// The zeros before and after, by axis.
    fn pads(&self, size: [usize; 2], kernel: [usize; 2]) -> [(usize, usize); 2] {
        match self.padding {
            PaddingConfig2d::Valid => [(0, 0); 2],
            PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
            // As many places as strides fit, the odd zero last.
            PaddingConfig2d::Same => std::array::from_fn(|k| {
                let places = size[k].div_ceil(self.stride[k].max(1)).max(1);
                let total = ((places - 1) * self.stride[k] + kernel[k]).saturating_sub(size[k]);
                (total / 2, total - total / 2)
            }),
        }
    }

    fn options(&self, x: &BurnTensor, weight: &BurnTensor) -> ConvOptions<2> {
        let (x, w) = (x.shape(), weight.shape());
        ConvOptions::new_with_padding(
            self.stride,
            self.pads([x[2], x[3]], [w[2], w[3]]),
            self.dilation,
            self.groups,
        )
    }

    fn map(&self, x: &BurnTensor, weight: &BurnTensor, bias: Option<&BurnTensor>) -> BurnTensor {
        BurnTensor::wrap(Dispatch::conv2d(
            x.raw(),
            weight.raw(),
            bias.map(BurnTensor::raw),
            self.options(x, weight),
        ))
    }

    fn own_bias<'a>(&self, at: &At<'a>) -> Option<&'a BurnTensor> {
        self.bias.then(|| at.parameter(1))
    }
}

impl Vertex<BurnTensor> for Conv2d {
    fn kind(&self) -> &str {
        "conv2d"
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let parent = image("conv2d", parents)?;
        let Some(&[out, channels, height, width]) = parameters.first().copied() else {
            return Err(shape(format!(
                "a conv2d vertex takes a weight [out, channels, kernel height, kernel width], not \
                 {:?}",
                parameters.first()
            )));
        };
        if self.groups == 0 || out % self.groups != 0 || channels * self.groups != parent[0] {
            let groups = self.groups;
            return Err(shape(format!(
                "its weight takes {channels} channels in each of {groups} groups, but its parent \
                 has {} (shape {parent:?})",
                parent[0]
            )));
        }
        if self.bias && parameters.get(1).copied() != Some(&[out][..]) {
            return Err(shape(format!("its bias has shape {:?}, not [{out}]", parameters.get(1))));
        }
        let (size, kernel) = ([parent[1], parent[2]], [height, width]);
        let pads = self.pads(size, kernel);
        let places = |k: usize| {
            positions("conv2d", size[k], kernel[k], self.stride[k], self.dilation[k], pads[k])
        };
        Ok(vec![out, places(0)?, places(1)?])
    }

    fn parameters(&self) -> usize {
        1 + usize::from(self.bias)
    }

    fn reads_values(&self) -> bool {
        // For their shape alone.
        false
    }

    fn predict(&self, at: &At<'_>, cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        at.agree()?;
        output.set(self.map(at.value(0), at.parameter(0), self.own_bias(at)));
        if at.plastic() {
            cache.put(OLD_WEIGHT, at.parameter(0).clone());
            if let Some(bias) = self.own_bias(at) {
                cache.put(OLD_BIAS, bias.clone());
            }
        }
        Ok(())
    }

    fn change(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        _predicted: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        let weight = at.parameter(0);
        let moved = if at.plastic() {
            // (W - W_old) * v_ref + (b - b_old): the change that moving weights make at the
            // reference, without large numbers.
            let bias = match self.own_bias(at) {
                Some(bias) => Some(bias.minus(cache.get(OLD_BIAS)?)),
                None => None,
            };
            Some(self.map(at.reference(0), &weight.minus(cache.get(OLD_WEIGHT)?), bias.as_ref()))
        } else {
            None
        };
        match (at.displacement(0).map(|d| self.map(d, weight, None)), moved) {
            (Some(mut change), Some(moved)) => {
                change.axpy(1.0, &moved);
                output.set(change);
            }
            (Some(only), None) | (None, Some(only)) => output.set(only),
            (None, None) => output.fill(0.0),
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &At<'_>,
        _cache: &mut Kept,
        cotangent: &BurnTensor,
        pulled: &mut Pulls<'_>,
    ) -> Result<()> {
        let (weight, x) = (at.parameter(0), at.value(0));
        if let Some(force) = pulled.force(0) {
            let options = self.options(x, weight);
            force.set(BurnTensor::wrap(Dispatch::conv2d_x_backward(
                x.raw(),
                weight.raw(),
                cotangent.raw(),
                options,
            )));
        }
        let u = weighed(cotangent, pulled);
        accumulate(pulled.gradient_or_fresh(0), || {
            let options = self.options(x, weight);
            BurnTensor::wrap(Dispatch::conv2d_weight_backward(
                x.raw(),
                weight.raw(),
                u.raw(),
                options,
            ))
        });
        if let Some(bias) = self.own_bias(at) {
            accumulate(pulled.gradient_or_fresh(1), || {
                BurnTensor::wrap(Dispatch::conv2d_bias_backward(x.raw(), bias.raw(), u.raw()))
            });
        }
        Ok(())
    }
}
