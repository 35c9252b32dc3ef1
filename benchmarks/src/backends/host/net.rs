//! The nets that are timed, and how much arithmetic a step of each takes.

use std::{cell::Cell, rc::Rc, time::Instant};

use pc_core::{
    Clamps, Graph, Loss, Result, SquaredError, VertexId,
    host::{Activation, ConvLayer, Element, HostLayers, HostTensor, Init},
};

use crate::{
    contract::speed::{Arithmetic, Case},
    models::{ActivationKind, InputShape, ModelKind, Size, build},
};

const CLASSES: usize = 10;
const SEED: u64 = 7;

/// A net with a batch of random numbers, its inputs and outputs held.
#[derive(Debug)]
pub(in crate::backends) struct TimedNet<F: Element> {
    /// The architecture in a few words.
    pub(in crate::backends) description: String,
    /// The net.
    pub(in crate::backends) graph: Graph<HostTensor<F>>,
    /// What is held.
    pub(in crate::backends) clamps: Clamps<HostTensor<F>>,
    /// The same, but for a squared error in place of held outputs, which notes when it is asked
    /// for: after every evaluation of the net.
    pub(super) watched: Clamps<HostTensor<F>>,
    /// When that was last.
    pub(super) watch: Watch,
    /// How much arithmetic its steps take, where that has been counted.
    pub(in crate::backends) arithmetic: Option<Arithmetic>,
}

/// A moment that a loss notes.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Rc<Cell<Option<Instant>>>);

impl Watch {
    /// The moment; none before the first.
    pub(super) fn last(&self) -> Option<Instant> {
        self.0.get()
    }

    fn note(&self) {
        self.0.set(Some(Instant::now()));
    }
}

/// The net of this kind that is timed: `mlp` 784-512-512-10 or as wide as is asked for, `cnn` a
/// LeNet for 28x28 pictures, the others as `train` builds them for such pictures.
///
/// # Errors
/// None, if the nets are right and the case fits ([`Case::fits`]).
pub(in crate::backends) fn net<F: Element>(case: &Case) -> Result<TimedNet<F>> {
    let activation = case.activation.unwrap_or(ActivationKind::Relu);
    match case.kind {
        ModelKind::Mlp => {
            let widths = case.widths.as_deref().unwrap_or(&[784, 512, 512, CLASSES]);
            mlp(widths, activation, case.batch)
        }
        ModelKind::Cnn => lenet(activation, case.batch),
        kind => {
            let model =
                build::<F>(kind, &InputShape::Image([1, 28, 28]), CLASSES, SEED, Size::Standard)?;
            Ok(finish(
                model.description,
                model.graph,
                [&model.inputs, &model.zeros, &model.outputs],
                case.batch,
                None,
            )?)
        }
    }
}

fn mlp<F: Element>(
    widths: &[usize],
    activation: ActivationKind,
    batch: usize,
) -> Result<TimedNet<F>> {
    let mut init = Init::new(SEED);
    let mut b = Graph::builder();
    let (inputs, layers) = widths.split_first().map_or((CLASSES, widths), |(x, rest)| (*x, rest));
    let x = b.input("x", &[inputs])?;
    let mut y = x;
    for (index, outputs) in layers.iter().enumerate() {
        let last = index + 1 == layers.len();
        let after =
            if last { Activation::Identity } else { activation.function(ActivationKind::LEAK) };
        y = b.dense(&format!("dense{}", index + 1), y, *outputs, after, &mut init)?;
    }
    let graph = b.build()?;
    let arithmetic = widths.windows(2).map(|pair| (2 * batch * pair[0] * pair[1]) as f64).collect();
    let shown = widths.iter().map(usize::to_string).collect::<Vec<_>>().join("-");
    finish(
        format!("mlp {shown}, {activation}"),
        graph,
        [&[x], &[], &[y]],
        batch,
        Some(Arithmetic::new(arithmetic)),
    )
}

