//! A small marked network, its data, and the same weights on every device.

use std::sync::{Arc, Mutex};

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher},
        dataset::InMemDataset,
    },
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    nn::{
        LayerNorm, LayerNormConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    tensor::{Device, ExecutionError, Int, Tensor, TensorData, activation::tanh},
    train::{InferenceStep, ItemLazy, TrainOutput, TrainStep},
};
use pc_burn::{HasLoss, vertex};
use pc_core::Agreement;

use crate::servers::Server;

const SIDE: usize = 6;
const CLASSES: usize = 4;

#[derive(Clone, Debug)]
pub(crate) struct Item {
    x: Vec<f32>,
    y: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) x: Tensor<4>,
    pub(crate) y: Tensor<1, Int>,
}

#[derive(Clone)]
pub(crate) struct Batches;

impl Batcher<Item, Batch> for Batches {
    fn batch(&self, items: Vec<Item>, device: &Device) -> Batch {
        let count = items.len();
        let y: Vec<i64> = items.iter().map(|item| item.y).collect();
        let x: Vec<f32> = items.into_iter().flat_map(|item| item.x).collect();
        Batch {
            x: Tensor::from_data(TensorData::new(x, [count, 1, SIDE, SIDE]), device),
            y: Tensor::from_data(TensorData::new(y, [count]), device),
        }
    }
}

/// Smooth and distinct pictures.
pub(crate) fn items(count: usize) -> Vec<Item> {
    (0..count)
        .map(|i| Item {
            x: (0..SIDE * SIDE).map(|j| ((i * 37 + j * 101 + i * j) as f32 * 0.7).sin()).collect(),
            y: (i * i + i / 3) as i64 % CLASSES as i64,
        })
        .collect()
}

/// The batches of two workers, each joined: a loader that is split in two gives each worker one
/// half of the items.
pub(crate) fn joined(items: &[Item], batch: usize) -> Vec<Item> {
    let (left, right) = items.split_at(items.len() / 2);
    left.chunks(batch)
        .zip(right.chunks(batch))
        .flat_map(|(left, right)| [left, right].concat())
        .collect()
}

pub(crate) fn loader(items: Vec<Item>, batch: usize, device: Device) -> Arc<dyn DataLoader<Batch>> {
    DataLoaderBuilder::new(Batches)
        .batch_size(batch)
        .set_device(device)
        .build(InMemDataset::new(items))
}

/// What training saw, and a server that is lost after so many batches.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) losses: Vec<f64>,
    pub(crate) doomed: Option<(usize, Server)>,
}

#[derive(Clone, Default)]
pub(crate) struct Log(pub(crate) Arc<Mutex<Seen>>);

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

impl Log {
    fn note(&self, loss: f64) {
        let mut seen = self.0.lock().unwrap();
        seen.losses.push(loss);
        let count = seen.losses.len();
        if let Some((after, server)) = &mut seen.doomed
            && count == *after
        {
            server.kill();
        }
    }
}

/// A convolution, a pool, layer norm, and two dense layers.
#[derive(Module, Debug)]
pub(crate) struct Net {
    conv: Conv2d,
    pool: MaxPool2d,
    norm: LayerNorm,
    dense: Linear,
    head: Linear,
    #[module(skip)]
    log: Log,
}

impl Net {
    /// The same weights on every device.
    pub(crate) fn new(device: &Device, log: Log) -> Self {
        struct Fixed(f32);
        impl ModuleMapper for Fixed {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let (id, tensor, mapper) = param.consume();
                let (shape, device) = (tensor.shape(), tensor.device());
                let values: Vec<f32> = (0..shape.num_elements())
                    .map(|_| {
                        self.0 += 1.0;
                        (self.0 * 2.399).sin() * 0.4
                    })
                    .collect();
                let fixed =
                    Tensor::<D>::from_data(TensorData::new(values, shape), &device).require_grad();
                Param::from_mapped_value(id, fixed, mapper)
            }
        }
        let side = SIDE / 2;
        Self {
            conv: Conv2dConfig::new([1, 4], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            norm: LayerNormConfig::new(4 * side * side).init(device),
            dense: LinearConfig::new(4 * side * side, 12).init(device),
            head: LinearConfig::new(12, CLASSES).init(device),
            log,
        }
        .map(&mut Fixed(0.0))
    }

    pub(crate) fn loss(&self, batch: Batch) -> Tensor<1> {
        let x = vertex(self.pool.forward(tanh(self.conv.forward(batch.x))));
        let x = vertex(self.norm.forward(x.flatten::<2>(1, 3)));
        let x = vertex(tanh(self.dense.forward(x)));
        let x = vertex(self.head.forward(x));
        CrossEntropyLossConfig::new().init(&x.device()).forward(x, batch.y)
    }
}

/// A loss, and where training's are noted.
#[derive(Debug)]
pub(crate) struct Loss {
    loss: Tensor<1>,
    log: Option<Log>,
}

impl HasLoss for Loss {
    fn loss(&self) -> Tensor<1> {
        self.loss.clone()
    }
}

impl ItemLazy for Loss {
    fn sync(self) -> Result<Self, ExecutionError> {
        if let Some(log) = &self.log {
            let read = self.loss.clone().try_into_data()?;
            log.note(read.iter::<f64>().next().unwrap_or(f64::NAN));
        }
        Ok(Self { loss: self.loss.without_autodiff(), log: None })
    }
}

impl TrainStep for Net {
    type Input = Batch;
    type Output = Loss;

    fn step(&self, batch: Batch) -> TrainOutput<Loss> {
        let loss = self.loss(batch);
        let item = Loss { loss: loss.clone(), log: Some(self.log.clone()) };
        TrainOutput::new(self, loss.backward(), item)
    }
}

impl InferenceStep for Net {
    type Input = Batch;
    type Output = Loss;

    fn step(&self, batch: Batch) -> Loss {
        Loss { loss: self.loss(batch), log: None }
    }
}

pub(crate) fn parameters<M: Module>(model: &M) -> Vec<Vec<f64>> {
    struct Read(Vec<Vec<f64>>);
    impl ModuleVisitor for Read {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().into_data().iter::<f64>().collect());
        }
    }
    let mut read = Read(Vec::new());
    model.visit(&mut read);
    read.0
}

/// The largest relative difference of two lists; a NaN where there is one.
pub(crate) fn apart(ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let all = ours
        .iter()
        .zip(theirs)
        .map(|(ours, theirs)| Agreement::of_slices(ours, theirs).relative_norm);
    all.fold(0.0, |most: f64, x| if !(x <= most) { x } else { most })
}
