//! A model as a graph.

use dfdx::{
    nn::tensor_collection::TensorCollection,
    prelude::{Device, ZeroGrads},
    tensor::{Cpu, Gradients},
};
use pc_core::{Clamps, Graph, Result, VertexId, host::HostTensor};

use crate::{
    Input, Outputs, Reader, Scalar, Vertices,
    parameters::{Entries, Hand, Refresh, Registered, reported, see},
    taped::Buffers,
};

/// What is one vertex, where a model's type leaves it open. It changes every rule but the exact
/// ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Granularity {
    /// A module with parameters and the parameterless ones that follow it.
    #[default]
    Layers,
    /// Every module; a reshape still belongs to another.
    Modules,
}

/// A model, read: the graph that it is, with what it was handed.
#[derive(Debug)]
pub struct Reading<E: Scalar> {
    /// The graph, with copies of the model's parameters.
    pub graph: Graph<HostTensor<E>>,
    /// The vertices that are held, and at what: inputs, and zeros where a cell starts.
    pub held: Vec<(VertexId, HostTensor<E>)>,
    /// The outputs, in order.
    pub outputs: Vec<VertexId>,
    pub(crate) samples: usize,
    pub(crate) registered: Registered,
    pub(crate) buffers: Vec<Buffers<E>>,
}

impl<E: Scalar> Reading<E> {
    /// What is held of a batch, for clamps of one's own.
    pub fn clamps(&self) -> Clamps<HostTensor<E>> {
        self.held
            .iter()
            .fold(Clamps::new(), |clamps, (vertex, at)| clamps.hold(*vertex, at.clone()))
    }

    /// dfdx's gradients, from those of the graph, each times `weight`: zeros for parameters that
    /// have none.
    ///
    /// # Errors
    /// What dfdx reports.
    pub fn gradients<M: TensorCollection<E, Cpu>>(
        &self,
        model: &M,
        from: &pc_core::Gradients<HostTensor<E>>,
        weight: f64,
    ) -> Result<Gradients<E, Cpu>>
    where
        Cpu: Device<E>,
    {
        let mut to = model.try_alloc_grads().map_err(reported)?;
        see(model, &mut Hand { registered: &self.registered, from, weight, to: &mut to })?;
        Ok(to)
    }

    /// Copies the model's parameters into the graph, after an optimiser has moved them.
    ///
    /// # Errors
    /// A parameter that is not finite.
    pub fn refresh<M: TensorCollection<E, Cpu>>(&mut self, model: &M) -> Result<()>
    where
        Cpu: Device<E>,
    {
        let to = self.graph.parameters_mut();
        see(model, &mut Refresh { registered: &self.registered, to })
    }
}

/// Reads a model as a graph, for a batch: what [`crate::PredictiveCoding`] does, for graphs, clamps
/// and relaxations of one's own.
///
/// # Errors
/// An empty batch; numbers that are not finite; dimensions known only at run time that do not fit.
///
/// # Example
/// ```
/// use dfdx::{nn::builders::*, prelude::*};
/// type Mlp = (Linear<4, 8>, Tanh, Residual<(Linear<8, 8>, ReLU)>, Linear<8, 2>);
/// let device = Cpu::default();
/// let model = device.build_module::<Mlp, f64>();
/// let x: Tensor<Rank2<5, 4>, f64, Cpu> = device.sample_normal();
/// let read = pc_dfdx::read(&model, x, Default::default())?;
/// let topology = read.graph.topology();
/// let names: Result<Vec<_>, _> = topology.vertices().map(|v| topology.name(v)).collect();
/// assert_eq!(names?, ["x", "0", "2.0.0", "2.sum", "3"]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn read<M, X, E>(model: &M, input: X, granularity: Granularity) -> Result<Reading<E>>
where
    M: TensorCollection<E, Cpu> + Vertices<X::Value, E>,
    M::Output: Outputs<E>,
    X: Input<E>,
    E: Scalar,
    Cpu: Device<E>,
{
    read_with(model, input, granularity, Vec::new()).map(|(reading, _)| reading)
}

/// Reads a model with spare tensors from an earlier reading; and the outputs' shapes.
pub(crate) fn read_with<M, X, E>(
    model: &M,
    input: X,
    granularity: Granularity,
    spare: Vec<HostTensor<E>>,
) -> Result<(Reading<E>, <M::Output as Outputs<E>>::Form)>
where
    M: TensorCollection<E, Cpu> + Vertices<X::Value, E>,
    M::Output: Outputs<E>,
    X: Input<E>,
    E: Scalar,
    Cpu: Device<E>,
{
    let entries = Entries::of(model)?;
    let mut reader = Reader::new(&entries, input.device(), granularity, spare);
    let value = input.enter(&mut reader)?;
    let output = model.read(value, &mut reader)?;
    let mut outputs = Vec::new();
    let form = output.finish(&mut reader, &mut outputs)?;
    let Reader { builder, held, registered, buffers, .. } = reader;
    let samples = held.first().map_or(0, |(_, at)| pc_core::Tensor::batch(at));
    let graph = builder.build()?;
    Ok((Reading { graph, held, outputs, samples, registered, buffers }, form))
}
