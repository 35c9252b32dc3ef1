//! Convolutions whose operands are bf16 numbers, beside the host's in `f64`.

use std::hash::{DefaultHasher, Hash, Hasher};

use pc_core::{
    Agreement, Clamps, Evaluation, Graph, HandOver, Relaxation, Result, Schedule, Tensor,
    host::{Activation, ConvLayer, Element, HostLayers, HostTensor, Init},
};
use pc_cuda::{Device, Precision, graph_to_device};

const BATCH: usize = 3;
const SHAPES: [(&str, &[usize]); 2] = [("x", &[3, 9, 8]), ("y", &[4])];

/// Channels that fill no vector, means over windows that overlap, a stride that leaves rows over,
/// windows beyond the edges.
fn net<F: Element>() -> Result<Graph<HostTensor<F>>> {
    let mut init = Init::new(4);
    let mut b = Graph::builder();
    let x = b.input("x", SHAPES[0].1)?;
    let first = ConvLayer::new(10, 3).padding(1).activation(Activation::Tanh).avg_pool(2, 1);
    let second = ConvLayer::new(5, 3).stride(2).padding(1).activation(Activation::Tanh);
    let third = ConvLayer::new(6, 2).activation(Activation::Tanh).flatten();
    let mut at = x;
    for (index, layer) in [first, second, third].iter().enumerate() {
        at = b.conv(&format!("conv{}", index + 1), at, layer, &mut init)?;
    }
    b.dense("y", at, 4, Activation::Identity, &mut init)?;
    b.build()
}

/// How far the gradients of a net of convolutions lie from the host's, at most, relative to their
/// norms; and a hash of their bits.
///
/// # Errors
/// What the device reports.
pub(crate) fn rounded(device: &Device, schedule: Schedule) -> Result<(f64, u64)> {
    let schedule = schedule.evaluated_by(Evaluation::Simulate);
    let (here, mut there) = (net::<f32>()?, net::<f64>()?);
    let mut on_device = graph_to_device(&here, device, Precision::Bf16)?;
    there.copy_parameters_from(&here)?;
    let (mut on, mut off) = (Clamps::new(), Clamps::new());
    let mut init = Init::new(5);
    for (name, shape) in SHAPES {
        let shape: Vec<usize> = std::iter::once(BATCH).chain(shape.iter().copied()).collect();
        let held: HostTensor<f32> = init.uniform(&shape, 2.0)?;
        let vertex = here.vertex(name)?;
        on = on.hold(vertex, device.tensor(&shape, held.data())?);
        let wide = held.data().iter().map(|x| f64::from(*x)).collect();
        off = off.hold(vertex, HostTensor::new(&shape, wide)?);
    }
    let mut rule = Relaxation::new(&on_device, schedule.clone())?;
    rule.run(&mut on_device, &on)?;
    device.synchronize()?;
    let found: Vec<_> =
        rule.gradients().iter().map(|(_, g)| g.map(Tensor::to_vec).unwrap_or_default()).collect();
    let mut rule = Relaxation::new(&there, schedule)?;
    rule.run(&mut there, &off)?;
    let mut worst = 0f64;
    for ((_, wanted), found) in rule.gradients().iter().zip(&found) {
        let wanted = wanted.map(Tensor::to_vec).unwrap_or_default();
        let off = Agreement::of_slices(found, &wanted).relative_norm;
        // A NaN stays.
        worst = if worst.is_nan() || off <= worst { worst } else { off };
    }
    let mut hasher = DefaultHasher::new();
    found.iter().flatten().for_each(|x| x.to_bits().hash(&mut hasher));
    Ok((worst, hasher.finish()))
}
