//! Attention and the transformer's encoder.

use dfdx::{
    nn::modules::{Linear, MultiHeadAttention, TransformerEncoderBlock},
    prelude::Device,
    shapes::{Const, Dim},
    tensor::Cpu,
};
use pc_core::{
    Error, ErrorKind, Result, VertexId,
    host::{self, HostChain, HostVertex, MatMul, Reshape, Softmax, Sum, SwapAxes},
};

use crate::{Reader, Scalar, Value, Vertices};

/// A linear map, its result shared out to the heads: `[heads, steps, width of a head]`.
fn project<const I: usize, const O: usize, E: Scalar>(
    reader: &mut Reader<'_, E>,
    name: &str,
    linear: &Linear<I, O, E, Cpu>,
    parent: VertexId,
    [steps, heads]: [usize; 2],
) -> Result<VertexId>
where
    Cpu: Device<E>,
{
    reader.within(name, |reader| {
        let weight = reader.parameter("weight", &linear.weight)?;
        let bias = reader.parameter("bias", &linear.bias)?;
        let links: Vec<HostVertex<E>> = vec![
            Box::new(host::Linear::new()),
            Box::new(Reshape::to(&[steps, heads, O / heads])),
            Box::new(SwapAxes),
        ];
        reader.add("", Box::new(HostChain::new(links)?), &[parent], &[weight, bias])
    })
}

/// What attention is asked of, and how.
struct Asked<S, L, E> {
    q: Value<S, E>,
    k: Value<L, E>,
    v: Value<L, E>,
    /// Whether no place sees those after it.
    causal: bool,
}

/// Attention as vertices with states of their own (Vaswani and others 2017, "Attention is all you
/// need"): queries, keys, values, scores `q k^T / sqrt(K / heads)`, weights, their softmax, the mix
/// of the values, and the output. Keys and values may have widths and a length of their own, which
/// pc-core's self-attention does not know.
fn attend<B, S, L, const M: usize, const H: usize, const K: usize, const V: usize, E>(
    attention: &MultiHeadAttention<M, H, K, V, E, Cpu>,
    asked: Asked<(B, S, Const<M>), (B, L, Const<M>), E>,
    reader: &mut Reader<'_, E>,
) -> Result<Value<(B, S, Const<M>), E>>
where
    B: Dim,
    S: Dim,
    L: Dim,
    E: Scalar,
    Cpu: Device<E>,
{
    if H == 0 || !K.is_multiple_of(H) || !V.is_multiple_of(H) {
        return Err(Error::new(
            ErrorKind::Shape,
            format!("attention of widths {K} and {V} cannot have {H} heads"),
        )
        .at(&reader.name_of("")));
    }
    let Asked { q, k, v, causal } = asked;
    let shape = q.shape;
    let (steps, length) = (shape.1.size(), k.shape.1.size());
    let [q, k, v] = [reader.close(q)?, reader.close(k)?, reader.close(v)?];
    let queries = project(reader, "w_q", &attention.w_q, q, [steps, H])?;
    let keys = project(reader, "w_k", &attention.w_k, k, [length, H])?;
    let values = project(reader, "w_v", &attention.w_v, v, [length, H])?;
    let product = MatMul { transpose_b: true, scale: 1.0 / ((K / H) as f64).sqrt() };
    let scores = reader.add("scores", Box::new(product), &[queries, keys], &[])?;
    let softmax = if causal { Softmax::causal() } else { Softmax::new() };
    let weights = reader.add("weights", Box::new(softmax), &[scores], &[])?;
    let links: Vec<HostVertex<E>> =
        vec![Box::new(MatMul::default()), Box::new(SwapAxes), Box::new(Reshape::to(&[steps, V]))];
    let mix = Box::new(HostChain::new(links)?);
    let mix = reader.add("mix", mix, &[weights, values], &[])?;
    let mix = reader.value(mix, (shape.0, shape.1, Const::<V>))?;
    reader.within("w_o", |r| attention.w_o.read(mix, r))
}

/// Attention over one sequence.
pub(super) fn attend_to_itself<
    B,
    S,
    const M: usize,
    const H: usize,
    const K: usize,
    const V: usize,
    E,
>(
    attention: &MultiHeadAttention<M, H, K, V, E, Cpu>,
    input: Value<(B, S, Const<M>), E>,
    causal: bool,
    reader: &mut Reader<'_, E>,
) -> Result<Value<(B, S, Const<M>), E>>
where
    B: Dim,
    S: Dim,
    E: Scalar,
    Cpu: Device<E>,
{
    let shape = input.shape;
    let parent = reader.close(input)?;
    let again = || reader.value(parent, shape);
    let asked = Asked { q: again()?, k: again()?, v: again()?, causal };
    attend(attention, asked, reader)
}

impl<B, S, L, const M: usize, const H: usize, const K: usize, const V: usize, E>
    Vertices<
        (Value<(B, S, Const<M>), E>, Value<(B, L, Const<M>), E>, Value<(B, L, Const<M>), E>),
        E,
    > for MultiHeadAttention<M, H, K, V, E, Cpu>
where
    B: Dim,
    S: Dim,
    L: Dim,
    E: Scalar,
    Cpu: Device<E>,
{
    type Output = Value<(B, S, Const<M>), E>;

    fn read(
        &self,
        (q, k, v): (
            Value<(B, S, Const<M>), E>,
            Value<(B, L, Const<M>), E>,
            Value<(B, L, Const<M>), E>,
        ),
        reader: &mut Reader<'_, E>,
    ) -> Result<Self::Output> {
        attend(self, Asked { q, k, v, causal: false }, reader)
    }
}

impl<B, S, const M: usize, const H: usize, const K: usize, const V: usize, E>
    Vertices<Value<(B, S, Const<M>), E>, E> for MultiHeadAttention<M, H, K, V, E, Cpu>
where
    B: Dim,
    S: Dim,
    E: Scalar,
    Cpu: Device<E>,
{
    type Output = Value<(B, S, Const<M>), E>;

    fn read(
        &self,
        input: Value<(B, S, Const<M>), E>,
        reader: &mut Reader<'_, E>,
    ) -> Result<Self::Output> {
        attend_to_itself(self, input, false, reader)
    }
}

impl<B, S, const M: usize, const H: usize, const F: usize, E>
    Vertices<Value<(B, S, Const<M>), E>, E> for TransformerEncoderBlock<M, H, F, E, Cpu>
where
    B: Dim,
    S: Dim,
    E: Scalar,
    Cpu: Device<E>,
{
    type Output = Value<(B, S, Const<M>), E>;

    fn read(
        &self,
        input: Value<(B, S, Const<M>), E>,
        reader: &mut Reader<'_, E>,
    ) -> Result<Self::Output> {
        let shape = input.shape;
        let parent = reader.close(input)?;
        let value = reader.value(parent, shape)?;
        let attended = reader.within("self_attn", |r| {
            let read = self.self_attn.read(value, r)?;
            r.close(read)
        })?;
        let skip = reader.add("sum", Box::new(Sum::new()), &[parent, attended], &[])?;
        let skip = reader.value(skip, shape)?;
        let x = reader.within("norm1", |r| self.norm1.read(skip, r))?;
        let x = reader.within("ff", |r| self.ff.read(x, r))?;
        reader.within("norm2", |r| self.norm2.read(x, r))
    }
}
