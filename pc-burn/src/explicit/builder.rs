//! Building a graph from Burn's modules, and the way back into them.

use std::ops::{Deref, DerefMut};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId as BurnId},
    optim::GradientsParams,
    tensor::Tensor as BurnTensorOf,
};
use pc_core::{
    Error, ErrorKind, Gradients, Graph, GraphBuilder, ParamId, Result, Tensor, VertexId,
    backend::{Mark, Vertex},
};

use super::parts::{graph, shape};
use crate::BurnTensor;

/// How this crate owns a vertex of an explicit graph.
pub type BurnVertex = Box<dyn Vertex<BurnTensor> + Send>;

/// Builds a graph whose vertices are Burn modules: a [`GraphBuilder`] that also remembers which of
/// Burn's parameters is which of the graph's.
///
/// The graph takes the modules' numbers over. [`Parameters`], which [`ModuleGraph::build`] returns
/// beside the graph, turns its gradients into Burn's [`GradientsParams`] for any optimiser, and
/// puts the optimised module back into it.
///
/// # Example
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::optim::SgdConfig;
/// use burn::tensor::{DType, Device};
/// use pc_burn::{BurnTensor, explicit::ModuleGraph};
/// use pc_core::{Clamps, Relaxation, Schedule, host::Activation};
///
/// #[derive(Module, Debug)]
/// struct Mlp {
///     hidden: Linear,
///     output: Linear,
/// }
///
/// // Optimisers move modules that live where autodiff is.
/// let device = Device::flex().autodiff();
/// let mut model = Mlp {
///     hidden: LinearConfig::new(2, 8).init(&device),
///     output: LinearConfig::new(8, 1).init(&device),
/// };
/// let mut b = ModuleGraph::new();
/// let x = b.input("x", &[2])?;
/// let h = b.linear("h", x, &model.hidden, Activation::Tanh)?;
/// let y = b.linear("y", h, &model.output, Activation::Identity)?;
/// let (mut graph, parameters) = b.build()?;
///
/// let clamps = Clamps::new()
///     .hold(x, BurnTensor::from_values(&[1, 2], &[0.5, -1.0], &device, DType::F32)?)
///     .hold(y, BurnTensor::from_values(&[1, 1], &[1.0], &device, DType::F32)?);
/// let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 20)?)?;
/// let mut optimiser = SgdConfig::new().init();
/// for _ in 0..3 {
///     relaxation.run(&mut graph, &clamps)?;
///     let gradients = parameters.gradients(relaxation.gradients())?;
///     model = optimiser.step(0.05, model, gradients);
///     parameters.load(&mut graph, &model)?;
/// }
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct ModuleGraph {
    builder: GraphBuilder<BurnTensor>,
    parameters: Parameters,
}

impl ModuleGraph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// The graph's parameter that is this one of Burn's: the one that an earlier vertex uses, or a
    /// new one called `name`.
    ///
    /// # Errors
    /// A name that is taken by another parameter; numbers that are not finite.
    pub fn param<const D: usize>(
        &mut self,
        name: &str,
        parameter: &Param<BurnTensorOf<D>>,
    ) -> Result<ParamId> {
        if let Some(known) = self.parameters.of(parameter.id) {
            return Ok(known);
        }
        let id = self.builder.parameter(name, BurnTensor::new(parameter.val())?)?;
        self.parameters.known.push((parameter.id, id));
        Ok(id)
    }

    /// The weight, and the bias where there is one, under the names `name.weight` and `name.bias`.
    pub(super) fn weight_and_bias<const D: usize>(
        &mut self,
        name: &str,
        weight: &Param<BurnTensorOf<D>>,
        bias: Option<&Param<BurnTensorOf<1>>>,
    ) -> Result<Vec<ParamId>> {
        let mut own = vec![self.param(&format!("{name}.weight"), weight)?];
        if let Some(bias) = bias {
            own.push(self.param(&format!("{name}.bias"), bias)?);
        }
        Ok(own)
    }

    /// Adds a vertex.
    pub(super) fn add(
        &mut self,
        name: &str,
        vertex: BurnVertex,
        parents: &[VertexId],
        parameters: &[ParamId],
    ) -> Result<VertexId> {
        self.builder.vertex(name, vertex, parents, parameters)
    }

    /// As [`GraphBuilder::rollback`], Burn's parameters included.
    pub fn rollback(&mut self, to: Mark) {
        self.builder.rollback(to);
        let left = self.builder.mark().parameters();
        self.parameters.known.retain(|(_, own)| own.index() < left);
    }

    /// As [`GraphBuilder::all_or_nothing`], Burn's parameters included. All layers here are added
    /// in this way.
    ///
    /// # Errors
    /// What `add` returns.
    pub fn all_or_nothing<R>(&mut self, add: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        let mark = self.builder.mark();
        let added = add(self);
        if added.is_err() {
            self.rollback(mark);
        }
        added
    }

    /// Checks the whole and makes the graph, and the way between its parameters and Burn's.
    ///
    /// # Errors
    /// As [`GraphBuilder::build`].
    pub fn build(self) -> Result<(Graph<BurnTensor>, Parameters)> {
        Ok((self.builder.build()?, self.parameters))
    }
}

