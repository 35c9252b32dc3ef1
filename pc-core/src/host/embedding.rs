//! Embeddings.

use crate::{
    Error, Result,
    host::{Element, HostTensor, parts::single},
    structure::Structure,
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu[..., :] = W[v[...], :]`: a row of the weight for every number of the parent, which must be
/// whole and from 0 to the vocabulary's size less 1. Parameter: `W [vocabulary, width]`; a parent
/// `[...]` makes `[..., width]`.
///
/// Indices do not move: the force on the parent is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Embedding;

/// The list of indices: the rows at the current point.
const ROWS: usize = 0;

/// Reads the parent's numbers as rows of a weight of `vocabulary` rows.
fn rows<F: Element>(x: &HostTensor<F>, vocabulary: usize, rows: &mut Vec<u32>) -> Result<()> {
    let per_sample = (x.data().len() / x.batch().max(1)).max(1);
    rows.clear();
    for (position, x) in x.data().iter().enumerate() {
        // A NaN fails here too.
        if !(x.fract() == F::zero() && *x >= F::zero() && x.value() < vocabulary as f64) {
            let (sample, place) = (position / per_sample, position % per_sample);
            return Err(Error::clamp(format!(
                "sample {sample} has the index {x} at place {place}, which is no whole number from \
                 0 to {}",
                vocabulary - 1
            )));
        }
        rows.push(x.value() as u32);
    }
    Ok(())
}

impl<F: Element> Vertex<HostTensor<F>> for Embedding {
    fn kind(&self) -> &str {
        "embedding"
    }

    fn structure(&self) -> Structure {
        Structure::Embedding
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let parent = single("embedding", parents)?;
        let Some(&[vocabulary, width]) =
            parameters.first().copied().filter(|weight| !weight.contains(&0))
        else {
            return Err(Error::shape(format!(
                "an embedding vertex takes a weight [vocabulary, width], not {:?}",
                parameters.first()
            )));
        };
        // Whole numbers are exact up to here, and fit the list of indices.
        let most = if size_of::<F>() == 4 { 1_u64 << 24 } else { 1 << 32 };
        if vocabulary as u64 > most {
            return Err(Error::shape(format!(
                "an embedding vertex takes a vocabulary of up to {most}, not {vocabulary}"
            )));
        }
        Ok(parent.iter().copied().chain([width]).collect())
    }

    fn parameters(&self) -> usize {
        1
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        let weight = at.parameter(0);
        let (vocabulary, width) = (weight.dims()[0], weight.dims()[1]);
        let found = cache.indices(ROWS);
        rows(at.value(0), vocabulary, found)?;
        for (y, row) in output.data_mut().chunks_exact_mut(width).zip(found) {
            y.copy_from_slice(&weight.data()[*row as usize * width..][..width]);
        }
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        predicted: &HostTensor<F>,
        output: &mut HostTensor<F>,
    ) -> Result<()> {
        // The prediction is the old row itself: the difference of two rows is exact to rounding.
        self.predict(at, cache, output)?;
        output.axpy(-1.0, predicted);
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, HostTensor<F>>,
        cache: &mut Cache<HostTensor<F>>,
        cotangent: &HostTensor<F>,
        pulled: &mut Pulled<'_, HostTensor<F>>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            force.fill(0.0);
        }
        let scale = F::of(pulled.scale());
        let width = at.parameter(0).dims()[1];
        if let Some(gradient) = pulled.gradient(0) {
            for (u, row) in cotangent.data().chunks_exact(width).zip(cache.indices(ROWS)) {
                let gradient = &mut gradient.data_mut()[*row as usize * width..][..width];
                gradient.iter_mut().zip(u).for_each(|(g, u)| *g += scale * *u);
            }
        }
        Ok(())
    }
}
