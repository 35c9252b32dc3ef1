//! A vertex from any Burn module or closure, through Burn's autodiff.

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::{
    backend::{AutodiffBackend, Dispatch, DispatchTensor, ops::FloatTensorOps},
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId as BurnId},
    tensor::{DType, Device, Tensor as BurnTensorOf},
};
use pc_core::{Error, ErrorKind, Result, Tensor, VertexId, backend::Vertex};

use super::{
    At, Kept, ModuleGraph, Pulls,
    ops::accumulate,
    parts::{graph, with_batch},
};
use crate::BurnTensor;

/// What a vertex's function is handed: its parents' values, on a device with autodiff.
#[derive(Debug)]
pub struct ModuleInputs {
    tensors: Vec<DispatchTensor>,
}

impl ModuleInputs {
    /// The value of parent `k`, batch first.
    ///
    /// # Errors
    /// A parent that is not there; another rank.
    pub fn tensor<const D: usize>(&self, k: usize) -> Result<BurnTensorOf<D>> {
        use burn::backend::TensorMetadata;
        let Some(tensor) = self.tensors.get(k) else {
            return Err(graph(format!(
                "its function asks for parent {k} of {}",
                self.tensors.len()
            )));
        };
        let rank = tensor.shape().len();
        if rank != D {
            return Err(super::parts::shape(format!(
                "its function takes parent {k} as a tensor of rank {D}, and it has rank {rank}"
            )));
        }
        Ok(BurnTensorOf::from_dispatch(tensor.clone()))
    }
}

/// `mu = function(module, parents)`; see [`ModuleGraph::module`].
struct ModuleVertex<M, F, const O: usize> {
    module: M,
    function: F,
    parameters: Vec<BurnId>,
    device: Device,
    dtype: DType,
}

/// Puts the graph's numbers into the module.
struct Fill<'a> {
    ids: &'a [BurnId],
    values: Vec<&'a BurnTensor>,
    tracked: bool,
    outcome: Result<()>,
}

impl ModuleMapper for Fill<'_> {
    fn map_float<const D: usize>(
        &mut self,
        parameter: Param<BurnTensorOf<D>>,
    ) -> Param<BurnTensorOf<D>> {
        let Some(k) = self.ids.iter().position(|id| *id == parameter.id) else { return parameter };
        let value = match self.values[k].to_tensor::<D>() {
            Ok(value) => BurnTensorOf::from_inner(value),
            Err(error) => {
                self.outcome = Err(error);
                return parameter;
            }
        };
        Param::initialized(parameter.id, if self.tracked { value.require_grad() } else { value })
    }
}

/// Takes the gradients of the module's parameters out, in the vertex's order.
struct Collect<'a> {
    ids: &'a [BurnId],
    gradients: &'a <Dispatch as AutodiffBackend>::Gradients,
    found: Vec<Option<BurnTensor>>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, parameter: &Param<BurnTensorOf<D>>) {
        if let Some(k) = self.ids.iter().position(|id| *id == parameter.id) {
            let leaf = parameter.val().into_dispatch();
            self.found[k] = Dispatch::grad(&leaf, self.gradients).map(BurnTensor::wrap);
        }
    }
}

