//! Handwritten digits by Burn's `Learner` and backprop: the program before. `digits.rs` is the same
//! by predictive coding.
//!
//! `cargo run --release -p pc-burn --features train --example digits_backprop -- --epochs 10 --seed
//! 0`
#![allow(missing_docs)]

mod common;

use std::error::Error;

use burn::{
    data::{dataloader::DataLoaderBuilder, dataset::Dataset},
    module::Module,
    nn::{
        BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    optim::AdamConfig,
    tensor::{Device, Tensor, activation::relu},
    train::{
        ClassificationOutput, InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep,
        metric::{AccuracyMetric, LossMetric},
    },
};
use common::{DigitBatch, DigitBatcher, Lines, Options, load_digits};

#[derive(Module, Debug)]
pub(crate) struct Cnn {
    conv1: Conv2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
    pool: MaxPool2d,
    dropout: Dropout,
    dense: Linear,
    head: Linear,
}

impl Cnn {
    fn new(dropout: f64, device: &Device) -> Self {
        let conv = |from, to| {
            Conv2dConfig::new([from, to], [3, 3]).with_padding(PaddingConfig2d::Same).init(device)
        };
        Self {
            conv1: conv(1, 8),
            norm1: BatchNormConfig::new(8).init(device),
            conv2: conv(8, 16),
            norm2: BatchNormConfig::new(16).init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            dropout: DropoutConfig::new(dropout).init(),
            dense: LinearConfig::new(16 * 4 * 4, 48).init(device),
            head: LinearConfig::new(48, 10).init(device),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = relu(self.norm1.forward(self.conv1.forward(images)));
        let x = self.pool.forward(relu(self.norm2.forward(self.conv2.forward(x))));
        let x = self.dropout.forward(x.flatten(1, 3));
        let x = relu(self.dense.forward(x));
        self.head.forward(x)
    }

    fn classify(&self, batch: DigitBatch) -> ClassificationOutput {
        let output = self.forward(batch.images);
        let loss = CrossEntropyLossConfig::new()
            .init(&output.device())
            .forward(output.clone(), batch.targets.clone());
        ClassificationOutput::new(loss, output, batch.targets)
    }
}

impl TrainStep for Cnn {
    type Input = DigitBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: DigitBatch) -> TrainOutput<ClassificationOutput> {
        let item = self.classify(batch);
        TrainOutput::new(self, item.loss.backward(), item)
    }
}

impl InferenceStep for Cnn {
    type Input = DigitBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: DigitBatch) -> ClassificationOutput {
        self.classify(batch)
    }
}

/// Trains, and gives the share of held-out digits that the final model knows, and the model.
pub(crate) fn run(
    arguments: impl IntoIterator<Item = String>,
) -> Result<(f64, impl Module), Box<dyn Error>> {
    let options = Options::parse(arguments)?;
    let device = options.device()?;
    device.seed(options.seed);
    let model = Cnn::new(options.dropout, &device);
    let optimiser = AdamConfig::new().init();
    let learner = Learner::new(model, optimiser, options.learning_rates()?);

    let (train, test) = load_digits();
    let count = test.len();
    let loader = |batch| DataLoaderBuilder::new(DigitBatcher).batch_size(batch);
    let train = loader(options.batch).shuffle(options.seed).set_device(device.clone()).build(train);
    let test = loader(count).set_device(device.inner()).build(test);
    let result = SupervisedTraining::new(&options.directory, train, test.clone())
        .metrics((AccuracyMetric::new(), LossMetric::new()))
        .num_epochs(options.epochs)
        .with_training_strategy(options.strategy()?.into())
        .renderer(Box::new(Lines::new(options.quiet)))
        .with_application_logger(None)
        .launch(learner);
    if let Some(error) = result.error {
        return Err(error.to_string().into());
    }

    let model = result.model;
    let mut correct = 0;
    for batch in test.iter() {
        let item = InferenceStep::step(&model, batch?);
        correct += item
            .output
            .argmax(1)
            .squeeze_dim::<1>(1)
            .equal(item.targets)
            .int()
            .sum()
            .into_scalar::<i64>();
    }
    Ok((correct as f64 / count as f64, model))
}

#[allow(dead_code)]
fn main() -> Result<(), Box<dyn Error>> {
    let (accuracy, _) = run(std::env::args().skip(1))?;
    println!("held-out accuracy: {:.2} %", 100.0 * accuracy);
    Ok(())
}
