//! An NVIDIA GPU through pc-cuda, in f32, by all schedules. Chains of dense layers are fused nets,
//! which relax in one launch where input and output are held; every other model is a graph whose
//! predictions run on the device step by step.
//!
//! In a build with `cuda-simulation`, `PC_BENCH_HOST_LAYER=1` takes the host layer for the GPU: the
//! same kernels on the CPU, for all but timing.

mod relaxed;
mod train;
mod transfer;

#[cfg(all(test, feature = "cuda-simulation"))]
mod config_tests;
#[cfg(all(test, feature = "cuda-simulation"))]
mod tests;

use pc_core::{
    ErrorKind, Graph,
    host::{Element, HostTensor},
};
use pc_cuda::{Device, DeviceTensor, FusedNet, Precision as Products, graph_to_device};

use crate::{
    backends::asked,
    contract::{
        Adapter, Precision, ScheduleKind, Support,
        check::{Checked, Subject},
        gradients::{Findings, LayerChain, Number, Ways},
        speed::{Case, Timed, TimedKind},
        train::{Task, Trainee},
    },
    error::CommandError,
    models::ModelKind,
};

/// The first GPU of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cuda;

/// The device; in tests, and where it is asked for, the host layer, which runs the same kernels
/// without one.
fn device() -> Result<Device, CommandError> {
    #[cfg(feature = "cuda-simulation")]
    if cfg!(test) || std::env::var_os("PC_BENCH_HOST_LAYER").is_some_and(|own| own == "1") {
        return Ok(Device::simulated(&pc_cuda::Simulation::new(1))?);
    }
    gpu()
}

/// The device itself.
fn gpu() -> Result<Device, CommandError> {
    Device::cuda(0)
        .map_err(|error| CommandError::input(format!("--backend cuda cannot run here: {error}")))
}

/// How a graph goes on the device.
enum Way {
    /// Whole relaxations in few launches.
    Fused(FusedNet),
    /// Every prediction by itself, and why it is not fused.
    Stepped(Graph<DeviceTensor>, String),
}

impl Way {
    /// Fused where it can be.
    fn of<F: Element>(graph: &Graph<HostTensor<F>>, device: &Device) -> pc_core::Result<Self> {
        match FusedNet::from_graph(graph, device, Products::F32) {
            Ok(net) => Ok(Self::Fused(net)),
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                Ok(Self::Stepped(Self::stepped(graph, device)?, error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    fn stepped<F: Element>(
        graph: &Graph<HostTensor<F>>,
        device: &Device,
    ) -> pc_core::Result<Graph<DeviceTensor>> {
        graph_to_device(graph, device, Products::F32)
    }
}

impl Adapter for Cuda {
    fn support() -> Support {
        Support {
            models: &ModelKind::ALL,
            timed: &[TimedKind::Model(ModelKind::Mlp)],
            varied: false,
            rules: ScheduleKind::ALL,
            precisions: &[Precision::F32],
            checkpoints: false,
            energies: true,
            details: true,
        }
    }

    fn ready() -> Result<(), CommandError> {
        device().map(drop)
    }

    fn trainee<F: Element>(task: &Task) -> Result<Box<dyn Trainee<F>>, CommandError> {
        let (device, model) = (device()?, asked::model::<F>(task)?);
        Ok(match Way::of(&model.graph, &device)? {
            Way::Fused(net) => Box::new(train::Learner::new(task, model, net, &device)?),
            Way::Stepped(net, _) => Box::new(train::Learner::new(task, model, net, &device)?),
        })
    }

    fn checked<F: Element>(subject: &Subject<F>) -> Result<Box<dyn Checked<F>>, CommandError> {
        relaxed::checked(subject, &device()?)
    }

    fn gradients<F: Number>(net: LayerChain<F>, ways: &Ways) -> Result<Findings<F>, CommandError> {
        relaxed::gradients(net, ways, &device()?)
    }

    fn timed<F: Element>(
        case: &Case,
        rules: &[ScheduleKind],
    ) -> Result<Box<dyn Timed>, CommandError> {
        let kind = case.kind.model()?;
        let device = if cfg!(test) { device()? } else { gpu()? };
        Ok(Box::new(relaxed::Clocked::<F>::new(kind, case.batch, rules, &device)?))
    }
}
