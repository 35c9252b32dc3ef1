//! A residual network: blocks whose input is added to what they make of it.

use burn::{
    module::Module,
    nn::{
        Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
        pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig},
    },
    tensor::{Device, Int, Tensor, TensorData, activation},
};
use pc_burn::{LossReduction, vertex};

use crate::check;

#[derive(Module, Debug)]
struct Block {
    conv1: Conv2d,
    conv2: Conv2d,
}

impl Block {
    fn new(channels: usize, device: &Device) -> Self {
        let conv = || {
            Conv2dConfig::new([channels, channels], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device)
        };
        Self { conv1: conv(), conv2: conv() }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let inner = vertex(activation::relu(self.conv1.forward(x.clone())));
        vertex(activation::relu(x + self.conv2.forward(inner)))
    }
}

#[derive(Module, Debug)]
struct ResNet {
    stem: Conv2d,
    blocks: Vec<Block>,
    pool: AdaptiveAvgPool2d,
    head: Linear,
}

type Batch = (Tensor<4>, Tensor<1, Int>);

impl ResNet {
    fn new(device: &Device) -> Self {
        check::fixed(Self {
            stem: Conv2dConfig::new([2, 4], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device),
            blocks: (0..3).map(|_| Block::new(4, device)).collect(),
            pool: AdaptiveAvgPool2dConfig::new([2, 2]).init(),
            head: LinearConfig::new(16, 3).init(device),
        })
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = vertex(activation::relu(self.stem.forward(x)));
        for block in &self.blocks {
            x = block.forward(x);
        }
        let x = self.pool.forward(x).flatten::<2>(1, 3);
        vertex(self.head.forward(x))
    }

    fn loss(&self, (x, y): &Batch) -> Tensor<1> {
        let output = self.forward(x.clone());
        CrossEntropyLossConfig::new().init(&output.device()).forward(output, y.clone())
    }
}

/// Stripes that run one way, the other way, or both ways.
fn batch(count: usize, device: &Device) -> Batch {
    let label = |k: usize| k % 3;
    let pixel = |k: usize, channel: usize, row: usize, column: usize| {
        let along = match label(k) {
            0 => row,
            1 => column,
            _ => row + column,
        };
        ((along * 2 + k) as f32 * 0.9 + channel as f32).sin()
    };
    let mut pixels = Vec::new();
    for k in 0..count {
        for place in 0..2 * 36 {
            pixels.push(pixel(k, place / 36, place / 6 % 6, place % 6));
        }
    }
    let labels: Vec<i64> = (0..count).map(|k| label(k) as i64).collect();
    (
        Tensor::from_data(TensorData::new(pixels, [count, 2, 6, 6]), device),
        Tensor::from_data(TensorData::new(labels, [count]), device),
    )
}

#[test]
fn a_resnet_learns() {
    let device = check::device();
    let model = ResNet::new(&device);
    let batches = [batch(9, &device), batch(12, &device)];
    check::exact(&model, &batches, LossReduction::Mean, ResNet::loss);
    check::trains(
        &model,
        &batches,
        LossReduction::Mean,
        (0.01, 60),
        check::standard(),
        0.4,
        ResNet::loss,
    );
}
