//! Self-attention: the host's own part of it, and its specification.

use crate::{
    Result,
    composites::{AttentionMap, AttentionParts},
    graph::GraphBuilder,
    host::{
        Activation, Dense, Element, Fan, HostTensor, HostVertex, Init, Layer, Linear, MatMul,
        Parameterisation, Softmax,
    },
    topology::ParamId,
};

/// Self-attention with its choices, for [`super::HostLayers::attention`].
///
/// # Example
/// muPC's scaling, in a net with two skips on its longest path (two more layers, so 4):
/// ```
/// use pc_core::{Graph, host::{HostLayers, HostTensor, Init, Parameterisation, SelfAttention}};
/// let spec = SelfAttention::new(2).causal().parameterised(Parameterisation::MuPc, 4);
/// let mut b = Graph::<HostTensor<f64>>::builder();
/// let x = b.input("x", &[7, 12])?;
/// let attention = b.attention("a", x, &spec, &mut Init::new(0))?;
/// assert_eq!(b.shape(attention.output)?, [7, 12]);
/// assert_eq!(b.build()?.parameters().len(), 4);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelfAttention {
    pub(super) heads: usize,
    pub(super) causal: bool,
    by: Option<(Parameterisation, usize)>,
}

impl SelfAttention {
    /// With so many heads. Every place sees all.
    pub const fn new(heads: usize) -> Self {
        Self { heads, causal: false, by: None }
    }

    /// No place sees those after it.
    #[must_use]
    pub const fn causal(mut self) -> Self {
        self.causal = true;
        self
    }

    /// Its four maps have no biases, and start and are scaled by a parameterisation: as weights
    /// between hidden vertices of this width, the map to the output also over `depth`, which
    /// [`Fan::over`] explains (1 where no skip is around it). By [`Parameterisation::MuPc`] scores
    /// are `q k^T / d`, `d` the width of a head, and not over its root: of weights that have
    /// learned, `q` and `k` are no longer independent, and their product grows as `d` does (Yang
    /// and others 2021, "Tensor programs V", arXiv:2203.03466, definition 4.1).
    #[must_use]
    pub const fn parameterised(mut self, by: Parameterisation, depth: usize) -> Self {
        self.by = Some((by, depth));
        self
    }

    /// A map by a parameterisation, where one was asked for.
    fn scaled(&self, map: AttentionMap, width: usize) -> Option<Dense> {
        let (by, depth) = self.by?;
        let depth = if map == AttentionMap::Output { depth } else { 1 };
        let fan = Fan::hidden(width).over(depth);
        Some(Dense::new(width).without_bias().parameterised(by, fan))
    }
}

/// Linear maps with drawn weights, and the host's products and softmax.
pub(super) struct Parts<'a, F: Element> {
    pub(super) builder: &'a mut GraphBuilder<HostTensor<F>>,
    pub(super) init: &'a mut Init,
    pub(super) width: usize,
    pub(super) spec: SelfAttention,
}

impl<F: Element> AttentionParts for Parts<'_, F> {
    type Tensor = HostTensor<F>;

    fn builder(&mut self) -> &mut GraphBuilder<HostTensor<F>> {
        self.builder
    }

    fn map(&mut self, map: AttentionMap, name: &str) -> Result<(HostVertex<F>, Vec<ParamId>)> {
        if let Some(dense) = self.spec.scaled(map, self.width) {
            let parameters = Layer::<F>::parameters(&dense, &[&[self.width]])?;
            let added = parameters.iter().map(|own| own.added(self.builder, name, self.init));
            return Ok((dense.vertex(1)?, added.collect::<Result<Vec<_>>>()?));
        }
        let shape = [self.width; 2];
        let weight = self.init.weight(&shape, self.width, Activation::Identity)?;
        let weight = self.builder.parameter(&format!("{name}.weight"), weight)?;
        let bias = HostTensor::zeroed(&[self.width])?;
        let bias = self.builder.parameter(&format!("{name}.bias"), bias)?;
        Ok((Box::new(Linear::new()), vec![weight, bias]))
    }

    fn product(&self, transpose_b: bool, scale: f64) -> HostVertex<F> {
        // Of the two products the scores alone are transposed.
        let wide = transpose_b && matches!(self.spec.by, Some((Parameterisation::MuPc, _)));
        Box::new(MatMul { transpose_b, scale: if wide { scale * scale } else { scale } })
    }

    fn softmax(&self, causal: bool) -> HostVertex<F> {
        Box::new(if causal { Softmax::causal() } else { Softmax::new() })
    }
}
