//! Numbers on their way between the host and a device.

use pc_core::{
    Error, ErrorKind, Graph, Result, Tensor,
    host::{Element, HostTensor},
};

use crate::{device::Device, tensor::DeviceTensor};

/// A host tensor's numbers on a device.
pub(crate) fn upload<F: Element>(device: &Device, tensor: &HostTensor<F>) -> Result<DeviceTensor> {
    let numbers: Vec<f32> = tensor.data().iter().map(|x| x.value() as f32).collect();
    DeviceTensor::new(device, tensor.dims(), &numbers)
}

/// Copies parameters back into a host graph that has such ones.
pub(crate) fn copy_back<F: Element>(
    parameters: &[DeviceTensor],
    graph: &mut Graph<HostTensor<F>>,
) -> Result<()> {
    let own: Vec<Vec<usize>> = parameters.iter().map(Tensor::shape).collect();
    let theirs: Vec<Vec<usize>> = graph.parameters().iter().map(Tensor::shape).collect();
    if own != theirs {
        return Err(Error::new(
            ErrorKind::Shape,
            format!("this net's parameters have shapes {own:?}, the graph's {theirs:?}"),
        ));
    }
    for (parameter, held) in parameters.iter().zip(graph.parameters_mut()) {
        for (x, number) in held.data_mut().iter_mut().zip(parameter.numbers()?) {
            *x = F::of(f64::from(number));
        }
    }
    Ok(())
}
