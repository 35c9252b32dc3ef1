//! Numbers on their way between the host and the device.

use pc_core::{
    Clamp, Clamps,
    host::{Element, HostTensor},
};
use pc_cuda::{Device, DeviceTensor};

/// A host tensor's numbers on the device.
pub(super) fn upload<F: Element>(
    device: &Device,
    tensor: &HostTensor<F>,
) -> pc_core::Result<DeviceTensor> {
    let numbers: Vec<f32> = tensor.data().iter().map(|x| x.value() as f32).collect();
    device.tensor(tensor.dims(), &numbers)
}

/// A device tensor's numbers on the host.
pub(super) fn download<F: Element>(tensor: &DeviceTensor) -> pc_core::Result<HostTensor<F>> {
    HostTensor::new(
        tensor.dims(),
        tensor.numbers()?.into_iter().map(|x| F::of(f64::from(x))).collect(),
    )
}

/// The held vertices of these clamps, held on the device.
pub(super) fn hold<F: Element>(
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
