//! A small marked network in training, and its data.

use std::sync::{Arc, Mutex};

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher},
        dataset::InMemDataset,
    },
    module::Module,
    tensor::{Device, ExecutionError, Int, Tensor, TensorData},
    train::{InferenceStep, ItemLazy, TrainOutput, TrainStep},
};
use pc_burn::HasLoss;

use crate::{
    servers::Server,
    support::net::{CLASSES, Net, SIDE},
};

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

/// The small network, and where its losses are noted.
#[derive(Module, Debug)]
pub(crate) struct Logged {
    net: Net,
    #[module(skip)]
    log: Log,
}

impl Logged {
    /// The same weights on every device.
    pub(crate) fn new(device: &Device, log: Log) -> Self {
        Self { net: Net::new(device), log }
    }

    pub(crate) fn loss(&self, batch: Batch) -> Tensor<1> {
        self.net.loss(batch.x, batch.y)
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

impl TrainStep for Logged {
    type Input = Batch;
    type Output = Loss;

    fn step(&self, batch: Batch) -> TrainOutput<Loss> {
        let loss = self.loss(batch);
        let item = Loss { loss: loss.clone(), log: Some(self.log.clone()) };
        TrainOutput::new(self, loss.backward(), item)
    }
}

impl InferenceStep for Logged {
    type Input = Batch;
    type Output = Loss;

    fn step(&self, batch: Batch) -> Loss {
        Loss { loss: self.loss(batch), log: None }
    }
}
