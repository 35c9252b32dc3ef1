//! A vertex with its parent added.

use std::{fmt, sync::OnceLock};

use crate::{
    Error, Result,
    structure::Structure,
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu = f(v) + v`: a residual connection inside one prediction, around a vertex `f` of one parent
/// whose prediction has the parent's shape. The parameters are those of `f`.
///
/// A skip past vertices with states of their own is a sum of two vertices instead:
/// [`crate::host::Sum`].
///
/// # Example
/// ```
/// use pc_core::{Graph, Residual, host::{HostTensor, HostVertex, Linear}};
/// let inner: HostVertex<f32> = Box::new(Linear::without_bias());
/// let mut b = Graph::<HostTensor<f32>>::builder();
/// let x = b.input("x", &[2])?;
/// let w = b.parameter("w", HostTensor::new(&[2, 2], vec![0.0, 1.0, 1.0, 0.0])?)?;
/// let y = b.vertex("y", Box::new(Residual::new(inner)), &[x], &[w])?;
/// assert_eq!(b.shape(y)?, [2]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub struct Residual<V> {
    inner: V,
    kind: OnceLock<String>,
}

/// The slot of `f(v)` at the reference, which is what the change of `f` is counted from.
const INNER: usize = 0;

impl<V> Residual<V> {
    /// Around this vertex.
    pub fn new(inner: V) -> Self {
        Self { inner, kind: OnceLock::new() }
    }
}

impl<V> fmt::Debug for Residual<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Residual").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl<T: Tensor, V: Vertex<T>> Vertex<T> for Residual<V> {
    fn kind(&self) -> &str {
        self.kind.get_or_init(|| format!("residual ({})", self.inner.kind()))
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let [parent] = parents else {
            return Err(Error::graph(format!(
                "a residual connection has one parent, not {}",
                parents.len()
            )));
        };
        let shape = self.inner.shape(parents, parameters)?;
        if shape != *parent {
            return Err(Error::shape(format!(
                "a residual connection adds its parent, of shape {parent:?}, to its {}, of shape \
                 {shape:?}",
                self.inner.kind()
            )));
        }
        Ok(shape)
    }

    fn parameters(&self) -> usize {
        self.inner.parameters()
    }

    fn structure(&self) -> Structure {
        Structure::Residual(Box::new(self.inner.structure()))
    }

    fn inputs_first(&self, k: usize) -> bool {
        self.inner.inputs_first(k)
    }

    fn statistics(&self) -> Vec<(String, T)> {
        self.inner.statistics()
    }

    fn set_statistics(&self, statistics: Vec<T>) -> Result<()> {
        self.inner.set_statistics(statistics)
    }

    fn reads_values(&self) -> bool {
        self.inner.reads_values()
    }

    fn predict(&self, at: &Inputs<'_, T>, cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        self.inner.predict(at, cache.child(0), output)?;
        let mut inner = cache.take_like(INNER, output);
        inner.copy_from(output);
        cache.put(INNER, inner);
        output.axpy(1.0, at.value(0));
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        _predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        let inner = cache.take_out(INNER)?;
        let result = self.inner.change(at, cache.child(0), &inner, output);
        cache.put(INNER, inner);
        result?;
        if let Some(displacement) = at.displacement(0) {
            output.axpy(1.0, displacement);
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        self.inner.pull(at, cache.child(0), cotangent, pulled)?;
        if let Some(force) = pulled.force(0) {
            force.axpy(1.0, cotangent);
        }
        Ok(())
    }
}