impl<M, F, const O: usize> ModuleVertex<M, F, O>
where
    M: Module,
    F: Fn(&M, &ModuleInputs) -> Result<BurnTensorOf<O>>,
{
    fn filled(&self, at: &At<'_>, tracked: bool) -> Result<M> {
        let values = (0..at.parameter_count()).map(|k| at.parameter(k)).collect();
        let mut fill = Fill { ids: &self.parameters, values, tracked, outcome: Ok(()) };
        let module = self.module.clone().map(&mut fill);
        fill.outcome?;
        Ok(module)
    }

    fn leaf(value: &BurnTensor, tracked: bool) -> DispatchTensor {
        let tensor = Dispatch::from_inner(value.raw());
        if tracked { Dispatch::float_set_require_grad(tensor, true) } else { tensor }
    }

    fn evaluate(&self, at: &At<'_>) -> Result<BurnTensor> {
        let inputs = ModuleInputs {
            tensors: (0..at.len()).map(|k| Self::leaf(at.value(k), false)).collect(),
        };
        BurnTensor::new((self.function)(&self.filled(at, false)?, &inputs)?)
    }

    /// The result's shape for parents of these shapes, by running the function on a batch of one of
    /// zeros.
    fn try_shape(&self, parents: &[&[usize]]) -> Result<Vec<usize>> {
        let zeros = |parent: &&[usize]| {
            let shape = with_batch(1, parent);
            let zeros = vec![0.0; shape.iter().product()];
            Ok(Self::leaf(
                &BurnTensor::from_values(&shape, &zeros, &self.device, self.dtype)?,
                false,
            ))
        };
        let inputs = ModuleInputs { tensors: parents.iter().map(zeros).collect::<Result<_>>()? };
        // A module that runs on its own numbers, lifted like the inputs.
        let mut lifted = Lift;
        let module = self.module.clone().map(&mut lifted);
        let shape = BurnTensor::new((self.function)(&module, &inputs)?)?.shape();
        match shape.split_first() {
            Some((1, rest)) => Ok(rest.to_vec()),
            _ => Err(super::parts::shape(format!(
                "its function makes {shape:?} of a batch of one: the first axis must be the batch"
            ))),
        }
    }
}

/// Parameters without autodiff get it.
struct Lift;

impl ModuleMapper for Lift {
    fn map_float<const D: usize>(
        &mut self,
        parameter: Param<BurnTensorOf<D>>,
    ) -> Param<BurnTensorOf<D>> {
        let value = parameter.val();
        if value.is_autodiff() {
            parameter
        } else {
            Param::initialized(parameter.id, BurnTensorOf::from_inner(value))
        }
    }
}

/// What a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no reason given")
}

impl<M, F, const O: usize> Vertex<BurnTensor> for ModuleVertex<M, F, O>
where
    M: Module,
    F: Fn(&M, &ModuleInputs) -> Result<BurnTensorOf<O>>,
{
    fn kind(&self) -> &str {
        "module"
    }

    fn shape(&self, parents: &[&[usize]], _parameters: &[&[usize]]) -> Result<Vec<usize>> {
        // Burn's operations panic on shapes that do not fit; here that is an error with the
        // vertex's name.
        catch_unwind(AssertUnwindSafe(|| self.try_shape(parents))).unwrap_or_else(|panic| {
            Err(Error::new(
                ErrorKind::Shape,
                format!("its function panicked on {parents:?}: {}", said(&*panic)),
            ))
        })
    }

    fn parameters(&self) -> usize {
        self.parameters.len()
    }

    fn predict(&self, at: &At<'_>, _cache: &mut Kept, output: &mut BurnTensor) -> Result<()> {
        at.agree()?;
        output.set(self.evaluate(at)?);
        Ok(())
    }

    fn pull(
        &self,
        at: &At<'_>,
        _cache: &mut Kept,
        cotangent: &BurnTensor,
        pulled: &mut Pulls<'_>,
    ) -> Result<()> {
        let with_gradients = pulled.wants_gradients();
        let mut tensors = Vec::with_capacity(at.len());
        for k in 0..at.len() {
            tensors.push(Self::leaf(at.value(k), pulled.force(k).is_some()));
        }
        let module = self.filled(at, with_gradients)?;
        let inputs = ModuleInputs { tensors };
        let output = (self.function)(&module, &inputs)?;
        let seed = BurnTensorOf::<O>::from_inner(cotangent.to_tensor()?);
        // The gradient of sum(mu u) is J^T u.
        let gradients = Dispatch::backward((output * seed).sum().into_dispatch());
        for (k, leaf) in inputs.tensors.iter().enumerate() {
            if let Some(force) = pulled.force(k) {
                match Dispatch::grad(leaf, &gradients) {
                    Some(gradient) => force.set(BurnTensor::wrap(gradient)),
                    None => force.fill(0.0),
                }
            }
        }
        if with_gradients {
            let found = vec![None; self.parameters.len()];
            let mut collect = Collect { ids: &self.parameters, gradients: &gradients, found };
            module.visit(&mut collect);
            let scale = pulled.scale();
            for (k, gradient) in collect.found.into_iter().enumerate() {
                if let Some(mut gradient) = gradient {
                    gradient.scale(scale);
                    accumulate(pulled.gradient_or_fresh(k), || gradient);
                }
            }
        }
        Ok(())
    }
}

