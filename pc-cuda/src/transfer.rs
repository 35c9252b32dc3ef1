//! Numbers on their way from the host to a device.

use pc_core::{
    Result,
    host::{Element, HostTensor},
};

use crate::{device::Device, tensor::DeviceTensor};

/// A host tensor's numbers on a device.
pub(crate) fn upload<F: Element>(device: &Device, tensor: &HostTensor<F>) -> Result<DeviceTensor> {
    let numbers: Vec<f32> = tensor.data().iter().map(|x| x.value() as f32).collect();
    DeviceTensor::new(device, tensor.dims(), &numbers)
}
