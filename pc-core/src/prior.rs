//! A prediction without parents.

use crate::{
    Error, Result,
    composites::{add_parameter, add_parameter_change, learn_parameter},
    graph::GraphTensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu = theta`: a parameter of the vertex's shape, or a buffer, predicts the vertex in every
/// sample, without parents. It is the prior of a root, or a bias in what a vertex is expected to
/// be.
///
/// # Example
/// ```
/// use pc_core::{Clamps, Graph, Prior, Relaxation, Schedule, Tensor, host::HostTensor};
/// let mut b = Graph::<HostTensor<f64>>::builder();
/// let x = b.input("x", &[2])?;
/// let mean = b.parameter("mean", HostTensor::new(&[2], vec![1.0, -1.0])?)?;
/// b.predict(x, Box::new(Prior), &[], &[mean], 1.0)?;
/// let mut graph = b.build()?;
/// // Three samples of nothing but the prior.
/// let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.5, 1)?)?;
/// relaxation.run(&mut graph, &Clamps::new().of_batch(3))?;
/// let value = relaxation.value(&graph, x).map(|x| x.to_vec());
/// assert_eq!(value, Some(vec![1.0, -1.0, 1.0, -1.0, 1.0, -1.0]));
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prior;

impl<T: GraphTensor> Vertex<T> for Prior {
    fn kind(&self) -> &str {
        "prior"
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        match (parents, parameters) {
            ([], [parameter]) => Ok(parameter.to_vec()),
            _ => Err(Error::graph(format!(
                "a prior takes no parents and one parameter, not {} and {}",
                parents.len(),
                parameters.len()
            ))),
        }
    }

    fn parameters(&self) -> usize {
        1
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(&self, at: &Inputs<'_, T>, cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        output.fill(0.0);
        add_parameter(at, cache, output);
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        _predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        output.fill(0.0);
        add_parameter_change(at, cache, output)
    }

    fn pull(
        &self,
        _at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        learn_parameter(cotangent, pulled);
        Ok(())
    }
}
