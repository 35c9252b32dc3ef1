//! Self-attention.

use crate::{
    Error, Result,
    graph::GraphBuilder,
    host::{
        Activation, Chain, Element, HostLayers, HostTensor, HostVertex, Init, Linear, MatMul,
        Reshape, Softmax, SwapAxes,
    },
    topology::VertexId,
};

/// The vertices of self-attention over a sequence `[length, width]`, each with a state of its own,
/// named `prefix.queries`, `prefix.keys`, ... With one head they are matrices `[length, ...]`; with
/// more, `[heads, length, ...]`.
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

/// A chain of one vertex is that vertex.
fn joined<F: Element>(mut links: Vec<HostVertex<F>>) -> Result<HostVertex<F>> {
    if links.len() == 1 { Ok(links.swap_remove(0)) } else { Ok(Box::new(Chain::new(links)?)) }
}

pub(super) fn self_attention<F: Element>(
    b: &mut GraphBuilder<HostTensor<F>>,
    prefix: &str,
    parent: VertexId,
    (heads, causal): (usize, bool),
    init: &mut Init,
) -> Result<Attention> {
    let &[length, width] = b.shape(parent)? else {
        return Err(Error::shape(format!(
            "self-attention takes a parent [length, width], not {:?}",
            b.shape(parent)?
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
    let mut project = |name: &str| {
        let name = format!("{prefix}.{name}");
        let weight = b.parameter(
            &format!("{name}.weight"),
            init.weight(&[width, width], width, Activation::Identity)?,
        )?;
        let bias = b.parameter(&format!("{name}.bias"), HostTensor::zeroed(&[width])?)?;
        let mut links: Vec<HostVertex<F>> = vec![Box::new(Linear::new())];
        if heads > 1 {
            links.push(Box::new(Reshape::to(&[length, heads, part])));
            links.push(Box::new(SwapAxes));
        }
        b.vertex(&name, joined(links)?, &[parent], &[weight, bias])
    };
    let (queries, keys, values) = (project("queries")?, project("keys")?, project("values")?);
    let product = MatMul { transpose_b: true, scale: 1.0 / (part as f64).sqrt() };
    let scores = b.matmul(&format!("{prefix}.scores"), queries, keys, product)?;
    let softmax = if causal { Softmax::causal() } else { Softmax::new() };
    let weights = b.vertex(&format!("{prefix}.weights"), Box::new(softmax), &[scores], &[])?;
    let mut links: Vec<HostVertex<F>> = vec![Box::new(MatMul::default())];
    if heads > 1 {
        links.push(Box::new(SwapAxes));
        links.push(Box::new(Reshape::to(&[length, width])));
    }
    let mix = b.vertex(&format!("{prefix}.mix"), joined(links)?, &[weights, values], &[])?;
    let output = b.dense(&format!("{prefix}.output"), mix, width, Activation::Identity, init)?;
    Ok(Attention { queries, keys, values, scores, weights, mix, output })
}