/// Everything that a graph of any backend can be built with: inputs, further predictions,
/// precisions, outputs.
impl Deref for ModuleGraph {
    type Target = GraphBuilder<BurnTensor>;

    fn deref(&self) -> &GraphBuilder<BurnTensor> {
        &self.builder
    }
}

impl DerefMut for ModuleGraph {
    fn deref_mut(&mut self) -> &mut GraphBuilder<BurnTensor> {
        &mut self.builder
    }
}

/// Which of Burn's parameters is which of a graph's.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    known: Vec<(BurnId, ParamId)>,
}

impl Parameters {
    /// The graph's parameter that is this one of Burn's.
    pub fn of(&self, parameter: BurnId) -> Option<ParamId> {
        self.known.iter().find(|(burn, _)| *burn == parameter).map(|(_, own)| *own)
    }

    /// A relaxation's gradients as any of Burn's optimisers takes them. A parameter that no error
    /// reached has none, and the optimiser leaves it alone.
    ///
    /// # Errors
    /// A parameter of a rank beyond 6.
    pub fn gradients(&self, gradients: &Gradients<BurnTensor>) -> Result<GradientsParams> {
        let mut all = GradientsParams::new();
        for (burn, own) in &self.known {
            let Some(gradient) = gradients.get(*own) else { continue };
            match gradient.rank() {
                1 => all.register(*burn, gradient.to_tensor::<1>()?),
                2 => all.register(*burn, gradient.to_tensor::<2>()?),
                3 => all.register(*burn, gradient.to_tensor::<3>()?),
                4 => all.register(*burn, gradient.to_tensor::<4>()?),
                5 => all.register(*burn, gradient.to_tensor::<5>()?),
                6 => all.register(*burn, gradient.to_tensor::<6>()?),
                rank => {
                    return Err(shape(format!(
                        "a parameter of rank {rank} cannot be handed to an optimiser"
                    )));
                }
            }
        }
        Ok(all)
    }

