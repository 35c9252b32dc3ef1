//! A prediction without parents.

use crate::{
    Error, Result,
    tensor::Tensor,
    vertex::{Cache, Inputs, Pulled, Vertex},
};

/// `mu = theta`: a parameter of the vertex's shape, or a buffer, predicts the vertex in every
/// sample, without parents. It is the prior of a root, or a bias in what a vertex is expected to be.
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

/// The slot of the old parameter, for moving ones.
const OLD: usize = 0;

impl<T: Tensor> Vertex<T> for Prior {
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
        let numbers = parameter.to_vec();
        T::by_rows(&[], &mut [output], &mut |_, rows| rows[0].copy_from_slice(&numbers));
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        _predicted: &T,
        output: &mut T,
    ) -> Result<()> {
        if !at.plastic() {
            output.fill(0.0);
            return Ok(());
        }
        let (new, old) = (at.parameter(0).to_vec(), cache.get(OLD)?.to_vec());
        T::by_rows(&[], &mut [output], &mut |_, rows| {
            for (y, (new, old)) in rows[0].iter_mut().zip(new.iter().zip(&old)) {
                *y = new - old;
            }
        });
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, T>,
        _cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        let scale = pulled.scale();
        if let Some(gradient) = pulled.gradient(0) {
            let mut sums = at.parameter(0).to_vec();
            sums.fill(0.0);
            T::by_rows(&[cotangent], &mut [], &mut |rows, _| {
                sums.iter_mut().zip(rows[0]).for_each(|(sum, u)| *sum += u);
            });
            let mut sum = at.parameter(0).clone();
            sum.assign(&sums);
            gradient.axpy(scale, &sum);
        }
        Ok(())
    }
}
