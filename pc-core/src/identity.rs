//! The vertex that passes its parent on.

use crate::{
    Error, Result,
    structure::Structure,
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu = v`, of one parent and without parameters, on tensors of any kind: what levelling inserts,
/// and what an output of its own is.
///
/// # Example
/// ```
/// use pc_core::{Graph, Identity, host::HostTensor};
/// let mut b = Graph::<HostTensor<f32>>::builder();
/// let x = b.input("x", &[3])?;
/// let y = b.vertex("y", Box::new(Identity), &[x], &[])?;
/// assert_eq!(b.build()?.shape(y)?, [3]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity;

impl<T: Tensor> Vertex<T> for Identity {
    fn kind(&self) -> &str {
        "identity"
    }

    fn structure(&self) -> Structure {
        Structure::Identity
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        match parents {
            [parent] => Ok(parent.to_vec()),
            _ => Err(Error::graph(format!("an identity takes one parent, not {}", parents.len()))),
        }
    }

    fn predict(&self, at: &Inputs<'_, T>, _cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        output.copy_from(at.value(0));
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        _predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        match at.displacement(0) {
            Some(displacement) => output.copy_from(displacement),
            None => output.fill(0.0),
        }
        Ok(())
    }

    fn pull(
        &self,
        _at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            force.copy_from(cotangent);
        }
        Ok(())
    }

    fn reads_values(&self) -> bool {
        false
    }
}
