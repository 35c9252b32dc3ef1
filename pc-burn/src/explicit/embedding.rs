//! Embeddings.

use burn::{
    backend::{
        Dispatch,
        ops::{FloatTensorOps, ModuleOps},
    },
    tensor::Shape,
};
use pc_core::{Result, Tensor, backend::Vertex};

use super::{
    At, Kept, Pulls,
    ops::{accumulate, weighed},
    parts::{graph, shape, single, with_batch},
};
use crate::BurnTensor;

/// A row of the parameter `[vocabulary, width]` for every number of its parent, which must be an
/// integer from 0 on: `[...]` becomes `[..., width]`. Nothing is pulled back to the parent, whose
/// numbers are names and not quantities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Embedding;

/// The slot of the rows' numbers, as integers `[batch, elements]`.
const ROWS: usize = 0;

impl Embedding {
    fn rows(x: &BurnTensor, vocabulary: usize) -> Result<BurnTensor> {
        if let Some(bad) = x
            .to_vec()
            .into_iter()
            .find(|row| !(*row >= 0.0 && *row < vocabulary as f64 && row.fract() == 0.0))
        {
            return Err(graph(format!(
                "its parent holds {bad}, which is not a row of an embedding with {vocabulary} rows"
            )));
        }
        let elements: usize = x.inner_shape().iter().product();
        let flat = Dispatch::float_reshape(x.raw(), Shape::from(vec![x.batch(), elements]));
        Ok(BurnTensor::integers(Dispatch::float_into_int(flat, x.places())))
    }

    fn take(weight: &BurnTensor, rows: &BurnTensor, like: &BurnTensor) -> BurnTensor {
        BurnTensor::wrap(Dispatch::embedding(weight.raw(), rows.raw())).shaped(&like.shape())
    }
}

impl Vertex<BurnTensor> for Embedding {
    fn kind(&self) -> &str {
        "embedding"
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let parent = single("embedding", parents)?;
        let Some(&[_, width]) = parameters.first().copied() else {
            return Err(shape(format!(
                "an embedding vertex takes a weight [vocabulary, width], not {:?}",
                parameters.first()
            )));
        };
        Ok(parent.iter().copied().chain([width]).collect())
    }

    fn parameters(&self) -> usize {
        1
    }

    fn predict(&self, at: &At<'_>, cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        at.agree()?;
        let weight = at.parameter(0);
        let rows = Self::rows(at.value(0), weight.batch())?;
        output.set(Self::take(weight, &rows, output));
        cache.put(ROWS, rows);
        cache.put(ROWS + 1, weight.clone());
        Ok(())
    }

    fn change(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        predicted: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        if at.displacement(0).is_some() {
            let rows = Self::rows(at.value(0), at.parameter(0).batch())?;
            output.set(Self::take(at.parameter(0), &rows, output).minus(predicted));
            cache.put(ROWS, rows);
        } else if at.plastic() {
            let moved = at.parameter(0).minus(cache.get(ROWS + 1)?);
            output.set(Self::take(&moved, cache.get(ROWS)?, output));
        } else {
            output.fill(0.0);
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &At<'_>,
        cache: &mut Kept,
        cotangent: &BurnTensor,
        pulled: &mut Pulls<'_>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            force.fill(0.0);
        }
        let (weight, u) = (at.parameter(0), weighed(cotangent, pulled));
        let rows = cache.get(ROWS)?;
        let width = weight.shape()[1];
        let flat = with_batch(cotangent.batch(), &[rows.shape()[1], width]);
        accumulate(pulled.gradient_or_fresh(0), || {
            BurnTensor::wrap(Dispatch::embedding_backward(
                weight.raw(),
                u.shaped(&flat).raw(),
                rows.raw(),
            ))
        });
        Ok(())
    }
}
