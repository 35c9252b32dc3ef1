//! The convolutional layer, as a specification.

use std::sync::Arc;

use crate::{
    Error, Result,
    host::{
        Activation, AvgPool2d, Conv2d, ConvTranspose2d, Element, Fan, HostVertex, Layer,
        LayerParameter, MaxPool2d, Parameterisation, Reshape, Starting, StartingRule,
        layer::{activate, joined, next_to, scale_and_activate},
    },
};

/// Pooling after a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The maximum over windows.
    Max(
        /// The windows.
        MaxPool2d,
    ),
    /// The mean over windows.
    Average(
        /// The windows.
        AvgPool2d,
    ),
}

/// A convolution of one parent with all that may be around it, as one prediction: an activation
/// before, the convolution, a constant factor, an activation, pooling, and its numbers as one axis.
/// Its parameters are `weight [channels, parent's channels, kernel, kernel]` and `bias [channels]`;
/// of a [transposed](ConvLayer::transposed) convolution the weight is `[parent's channels,
/// channels, kernel, kernel]`.
///
/// # Example
/// ```
/// use pc_core::{Graph, host::{Activation, ConvLayer, HostLayers, HostTensor, Init}};
/// let mut init = Init::new(0);
/// let mut b = Graph::<HostTensor<f32>>::builder();
/// let x = b.input("x", &[1, 28, 28])?;
/// let layer = ConvLayer::new(6, 5).padding(2).activation(Activation::Relu).max_pool(2, 2);
/// let c1 = b.conv("c1", x, &layer, &mut init)?;
/// assert_eq!(b.shape(c1)?, [6, 14, 14]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ConvLayer {
    channels: usize,
    kernel: usize,
    conv: Conv2d,
    /// The output padding of a transposed convolution.
    transposed: Option<usize>,
    before: Activation,
    after: Activation,
    scale: f64,
    pool: Option<Pool>,
    flatten: bool,
    precision: f64,
    rule: Option<Arc<dyn StartingRule>>,
}

impl ConvLayer {
    /// To so many channels by a square kernel with this side; stride 1, no padding, a bias, no
    /// activation, no pooling.
    pub fn new(channels: usize, kernel: usize) -> Self {
        Self {
            channels,
            kernel,
            conv: Conv2d { stride: 1, padding: 0, bias: true },
            transposed: None,
            before: Activation::Identity,
            after: Activation::Identity,
            scale: 1.0,
            pool: None,
            flatten: false,
            precision: 1.0,
            rule: None,
        }
    }

    /// How far the kernel moves at a time.
    #[must_use]
    pub fn stride(mut self, stride: usize) -> Self {
        self.conv.stride = stride;
        self
    }

    /// The zeros around the image.
    #[must_use]
    pub fn padding(mut self, padding: usize) -> Self {
        self.conv.padding = padding;
        self
    }

    /// The transpose of a convolution ([`ConvTranspose2d`]) in its place, which makes images larger
    /// by the stride, with so many rows and columns more at the bottom and on the right.
    ///
    /// # Example
    /// ```
    /// use pc_core::{Graph, host::{ConvLayer, HostLayers, HostTensor, Init}};
    /// let mut init = Init::new(0);
    /// let mut b = Graph::<HostTensor<f32>>::builder();
    /// let latent = b.input("latent", &[8, 4, 4])?;
    /// let layer = ConvLayer::new(3, 5).stride(2).padding(2).transposed(1);
    /// let picture = b.conv("picture", latent, &layer, &mut init)?;
    /// assert_eq!(b.shape(picture)?, [3, 8, 8]);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    #[must_use]
    pub fn transposed(mut self, output_padding: usize) -> Self {
        self.transposed = Some(output_padding);
        self
    }

    /// Without a bias.
    #[must_use]
    pub fn without_bias(mut self) -> Self {
        self.conv.bias = false;
        self
    }

