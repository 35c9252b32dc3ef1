//! The vertex that levelling inserts, and that outputs of their own are.

use pc_core::{Cache, Error, ErrorKind, Inputs, Pulled, Result, Tensor, Vertex};

use crate::BurnTensor;

/// `mu = v`.
#[derive(Debug)]
pub(crate) struct Identity;

impl Vertex<BurnTensor> for Identity {
    fn kind(&self) -> &str {
        "identity"
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        match parents {
            [parent] => Ok(parent.to_vec()),
            _ => Err(Error::new(ErrorKind::Graph, format!("an identity vertex takes one parent, not {}", parents.len()))),
        }
    }

    fn predict(&self, at: &Inputs<'_, BurnTensor>, _cache: &mut Cache<BurnTensor>, output: &mut BurnTensor) -> Result<()> {
        output.copy_from(at.value(0));
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, BurnTensor>,
        _cache: &mut Cache<BurnTensor>,
        _predicted: &BurnTensor,
        output: &mut BurnTensor,
    ) -> Result<()> {
        match at.displacement(0) {
            Some(displacement) => output.copy_from(displacement),
            None => output.fill(0.0),
        }
        Ok(())
    }

    fn pull(
        &self,
        _at: &Inputs<'_, BurnTensor>,
        _cache: &mut Cache<BurnTensor>,
        cotangent: &BurnTensor,
        pulled: &mut Pulled<'_, BurnTensor>,
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