    /// Puts the numbers of a module, which an optimiser has moved or a record has brought, into the
    /// graph. Parameters of the module that the graph does not use are passed over; parameters of
    /// the graph that the module has not stay as they are, so that several modules can be loaded
    /// one after the other.
    ///
    /// # Errors
    /// A module that has none of the graph's parameters; other shapes; numbers that are not finite.
    pub fn load<M: Module>(&self, to: &mut Graph<BurnTensor>, module: &M) -> Result<()> {
        struct Load<'a> {
            parameters: &'a Parameters,
            graph: &'a mut Graph<BurnTensor>,
            loaded: usize,
            outcome: Result<()>,
        }
        impl ModuleVisitor for Load<'_> {
            fn visit_float<const D: usize>(&mut self, parameter: &Param<BurnTensorOf<D>>) {
                let Some(own) = self.parameters.of(parameter.id) else { return };
                self.loaded += 1;
                if self.outcome.is_ok() {
                    self.outcome = BurnTensor::new(parameter.val()).and_then(|value| {
                        self.graph.parameters()[own.index()].check_like(&value)?;
                        self.graph.set_parameter(own, value)
                    });
                }
            }
        }
        let mut load = Load { parameters: self, graph: to, loaded: 0, outcome: Ok(()) };
        module.visit(&mut load);
        load.outcome?;
        if load.loaded == 0 && !self.known.is_empty() {
            return Err(graph(NOT_ITS));
        }
        Ok(())
    }

    /// Puts the numbers of a graph, which another graph has handed over or an optimiser of its own
    /// has moved, into a module: the way back of [`Parameters::load`]. Parameters that the graph
    /// does not use stay as they are. Running statistics are shared with the module, and there
    /// already.
    ///
    /// # Errors
    /// A module that has none of the graph's parameters; other shapes, precisions or devices; a
    /// number that is not finite.
    ///
    /// # Example
    /// ```
    /// use burn::nn::LinearConfig;
    /// use burn::tensor::Device;
    /// use pc_burn::explicit::ModuleGraph;
    /// use pc_core::{Graph, HandOver, host::{Activation, HostLayers, HostTensor, Init}};
    /// // Trained on the host, used in Burn.
    /// let mut b = Graph::<HostTensor<f32>>::builder();
    /// let x = b.input("x", &[2])?;
    /// b.dense("y", x, 2, Activation::Tanh, &mut Init::new(1))?;
    /// let host = b.build()?;
    ///
    /// let module = LinearConfig::new(2, 2).init(&Device::flex());
    /// let mut b = ModuleGraph::new();
    /// let x = b.input("x", &[2])?;
    /// b.linear("y", x, &module, Activation::Tanh)?;
    /// let (mut graph, parameters) = b.build()?;
    /// graph.copy_parameters_from(&host)?;
    /// let module = parameters.store(&graph, module)?;
    /// // Burn's weights are `[inputs, outputs]`.
    /// let turned = module.weight.val().transpose().into_data().to_vec::<f32>().expect("floats");
    /// assert_eq!(turned, host.parameters()[0].data());
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn store<M: Module>(&self, from: &Graph<BurnTensor>, module: M) -> Result<M> {
        struct Check<'a> {
            parameters: &'a Parameters,
            graph: &'a Graph<BurnTensor>,
            found: usize,
            outcome: Result<()>,
        }
        impl ModuleVisitor for Check<'_> {
            fn visit_float<const D: usize>(&mut self, parameter: &Param<BurnTensorOf<D>>) {
                let Some(own) = self.parameters.of(parameter.id) else { return };
                self.found += 1;
                let names = self.graph.topology().parameter_names();
                let held = self.graph.parameters().get(own.index()).zip(names.get(own.index()));
                let Some((held, name)) = held else {
                    self.outcome = Err(graph("the graph is another than this table's"));
                    return;
                };
                let fits = BurnTensor::new(parameter.val()).and_then(|value| {
                    value.check_like(held)?;
                    if !held.is_like(&value) {
                        let (own, theirs) = (held.shape(), value.shape());
                        return Err(shape(format!(
                            "its shape is {own:?}, the module's {theirs:?}"
                        )));
                    }
                    if !held.is_finite() {
                        let what = "a number of it is not finite";
                        return Err(Error::new(ErrorKind::NotFinite, what));
                    }
                    Ok(())
                });
                if self.outcome.is_ok() {
                    self.outcome = fits.map_err(|error| error.at(name));
                }
            }
        }
        struct Store<'a> {
            parameters: &'a Parameters,
            graph: &'a Graph<BurnTensor>,
            outcome: Result<()>,
        }
        impl ModuleMapper for Store<'_> {
            fn map_float<const D: usize>(
                &mut self,
                parameter: Param<BurnTensorOf<D>>,
            ) -> Param<BurnTensorOf<D>> {
                let Some(own) = self.parameters.of(parameter.id) else { return parameter };
                let new = match self.graph.parameters()[own.index()].to_tensor::<D>() {
                    Ok(new) => new,
                    Err(error) => {
                        self.outcome = Err(error);
                        return parameter;
                    }
                };
                let (id, old, mapper) = parameter.consume();
                let learns = old.is_require_grad();
                let new = if old.device().is_autodiff() {
                    BurnTensorOf::from_inner(new).set_require_grad(learns)
                } else {
                    new
                };
                Param::from_mapped_value(id, new, mapper)
            }
        }
        let mut check = Check { parameters: self, graph: from, found: 0, outcome: Ok(()) };
        module.visit(&mut check);
        check.outcome?;
        if check.found == 0 && !self.known.is_empty() {
            return Err(graph(NOT_ITS));
        }
        let mut store = Store { parameters: self, graph: from, outcome: Ok(()) };
        let module = module.map(&mut store);
        store.outcome.map(|()| module)
    }
}

/// What is said where a module and a graph have nothing in common.
const NOT_ITS: &str = "none of the module's parameters is one of the graph's: was the graph built \
                       from another module?";