impl ModuleGraph {
    /// A vertex from any module or closure: `mu = function(module, parents)`, pulled by Burn's
    /// autodiff. The module's parameters that want gradients become the graph's, under the names
    /// `name.path`. For a function without parameters pass `&()`-like modules such as
    /// `burn::nn::Relu`.
    ///
    /// The function is run at every prediction and again at every pull, so it must give the same
    /// numbers each time: no dropout, and no running statistics that would move. It sees tensors
    /// with autodiff. In live relaxation in `f32` the change of its prediction is found by
    /// subtraction, which loses digits; the analytic vertices do not.
    ///
    /// # Errors
    /// Where the function fails or panics on a batch of one of zeros (its message is passed on); as
    /// [`pc_core::GraphBuilder::vertex`].
    ///
    /// # Example
    /// ```
    /// use burn::{nn::LinearConfig, tensor::{Device, activation}};
    /// use pc_burn::explicit::ModuleGraph;
    ///
    /// let mut b = ModuleGraph::new();
    /// let (x, z) = (b.input("x", &[3])?, b.input("z", &[4])?);
    /// let linear = LinearConfig::new(3, 4).init(&Device::flex());
    /// let y = b.module("y", &[x, z], &linear, |linear, parents| {
    ///     Ok(activation::mish(linear.forward(parents.tensor::<2>(0)?)) * parents.tensor(1)?)
    /// })?;
    /// assert_eq!(b.shape(y)?, [4]);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn module<M, F, const O: usize>(
        &mut self,
        name: &str,
        parents: &[VertexId],
        module: &M,
        function: F,
    ) -> Result<VertexId>
    where
        M: Module + Send + 'static,
        F: Fn(&M, &ModuleInputs) -> Result<BurnTensorOf<O>> + Send + 'static,
    {
        struct Register<'a> {
            graph: &'a mut ModuleGraph,
            path: Vec<String>,
            burn: Vec<BurnId>,
            own: Vec<pc_core::ParamId>,
            found: Option<(Device, DType)>,
            outcome: Result<()>,
        }
        impl ModuleVisitor for Register<'_> {
            fn enter_module(&mut self, name: &str, _container: &str) {
                self.path.push(name.to_owned());
            }
            fn exit_module(&mut self, _name: &str, _container: &str) {
                self.path.pop();
            }
            fn visit_float<const D: usize>(&mut self, parameter: &Param<BurnTensorOf<D>>) {
                let value = parameter.val();
                self.found.get_or_insert_with(|| (value.device(), value.dtype()));
                if self.outcome.is_err() || self.burn.contains(&parameter.id) {
                    return;
                }
                match self.graph.param(&self.path.join("."), parameter) {
                    Ok(own) => {
                        self.burn.push(parameter.id);
                        self.own.push(own);
                    }
                    Err(error) => self.outcome = Err(error),
                }
            }
        }
        self.all_or_nothing(|b| {
            let mut register = Register {
                graph: b,
                path: vec![name.to_owned()],
                burn: Vec::new(),
                own: Vec::new(),
                found: None,
                outcome: Ok(()),
            };
            module.visit(&mut register);
            let Register { burn, own, found, outcome, .. } = register;
            outcome.map_err(|error| error.at(name))?;
            let (device, dtype) = found.unwrap_or_else(|| (Device::default(), DType::F32));
            let vertex = ModuleVertex::<M, F, O> {
                module: module.clone(),
                function,
                parameters: burn,
                device,
                dtype,
            };
            b.add(name, Box::new(vertex), parents, &own)
        })
    }
}
