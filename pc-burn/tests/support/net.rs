//! A small marked network that learns on any device, beside itself on Flex.

use burn::{
    module::Module,
    nn::{
        LayerNorm, LayerNormConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    optim::SgdConfig,
    tensor::{Device, Int, Tensor, TensorData, activation::tanh},
};
use pc_burn::{LossReduction, PredictiveCoding, vertex};
use pc_core::{Evaluation, Schedule};

use super::{apart, fixed, parameters};

/// Of a picture.
pub(crate) const SIDE: usize = 6;
pub(crate) const CLASSES: usize = 4;

/// A convolution, a pool, layer norm, and two dense layers.
#[derive(Module, Debug)]
pub(crate) struct Net {
    conv: Conv2d,
    pool: MaxPool2d,
    norm: LayerNorm,
    dense: Linear,
    head: Linear,
}

impl Net {
    /// The same weights on every device.
    pub(crate) fn new(device: &Device) -> Self {
        let side = SIDE / 2;
        fixed(Self {
            conv: Conv2dConfig::new([1, 4], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            norm: LayerNormConfig::new(4 * side * side).init(device),
            dense: LinearConfig::new(4 * side * side, 12).init(device),
            head: LinearConfig::new(12, CLASSES).init(device),
        })
    }

    pub(crate) fn loss(&self, x: Tensor<4>, y: Tensor<1, Int>) -> Tensor<1> {
        let x = vertex(self.pool.forward(tanh(self.conv.forward(x))));
        let x = vertex(self.norm.forward(x.flatten::<2>(1, 3)));
        let x = vertex(tanh(self.dense.forward(x)));
        let x = vertex(self.head.forward(x));
        CrossEntropyLossConfig::new().init(&x.device()).forward(x, y)
    }
}

fn batch(count: usize, device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
    let x: Vec<f32> = (0..count * SIDE * SIDE).map(|k| (k as f32 * 0.7).sin()).collect();
    let y: Vec<i64> = (0..count).map(|k| ((k * k + k / 3) % CLASSES) as i64).collect();
    (
        Tensor::from_data(TensorData::new(x, [count, 1, SIDE, SIDE]), device),
        Tensor::from_data(TensorData::new(y, [count]), device),
    )
}

/// Two steps by one `PredictiveCoding`, of batches of two sizes: the weights, and the losses.
fn trained(device: &Device, schedule: &Schedule) -> (Vec<Vec<f64>>, Vec<f64>) {
    let mut model = Net::new(device);
    let mut optimiser = SgdConfig::new().init();
    let mut pc = PredictiveCoding::new(schedule.clone(), LossReduction::Mean);
    let losses = [6, 4].map(|count| {
        let (x, y) = batch(count, device);
        let learned = pc
            .train(&mut model, |m| m.loss(x.clone(), y.clone()), |m, g| optimiser.step(0.1, m, g))
            .unwrap();
        learned.loss
    });
    (parameters(&model), losses.to_vec())
}

/// Every rule on a device (with autodiff) gives the weights of Flex, to this, and its losses.
pub(crate) fn learns_by_every_rule(device: &Device, tolerance: f64) {
    let here = Device::flex().autodiff();
    let before = parameters(&Net::new(&here));
    for schedule in [
        Schedule::backprop(),
        Schedule::fixed_prediction(0.1, 20).unwrap(),
        Schedule::fixed_prediction(1.0, 5).unwrap().evaluated_by(Evaluation::Simulate),
        Schedule::zil(),
        Schedule::standard(0.1, 20).unwrap(),
        Schedule::standard(0.05, 10).unwrap().with_momentum(0.5).unwrap(),
        Schedule::standard(0.1, 60).unwrap().until(0.05).unwrap(),
        Schedule::epc(0.1, 10).unwrap(),
        Schedule::ipc(0.1, 5).unwrap(),
    ] {
        let (ours, losses) = trained(device, &schedule);
        let (theirs, expected) = trained(&here, &schedule);
        let off = apart(&ours, &theirs);
        println!("{schedule}: off by {off:.1e}");
        assert!(apart(&theirs, &before) > 1e-3, "{schedule}: training moves the weights");
        assert!(off <= tolerance, "{schedule}: {off:e}");
        // Of the second step too, which the first one's weights decide.
        assert!(apart(&[losses], &[expected]) <= tolerance.min(1e-6), "{schedule}");
    }
}
