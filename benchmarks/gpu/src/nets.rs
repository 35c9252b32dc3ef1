//! Chains with a batch of random numbers, here and on the host in f64.

use pc_core::{
    Clamps, Graph, Result, Tensor, VertexId,
    host::{Activation, CrossEntropy, Element, HostLayers, HostTensor, Init},
};
use pc_cuda::{Device, DeviceTensor};

/// Biases that are not zero, from the same draws in every precision.
fn graph<F: Element>(
    widths: &[usize],
    act: Activation,
    seed: u64,
) -> Result<(Graph<HostTensor<F>>, VertexId, VertexId)> {
    let mut init = Init::new(seed);
    let mut b = Graph::<HostTensor<F>>::builder();
    let x = b.input("x", &widths[..1])?;
    let mut at = x;
    for (index, &width) in widths.iter().enumerate().skip(1) {
        let act = if index + 1 == widths.len() { Activation::Identity } else { act };
        at = b.dense(&format!("l{index}"), at, width, act, &mut init)?;
    }
    Ok((b.build()?, x, at))
}

/// A chain in f32, its twin in f64 with the same numbers, and what both are held at and driven by.
pub(crate) struct Pair {
    pub(crate) here: Graph<HostTensor<f32>>,
    pub(crate) there: Graph<HostTensor<f64>>,
    pub(crate) on: Clamps<DeviceTensor>,
    pub(crate) off: Clamps<HostTensor<f64>>,
}

impl Pair {
    pub(crate) fn new(
        device: &Device,
        widths: &[usize],
        act: Activation,
        batch: usize,
        driven: bool,
        seed: u64,
    ) -> Result<Self> {
        let (mut here, x, y) = graph::<f32>(widths, act, seed)?;
        let (mut there, ..) = graph::<f64>(widths, act, seed)?;
        let mut init = Init::new(seed + 1);
        for (narrow, wide) in here.parameters_mut().iter_mut().zip(there.parameters_mut()) {
            if narrow.dims().len() == 1 {
                let drawn: HostTensor<f32> = init.uniform(narrow.dims(), 0.2)?;
                narrow.copy_from(&drawn);
            }
            *wide = widen(narrow)?;
        }
        let (mut on, mut off) = (Clamps::new(), Clamps::new());
        for (vertex, width) in [(x, widths[0]), (y, widths[widths.len() - 1])] {
            let mut held: HostTensor<f32> = init.uniform(&[batch, width], 1.0)?;
            if driven && vertex == y {
                held.data_mut().iter_mut().for_each(|x| *x = x.abs());
                on = on.drive(
                    vertex,
                    pc_cuda::CrossEntropy::new(device.tensor(held.dims(), held.data())?),
                );
                off = off.drive(vertex, CrossEntropy::new(widen(&held)?));
            } else {
                on = on.hold(vertex, device.tensor(held.dims(), held.data())?);
                off = off.hold(vertex, widen(&held)?);
            }
        }
        Ok(Self { here, there, on, off })
    }
}

fn widen(tensor: &HostTensor<f32>) -> Result<HostTensor<f64>> {
    HostTensor::new(tensor.dims(), tensor.data().iter().map(|x| f64::from(*x)).collect())
}
