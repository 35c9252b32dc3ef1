//! Graphs that run on the device step by step.

pub(crate) mod models;
mod refusals;
mod suite;

use pc_core::{
    Result, Tensor,
    host::{Element, HostTensor},
};
use pc_cuda::{Device, DeviceTensor};

/// A host tensor's numbers on a device.
pub(crate) fn upload<F: Element>(device: &Device, tensor: &HostTensor<F>) -> Result<DeviceTensor> {
    let numbers: Vec<f32> = tensor.to_vec().into_iter().map(|x| x as f32).collect();
    device.tensor(tensor.dims(), &numbers)
}
