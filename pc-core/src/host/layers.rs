//! Ready layers: a vertex, its parameters, and their starting values.

use crate::{
    Error, Result,
    composites::self_attention,
    graph::GraphBuilder,
    host::{
        Activate, Activation, AddParameter, Attention, AvgPool2d, Chain, Concat, Conv2d, Element,
        Embedding, GateParameters, HostTensor, HostVertex, Init, LayerNorm, Linear, LinearMany,
        LstmCell, LstmParameters, MatMul, MaxPool2d, Product, Reshape, Scale, Softmax, Split, Sum,
        attention, recurrent,
    },
    tensor::Tensor,
    topology::{ParamId, VertexId},
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

/// A convolution, the activation and the pooling after it, all of it one prediction: what
/// [`HostLayers::conv`] adds.
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvLayer {
    channels: usize,
    kernel: usize,
    conv: Conv2d,
    activation: Activation,
    pool: Option<Pool>,
}

impl ConvLayer {
    /// To so many channels by a square kernel with this side; stride 1, no padding, a bias, no
    /// activation, no pooling.
    pub fn new(channels: usize, kernel: usize) -> Self {
        let conv = Conv2d { stride: 1, padding: 0, bias: true };
        Self { channels, kernel, conv, activation: Activation::Identity, pool: None }
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

    /// Without a bias.
    #[must_use]
    pub fn without_bias(mut self) -> Self {
        self.conv.bias = false;
        self
    }

    /// An activation after the convolution.
    #[must_use]
    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// The maximum over square windows, last.
    #[must_use]
    pub fn max_pool(mut self, size: usize, stride: usize) -> Self {
        self.pool = Some(Pool::Max(MaxPool2d { size, stride }));
        self
    }

    /// The mean over square windows, last.
    #[must_use]
    pub fn avg_pool(mut self, size: usize, stride: usize) -> Self {
        self.pool = Some(Pool::Average(AvgPool2d { size, stride }));
        self
    }

    fn vertex<F: Element>(&self) -> Result<HostVertex<F>> {
        let pool: Option<HostVertex<F>> = self.pool.map(|pool| match pool {
            Pool::Max(pool) => Box::new(pool) as HostVertex<F>,
            Pool::Average(pool) => Box::new(pool),
        });
        in_one(Box::new(self.conv), self.activation, pool)
    }
}

/// A vertex, an activation and perhaps another vertex, as one.
fn in_one<F: Element>(
    vertex: HostVertex<F>,
    activation: Activation,
    last: Option<HostVertex<F>>,
) -> Result<HostVertex<F>> {
    let activation = (activation != Activation::Identity)
        .then(|| Box::new(Activate(activation)) as HostVertex<F>);
    if activation.is_none() && last.is_none() {
        return Ok(vertex);
    }
    Ok(Box::new(Chain::new([Some(vertex), activation, last].into_iter().flatten().collect())?))
}

/// Adds all that one layer is made of, or nothing, and names the layer where it fails.
fn layer<F: Element, R>(
    b: &mut GraphBuilder<HostTensor<F>>,
    name: &str,
    add: impl FnOnce(&mut GraphBuilder<HostTensor<F>>) -> Result<R>,
) -> Result<R> {
    b.all_or_nothing(add).map_err(|error| error.at(name))
}

/// Layers for host graphs. Each adds one vertex, with its activation inside the prediction, and
/// (where it has weights) the parameters `name.weight` and `name.bias`. Those called `..._with` use
/// parameters that exist, which any number of vertices may share. Where one fails, the builder is
/// as it was before.
///
/// # Errors
/// All of them: a name that is taken; parents or parameters that are unknown or whose shapes do not
/// fit, with what was expected.
pub trait HostLayers<F: Element> {
    /// The graph under construction.
    fn builder(&mut self) -> &mut GraphBuilder<HostTensor<F>>;

    /// `f(W v + b)` over the last axis, with `outputs` rows in `W`.
    fn dense(
        &mut self,
        name: &str,
        parent: VertexId,
        outputs: usize,
        activation: Activation,
        init: &mut Init,
    ) -> Result<VertexId> {
        self.dense_many(name, &[parent], outputs, activation, init)
    }

    /// `f(W v)` over the last axis.
    fn dense_without_bias(
        &mut self,
        name: &str,
        parent: VertexId,
        outputs: usize,
        activation: Activation,
        init: &mut Init,
    ) -> Result<VertexId> {
        layer(self.builder(), name, |b| {
            let inputs = b.last_axis(name, parent)?;
            let weight = init.weight(&[outputs, inputs], inputs, activation)?;
            let weight = b.parameter(&format!("{name}.weight"), weight)?;
            b.dense_with(name, parent, weight, None, activation)
        })
    }

    /// `f(W v + b)` with this weight and, perhaps, bias.
    fn dense_with(
        &mut self,
        name: &str,
        parent: VertexId,
        weight: ParamId,
        bias: Option<ParamId>,
        activation: Activation,
    ) -> Result<VertexId> {
        self.dense_many_with(name, &[parent], &[weight], bias, activation)
    }

    /// `f(W_0 v_0 + W_1 v_1 + ... + b)` over the last axes, with the weights `name.weight` for one
    /// parent, and `name.weight.0`, `name.weight.1`, ... for more.
    fn dense_many(
        &mut self,
        name: &str,
        parents: &[VertexId],
        outputs: usize,
        activation: Activation,
        init: &mut Init,
    ) -> Result<VertexId> {
        layer(self.builder(), name, |b| {
            let inputs = parents
                .iter()
                .map(|parent| b.last_axis(name, *parent))
                .collect::<Result<Vec<_>>>()?;
            let fan_in = inputs.iter().fold(0, |sum: usize, own| sum.saturating_add(*own));
            let mut weights = Vec::with_capacity(inputs.len());
            for (k, own) in inputs.iter().enumerate() {
                let weight = init.weight(&[outputs, *own], fan_in, activation)?;
                let name = if parents.len() == 1 {
                    format!("{name}.weight")
                } else {
                    format!("{name}.weight.{k}")
                };
                weights.push(b.parameter(&name, weight)?);
            }
            let bias = b.parameter(&format!("{name}.bias"), HostTensor::zeroed(&[outputs])?)?;
            b.dense_many_with(name, parents, &weights, Some(bias), activation)
        })
    }

    /// `f(W_0 v_0 + W_1 v_1 + ... + b)` with these weights and, perhaps, bias.
    fn dense_many_with(
        &mut self,
        name: &str,
        parents: &[VertexId],
        weights: &[ParamId],
        bias: Option<ParamId>,
        activation: Activation,
    ) -> Result<VertexId> {
        let linear: HostVertex<F> = match (parents.len(), bias) {
            (1, Some(_)) => Box::new(Linear::new()),
            (1, None) => Box::new(Linear::without_bias()),
            (many, Some(_)) => Box::new(LinearMany::new(many)),
            (many, None) => Box::new(LinearMany::without_bias(many)),
        };
        let parameters: Vec<ParamId> = weights.iter().copied().chain(bias).collect();
        self.builder().vertex(name, in_one(linear, activation, None)?, parents, &parameters)
    }

    /// `f(v)`, element by element.
    fn activate(
        &mut self,
        name: &str,
        parent: VertexId,
        activation: Activation,
    ) -> Result<VertexId> {
        self.builder().vertex(name, Box::new(Activate(activation)), &[parent], &[])
    }

    /// A convolution, activation and pooling as one vertex, with the weight `[out, channels,
    /// kernel, kernel]`.
    fn conv(
        &mut self,
        name: &str,
        parent: VertexId,
        of: &ConvLayer,
        init: &mut Init,
    ) -> Result<VertexId> {
        layer(self.builder(), name, |b| {
            let Some(channels) = b.shape(parent)?.first().copied() else {
                return Err(Error::shape(
                    "a conv2d vertex takes a parent [channels, height, width], not a scalar",
                ));
            };
            let shape = [of.channels, channels, of.kernel, of.kernel];
            let fan_in = shape[1..].iter().fold(1, |all: usize, own| all.saturating_mul(*own));
            let weight = init.weight(&shape, fan_in, of.activation)?;
            let weight = b.parameter(&format!("{name}.weight"), weight)?;
            let bias = if of.conv.bias {
                let bias = HostTensor::zeroed(&[of.channels])?;
                Some(b.parameter(&format!("{name}.bias"), bias)?)
            } else {
                None
            };
            b.conv_with(name, parent, of, weight, bias)
        })
    }

    /// A convolution, activation and pooling as one vertex, with this weight and, if the layer has
    /// one, bias.
    fn conv_with(
        &mut self,
        name: &str,
        parent: VertexId,
        layer: &ConvLayer,
        weight: ParamId,
        bias: Option<ParamId>,
    ) -> Result<VertexId> {
        let parameters: Vec<ParamId> = [weight].into_iter().chain(bias).collect();
        self.builder().vertex(name, layer.vertex()?, &[parent], &parameters)
    }

    /// The maximum over square windows.
    fn max_pool(
        &mut self,
        name: &str,
        parent: VertexId,
        size: usize,
        stride: usize,
    ) -> Result<VertexId> {
        self.builder().vertex(name, Box::new(MaxPool2d { size, stride }), &[parent], &[])
    }

    /// The mean over square windows.
    fn avg_pool(
        &mut self,
        name: &str,
        parent: VertexId,
        size: usize,
        stride: usize,
    ) -> Result<VertexId> {
        self.builder().vertex(name, Box::new(AvgPool2d { size, stride }), &[parent], &[])
    }

    /// The same numbers as one axis.
    fn flatten(&mut self, name: &str, parent: VertexId) -> Result<VertexId> {
        self.builder().vertex(name, Box::new(Reshape::flatten()), &[parent], &[])
    }

    /// The same numbers as another shape.
    fn reshape(&mut self, name: &str, parent: VertexId, shape: &[usize]) -> Result<VertexId> {
        self.builder().vertex(name, Box::new(Reshape::to(shape)), &[parent], &[])
    }

    /// Normalisation over the last axis, with the parameters `name.gain` (1 at first) and
    /// `name.bias` (0).
    fn layer_norm(&mut self, name: &str, parent: VertexId) -> Result<VertexId> {
        layer(self.builder(), name, |b| {
            let length = b.last_axis(name, parent)?;
            let mut gain = HostTensor::zeroed(&[length])?;
            gain.fill(1.0);
            let gain = b.parameter(&format!("{name}.gain"), gain)?;
            let bias = b.parameter(&format!("{name}.bias"), HostTensor::zeroed(&[length])?)?;
            b.vertex(name, Box::new(LayerNorm::default()), &[parent], &[gain, bias])
        })
    }

    /// Softmax over the last axis.
    fn softmax(&mut self, name: &str, parent: VertexId) -> Result<VertexId> {
        self.builder().vertex(name, Box::new(Softmax::new()), &[parent], &[])
    }

    /// The sum of vertices of one shape.
    fn sum(&mut self, name: &str, parents: &[VertexId]) -> Result<VertexId> {
        self.builder().vertex(name, Box::new(Sum::new()), parents, &[])
    }

    /// The product, element by element, of vertices of one shape.
    fn product(&mut self, name: &str, parents: &[VertexId]) -> Result<VertexId> {
        self.builder().vertex(name, Box::new(Product), parents, &[])
    }

    /// `factor v`.
    fn scale(&mut self, name: &str, parent: VertexId, factor: f64) -> Result<VertexId> {
        self.builder().vertex(name, Box::new(Scale(factor)), &[parent], &[])
    }

    /// Vertices one after the other along an axis (counted without the batch).
    fn concat(&mut self, name: &str, parents: &[VertexId], axis: usize) -> Result<VertexId> {
        self.builder().vertex(name, Box::new(Concat { axis }), parents, &[])
    }

    /// The elements `start .. start + length` along an axis (counted without the batch).
    fn split(
        &mut self,
        name: &str,
        parent: VertexId,
        axis: usize,
        start: usize,
        length: usize,
    ) -> Result<VertexId> {
        self.builder().vertex(name, Box::new(Split { axis, start, length }), &[parent], &[])
    }

    /// A row of a weight `[vocabulary, width]` (uniform, of variance 1) for every number of the
    /// parent.
    fn embedding(
        &mut self,
        name: &str,
        parent: VertexId,
        vocabulary: usize,
        width: usize,
        init: &mut Init,
    ) -> Result<VertexId> {
        layer(self.builder(), name, |b| {
            let weight = init.weight(&[vocabulary, width], 1, Activation::Identity)?;
            let weight = b.parameter(&format!("{name}.weight"), weight)?;
            b.embedding_with(name, parent, weight)
        })
    }

    /// A row of this weight `[vocabulary, width]` for every number of the parent.
    fn embedding_with(
        &mut self,
        name: &str,
        parent: VertexId,
        weight: ParamId,
    ) -> Result<VertexId> {
        self.builder().vertex(name, Box::new(Embedding), &[parent], &[weight])
    }

    /// `v + p` with a parameter `name.weight` of the parent's shape, uniform in `+-bound` at first:
    /// positions in a sequence, for one.
    fn add_parameter(
        &mut self,
        name: &str,
        parent: VertexId,
        bound: f64,
        init: &mut Init,
    ) -> Result<VertexId> {
        layer(self.builder(), name, |b| {
            let weight = init.uniform(b.shape(parent)?, bound)?;
            let weight = b.parameter(&format!("{name}.weight"), weight)?;
            b.vertex(name, Box::new(AddParameter), &[parent], &[weight])
        })
    }

    /// `scale A B`, or `scale A B^T`, of two vertices as matrices (see [`MatMul`]).
    fn matmul(
        &mut self,
        name: &str,
        a: VertexId,
        b: VertexId,
        product: MatMul,
    ) -> Result<VertexId> {
        self.builder().vertex(name, Box::new(product), &[a, b], &[])
    }

    /// The parameters of a recurrent cell or of one gate: `name.input_weight`,
    /// `name.hidden_weight`, `name.bias`.
    fn gate_parameters(
        &mut self,
        name: &str,
        inputs: usize,
        hidden: usize,
        activation: Activation,
        init: &mut Init,
    ) -> Result<GateParameters> {
        layer(self.builder(), name, |b| {
            recurrent::gate_parameters(b, name, inputs, hidden, activation, init)
        })
    }

    /// A recurrent cell as one vertex, `tanh(W_x x + W_h h + b)`.
    fn rnn_cell(
        &mut self,
        name: &str,
        x: VertexId,
        h: VertexId,
        parameters: &GateParameters,
    ) -> Result<VertexId> {
        self.dense_many_with(
            name,
            &[x, h],
            &[parameters.input, parameters.hidden],
            Some(parameters.bias),
            Activation::Tanh,
        )
    }

    /// The parameters of the four gates of an LSTM cell.
    fn lstm_parameters(
        &mut self,
        name: &str,
        inputs: usize,
        hidden: usize,
        init: &mut Init,
    ) -> Result<LstmParameters> {
        layer(self.builder(), name, |b| recurrent::lstm_parameters(b, name, inputs, hidden, init))
    }

    /// One step of an LSTM from the input `x`, the last hidden state `h` and the last cell state
    /// `c`: six vertices, see [`LstmCell`].
    fn lstm_cell(
        &mut self,
        prefix: &str,
        x: VertexId,
        h: VertexId,
        c: VertexId,
        parameters: &LstmParameters,
    ) -> Result<LstmCell> {
        layer(self.builder(), prefix, |b| recurrent::lstm_cell(b, prefix, [x, h, c], parameters))
    }

    /// Self-attention over a sequence `[length, width]` with so many heads: seven vertices and
    /// their parameters, see [`Attention`]. Causal: no place sees those after it.
    fn self_attention(
        &mut self,
        prefix: &str,
        parent: VertexId,
        heads: usize,
        causal: bool,
        init: &mut Init,
    ) -> Result<Attention> {
        layer(self.builder(), prefix, |b| {
            let width = b.shape(parent)?.last().copied().unwrap_or(0);
            let mut parts = attention::Parts { builder: b, init, width };
            self_attention(&mut parts, prefix, parent, heads, causal)
        })
    }

    /// The length of a vertex's last axis, for the vertex `name` above it.
    fn last_axis(&mut self, name: &str, vertex: VertexId) -> Result<usize> {
        let last = self.builder().shape(vertex)?.last().copied();
        last.ok_or_else(|| Error::shape("its parent is a scalar, and has no last axis").at(name))
    }
}

impl<F: Element> HostLayers<F> for GraphBuilder<HostTensor<F>> {
    fn builder(&mut self) -> &mut GraphBuilder<HostTensor<F>> {
        self
    }
}
