//! A vertex of each parent, and their sum.

use std::{fmt, sync::OnceLock};

use crate::{
    Error, Result,
    host::parts::{part, part_pulled},
    parts,
    structure::Structure,
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu = f_0(v_0) + f_1(v_1) + ...`: one prediction of several parents, each through a vertex of
/// its own whose only parent it is. Parameters are shared out in order.
///
/// # Example
/// ```
/// use pc_core::{Graph, SumOf, host::{HostTensor, HostVertex, Linear, Scale}};
/// let of: Vec<HostVertex<f32>> = vec![Box::new(Linear::without_bias()), Box::new(Scale(2.0))];
/// let mut b = Graph::<HostTensor<f32>>::builder();
/// let (x, h) = (b.input("x", &[3])?, b.input("h", &[2])?);
/// let w = b.parameter("w", HostTensor::zeroed(&[2, 3])?)?;
/// let y = b.vertex("y", Box::new(SumOf::new(of)), &[x, h], &[w])?;
/// assert_eq!(b.shape(y)?, [2]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub struct SumOf<V> {
    of: Vec<V>,
    kind: OnceLock<String>,
}

impl<V> SumOf<V> {
    /// One vertex for each parent.
    pub fn new(of: Vec<V>) -> Self {
        Self { of, kind: OnceLock::new() }
    }

    /// The slot of one part's change; slot `k` keeps part `k` at the reference.
    fn scratch(&self) -> usize {
        self.of.len()
    }
}

impl<V> fmt::Debug for SumOf<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SumOf").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl<T: Tensor, V: Vertex<T>> Vertex<T> for SumOf<V> {
    fn kind(&self) -> &str {
        self.kind.get_or_init(|| {
            let parts: Vec<&str> = self.of.iter().map(|part| part.kind()).collect();
            format!("sum of ({})", parts.join("; "))
        })
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        if parents.is_empty() || parents.len() != self.of.len() {
            return Err(Error::graph(format!(
                "a sum of the vertices of {} parents has {}",
                self.of.len(),
                parents.len()
            )));
        }
        let (mut first, mut common) = (0, None);
        for (k, (vertex, parent)) in self.of.iter().zip(parents).enumerate() {
            let end = first + vertex.parameters();
            let own = parameters.get(first..end).ok_or_else(|| {
                Error::graph(format!("there are too few parameters for parent {k}"))
            })?;
            let shape = vertex.shape(&[parent], own).map_err(|error| {
                Error::new(error.kind(), format!("the {} of parent {k}: {error}", vertex.kind()))
            })?;
            match &common {
                Some(common) if *common != shape => {
                    return Err(Error::shape(format!(
                        "the {} of parent {k} has the shape {shape:?}, that of parent 0 {common:?}",
                        vertex.kind()
                    )));
                }
                _ => common = Some(shape),
            }
            first = end;
        }
        Ok(common.unwrap_or_default())
    }

    fn parameters(&self) -> usize {
        self.of.iter().map(|part| part.parameters()).sum()
    }

    fn structure(&self) -> Structure {
        Structure::SumOf(self.of.iter().map(|part| part.structure()).collect())
    }

    fn inputs_first(&self, k: usize) -> bool {
        parts::inputs_first(&self.of, k)
    }

    fn statistics(&self) -> Vec<(String, T)> {
        parts::statistics(&self.of)
    }

    fn set_statistics(&self, statistics: Vec<T>) -> Result<()> {
        parts::set_statistics(&self.of, statistics)
    }

    fn reads_values(&self) -> bool {
        self.of.iter().any(|part| part.reads_values())
    }

    fn predict(&self, at: &Inputs<'_, T>, cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        let mut first = 0;
        for (k, vertex) in self.of.iter().enumerate() {
            let end = first + vertex.parameters();
            let mut own = cache.take_like(k, output);
            let result = vertex.predict(&part(at, k..k + 1, first..end), cache.child(k), &mut own);
            if k == 0 {
                output.copy_from(&own);
            } else {
                output.axpy(1.0, &own);
            }
            cache.put(k, own);
            result?;
            first = end;
        }
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        _predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        let mut changed = cache.take_like(self.scratch(), output);
        output.fill(0.0);
        let mut first = 0;
        for (k, vertex) in self.of.iter().enumerate() {
            let end = first + vertex.parameters();
            let own = cache.take_out(k)?;
            let inputs = part(at, k..k + 1, first..end);
            let result = vertex.change(&inputs, cache.child(k), &own, &mut changed);
            cache.put(k, own);
            result?;
            output.axpy(1.0, &changed);
            first = end;
        }
        cache.put(self.scratch(), changed);
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        let mut first = 0;
        for (k, vertex) in self.of.iter().enumerate() {
            let end = first + vertex.parameters();
            vertex.pull(
                &part(at, k..k + 1, first..end),
                cache.child(k),
                cotangent,
                &mut part_pulled(pulled, k..k + 1, first..end),
            )?;
            first = end;
        }
        Ok(())
    }
}
