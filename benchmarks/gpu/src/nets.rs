//! Nets with a batch of random numbers, here and on the host in f64.

use pc_core::{
    Clamps, Graph, GraphBuilder, Result, Tensor, VertexId,
    host::{Activation, ConvLayer, CrossEntropy, Element, HostLayers, HostTensor, Init},
};
use pc_cuda::{Device, DeviceTensor};

/// Biases that are not zero, from the same draws in every precision.
fn graph<F: Element>(widths: &[usize], act: Activation, seed: u64) -> Result<Ends<F>> {
    let mut init = Init::new(seed);
    let mut b = Graph::<HostTensor<F>>::builder();
    let x = b.input("x", &widths[..1])?;
    let mut at = x;
    for (index, &width) in widths.iter().enumerate().skip(1) {
        let act = if index + 1 == widths.len() { Activation::Identity } else { act };
        at = b.dense(&format!("l{index}"), at, width, act, &mut init)?;
    }
    Ok((b.build()?, vec![x, at]))
}

/// Convolutions whose channels fill no vector, with a stride that leaves rows over, and pooling.
fn convolutions<F: Element>(seed: u64) -> Result<Ends<F>> {
    let mut init = Init::new(seed);
    let mut b = Graph::<HostTensor<F>>::builder();
    let x = b.input("x", &[3, 11, 10])?;
    let first = ConvLayer::new(12, 3).padding(1).activation(Activation::Tanh).avg_pool(2, 2);
    let second = ConvLayer::new(9, 3).stride(2).padding(1).activation(Activation::Tanh).flatten();
    let at = b.conv("conv1", x, &first, &mut init)?;
    let at = b.conv("conv2", at, &second, &mut init)?;
    let y = b.dense("y", at, 7, Activation::Identity, &mut init)?;
    Ok((b.build()?, vec![x, y]))
}

/// An LSTM's inputs and, last, a dense output of its last state: so many inputs, hidden values and
/// outputs, over so many times.
pub(crate) fn over_time<F: Element>(
    b: &mut GraphBuilder<HostTensor<F>>,
    init: &mut Init,
    [inputs, hidden, outputs]: [usize; 3],
    times: usize,
) -> Result<Vec<VertexId>> {
    let parameters = b.lstm_parameters("lstm", inputs, hidden, init)?;
    let (mut h, mut c) = (b.input("h0", &[hidden])?, b.input("c0", &[hidden])?);
    let mut ends = vec![h, c];
    for time in 0..times {
        let x = b.input(&format!("x{time}"), &[inputs])?;
        ends.push(x);
        let cell = b.lstm_cell(&format!("t{time}"), x, h, c, &parameters)?;
        (h, c) = (cell.hidden, cell.cell);
    }
    ends.push(b.dense("y", h, outputs, Activation::Identity, init)?);
    Ok(ends)
}

/// Five steps of an LSTM, whose gates have as many products of one size each.
fn lstm<F: Element>(seed: u64) -> Result<Ends<F>> {
    let mut b = Graph::<HostTensor<F>>::builder();
    let ends = over_time(&mut b, &mut Init::new(seed), [7, 12, 3], 5)?;
    Ok((b.build()?, ends))
}

/// A graph in f32, its twin in f64 with the same numbers, and what both are held at and driven by.
pub(crate) struct Pair {
    pub(crate) here: Graph<HostTensor<f32>>,
    pub(crate) there: Graph<HostTensor<f64>>,
    pub(crate) on: Clamps<DeviceTensor>,
    pub(crate) off: Clamps<HostTensor<f64>>,
}

/// A graph with what is held: its inputs and, last, its output.
type Ends<F> = (Graph<HostTensor<F>>, Vec<VertexId>);

impl Pair {
    /// Of convolutions.
    pub(crate) fn convolutions(device: &Device, batch: usize, seed: u64) -> Result<Self> {
        Self::of(device, convolutions(seed)?, convolutions(seed)?, batch, false, seed)
    }

    /// Of an LSTM.
    pub(crate) fn lstm(device: &Device, batch: usize, seed: u64) -> Result<Self> {
        Self::of(device, lstm(seed)?, lstm(seed)?, batch, false, seed)
    }

    /// A chain.
    pub(crate) fn new(
        device: &Device,
        widths: &[usize],
        act: Activation,
        batch: usize,
        driven: bool,
        seed: u64,
    ) -> Result<Self> {
        let (here, there) = (graph(widths, act, seed)?, graph(widths, act, seed)?);
        Self::of(device, here, there, batch, driven, seed)
    }

    fn of(
        device: &Device,
        (mut here, ends): Ends<f32>,
        (mut there, _): Ends<f64>,
        batch: usize,
        driven: bool,
        seed: u64,
    ) -> Result<Self> {
        let mut init = Init::new(seed + 1);
        for (narrow, wide) in here.parameters_mut().iter_mut().zip(there.parameters_mut()) {
            if narrow.dims().len() == 1 {
                let drawn: HostTensor<f32> = init.uniform(narrow.dims(), 0.2)?;
                narrow.copy_from(&drawn);
            }
            *wide = widen(narrow)?;
        }
        let (mut on, mut off) = (Clamps::new(), Clamps::new());
        let output = ends.last().copied();
        for vertex in ends {
            let shape = here.shape(vertex)?.iter().copied();
            let shape: Vec<usize> = std::iter::once(batch).chain(shape).collect();
            let mut held: HostTensor<f32> = init.uniform(&shape, 1.0)?;
            if driven && Some(vertex) == output {
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
