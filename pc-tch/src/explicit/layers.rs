//! Layers as vertices, with the weights that tch's own layers make.

use pc_core::{Error, ErrorKind, GraphBuilder, ParamId, Result, VertexId};
use tch::{
    Device, Kind, TchError, Tensor,
    nn::{self, PaddingMode},
};

use crate::{Function, TchTensor, tensor::sizes};

/// What libtorch answers.
type Answer = std::result::Result<Tensor, TchError>;

/// The activation that changes nothing, for the layers of [`TchLayers`].
///
/// # Errors
/// None of its own.
pub fn identity(x: &Tensor) -> Answer {
    Ok(x.shallow_clone())
}

/// Layers for a builder of explicit graphs. Each is one vertex, named as its path; its weights are
/// made by tch's own layer, in the path's `VarStore`, and the graph's parameters have the same
/// names and start from the same numbers.
///
/// After a step of an optimiser, or after a weight file was loaded,
/// [`StoredWeights`](super::StoredWeights) brings them across. An activation is any function of
/// libtorch's, such as `Tensor::f_relu` or [`identity`], and part of the vertex.
///
/// # Example
/// ```
/// use pc_tch::{StoredWeights, TchLayers, TchTensor, CrossEntropy, identity};
/// use pc_tch::pc_core::{Clamps, Graph, Relaxation, Schedule};
/// use tch::{Device, Kind, Tensor, nn::{self, OptimizerConfig}};
/// let store = nn::VarStore::new(Device::Cpu);
/// let mut b = Graph::<TchTensor>::builder();
/// let x = b.input("x", &[1, 8, 8])?;
/// let small = nn::ConvConfig { padding: 1, ..Default::default() };
/// let c = b.conv2d(&(store.root() / "conv"), x, 4, 3, small, Tensor::f_relu)?;
/// let c = b.function("flat", &[c], |x| x[0].f_flatten(1, -1))?;
/// let y = b.linear(&(store.root() / "out"), c, 10, Default::default(), identity)?;
/// let mut graph = b.build()?;
/// let weights = StoredWeights::new(&graph, &store)?;
/// let mut adam = nn::Adam::default().build(&store, 1e-3).expect("an optimiser");
/// let mut rule = Relaxation::new(&graph, Schedule::standard(0.1, 20)?)?;
/// let pictures = Tensor::rand([2, 1, 8, 8], (Kind::Float, Device::Cpu));
/// let loss = CrossEntropy::labels(&Tensor::from_slice(&[3_i64, 7]), 10)?;
/// let clamps = Clamps::new().hold(x, TchTensor::new(&pictures)).drive(y, loss);
/// let _ = rule.train(&mut graph, &clamps, |graph, by| weights.step(&mut adam, graph, by))?;
/// # Ok::<(), pc_tch::pc_core::Error>(())
/// ```
pub trait TchLayers {
    /// `f(W x + b)` over the last axis, as [`tch::nn::linear`]: from `[.., in]` to `[.., outputs]`.
    ///
    /// # Errors
    /// A name that is taken, a shape that does not fit, what libtorch reports.
    fn linear(
        &mut self,
        path: &nn::Path<'_>,
        parent: VertexId,
        outputs: i64,
        config: nn::LinearConfig,
        activation: impl Fn(&Tensor) -> Answer + 'static,
    ) -> Result<VertexId>;

    /// `f(K * x + b)`, as [`tch::nn::conv2d`]: from `[in, height, width]` to `[outputs, ..]`. What
    /// pools belongs to the activation where it is to be part of the vertex.
    ///
    /// # Errors
    /// As [`TchLayers::linear`]; padding by anything but zeros.
    fn conv2d(
        &mut self,
        path: &nn::Path<'_>,
        parent: VertexId,
        outputs: i64,
        kernel: i64,
        config: nn::ConvConfig,
        activation: impl Fn(&Tensor) -> Answer + 'static,
    ) -> Result<VertexId>;

    /// Rows of a table, as [`tch::nn::embedding`]: from indices, held as numbers of the graph's own
    /// kind, to `[.., width]`.
    ///
    /// # Errors
    /// As [`TchLayers::linear`]; a sparse gradient, which explicit graphs do not hold.
    fn embedding(
        &mut self,
        path: &nn::Path<'_>,
        parent: VertexId,
        rows: i64,
        width: i64,
        config: nn::EmbeddingConfig,
    ) -> Result<VertexId>;

    /// As [`tch::nn::layer_norm`], over the last axes of these sizes.
    ///
    /// # Errors
    /// As [`TchLayers::linear`].
    fn layer_norm(
        &mut self,
        path: &nn::Path<'_>,
        parent: VertexId,
        over: &[i64],
        config: nn::LayerNormConfig,
    ) -> Result<VertexId>;

    /// A function of its parents without weights: a sum, a product, a softmax, another shape.
    ///
    /// # Errors
    /// As [`TchLayers::linear`].
    fn function(
        &mut self,
        name: &str,
        parents: &[VertexId],
        compute: impl Fn(&[Tensor]) -> Answer + 'static,
    ) -> Result<VertexId>;
}

