//! A prediction without parents.

use crate::{
    Error, Result,
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

// Slots of the cache, for parameters that move: the old one, and its change.
const OLD: usize = 0;
const MOVED: usize = 1;

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
        let parameter = at.parameter(0);
        if at.plastic() {
            cache.slot(OLD, &parameter.shape(), parameter).copy_from(parameter);
        }
        output.fill(0.0);
        output.add_to_samples(1.0, parameter);
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
        if at.plastic() {
            let parameter = at.parameter(0);
            let mut moved = cache.take_like(MOVED, parameter);
            moved.set_difference(parameter, cache.get(OLD)?);
            output.add_to_samples(1.0, &moved);
            cache.put(MOVED, moved);
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
        let scale = pulled.scale();
        if let Some(gradient) = pulled.gradient(0) {
            gradient.add_samples(scale, cotangent);
        }
        Ok(())
    }
}
