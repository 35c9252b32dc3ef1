//! An NVIDIA GPU through pc-cuda: chains of dense layers, in f32, by all schedules. Those whose
//! input and output are held are relaxed in one launch.

mod relaxed;
mod train;
mod transfer;

#[cfg(all(test, feature = "cuda-simulation"))]
mod tests;

use pc_core::host::Element;
use pc_cuda::Device;

use crate::{
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

/// The device; in tests the host layer, which runs the same kernels without one.
fn device() -> Result<Device, CommandError> {
    #[cfg(all(test, feature = "cuda-simulation"))]
    return Ok(Device::simulated(&pc_cuda::Simulation::new(1))?);
    #[cfg(not(all(test, feature = "cuda-simulation")))]
    Device::cuda(0)
        .map_err(|error| CommandError::input(format!("--backend cuda cannot run here: {error}")))
}

impl Adapter for Cuda {
    fn support() -> Support {
        Support {
            models: &[ModelKind::Mlp],
            timed: &[TimedKind::Model(ModelKind::Mlp)],
            varied: false,
            rules: ScheduleKind::ALL,
            precisions: &[Precision::F32],
            checkpoints: false,
            energies: true,
        }
    }

    fn ready() -> Result<(), CommandError> {
        device().map(drop)
    }

    fn trainee<F: Element>(task: &Task) -> Result<Box<dyn Trainee<F>>, CommandError> {
        Ok(Box::new(train::Fused::new(task, device()?)?))
    }

    fn checked<F: Element>(subject: &Subject<F>) -> Result<Box<dyn Checked<F>>, CommandError> {
        Ok(Box::new(relaxed::Subjected::new(subject, &device()?)?))
    }

    fn gradients<F: Number>(net: LayerChain<F>, ways: &Ways) -> Result<Findings<F>, CommandError> {
        relaxed::gradients(net, ways, &device()?)
    }

    fn timed<F: Element>(
        case: &Case,
        rules: &[ScheduleKind],
    ) -> Result<Box<dyn Timed>, CommandError> {
        let kind = case.kind.model()?;
        Ok(Box::new(relaxed::Clocked::<F>::new(kind, case.batch, rules, &device()?)?))
    }
}
