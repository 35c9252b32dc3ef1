//! Predictive coding on any directed graph of neurons.

mod hold;
mod wiring;

use std::fmt;

use pc_core::{
    Activation, Clamps, Error, ErrorKind, Gradients, Graph, GraphBuilder, Mask, Outcome, ParamId,
    Relaxation, Result, Schedule, Tensor, VertexId, ZeroDiagonal, backend::GraphTensor, host::Init,
};

use crate::{Backend, Dense, settled::settled};

pub use hold::Hold;
pub use wiring::Wiring;

/// A PC graph: predictive coding on any directed graph of neurons, cycles allowed (Salvatori,
/// Pinchetti, Millidge, Song, Bao, Bogacz and Lukasiewicz, "Learning on arbitrary graph topologies
/// via predictive coding", NeurIPS 2022).
///
/// Every neuron is predicted by those that send to it, `u_i = sum over j of theta_ji f(h_j) + b_i`,
/// and has the error `e_i = h_i - u_i`. Relaxation moves the neurons that are not clamped down
/// `F = 1/2 sum e^2`,
/// ```text
/// h_i <- h_i + gamma (-e_i + f'(h_i) sum over k of theta_ik e_k),
/// ```
/// and weights learn by `e_i f(h_j)`. Any subset may be clamped, and the rest is inferred: the
/// label of a picture, a picture of a label, the rest of a part. States are `[batch, neurons]`, in
/// the order of the [`Wiring`]'s blocks.
///
/// A forward start sets out from what is clamped; where that leads nowhere, as in a fully connected
/// graph, the schedule has to start elsewhere ([`pc_core::Start::Zero`]).
///
/// # Example
/// ```
/// use pc_core::{Activation, Schedule, Start, host::{HostTensor, Init, Sgd}};
/// use pc_models::{Hold, Host, PcGraph, Wiring};
/// let wiring = Wiring::full(&[("neurons", 6)])?;
/// let schedule = Schedule::ipc(0.2, 10)?.starting(Start::Zero);
/// let host = Host::<f64>::new();
/// # let (f, mut init) = (Activation::Tanh, Init::new(0));
/// let mut net = PcGraph::new(&host, &wiring, f, true, schedule, &mut init)?;
///
/// let mut sgd = Sgd::new(0.02)?;
/// let seen = HostTensor::new(&[2, 6], vec![1., 0., 1., 0., 1., 0., 0., 1., 0., 1., 0., 1.])?;
/// for _ in 0..100 {
///     let clamps = net.hold(&seen, &[Hold::Seen; 6])?;
///     net.learn(&clamps, |graph, gradients| sgd.step(graph.parameters_mut(), gradients))?;
/// }
/// // Complete the first sample from its first half.
/// let part = HostTensor::new(&[1, 6], vec![1., 0., 1., 0., 0., 0.])?;
/// let how = [Hold::Seen, Hold::Seen, Hold::Seen, Hold::Free, Hold::Free, Hold::Free];
/// let clamps = net.hold(&part, &how)?;
/// let whole = net.query(&clamps)?;
/// assert_eq!(whole.data()[..3], [1., 0., 1.]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub struct PcGraph<B: Backend> {
    graph: Graph<B::Tensor>,
    relaxation: Relaxation<Graph<B::Tensor>>,
    wiring: Wiring,
    /// By block.
    vertices: Vec<VertexId>,
}

impl<B: Backend> fmt::Debug for PcGraph<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.wiring.blocks().map(|(name, _)| name).collect();
        f.debug_struct("PcGraph")
            .field("blocks", &names)
            .field("edges", &self.wiring.edges())
            .field("relaxation", &self.relaxation)
            .finish_non_exhaustive()
    }
}

impl<B: Backend> PcGraph<B> {
    /// A graph of this wiring with new weights, with biases where `bias`.
    ///
    /// The parameters of a block that something sends to are `name.weight` (or `name.weight.0`, ...
    /// for each block that sends to it, in order) and `name.bias`. Weights of edges that are not
    /// there are kept at 0, whatever optimiser moves them.
    ///
    /// # Errors
    /// A wiring without edges; names of blocks that are not distinct; what the backend reports; a
    /// schedule that the graph cannot honour.
    pub fn new(
        backend: &B,
        wiring: &Wiring,
        f: Activation,
        bias: bool,
        schedule: Schedule,
        init: &mut Init,
    ) -> Result<Self> {
        let mut b = Graph::builder();
        let vertices = wiring
            .blocks()
            .map(|(name, range)| b.input(name, &[range.len()]))
            .collect::<Result<Vec<_>>>()?;
        for (vertex, (name, to)) in vertices.iter().zip(wiring.blocks()) {
            let blocks = vertices.iter().zip(wiring.blocks());
            let between = blocks.map(|(from, (_, range))| (*from, wiring.between(&to, &range)));
            let (parents, masks): (Vec<_>, Vec<_>) =
                between.filter(|(_, mask)| mask.contains(&1.0)).unzip();
            if parents.is_empty() {
                continue;
            }
            let own = Dense::new(to.len()).before(f);
            let own = if bias { own } else { own.without_bias() };
            let parameters = own.parameters(backend, &mut b, name, &parents, init)?;
            let vertices = backend.dense(&own, parents.len())?;
            b.predict(*vertex, vertices, &parents, &parameters, 1.0)?;
            for ((weight, from), mask) in parameters.iter().zip(&parents).zip(&masks) {
                let shape = [to.len(), mask.len() / to.len()];
                constrain(backend, &mut b, *weight, from == vertex, &shape, mask)?;
            }
        }
        let graph = b.build()?;
        let relaxation = Relaxation::new(&graph, schedule)?;
        Ok(Self { graph, relaxation, wiring: wiring.clone(), vertices })
    }

