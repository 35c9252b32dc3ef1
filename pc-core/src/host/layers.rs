//! Ready layers: a vertex, its parameters, and their starting values.

use crate::{
    Error, Result,
    composites::self_attention,
    graph::GraphBuilder,
    host::{
        Activate, Activation, AddParameter, Attention, AvgPool2d, Concat, ConvLayer, Dense,
        Element, Embedding, GateParameters, HostTensor, Init, Layer, LayerNorm, LstmCell,
        LstmParameters, MatMul, MaxPool2d, Parameters, Product, Reshape, Scale, SelfAttention,
        Softmax, Split, Sum, attention, layer, recurrent,
    },
    tensor::Tensor,
    topology::{ParamId, PredictionId, VertexId},
};

/// Adds all that one layer is made of, or nothing, and names the layer where it fails.
fn whole<F: Element, R>(
    b: &mut GraphBuilder<HostTensor<F>>,
    name: &str,
    add: impl FnOnce(&mut GraphBuilder<HostTensor<F>>) -> Result<R>,
) -> Result<R> {
    b.all_or_nothing(add).map_err(|error| error.at(name))
}

/// Layers for host graphs. Each adds one vertex, with its activation inside the prediction, and
/// (where it has weights) the parameters `name.weight` and `name.bias`. [`HostLayers::layer`] adds
/// any [`Layer`] with all its choices, and with parameters that exist where they are to be shared;
/// [`HostLayers::layer_prediction`] adds it to a vertex that exists. Where one fails, the builder
/// is as it was before.
///
/// # Errors
/// All of them: a name that is taken; parents or parameters that are unknown or whose shapes do not
/// fit, with what was expected.
pub trait HostLayers<F: Element> {
    /// The graph under construction.
    fn builder(&mut self) -> &mut GraphBuilder<HostTensor<F>>;

    /// `f(W v + b)` over the last axis, with `outputs` rows in `W`: the short form of
    /// [`HostLayers::layer`] with a [`Dense`].
    fn dense(
        &mut self,
        name: &str,
        parent: VertexId,
        outputs: usize,
        activation: Activation,
        init: &mut Init,
    ) -> Result<VertexId> {
        self.layer(name, &[parent], &Dense::new(outputs).activation(activation), init)
    }

    /// A layer as a new vertex. Its parameters are new (`&mut init`) or old (`&[weight, bias]`, in
    /// the layer's order).
    fn layer<'p>(
        &mut self,
        name: &str,
        parents: &[VertexId],
        of: &impl Layer<F>,
        parameters: impl Into<Parameters<'p>>,
    ) -> Result<VertexId> {
        let parameters = parameters.into();
        whole(self.builder(), name, |b| {
            let uses = layer::parameters(b, name, parents, of, parameters)?;
            let id = b.vertex(name, of.vertex(parents.len())?, parents, &uses)?;
            if of.precision() != 1.0 {
                b.precision(id, of.precision())?;
            }
            Ok(id)
        })
    }

    /// A layer as a (further) prediction of a vertex that exists, whose shape it has to have. New
    /// parameters are called by `name`; old ones are given as for [`HostLayers::layer`].
    ///
    /// # Example
    /// Two vertices that predict each other, with one weight for both ways:
    /// ```
    /// use pc_core::{Graph, host::{Activation, Dense, HostLayers, HostTensor, Init}};
    /// let (mut init, layer) = (Init::new(0), Dense::new(4).without_bias());
    /// let mut b = Graph::<HostTensor<f32>>::builder();
    /// let x = b.input("x", &[4])?;
    /// let weight = b.layer_parameters("both", &[x], &layer, &mut init)?;
    /// let h = b.layer("h", &[x], &layer, &weight)?;
    /// let back = b.layer_prediction("x.back", x, &[h], &layer.precision(0.5), &weight)?;
    /// let graph = b.build()?;
    /// assert_eq!(graph.topology().predictions_of(x)?, [back]);
    /// assert_eq!(graph.parameters().len(), 1);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    fn layer_prediction<'p>(
        &mut self,
        name: &str,
        vertex: VertexId,
        parents: &[VertexId],
        of: &impl Layer<F>,
        parameters: impl Into<Parameters<'p>>,
    ) -> Result<PredictionId> {
        let parameters = parameters.into();
        whole(self.builder(), name, |b| {
            let uses = layer::parameters(b, name, parents, of, parameters)?;
            b.predict(vertex, of.vertex(parents.len())?, parents, &uses, of.precision())
        })
    }

    /// The parameters that a layer takes above these parents, and no vertex: for several
    /// predictions to share.
    fn layer_parameters(
        &mut self,
        name: &str,
        parents: &[VertexId],
        of: &impl Layer<F>,
        init: &mut Init,
    ) -> Result<Vec<ParamId>> {
        whole(self.builder(), name, |b| {
            layer::parameters(b, name, parents, of, Parameters::New(init))
        })
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

    /// A convolution and what is around it: the short form of [`HostLayers::layer`] with a
    /// [`ConvLayer`].
    fn conv(
        &mut self,
        name: &str,
        parent: VertexId,
        of: &ConvLayer,
        init: &mut Init,
    ) -> Result<VertexId> {
        self.layer(name, &[parent], of, init)
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
        whole(self.builder(), name, |b| {
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

    /// A row of a weight `[vocabulary, width]` for every number of the parent. The weight starts as
    /// one with a fan-in of 1 does: uniform of variance 1, unless `init` has another rule.
    fn embedding(
        &mut self,
        name: &str,
        parent: VertexId,
        vocabulary: usize,
        width: usize,
        init: &mut Init,
    ) -> Result<VertexId> {
        whole(self.builder(), name, |b| {
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
        whole(self.builder(), name, |b| {
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
        whole(self.builder(), name, |b| {
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
        let hidden = self.last_axis(name, h)?;
        self.layer(
            name,
            &[x, h],
            &Dense::new(hidden).activation(Activation::Tanh),
            &[parameters.input, parameters.hidden, parameters.bias],
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
        whole(self.builder(), name, |b| recurrent::lstm_parameters(b, name, inputs, hidden, init))
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
        whole(self.builder(), prefix, |b| recurrent::lstm_cell(b, prefix, [x, h, c], parameters))
    }

    /// Self-attention over a sequence `[length, width]` with so many heads: seven vertices and
    /// their parameters, see [`Attention`]. Causal: no place sees those after it. The short form of
    /// [`HostLayers::attention`].
    fn self_attention(
        &mut self,
        prefix: &str,
        parent: VertexId,
        heads: usize,
        causal: bool,
        init: &mut Init,
    ) -> Result<Attention> {
        let spec = SelfAttention::new(heads);
        self.attention(prefix, parent, &if causal { spec.causal() } else { spec }, init)
    }

    /// Self-attention over a sequence `[length, width]`: seven vertices and their parameters, see
    /// [`Attention`].
    fn attention(
        &mut self,
        prefix: &str,
        parent: VertexId,
        spec: &SelfAttention,
        init: &mut Init,
    ) -> Result<Attention> {
        whole(self.builder(), prefix, |b| {
            let width = b.shape(parent)?.last().copied().unwrap_or(0);
            let mut parts = attention::Parts { builder: b, init, width, spec: *spec };
            self_attention(&mut parts, prefix, parent, spec.heads, spec.causal)
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
