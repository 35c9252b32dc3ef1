//! An NVIDIA GPU through pc-cuda: chains of dense layers, in f32, by all schedules. Those whose
//! input and output are held are relaxed in one launch.

mod relaxed;
mod train;

#[cfg(all(test, feature = "cuda-simulation"))]
mod tests;

use pc_core::{
    Clamp, Clamps,
    host::{Element, HostTensor},
};
use pc_cuda::{Device, DeviceTensor};

use super::{Adapter, Checked, Support, Task, Timed, Trainee};
use crate::{
    commands::{
        check::Subject,
        gradients::{Findings, LayerChain, Number, Ways},
        train::{Precision, ScheduleKind},
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
            rules: ScheduleKind::ALL,
            precisions: &[Precision::F32],
            checkpoints: false,
        }
    }

    fn ready() -> Result<(), CommandError> {
        device().map(drop)
    }

    fn trainee<F: Element>(task: &Task<'_>) -> Result<Box<dyn Trainee<F>>, CommandError> {
        Ok(Box::new(train::Fused::new(task, device()?)?))
    }

    fn checked<F: Element>(subject: &Subject<F>) -> Result<Box<dyn Checked<F>>, CommandError> {
        Ok(Box::new(relaxed::Subjected::new(subject, &device()?)?))
    }

    fn gradients<F: Number>(net: LayerChain<F>, ways: &Ways) -> Result<Findings<F>, CommandError> {
        relaxed::gradients(net, ways, &device()?)
    }

    fn timed<F: Element>(
        kind: ModelKind,
        batch: usize,
        rules: &[ScheduleKind],
    ) -> Result<Box<dyn Timed>, CommandError> {
        Ok(Box::new(relaxed::Clocked::<F>::new(kind, batch, rules, &device()?)?))
    }
}

/// A host tensor's numbers on the device.
fn upload<F: Element>(device: &Device, tensor: &HostTensor<F>) -> pc_core::Result<DeviceTensor> {
    let numbers: Vec<f32> = tensor.data().iter().map(|x| x.value() as f32).collect();
    device.tensor(tensor.dims(), &numbers)
}

/// A device tensor's numbers on the host.
fn download<F: Element>(tensor: &DeviceTensor) -> pc_core::Result<HostTensor<F>> {
    HostTensor::new(
        tensor.dims(),
        tensor.numbers()?.into_iter().map(|x| F::of(f64::from(x))).collect(),
    )
}

/// The held vertices of these clamps, held on the device.
fn hold<F: Element>(
    device: &Device,
    clamps: &Clamps<HostTensor<F>>,
) -> pc_core::Result<Clamps<DeviceTensor>> {
    let mut held = Clamps::new();
    for (vertex, clamp) in clamps.iter() {
        if let Clamp::Held(value) = clamp {
            held = held.hold(vertex, upload(device, value)?);
        }
    }
    Ok(held)
}
