//! The nets that are timed, and how much arithmetic a step of each takes.

use std::{cell::Cell, rc::Rc, time::Instant};

use pc_core::{
    Clamps, Graph, Loss, Result, SquaredError, VertexId,
    host::{Activation, ConvLayer, Element, HostLayers, HostTensor, Init},
};

use crate::{
    contract::speed::{Arithmetic, Case, TimedKind},
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
/// LeNet for 28x28 pictures, `vgg5` for 32x32 ones in colour, the others as `train` builds them for
/// 28x28 ones.
///
/// # Errors
/// None, if the nets are right and the case fits ([`Case::fits`]).
pub(in crate::backends) fn net<F: Element>(case: &Case) -> Result<TimedNet<F>> {
    let activation = case.activation.unwrap_or(ActivationKind::Relu);
    match case.kind {
        TimedKind::Model(ModelKind::Mlp) => {
            let widths = case.widths.as_deref().unwrap_or(&[784, 512, 512, CLASSES]);
            mlp(widths, activation, case.batch)
        }
        TimedKind::Model(ModelKind::Cnn) => convolutional(&LENET, activation, case.batch),
        TimedKind::Vgg5 => convolutional(&VGG5, activation, case.batch),
        TimedKind::Model(kind) => {
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
    let arithmetic = widths
        .windows(2)
        .map(|pair| 2.0 * batch as f64 * pair[0] as f64 * pair[1] as f64)
        .collect();
    let shown = widths.iter().map(usize::to_string).collect::<Vec<_>>().join("-");
    finish(
        format!("mlp {shown}, {activation}"),
        graph,
        [&[x], &[], &[y]],
        batch,
        Some(Arithmetic::new(arithmetic)),
    )
}

/// What a net of convolutions, each with 2x2 max-pooling, and of dense layers is made of.
struct Convolutional {
    /// All of it in a few words, but for the activation.
    words: &'static str,
    /// Channels and side of a picture.
    picture: [usize; 2],
    /// Side of every kernel.
    kernel: usize,
    /// Channels and padding of each convolution.
    convolutions: &'static [[usize; 2]],
    /// Outputs of the dense layers between them and the classes.
    dense: &'static [usize],
}

const LENET: Convolutional = Convolutional {
    words: "LeNet 1x28x28, conv 6 and 16 of 5x5 with 2x2 max-pool, 120-84-10",
    picture: [1, 28],
    kernel: 5,
    convolutions: &[[6, 2], [16, 0]],
    dense: &[120, 84],
};

const VGG5: Convolutional = Convolutional {
    words: "VGG5 3x32x32, conv 128, 256, 512 and 512 of 3x3 with 2x2 max-pool, 2048-10",
    picture: [3, 32],
    kernel: 3,
    convolutions: &[[128, 1], [256, 1], [512, 1], [512, 1]],
    dense: &[],
};

fn convolutional<F: Element>(
    net: &Convolutional,
    activation: ActivationKind,
    batch: usize,
) -> Result<TimedNet<F>> {
    let mut init = Init::new(SEED);
    let mut b = Graph::builder();
    let (mut layers, hidden) = (Vec::new(), activation.function(ActivationKind::LEAK));
    let ([mut channels, mut side], kernel) = (net.picture, net.kernel);
    // Operations of a multiplication with its addition, for every sample.
    let samples = 2.0 * batch as f64;
    let x = b.input("x", &[channels, side, side])?;
    let mut last = x;
    for (index, [outputs, padding]) in net.convolutions.iter().copied().enumerate() {
        let conv = ConvLayer::new(outputs, kernel).padding(padding).activation(hidden);
        let conv = conv.max_pool(2, 2);
        let conv = if index + 1 == net.convolutions.len() { conv.flatten() } else { conv };
        last = b.conv(&format!("conv{}", index + 1), last, &conv, &mut init)?;
        side = side + 2 * padding + 1 - kernel;
        layers.push(samples * (outputs * side * side * channels * kernel * kernel) as f64);
        (channels, side) = (outputs, side / 2);
    }
    let mut inputs = channels * side * side;
    let dense = net.dense.iter().map(|outputs| (*outputs, hidden));
    for (index, (outputs, activation)) in dense.chain([(CLASSES, Activation::Identity)]).enumerate()
    {
        last = b.dense(&format!("dense{}", index + 1), last, outputs, activation, &mut init)?;
        layers.push(samples * (inputs * outputs) as f64);
        inputs = outputs;
    }
    let graph = b.build()?;
    let description = format!("{}, {activation}", net.words);
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
        for &kind in TimedKind::ALL {
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
        // Multiplications of one sample, layer by layer, by hand.
        let layers = [3_538_944.0, 75_497_472.0, 75_497_472.0, 37_748_736.0, 20_480.0];
        let forward = 2.0 * 16.0 * layers.iter().sum::<f64>();
        let vgg5 = net::<f32>(&Case::new(TimedKind::Vgg5, 16))?.arithmetic.unwrap();
        assert_eq!(vgg5.forward(), forward);
        // The first layer's input is held: nothing is pulled back through it.
        assert_eq!(vgg5.backprop(), 3.0 * forward - 2.0 * 16.0 * layers[0]);
        assert_eq!(vgg5.standard(8), 18.0 * forward - 16.0 * 2.0 * 16.0 * layers[0]);
        Ok(())
    }
}