    /// The graph.
    pub fn graph(&self) -> &Graph<B::Tensor> {
        &self.graph
    }

    /// The graph, to be loaded or learned by another rule.
    pub fn graph_mut(&mut self) -> &mut Graph<B::Tensor> {
        &mut self.graph
    }

    /// The wiring.
    pub fn wiring(&self) -> &Wiring {
        &self.wiring
    }

    /// Relaxes by another schedule from here on.
    ///
    /// # Errors
    /// A schedule that the graph cannot honour.
    pub fn set_schedule(&mut self, schedule: Schedule) -> Result<()> {
        self.relaxation = Relaxation::new(&self.graph, schedule)?;
        Ok(())
    }

    /// Clamps of a batch `[batch, neurons]`: `how` says of every neuron how it is held. Those that
    /// are free start where the schedule says, or, where nothing sends to them, at their value.
    /// [`pc_core::Clamps`] by block ([`Graph::vertex`] of [`PcGraph::graph`]) do as well.
    ///
    /// # Errors
    /// Another number of neurons.
    pub fn hold(&self, values: &B::Tensor, how: &[Hold]) -> Result<Clamps<B::Tensor>> {
        let neurons = self.wiring.neurons();
        if how.len() != neurons || !values.has_batch_shape(values.batch(), &[neurons]) {
            return Err(Error::new(
                ErrorKind::Shape,
                format!(
                    "values of the shape {:?} and how {} neurons are held, for a graph of \
                     {neurons} neurons",
                    values.shape(),
                    how.len()
                ),
            ));
        }
        let mut clamps = Clamps::new().of_batch(values.batch());
        for (vertex, (_, range)) in self.vertices.iter().zip(self.wiring.blocks()) {
            let mut own = values.zeros(&[values.batch(), range.len()]);
            own.set_slice(values, 0, range.start);
            let root = self.graph.topology().is_root(*vertex);
            clamps = hold::part(clamps, *vertex, own, &how[range], root);
        }
        Ok(clamps)
    }

    /// Relaxes with these clamps and lets `learn` move the weights, at every step or at the end, as
    /// the schedule says. For most optimisers it is one line: `|graph, gradients|
    /// optimiser.step(graph.parameters_mut(), gradients)`.
    ///
    /// # Errors
    /// As [`Relaxation::train`].
    pub fn learn(
        &mut self,
        clamps: &Clamps<B::Tensor>,
        learn: impl FnMut(&mut Graph<B::Tensor>, &Gradients<B::Tensor>) -> Result<()>,
    ) -> Result<Outcome> {
        settled(self.relaxation.train(&mut self.graph, clamps, learn)?, "learning")
    }

    /// Relaxes with these clamps without learning: the states of all neurons, `[batch, neurons]`.
    ///
    /// # Errors
    /// As [`Relaxation::infer`]; a relaxation that diverges.
    pub fn query(&mut self, clamps: &Clamps<B::Tensor>) -> Result<B::Tensor> {
        settled(self.relaxation.infer(&mut self.graph, clamps)?, "the relaxation")?;
        let states: Vec<_> = self
            .vertices
            .iter()
            .filter_map(|vertex| self.relaxation.value(&self.graph, *vertex))
            .collect();
        let first = states.first().ok_or_else(|| {
            Error::new(ErrorKind::Graph, "a PC graph without neurons has no states")
        })?;
        let mut all = first.zeros(&[first.batch(), self.wiring.neurons()]);
        let widths = self.wiring.blocks().map(|(_, range)| range.len());
        all.set_joined(0, widths.zip(states.iter().map(Some)));
        Ok(all)
    }

    /// The relaxation as it stands, whose errors and energies are read by id.
    pub fn relaxation(&self) -> &Relaxation<Graph<B::Tensor>> {
        &self.relaxation
    }
}

/// Keeps the weights of edges that are not there at 0.
fn constrain<B: Backend>(
    backend: &B,
    b: &mut GraphBuilder<B::Tensor>,
    weight: ParamId,
    itself: bool,
    shape: &[usize; 2],
    mask: &[f64],
) -> Result<()> {
    let [_, width] = *shape;
    let diagonal = |index: usize| itself && index / width == index % width;
    let all = mask.iter().enumerate();
    if all.clone().all(|(_, edge)| *edge == 1.0) {
        return Ok(());
    }
    if all.clone().all(|(index, edge)| (*edge == 0.0) == diagonal(index)) {
        return b.constrain(weight, ZeroDiagonal);
    }
    b.constrain(weight, Mask::new(&backend.tensor(shape, mask)?)?)
}
