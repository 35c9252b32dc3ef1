//! A vertex of an explicit graph whose prediction is a function of tensors, pulled back by
//! libtorch's own autograd.

use std::fmt;

use pc_core::{
    Error, ErrorKind, Result, Tensor as _,
    backend::{Cache, Inputs, Pulled, Vertex},
};
use tch::{Device, Kind, TchError, Tensor};

use crate::{
    autograd::Slots,
    sys::{Nodes, Pull},
    tensor::{TchTensor, checked, reported, sizes},
};

/// What the vertex computes: from its parents' values and its parameters, its prediction.
type Compute = dyn Fn(&[Tensor], &[Tensor]) -> std::result::Result<Tensor, TchError>;

/// A vertex predicted by any function of its parents and parameters that libtorch can
/// differentiate.
///
/// The first axis of parents and prediction is the batch. The function is run once for each
/// evaluation, and its graph pulled as often as relaxation asks.
///
/// # Example
/// ```
/// use pc_tch::pc_core::{Clamps, Graph, ParamId, Relaxation, Schedule, SquaredError, Tensor as _};
/// use pc_tch::{Function, TchTensor};
/// use tch::{Device, Kind, Tensor};
/// let double = (Kind::Double, Device::Cpu);
/// let row = |numbers: &[f64]| TchTensor::new(&Tensor::from_slice(numbers).view([1, -1]));
/// let mut b = Graph::<TchTensor>::builder();
/// let x = b.input("x", &[2])?;
/// let w = b.parameter("w", row(&[0.5, -1.0]))?;
/// let tanh = Function::new("scaled tanh", double, 1, |x, w| x[0].f_mul(&w[0])?.f_tanh());
/// let y = b.vertex("y", Box::new(tanh), &[x], &[w])?;
/// let mut graph = b.build()?;
/// let loss = SquaredError::new(row(&[0.0, 0.0]));
/// let clamps = Clamps::new().hold(x, row(&[1.0, 2.0])).drive(y, loss);
/// let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 10)?)?;
/// relaxation.run(&mut graph, &clamps)?;
/// let slope = |a: f64, x: f64| a.tanh() * (1.0 - a.tanh().powi(2)) * x;
/// let gradient = relaxation.gradients().get(ParamId::new(0));
/// let gradient = gradient.expect("an error reaches w").to_vec();
/// assert!((gradient[0] - slope(0.5, 1.0)).abs() < 1e-15);
/// assert!((gradient[1] - slope(-2.0, 2.0)).abs() < 1e-15);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub struct Function {
    kind: String,
    options: (Kind, Device),
    parameters: usize,
    compute: Box<Compute>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function")
            .field("kind", &self.kind)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The cache's first slot holds the prediction with its graph; the tensors it is a function of
/// follow.
const OUTPUT: usize = 0;

impl Function {
    /// The vertex that `compute` predicts from its parents and so many parameters. `kind` names it
    /// in messages; `options` are those of the tensors it takes.
    pub fn new(
        kind: &str,
        options: (Kind, Device),
        parameters: usize,
        compute: impl Fn(&[Tensor], &[Tensor]) -> std::result::Result<Tensor, TchError> + 'static,
    ) -> Self {
        Self { kind: kind.to_owned(), options, parameters, compute: Box::new(compute) }
    }

    /// The gradients of the prediction with respect to what it is a function of.
    fn gradients(
        &self,
        output: &Tensor,
        leaves: &[Tensor],
        cotangent: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        if !output.requires_grad() {
            return Ok(leaves.iter().map(|_| None).collect());
        }
        let mut nodes = Nodes::below(&[output])?;
        let mut arrived: Vec<Slots> =
            nodes.list().iter().map(|node| Slots::zero(node.slots)).collect();
        let Some((start, slot)) = nodes.find(output)? else {
            return Err(Error::new(ErrorKind::Backend, "the prediction is not in its own graph"));
        };
        arrived[start].add(slot, cotangent)?;
        for node in 0..arrived.len() {
            if nodes.list()[node].leaf || arrived[node].parts()?.iter().all(Option::is_none) {
                continue;
            }
            let cotangents = std::mem::take(&mut arrived[node]);
            let results = nodes.pull(node, cotangents.parts()?, Pull::LastKept)?;
            for (result, edge) in results.iter().zip(&nodes.list()[node].edges) {
                if let (Some(result), Some((target, slot))) = (result, *edge) {
                    arrived[target].add(slot, result)?;
                }
            }
        }
        let of = |leaf: &Tensor| {
            Ok(nodes
                .find(leaf)?
                .and_then(|(node, _)| std::mem::take(&mut arrived[node]).into_first()))
        };
        leaves.iter().map(of).collect()
    }
}

