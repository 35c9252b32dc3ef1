//! How the vertices of self-attention hang together.

use crate::{
    Chain, Error, Result,
    composites::{Reshape, SwapAxes},
    graph::{GraphBuilder, GraphTensor},
    topology::{ParamId, VertexId},
};

/// The linear maps of self-attention, each from the width to the width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionMap {
    /// What a place asks for.
    Queries,
    /// What a place is found by.
    Keys,
    /// What a place tells.
    Values,
    /// Of the mix.
    Output,
}

/// The vertices of self-attention over a sequence `[length, width]` (Vaswani and others 2017,
/// "Attention is all you need"), each with a state of its own, named `prefix.queries`,
/// `prefix.keys`, ... With one head they are matrices `[length, ...]`; with more, `[heads, length,
/// ...]`.
///
/// # Example
/// ```
/// use pc_core::{Graph, host::{HostLayers, HostTensor, Init}};
/// let mut init = Init::new(0);
/// let mut b = Graph::<HostTensor<f64>>::builder();
/// let x = b.input("x", &[7, 12])?;
/// let attention = b.self_attention("a", x, 3, true, &mut init)?;
/// assert_eq!(b.shape(attention.queries)?, [3, 7, 4]);
/// assert_eq!(b.shape(attention.scores)?, [3, 7, 7]);
/// assert_eq!(b.shape(attention.output)?, [7, 12]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// `q = W_q v + b_q`.
    pub queries: VertexId,
    /// `k = W_k v + b_k`.
    pub keys: VertexId,
    /// `w = W_v v + b_v`.
    pub values: VertexId,
    /// `q k^T / sqrt(width of a head)`.
    pub scores: VertexId,
    /// The softmax of the scores.
    pub weights: VertexId,
    /// The weighted values, the heads one after the other: `[length, width]`.
    pub mix: VertexId,
    /// `W_o mix + b_o`.
    pub output: VertexId,
}

/// What a backend brings to [`self_attention`]: the vertices that are its own.
pub trait AttentionParts {
    /// Its tensor.
    type Tensor: GraphTensor;

    /// The graph under construction.
    fn builder(&mut self) -> &mut GraphBuilder<Self::Tensor>;

    /// A linear map from the width to the width over the last axis, and the parameters it takes,
    /// which are added here under names that begin with `name`.
    ///
    /// # Errors
    /// A parameter's name is taken.
    fn map(
        &mut self,
        map: AttentionMap,
        name: &str,
    ) -> Result<(<Self::Tensor as GraphTensor>::Vertex, Vec<ParamId>)>;

    /// `scale A B`, or `scale A B^T`, of two parents whose last two axes are matrices.
    fn product(&self, transpose_b: bool, scale: f64) -> <Self::Tensor as GraphTensor>::Vertex;

    /// The softmax over the last axis; causal, no place sees those after it.
    fn softmax(&self, causal: bool) -> <Self::Tensor as GraphTensor>::Vertex;
}

/// Adds self-attention with so many heads over `parent`. Causal: no place sees those after it.
///
/// # Errors
/// A parent that is not `[length, width]`; a width that the heads cannot share; what `parts`
/// reports. What was added by then stays: see [`GraphBuilder::all_or_nothing`].
pub fn self_attention<P: AttentionParts>(
    parts: &mut P,
    prefix: &str,
    parent: VertexId,
    heads: usize,
    causal: bool,
) -> Result<Attention> {
    let &[length, width] = parts.builder().shape(parent)? else {
        return Err(Error::shape(format!(
            "self-attention takes a parent [length, width], not {:?}",
            parts.builder().shape(parent)?
        ))
        .at(prefix));
    };
    if heads == 0 || width % heads != 0 {
        return Err(Error::shape(format!(
            "self-attention over a width of {width} cannot have {heads} heads"
        ))
        .at(prefix));
    }
    let part = width / heads;
    let apart = [length, heads, part];
    let mut project = |map, name: &str| {
        let name = format!("{prefix}.{name}");
        let (vertex, parameters) = parts.map(map, &name)?;
        let mut links = vec![vertex];
        if heads > 1 {
            links.push(P::Tensor::boxed(Reshape::to(&apart)));
            links.push(P::Tensor::boxed(SwapAxes));
        }
        parts.builder().vertex(&name, joined::<P::Tensor>(links)?, &[parent], &parameters)
    };
    let queries = project(AttentionMap::Queries, "queries")?;
    let keys = project(AttentionMap::Keys, "keys")?;
    let values = project(AttentionMap::Values, "values")?;
    let product = parts.product(true, 1.0 / (part as f64).sqrt());
    let scores =
        parts.builder().vertex(&format!("{prefix}.scores"), product, &[queries, keys], &[])?;
    let softmax = parts.softmax(causal);
    let weights = parts.builder().vertex(&format!("{prefix}.weights"), softmax, &[scores], &[])?;
    let mut links = vec![parts.product(false, 1.0)];
    if heads > 1 {
        links.push(P::Tensor::boxed(SwapAxes));
        links.push(P::Tensor::boxed(Reshape::to(&[length, width])));
    }
    let mix = joined::<P::Tensor>(links)?;
    let mix = parts.builder().vertex(&format!("{prefix}.mix"), mix, &[weights, values], &[])?;
    let name = format!("{prefix}.output");
    let (vertex, parameters) = parts.map(AttentionMap::Output, &name)?;
    let output = parts.builder().vertex(&name, vertex, &[mix], &parameters)?;
    Ok(Attention { queries, keys, values, scores, weights, mix, output })
}

/// A chain of one vertex is that vertex.
fn joined<T: GraphTensor>(mut links: Vec<T::Vertex>) -> Result<T::Vertex> {
    if links.len() == 1 { Ok(links.swap_remove(0)) } else { Ok(T::chained(Chain::new(links)?)) }
}
