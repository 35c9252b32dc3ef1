//! Embeddings.

use dfdx::{
    nn::modules::Embedding,
    prelude::Device,
    shapes::{Const, Dim},
    tensor::Cpu,
};
use pc_core::{Result, host};

use crate::{Indices, Reader, Scalar, Value, Vertices, value::Piece};

impl<B: Dim, S: Dim, const V: usize, const M: usize, E: Scalar> Vertices<Indices<(B, S)>, E>
    for Embedding<V, M, E, Cpu>
where
    Cpu: Device<E>,
{
    type Output = Value<(B, S, Const<M>), E>;

    fn read(&self, input: Indices<(B, S)>, reader: &mut Reader<'_, E>) -> Result<Self::Output> {
        let weight = reader.parameter("weight", &self.weight)?;
        let (batch, steps) = input.shape;
        let indices = Value { shape: input.shape, piece: Piece::Vertex(input.vertex) };
        reader.layer(indices, Box::new(host::Embedding), &[weight], (batch, steps, Const))
    }
}