fn lenet<F: Element>(kind: ActivationKind, batch: usize) -> Result<TimedNet<F>> {
    // Channels in, channels out, padding, side of the result before pooling.
    const CONVOLUTIONS: [[usize; 4]; 2] = [[1, 6, 2, 28], [6, 16, 0, 10]];
    const KERNEL: usize = 5;
    const FLAT: usize = 16 * 5 * 5;
    let mut init = Init::new(SEED);
    let mut b = Graph::builder();
    let (mut layers, hidden) = (Vec::new(), kind.function(ActivationKind::LEAK));
    let x = b.input("x", &[1, 28, 28])?;
    let mut last = x;
    for (index, [inputs, outputs, padding, side]) in CONVOLUTIONS.into_iter().enumerate() {
        let name = format!("conv{}", index + 1);
        let fan_in = inputs * KERNEL * KERNEL;
        let conv = ConvLayer::new(outputs, KERNEL).padding(padding).activation(hidden);
        let conv = conv.max_pool(2, 2);
        let conv = if index + 1 == CONVOLUTIONS.len() { conv.flatten() } else { conv };
        last = b.conv(&name, last, &conv, &mut init)?;
        layers.push((2 * batch * outputs * side * side * fan_in) as f64);
    }
    for (name, inputs, outputs, activation) in [
        ("dense1", FLAT, 120, hidden),
        ("dense2", 120, 84, hidden),
        ("dense3", 84, CLASSES, Activation::Identity),
    ] {
        last = b.dense(name, last, outputs, activation, &mut init)?;
        layers.push((2 * batch * inputs * outputs) as f64);
    }
    let graph = b.build()?;
    let description =
        format!("LeNet 1x28x28, conv 6 and 16 of 5x5 with 2x2 max-pool, 120-84-10, {kind}");
    finish(description, graph, [&[x], &[], &[last]], batch, Some(Arithmetic::new(layers)))
}

/// Holds inputs at random numbers, zeros at zero, and outputs at one class for each sample.
fn finish<F: Element>(
    description: String,
    graph: Graph<HostTensor<F>>,
    [inputs, zeros, outputs]: [&[VertexId]; 3],
    batch: usize,
    arithmetic: Option<Arithmetic>,
) -> Result<TimedNet<F>> {
    let mut numbers = Init::new(SEED + 1);
    let shape =
        |vertex: VertexId| -> Result<Vec<usize>> { Ok([&[batch], graph.shape(vertex)?].concat()) };
    let mut clamps = Clamps::new();
    for vertex in inputs {
        clamps = clamps.hold(*vertex, numbers.uniform(&shape(*vertex)?, 1.0)?);
    }
    for vertex in zeros {
        clamps = clamps.hold(*vertex, HostTensor::zeroed(&shape(*vertex)?)?);
    }
    let (mut watched, watch) = (clamps.clone(), Watch::default());
    for vertex in outputs {
        let mut target = HostTensor::zeroed(&shape(*vertex)?)?;
        let classes = target.dims().last().copied().unwrap_or(CLASSES).max(1);
        for (sample, row) in target.data_mut().chunks_exact_mut(classes).enumerate() {
            row[sample % classes] = F::one();
        }
        clamps = clamps.hold(*vertex, target.clone());
        let (mut loss, watch) = (SquaredError::new(target), watch.clone());
        watched =
            watched.drive(*vertex, move |prediction: &HostTensor<F>, drive: &mut HostTensor<F>| {
                watch.note();
                loss.evaluate(prediction, drive)
            });
    }
    Ok(TimedNet { description, graph, clamps, watched, watch, arithmetic })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_what_is_built() -> Result<()> {
        for kind in ModelKind::ALL {
            assert_eq!(
                net::<f32>(&Case::new(kind, 3))?.arithmetic,
                Arithmetic::of(kind, 3),
                "{kind}"
            );
        }
        Ok(())
    }

    #[test]
    fn the_arithmetic_is_that_of_the_textbook() -> Result<()> {
        let mlp = net::<f32>(&Case::new(ModelKind::Mlp, 64))?.arithmetic.unwrap();
        let forward = 2.0 * 64.0 * (784.0 * 512.0 + 512.0 * 512.0 + 5120.0);
        assert_eq!(mlp.backprop(), 3.0 * forward - 2.0 * 64.0 * 784.0 * 512.0);
        // What T = 20 costs is 7.5 times that.
        assert!((mlp.standard(20) / mlp.backprop() - 7.5).abs() < 0.01);
        let lenet = net::<f32>(&Case::new(ModelKind::Cnn, 1))?.arithmetic.unwrap();
        assert_eq!(lenet.forward(), 2.0 * (117_600.0 + 240_000.0 + 48_000.0 + 10_080.0 + 840.0));
        Ok(())
    }
}
