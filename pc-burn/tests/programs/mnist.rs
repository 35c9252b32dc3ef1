//! Burn's example `mnist`, on 8 by 8 digits: blocks of a convolution, batch norm and an activation,
//! dropout, two dense layers.

use burn::{
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Gelu, Linear, LinearConfig,
        PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
    },
    tensor::{Device, Int, Tensor, TensorData, activation},
};
use pc_burn::{LossReduction, vertex};
use smartcore::dataset::digits;

use crate::check;

const SIDE: usize = 8;

#[derive(Module, Debug)]
struct ConvBlock {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvBlock {
    fn new(channels: [usize; 2], device: &Device) -> Self {
        Self {
            conv: Conv2dConfig::new(channels, [3, 3])
                .with_padding(PaddingConfig2d::Valid)
                .init(device),
            norm: BatchNormConfig::new(channels[1]).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.norm.forward(self.conv.forward(x));
        vertex(activation::gelu(x))
    }
}

#[derive(Module, Debug)]
struct Mnist {
    conv1: ConvBlock,
    conv2: ConvBlock,
    dropout: Dropout,
    fc1: Linear,
    fc2: Linear,
    activation: Gelu,
}

impl Mnist {
    fn new(dropout: f64, device: &Device) -> Self {
        let side = SIDE - 4;
        check::fixed(Self {
            conv1: ConvBlock::new([1, 6], device),
            conv2: ConvBlock::new([6, 8], device),
            dropout: DropoutConfig::new(dropout).init(),
            fc1: LinearConfig::new(8 * side * side, 24).with_bias(false).init(device),
            fc2: LinearConfig::new(24, 10).with_bias(false).init(device),
            activation: Gelu::new(),
        })
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.conv1.forward(x);
        let x = self.conv2.forward(x);
        let x = self.dropout.forward(x.flatten::<2>(1, 3));
        let x = vertex(self.activation.forward(self.fc1.forward(x)));
        vertex(self.fc2.forward(x))
    }

    fn loss(&self, (images, targets): &(Tensor<4>, Tensor<1, Int>)) -> Tensor<1> {
        let output = self.forward(images.clone());
        CrossEntropyLossConfig::new().init(&output.device()).forward(output, targets.clone())
    }
}

fn batches(sizes: &[usize], device: &Device) -> Vec<(Tensor<4>, Tensor<1, Int>)> {
    let all = digits::load_dataset();
    let mut from = 0;
    let batch = |count: &usize| {
        let pictures: Vec<f32> = all.data[from * SIDE * SIDE..(from + count) * SIDE * SIDE]
            .iter()
            .map(|x| x / 8.0 - 1.0)
            .collect();
        let labels: Vec<i64> =
            all.target[from..from + count].iter().map(|label| *label as i64).collect();
        from += count;
        (
            Tensor::from_data(TensorData::new(pictures, [*count, 1, SIDE, SIDE]), device),
            Tensor::from_data(TensorData::new(labels, [*count]), device),
        )
    };
    sizes.iter().map(batch).collect()
}

#[test]
fn mnist_learns() {
    let device = check::device();
    let data = batches(&[16, 24], &device);
    check::exact(&Mnist::new(0.0, &device), &data, LossReduction::Mean, Mnist::loss);
    let data = batches(&[32, 32, 32], &device);
    let model = Mnist::new(0.0, &device);
    check::trains(
        &model,
        &data,
        LossReduction::Mean,
        (5e-3, 12),
        check::standard(),
        0.3,
        Mnist::loss,
    );
}

/// Masks are drawn anew at every step, and are the same in all passes of one.
#[test]
fn mnist_learns_with_dropout() {
    let device = check::device();
    let data = batches(&[32, 32], &device);
    let model = Mnist::new(0.25, &device);
    let standard = check::standard();
    let losses =
        check::train(model, &data, Some(standard), LossReduction::Mean, 5e-3, 20, Mnist::loss);
    let reached = losses[losses.len() - 1] / losses[0];
    println!("{} to {}", losses[0], losses[losses.len() - 1]);
    assert!(reached < 0.4, "{reached}");
}