impl Vertex<TchTensor> for Function {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let _off = tch::no_grad_guard();
        let ones = |shape: Vec<i64>| Tensor::f_ones(shape, self.options);
        let parents = parents
            .iter()
            .map(|shape| ones([&[1], sizes(shape).as_slice()].concat()))
            .collect::<std::result::Result<Vec<_>, _>>();
        let parameters = parameters
            .iter()
            .map(|shape| ones(sizes(shape)))
            .collect::<std::result::Result<Vec<_>, _>>();
        let (parents, parameters) = (parents.map_err(reported)?, parameters.map_err(reported)?);
        let output = (self.compute)(&parents, &parameters)
            .map_err(|error| Error::new(ErrorKind::Shape, error.to_string()))?;
        let shape = TchTensor::new(&output).shape();
        match shape.split_first() {
            Some((1, rest)) => Ok(rest.to_vec()),
            _ => Err(Error::new(
                ErrorKind::Shape,
                format!(
                    "its prediction for a batch of one has shape {shape:?}; the batch comes first"
                ),
            )),
        }
    }

    fn parameters(&self) -> usize {
        self.parameters
    }

    fn predict(
        &self,
        at: &Inputs<'_, TchTensor>,
        cache: &mut Cache<TchTensor>,
        output: &mut TchTensor,
    ) -> Result<()> {
        let leaf = |tensor: &TchTensor| tensor.tensor().detach().set_requires_grad(true);
        let parents: Vec<Tensor> = (0..at.len()).map(|k| leaf(at.value(k))).collect();
        let parameters: Vec<Tensor> =
            (0..at.parameter_count()).map(|k| leaf(at.parameter(k))).collect();
        let predicted =
            checked(tch::with_grad(|| (self.compute)(&parents, &parameters)), &self.kind)?;
        *output = TchTensor::new(&predicted);
        cache.put(OUTPUT, TchTensor::with_graph(predicted));
        for (slot, leaf) in parents.into_iter().chain(parameters).enumerate() {
            cache.put(OUTPUT + 1 + slot, TchTensor::with_graph(leaf));
        }
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, TchTensor>,
        cache: &mut Cache<TchTensor>,
        cotangent: &TchTensor,
        pulled: &mut Pulled<'_, TchTensor>,
    ) -> Result<()> {
        let (parents, parameters) = (at.len(), at.parameter_count());
        let output = cache.get(OUTPUT)?.tensor().shallow_clone();
        let leaves = (0..parents + parameters)
            .map(|slot| Ok(cache.get(OUTPUT + 1 + slot)?.tensor().shallow_clone()));
        let leaves = leaves.collect::<Result<Vec<Tensor>>>()?;
        let mut gradients = self.gradients(&output, &leaves, cotangent.tensor())?;
        for (k, gradient) in gradients.drain(parents..).enumerate() {
            let scale = pulled.scale();
            if let (Some((sum, fresh)), Some(gradient)) = (pulled.gradient_or_fresh(k), gradient) {
                if fresh {
                    sum.fill(0.0);
                }
                sum.axpy(scale, &TchTensor::new(&gradient));
            }
        }
        for (k, gradient) in gradients.into_iter().enumerate() {
            if let Some(force) = pulled.force(k) {
                match gradient {
                    Some(gradient) => *force = TchTensor::new(&gradient),
                    None => force.fill(0.0),
                }
            }
        }
        Ok(())
    }
}
