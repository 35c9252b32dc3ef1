//! A chain of linear vertices on a device, as a network.

mod build;
mod gemm;
mod hand_over;
mod learn;
mod linearisation;
mod network;
mod operands;
mod recipe;
mod relax;
mod weights;

use pc_core::{ErrorKind, ParamId, PredictionId, Result, Topology, VertexId};

use crate::{
    device::Device,
    plan::{NetShape, Output, Plan, Strategy},
    precision::Precision,
    tensor::DeviceTensor,
};

pub use linearisation::FusedLinearisation;

/// A chain `mu_l = f_l(W_l v_(l-1) + b_l)` on a device: a [`pc_core::Network`] that can do
/// everything a graph can, and takes over whole relaxations of fixed prediction and standard PC,
/// and the steps of iPC from one learning event to the next, where the input is held and the output
/// held or driven by [`pc_core::SquaredError`] or [`crate::CrossEntropy`]. Other schedules run in
/// the engine's loop, on the device too.
///
/// See the crate's example. [`pc_core::HandOver`] brings weights back to the host, and to and from
/// any other network.
pub struct FusedNet {
    topology: Topology,
    /// In order, from the input on.
    links: Vec<Link>,
    /// By vertex.
    widths: Vec<usize>,
    root: VertexId,
    parameters: Vec<DeviceTensor>,
    device: Device,
    precision: Precision,
    strategy: Strategy,
    timed: bool,
    /// The seconds of the last relaxation that was taken over, where they are measured.
    last: std::cell::Cell<Option<f64>>,
}

/// One prediction of the chain.
#[derive(Clone, Debug)]
struct Link {
    prediction: PredictionId,
    of: VertexId,
    parent: VertexId,
    weight: ParamId,
    bias: Option<ParamId>,
    act: i32,
    inputs: usize,
    outputs: usize,
    precision: f32,
}

impl std::fmt::Debug for FusedNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FusedNet")
            .field("widths", &self.chain_widths())
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

impl FusedNet {
    /// The device it lies on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The parameters, in order of their [`ParamId`]s.
    pub fn parameters(&self) -> &[DeviceTensor] {
        &self.parameters
    }

    /// The parameters, to be moved by an optimiser.
    pub fn parameters_mut(&mut self) -> &mut [DeviceTensor] {
        &mut self.parameters
    }

    /// The precision of its products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The vertex of this name.
    ///
    /// # Errors
    /// Where there is none.
    pub fn vertex(&self, name: &str) -> Result<VertexId> {
        self.topology.vertex(name)
    }

    /// Chooses the kernels by hand.
    #[must_use]
    pub fn relaxed_by(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Measures what it takes over (whole relaxations, or steps between learning events), which
    /// costs a wait for each; see [`FusedNet::last_relaxation`].
    #[must_use]
    pub fn timed(mut self) -> Self {
        self.timed = true;
        self
    }

    /// The seconds that what it took over last has taken on the device; none without
    /// [`FusedNet::timed`], or before the first.
    pub fn last_relaxation(&self) -> Option<f64> {
        self.last.get()
    }

    /// The plan for a batch of this size whose output is held.
    ///
    /// # Errors
    /// An empty batch; a strategy that does not fit the device.
    pub fn plan(&self, batch: usize, live: bool) -> Result<Plan> {
        self.strategy.plan(&self.shape(batch, live, Output::Held), self.device.props())
    }

    fn shape(&self, batch: usize, live: bool, output: Output) -> NetShape {
        NetShape {
            widths: self.chain_widths(),
            batch,
            live,
            precision: self.precision,
            relu: self.relu(),
            output,
        }
    }

    fn relu(&self) -> bool {
        self.links.iter().any(|link| link.act == build::RELU)
    }

    /// The widths along the chain.
    fn chain_widths(&self) -> Vec<usize> {
        let first = self.links.first().map(|link| link.inputs);
        first.into_iter().chain(self.links.iter().map(|link| link.outputs)).collect()
    }

    fn weight(&self, link: &Link) -> &DeviceTensor {
        &self.parameters[link.weight.index()]
    }

    fn bias(&self, link: &Link) -> u64 {
        link.bias.map_or(0, |bias| self.parameters[bias.index()].address())
    }

    /// How far the library's products may round.
    fn rounds(&self, live: bool) -> Precision {
        if live && self.relu() { Precision::F32 } else { self.precision }
    }
}

fn error(kind: ErrorKind, message: impl Into<String>) -> pc_core::Error {
    pc_core::Error::new(kind, message)
}