    /// An activation after the convolution.
    #[must_use]
    pub fn activation(mut self, activation: Activation) -> Self {
        self.after = activation;
        self
    }

    /// An activation before the convolution.
    #[must_use]
    pub fn activation_before(mut self, activation: Activation) -> Self {
        self.before = activation;
        self
    }

    /// A constant factor of the convolution, its bias too.
    #[must_use]
    pub fn scale(mut self, factor: f64) -> Self {
        self.scale = factor;
        self
    }

    /// The maximum over square windows, after the activation.
    #[must_use]
    pub fn max_pool(mut self, size: usize, stride: usize) -> Self {
        self.pool = Some(Pool::Max(MaxPool2d { size, stride }));
        self
    }

    /// The mean over square windows, after the activation.
    #[must_use]
    pub fn avg_pool(mut self, size: usize, stride: usize) -> Self {
        self.pool = Some(Pool::Average(AvgPool2d { size, stride }));
        self
    }

    /// The numbers as one axis, last.
    #[must_use]
    pub fn flatten(mut self) -> Self {
        self.flatten = true;
        self
    }

    /// The weight of its error in the energy.
    #[must_use]
    pub fn precision(mut self, precision: f64) -> Self {
        self.precision = precision;
        self
    }

    /// Starts by this rule, whatever that of the [`super::Init`] is.
    #[must_use]
    pub fn start(mut self, rule: impl StartingRule + 'static) -> Self {
        self.rule = Some(Arc::new(rule));
        self
    }

    /// Starts and is scaled by a parameterisation, as its weight's place in the net asks: the short
    /// form of [`ConvLayer::start`] and [`ConvLayer::scale`]. The inputs of its [`Fan`] are
    /// channels times the window.
    #[must_use]
    pub fn parameterised(self, by: Parameterisation, fan: Fan) -> Self {
        self.start(Starting::Normal(by.deviation(fan.inputs()))).scale(by.factor(fan))
    }
}

impl<F: Element> Layer<F> for ConvLayer {
    fn vertex(&self, _parents: usize) -> Result<HostVertex<F>> {
        let mut links: Vec<HostVertex<F>> = Vec::new();
        activate(&mut links, self.before);
        let Conv2d { stride, padding, bias } = self.conv;
        match self.transposed {
            None => links.push(Box::new(self.conv)),
            Some(output_padding) => {
                links.push(Box::new(ConvTranspose2d { stride, padding, output_padding, bias }));
            }
        }
        scale_and_activate(&mut links, self.scale, self.after);
        match self.pool {
            Some(Pool::Max(pool)) => links.push(Box::new(pool)),
            Some(Pool::Average(pool)) => links.push(Box::new(pool)),
            None => (),
        }
        if self.flatten {
            links.push(Box::new(Reshape::flatten()));
        }
        joined(links)
    }

    fn parameters(&self, parents: &[&[usize]]) -> Result<Vec<LayerParameter>> {
        let [parent] = parents else {
            return Err(Error::graph(format!(
                "a convolution takes one parent, not {}",
                parents.len()
            )));
        };
        let Some(channels) = parent.first().copied() else {
            return Err(Error::shape(
                "a conv2d vertex takes a parent [channels, height, width], not a scalar",
            ));
        };
        let fan_in = channels.saturating_mul(self.kernel).saturating_mul(self.kernel);
        let shape = match self.transposed {
            None => [self.channels, channels, self.kernel, self.kernel],
            Some(_) => [channels, self.channels, self.kernel, self.kernel],
        };
        let next = next_to(self.before, self.after);
        let weight = LayerParameter::weight("weight", &shape, fan_in, next);
        let bias = LayerParameter::bias("bias", &[self.channels], fan_in, next);
        let all = [Some(weight), self.conv.bias.then_some(bias)].into_iter().flatten();
        Ok(all.map(|own| own.start(self.rule.clone())).collect())
    }

    fn precision(&self) -> f64 {
        self.precision
    }
}