impl TchLayers for GraphBuilder<TchTensor> {
    fn linear(
        &mut self,
        path: &nn::Path<'_>,
        parent: VertexId,
        outputs: i64,
        config: nn::LinearConfig,
        activation: impl Fn(&Tensor) -> Answer + 'static,
    ) -> Result<VertexId> {
        let name = name(path)?;
        let inputs = last(self, parent, &name)?;
        let layer = nn::linear(path, inputs, outputs, config);
        let weights = [("weight", Some(layer.ws)), ("bias", layer.bs)];
        add(self, path, &name, parent, weights, move |x, w| {
            activation(&x.f_linear(&w[0], w.get(1))?)
        })
    }

    fn conv2d(
        &mut self,
        path: &nn::Path<'_>,
        parent: VertexId,
        outputs: i64,
        kernel: i64,
        config: nn::ConvConfig,
        activation: impl Fn(&Tensor) -> Answer + 'static,
    ) -> Result<VertexId> {
        let name = name(path)?;
        if !matches!(config.padding_mode, PaddingMode::Zeros) {
            return Err(unsupported(
                "padding by anything but zeros: pad in a vertex before it",
                &name,
            ));
        }
        let shape = self.shape(parent)?;
        let &[inputs, _, _] = shape else {
            return Err(Error::new(
                ErrorKind::Shape,
                format!("a convolution takes [channels, height, width], not {shape:?}"),
            )
            .at(&name));
        };
        let layer = nn::conv2d(path, sizes(&[inputs])[0], outputs, kernel, config);
        let weights = [("weight", Some(layer.ws)), ("bias", layer.bs)];
        let nn::ConvConfig { stride, padding, dilation, groups, .. } = config;
        add(self, path, &name, parent, weights, move |x, w| {
            activation(&x.f_conv2d(
                &w[0],
                w.get(1),
                [stride; 2],
                [padding; 2],
                [dilation; 2],
                groups,
            )?)
        })
    }

    fn embedding(
        &mut self,
        path: &nn::Path<'_>,
        parent: VertexId,
        rows: i64,
        width: i64,
        config: nn::EmbeddingConfig,
    ) -> Result<VertexId> {
        let name = name(path)?;
        if config.sparse {
            return Err(unsupported("a sparse gradient: explicit graphs hold dense ones", &name));
        }
        let layer = nn::embedding(path, rows, width, config);
        let nn::EmbeddingConfig { padding_idx, scale_grad_by_freq, .. } = config;
        add(self, path, &name, parent, [("weight", Some(layer.ws)), ("", None)], move |x, w| {
            let indices = x.f_to_kind(Kind::Int64)?;
            Tensor::f_embedding(&w[0], &indices, padding_idx, scale_grad_by_freq, false)
        })
    }

    fn layer_norm(
        &mut self,
        path: &nn::Path<'_>,
        parent: VertexId,
        over: &[i64],
        config: nn::LayerNormConfig,
    ) -> Result<VertexId> {
        let name = name(path)?;
        let layer = nn::layer_norm(path, over.to_vec(), config);
        let over = over.to_vec();
        let nn::LayerNormConfig { eps, cudnn_enabled, .. } = config;
        add(self, path, &name, parent, [("weight", layer.ws), ("bias", layer.bs)], move |x, w| {
            x.f_layer_norm(over.as_slice(), w.first(), w.get(1), eps, cudnn_enabled)
        })
    }

    fn function(
        &mut self,
        name: &str,
        parents: &[VertexId],
        compute: impl Fn(&[Tensor]) -> Answer + 'static,
    ) -> Result<VertexId> {
        // Shapes are found on the CPU in f32, whatever the tensors will be.
        let options = (Kind::Float, Device::Cpu);
        let function = Function::new(name, options, 0, move |x, _| compute(x));
        self.vertex(name, Box::new(function), parents, &[])
    }
}

fn unsupported(what: &str, name: &str) -> Error {
    Error::new(ErrorKind::Unsupported, what).at(name)
}

/// A path as its vertex is named.
fn name(path: &nn::Path<'_>) -> Result<String> {
    let name = path.components().collect::<Vec<_>>().join(".");
    if name.is_empty() {
        return Err(Error::new(
            ErrorKind::Misuse,
            "a layer is named by its path: give it one of its own, such as `root / \"out\"`",
        ));
    }
    Ok(name)
}

/// The size of a vertex's last axis.
fn last(b: &GraphBuilder<TchTensor>, of: VertexId, name: &str) -> Result<i64> {
    let size = b.shape(of)?.last().and_then(|size| i64::try_from(*size).ok());
    size.ok_or_else(|| {
        Error::new(ErrorKind::Shape, "its parent is a single number, without an axis").at(name)
    })
}

/// One vertex with the weights of a layer that has just been made, or nothing at all.
fn add<const N: usize>(
    b: &mut GraphBuilder<TchTensor>,
    path: &nn::Path<'_>,
    name: &str,
    parent: VertexId,
    weights: [(&str, Option<Tensor>); N],
    compute: impl Fn(&Tensor, &[Tensor]) -> Answer + 'static,
) -> Result<VertexId> {
    b.all_or_nothing(|b| {
        let weights = weights.into_iter().filter_map(|(name, weight)| Some((name, weight?)));
        let ids = weights
            .map(|(kind, weight)| {
                // A copy, which the store's optimiser does not move behind the graph's back.
                b.parameter(&path.path(kind), TchTensor::new(&weight.detach().copy()))
            })
            .collect::<Result<Vec<ParamId>>>()?;
        let options = (path.kind(), path.device());
        let function = Function::new(name, options, ids.len(), move |x, w| compute(&x[0], w));
        b.vertex(name, Box::new(function), &[parent], &ids)
    })
}
