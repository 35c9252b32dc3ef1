//! A vertex of an explicit graph whose prediction is a function of tensors, pulled back by
//! libtorch's own autograd.

use std::fmt;

use pc_core::{
    Error, ErrorKind, Result, Tensor as _,
    backend::{Cache, Inputs, Pulled, Vertex},
};
use tch::{Device, Kind, TchError, Tensor};

use crate::{
    sys,
    tensor::{TchTensor, checked, reported, sizes},
};

/// What the vertex computes: from its parents' values and its parameters, its prediction.
type Compute = dyn Fn(&[Tensor], &[Tensor]) -> std::result::Result<Tensor, TchError>;

/// A vertex predicted by any function of its parents and parameters that libtorch can
/// differentiate.
///
/// The first axis of parents and prediction is the batch. The function is run once for each
/// evaluation, and its graph pulled as often as relaxation asks; a pull computes what is wanted of
/// it and nothing else. A prediction is evaluated many times in one relaxation, so a function that
/// draws random numbers (dropout) or a batch norm that keeps running statistics is refused: draw a
/// mask once for each batch and hold it at an input, and give `batch_norm` its statistics with
/// `training` off, or none at all. Parents and parameters arrive as tensors of their own: what the
/// function writes into them in place, libtorch refuses.
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

    /// Runs the function with gradients on.
    ///
    /// # Errors
    /// What it reports; that it draws random numbers, so that every evaluation of one prediction
    /// would be another.
    fn evaluate(&self, parents: &[Tensor], parameters: &[Tensor]) -> Result<Tensor> {
        // Whatever the function does to the mode, a panic included, ends with this.
        let _restore = tch::no_grad_guard();
        let run = || checked((self.compute)(parents, parameters), &self.kind);
        let none;
        let like = match parents.iter().chain(parameters).next() {
            Some(leaf) => leaf,
            None => {
                none = checked(Tensor::f_empty([0], self.options), &self.kind)?;
                &none
            }
        };
        let before = sys::position(like)?;
        let predicted = tch::with_grad(run)?;
        // Another thread may have drawn; then a second evaluation is no other.
        if sys::position(like)? != before {
            let again = run()?;
            let same = predicted.size() == again.size()
                && predicted.f_allclose(&again, 0.0, 0.0, true).map_err(reported)?;
            if !same {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "it draws random numbers, and would draw others at every evaluation: draw them \
                     once for each batch, and hold them at an input",
                )
                .at(&self.kind));
            }
        }
        Ok(predicted)
    }
}

/// A handle that a gradient can be asked of, where numbers of this kind have one.
fn leaf(tensor: &Tensor) -> std::result::Result<Tensor, TchError> {
    let own = tensor.f_detach()?;
    if own.is_floating_point() || own.is_complex() {
        own.f_set_requires_grad(true)
    } else {
        Ok(own)
    }
}

impl Vertex<TchTensor> for Function {
    fn kind(&self) -> &str {
        &self.kind
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        let ones = |shape: Vec<i64>| leaf(&Tensor::f_ones(shape, self.options)?);
        let parents = parents
            .iter()
            .map(|shape| ones([&[2], sizes(shape).as_slice()].concat()))
            .collect::<std::result::Result<Vec<_>, _>>();
        let parameters = parameters
            .iter()
            .map(|shape| ones(sizes(shape)))
            .collect::<std::result::Result<Vec<_>, _>>();
        let (parents, parameters) = (parents.map_err(reported)?, parameters.map_err(reported)?);
        let output = self.evaluate(&parents, &parameters).map_err(|error| match error.kind() {
            ErrorKind::Unsupported => error,
            _ => Error::new(ErrorKind::Shape, error.to_string()),
        })?;
        sys::check_function(&output).map_err(|error| error.at(&self.kind))?;
        let shape = TchTensor::new(&output).shape();
        match shape.split_first() {
            Some((2, rest)) => Ok(rest.to_vec()),
            _ => Err(Error::new(
                ErrorKind::Shape,
                format!(
                    "its prediction for a batch of two has shape {shape:?}; the batch comes first"
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
        let leaf = |tensor: &TchTensor| checked(leaf(tensor.tensor()), &self.kind);
        let parents = (0..at.len()).map(|k| leaf(at.value(k))).collect::<Result<Vec<_>>>()?;
        let parameters = (0..at.parameter_count()).map(|k| leaf(at.parameter(k)));
        let parameters = parameters.collect::<Result<Vec<_>>>()?;
        let predicted = self.evaluate(&parents, &parameters)?;
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
        let learns = pulled.wants_gradients();
        let mut leaves = Vec::with_capacity(parents + parameters);
        for slot in 0..parents + parameters {
            let wanted = if slot < parents { pulled.force(slot).is_some() } else { learns };
            let held = cache.get(OUTPUT + 1 + slot)?.tensor();
            leaves.push(wanted.then_some(held));
        }
        let output = cache.get(OUTPUT)?.tensor();
        let mut gradients = sys::gradients(output, cotangent.tensor(), &leaves)
            .map_err(|error| error.at(&self.kind))?;
        for (k, gradient) in gradients.drain(parents..).enumerate() {
            let scale = pulled.scale();
            let Some(gradient) = gradient else { continue };
            if let Some((sum, fresh)) = pulled.gradient_or_fresh(k) {
                let mut gradient = TchTensor::with_graph(gradient);
                if fresh {
                    if scale != 1.0 {
                        gradient.scale(scale);
                    }
                    *sum = gradient;
                } else {
                    sum.axpy(scale, &gradient);
                }
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
