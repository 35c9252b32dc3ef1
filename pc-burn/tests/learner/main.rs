//! `PcModel` in burn-train's `Learner`: several workers, failures, metrics, records.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;
mod wrapped;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher},
        dataset::InMemDataset,
    },
    module::Module,
    nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig, loss::MseLoss, loss::Reduction},
    optim::SgdConfig,
    tensor::{Device, Int, Tensor, TensorData, activation::tanh},
    train::{
        ClassificationOutput, EarlyStoppingStrategy, ExecutionStrategy, InferenceStep, Learner,
        LearningResult, MultiDeviceOptim, RegressionOutput, SupervisedTraining, TrainOutput,
        TrainStep, TrainingError,
        metric::{
            AccuracyMetric, LossMetric,
            store::{Aggregate, EventStoreClient, Split},
        },
    },
};
use pc_burn::{
    AgreementMetric, EnergyMetric, LossReduction, PassesMetric, PcModel, PredictiveCoding,
    ResidualMetric, vertex,
};
use pc_core::Schedule;
use support::{apart, fixed, parameters};

/// A device's generator is one for the process: what some tests draw from it would disturb others.
fn turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

const INPUTS: usize = 12;
const CLASSES: usize = 4;
/// Of each worker.
const BATCH: usize = 8;

#[derive(Clone, Debug)]
struct Item {
    x: Vec<f32>,
    y: i64,
}

#[derive(Clone, Debug)]
struct Batch {
    x: Tensor<2>,
    y: Tensor<1, Int>,
}

#[derive(Clone)]
struct Batches;

impl Batcher<Item, Batch> for Batches {
    fn batch(&self, items: Vec<Item>, device: &Device) -> Batch {
        let count = items.len();
        let y: Vec<i64> = items.iter().map(|item| item.y).collect();
        let x: Vec<f32> = items.into_iter().flat_map(|item| item.x).collect();
        Batch {
            x: Tensor::from_data(TensorData::new(x, [count, INPUTS]), device),
            y: Tensor::from_data(TensorData::new(y, [count]), device),
        }
    }
}

/// Smooth and distinct inputs.
fn items(count: usize) -> Vec<Item> {
    (0..count)
        .map(|i| Item {
            x: (0..INPUTS).map(|j| ((i * 37 + j * 101 + i * j) as f32 * 0.7).sin()).collect(),
            y: (i * i + i / 3) as i64 % CLASSES as i64,
        })
        .collect()
}

/// The batches of two workers, each joined: a loader that is split in two gives each worker one
/// half of the items.
fn joined(items: &[Item]) -> Vec<Item> {
    let (left, right) = items.split_at(items.len() / 2);
    left.chunks(BATCH)
        .zip(right.chunks(BATCH))
        .flat_map(|(left, right)| [left, right].concat())
        .collect()
}

fn loader(items: Vec<Item>, batch: usize, device: Device) -> Arc<dyn DataLoader<Batch>> {
    DataLoaderBuilder::new(Batches)
        .batch_size(batch)
        .set_device(device)
        .build(InMemDataset::new(items))
}

#[derive(Module, Debug)]
struct Mlp {
    first: Linear,
    second: Linear,
    third: Linear,
}

impl Mlp {
    fn new(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(INPUTS, 16).init(device),
            second: LinearConfig::new(16, 10).init(device),
            third: LinearConfig::new(10, CLASSES).init(device),
        }
    }

    fn classify(&self, batch: Batch) -> ClassificationOutput {
        let x = vertex(tanh(self.first.forward(batch.x)));
        let x = vertex(tanh(self.second.forward(x)));
        let output = vertex(self.third.forward(x));
        classified(output, batch.y)
    }
}

/// Logits, with their cross-entropy.
fn classified(output: Tensor<2>, y: Tensor<1, Int>) -> ClassificationOutput {
    let loss =
        CrossEntropyLossConfig::new().init(&output.device()).forward(output.clone(), y.clone());
    ClassificationOutput::new(loss, output, y)
}

impl TrainStep for Mlp {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let item = self.classify(batch);
        TrainOutput::new(self, item.loss.backward(), item)
    }
}

impl InferenceStep for Mlp {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.classify(batch)
    }
}

fn standard(reduction: LossReduction) -> PredictiveCoding {
    PredictiveCoding::new(Schedule::standard(0.1, 20).unwrap(), reduction)
}

fn device() -> Device {
    Device::flex().autodiff()
}

fn model() -> Mlp {
    fixed(Mlp::new(&device()))
}

struct Training<'a> {
    directory: &'a Path,
    strategy: ExecutionStrategy,
    learning_rate: f64,
    epochs: usize,
}

impl Training<'_> {
    fn of<M>(self, model: M, items: Vec<Item>, batch: usize) -> LearningResult<M>
    where
        M: TrainStep<Input = Batch>
            + InferenceStep<Input = Batch>
            + Module
            + std::fmt::Display
            + 'static,
        <M as TrainStep>::Output: burn::train::ItemLazy,
        <M as InferenceStep>::Output: burn::train::ItemLazy,
    {
        let valid = loader(items[..BATCH].to_vec(), BATCH, Device::flex());
        SupervisedTraining::new(self.directory, loader(items, batch, device()), valid)
            .num_epochs(self.epochs)
            .with_application_logger(None)
            .with_training_strategy(self.strategy.into())
            .launch(Learner::new(model, SgdConfig::new().init(), self.learning_rate))
    }
}

/// Six steps of two workers, and as many of one with the joined batches. The strategy adds the
/// workers' gradients. Each is of a mean over its own half of the joined batch, so that the sum is
/// twice the gradient of the mean over all: at half the rate the steps are the same.
fn two_workers_and_one(pc: impl Fn() -> PredictiveCoding, optim: MultiDeviceOptim) -> f64 {
    const RATE: f64 = 0.5;
    let all = items(6 * 2 * BATCH);
    let directory = tempfile::tempdir().unwrap();
    let before = parameters(&model());
    let two = Training {
        directory: &directory.path().join("two"),
        strategy: ExecutionStrategy::multi(vec![device(); 2], optim),
        learning_rate: RATE / 2.0,
        epochs: 1,
    }
    .of(PcModel::new(model(), pc()), all.clone(), BATCH);
    let one = Training {
        directory: &directory.path().join("one"),
        strategy: ExecutionStrategy::single(device()),
        learning_rate: RATE,
        epochs: 1,
    }
    .of(PcModel::new(model(), pc()), joined(&all), 2 * BATCH);
    assert!(two.error.is_none() && one.error.is_none(), "{:?} {:?}", two.error, one.error);
    let (two, one) = (parameters(&two.model), parameters(&one.model));
    assert!(apart(&one, &before) > 1e-2, "training moves the weights");
    apart(&two, &one)
}

#[test]
fn two_workers_make_the_steps_of_one_with_the_joined_batch() {
    let _turn = turn();
    for optim in [MultiDeviceOptim::OptimMainDevice, MultiDeviceOptim::OptimSharded] {
        let apart = two_workers_and_one(|| standard(LossReduction::Mean), optim);
        println!("{optim:?}: {apart:.1e} apart");
        assert!(apart <= 1e-6, "{optim:?}: {apart:e}");
    }
    // A drive that is divided by the batch's size is another rule in a batch of another size: this
    // is what the test above would catch.
    let divided =
        two_workers_and_one(|| standard(LossReduction::Sum), MultiDeviceOptim::OptimMainDevice);
    println!("with a drive divided by the batch: {divided:.1e} apart");
    assert!(divided > 1e-4, "{divided:e}");
}

/// Flex has no collective operations, so burn-train's data-parallel strategy cannot start there,
/// with any model.
#[test]
fn flex_has_no_collectives_for_the_data_parallel_strategy() {
    let _turn = turn();
    use burn::tensor::distributed::{DistributedConfig, ReduceOperation};
    let started = catch_unwind(|| {
        ExecutionStrategy::ddp(
            vec![device(); 2],
            DistributedConfig { all_reduce_op: ReduceOperation::Mean },
        )
    });
    let payload = started.err().expect("Flex has collectives: train by them here");
    assert!(
        message(&*payload).contains("Distributed operations are not supported for device"),
        "{}",
        message(&*payload)
    );
}

fn message(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_default()
}

/// A model whose marks change while it relaxes.
#[derive(Module, Debug)]
struct Fickle {
    model: Mlp,
    #[module(skip)]
    runs: Count,
}

#[derive(Clone, Debug)]
struct Count(Arc<AtomicUsize>);

impl Fickle {
    fn classify(&self, mut batch: Batch) -> ClassificationOutput {
        if self.runs.0.fetch_add(1, Ordering::SeqCst) >= 12 {
            batch.x = vertex(batch.x * 1.0);
        }
        self.model.classify(batch)
    }
}

impl TrainStep for Fickle {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let item = self.classify(batch);
        TrainOutput::new(self, item.loss.backward(), item)
    }
}

impl InferenceStep for Fickle {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.classify(batch)
    }
}

#[test]
fn what_relaxation_refuses_is_a_workers_failure() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let fickle = || {
        PcModel::new(
            Fickle { model: model(), runs: Count(Arc::default()) },
            standard(LossReduction::Mean),
        )
    };
    let strategy = ExecutionStrategy::multi(vec![device(); 2], MultiDeviceOptim::OptimMainDevice);
    let result = Training { directory: directory.path(), strategy, learning_rate: 0.1, epochs: 1 }
        .of(fickle(), items(64), BATCH);
    let Some(TrainingError::Workers(failures)) = result.error.as_deref() else {
        panic!("no worker failed: {:?}", result.error)
    };
    assert!(
        failures
            .iter()
            .any(|failure| failure.message.contains("vert") && failure.message.contains("before")),
        "{failures:?}"
    );
    // On one device burn-train lets the message through as it is.
    let one = catch_unwind(AssertUnwindSafe(|| {
        let strategy = ExecutionStrategy::single(device());
        Training { directory: directory.path(), strategy, learning_rate: 0.1, epochs: 1 }
            .of(fickle(), items(64), BATCH)
            .error
    }));
    let payload = one.expect_err("the same is refused on one device");
    assert!(message(&*payload).contains("before"), "{}", message(&*payload));
    // Nothing of it is left: the next model trains.
    let strategy = ExecutionStrategy::single(device());
    let healthy = PcModel::new(model(), standard(LossReduction::Mean));
    assert!(
        Training { directory: directory.path(), strategy, learning_rate: 0.1, epochs: 1 }
            .of(healthy, items(64), BATCH)
            .error
            .is_none()
    );
}

/// Asks the training's own event store, where early stopping would.
#[derive(Clone)]
struct Asks(Arc<Mutex<Vec<[Option<f64>; 6]>>>);

impl EarlyStoppingStrategy for Asks {
    fn should_stop(&mut self, epoch: usize, store: &EventStoreClient) -> bool {
        let names = [
            "PC energy",
            "PC residual",
            "PC agreement with backprop",
            "PC passes",
            "Loss",
            "Accuracy",
        ];
        let mean = |name: &str| store.find_metric(name, epoch, Aggregate::Mean, &Split::Train);
        self.0.lock().unwrap().push(names.map(mean));
        false
    }
}

#[test]
fn metrics_reach_the_event_store() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let asks = Asks(Arc::default());
    // The tolerance ends relaxation early; every fourth step is compared with backprop.
    let schedule = Schedule::standard(0.2, 60).unwrap().until(0.05).unwrap();
    let pc = PredictiveCoding::new(schedule, LossReduction::Mean).compared_every(4);
    let result = SupervisedTraining::new(
        directory.path(),
        loader(items(64), 16, device()),
        loader(items(16), 16, Device::flex()),
    )
    .metrics((AccuracyMetric::new(), LossMetric::new()))
    .metric_train_numeric(EnergyMetric::new())
    .metric_train_numeric(ResidualMetric::new())
    .metric_train_numeric(AgreementMetric::new())
    .metric_train_numeric(PassesMetric::new())
    .early_stopping(asks.clone())
    .num_epochs(3)
    .with_application_logger(None)
    .launch(Learner::new(PcModel::new(model(), pc), SgdConfig::new().init(), 0.2));
    assert!(result.error.is_none(), "{:?}", result.error);
    let asked = asks.0.lock().unwrap().clone();
    println!("{asked:?}");
    assert_eq!(asked.len(), 3);
    for [energy, residual, agreement, passes, loss, accuracy] in asked.iter().copied() {
        let (energy, loss) = (energy.unwrap(), loss.unwrap());
        // The energy is of all 16 samples and has fallen from the loss, where it began.
        assert!(energy > 0.0 && energy < 16.0 * loss, "{energy} {loss}");
        assert!(residual.unwrap() > 0.0);
        let agreement = agreement.unwrap();
        assert!(agreement > 0.2 && agreement < 1.0 - 1e-6, "{agreement}");
        let passes = passes.unwrap();
        assert!(passes > 3.0 && passes < 60.0, "{passes}");
        assert!(accuracy.unwrap() > 0.0);
    }
    // The loss is that of the feed-forward pass, and falls.
    assert!(asked[2][4] < asked[0][4]);
}

#[test]
fn records_save_and_load() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let training = |epochs| Training {
        directory: directory.path(),
        strategy: ExecutionStrategy::single(device()),
        learning_rate: 0.2,
        epochs,
    };
    let trained =
        training(2).of(PcModel::new(model(), standard(LossReduction::Mean)), items(64), 16).model;
    let fresh = PcModel::new(Mlp::new(&device()), standard(LossReduction::Mean));
    assert!(apart(&parameters(&fresh), &parameters(&trained)) > 1e-2);
    let loaded = fresh.load_record(trained.clone().into_record());
    assert_eq!(parameters(&loaded), parameters(&trained));
    // What was loaded goes on training like what was saved.
    let on = |model| training(1).of(model, items(64), 16).model;
    assert_eq!(parameters(&on(loaded.train())), parameters(&on(trained.train())));
}

/// Regression, from an output of another type.
#[derive(Module, Debug)]
struct Regression {
    model: Mlp,
}

impl Regression {
    fn regress(&self, batch: Batch) -> RegressionOutput {
        let x = vertex(tanh(self.model.first.forward(batch.x.clone())));
        let x = vertex(tanh(self.model.second.forward(x)));
        let output = vertex(self.model.third.forward(x));
        let targets = batch.x.narrow(1, 0, CLASSES);
        RegressionOutput::new(
            MseLoss::new().forward(output.clone(), targets.clone(), Reduction::Mean),
            output,
            targets,
        )
    }
}

impl TrainStep for Regression {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> TrainOutput<RegressionOutput> {
        let item = self.regress(batch);
        TrainOutput::new(self, item.loss.backward(), item)
    }
}

impl InferenceStep for Regression {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> RegressionOutput {
        self.regress(batch)
    }
}

/// Fixed prediction at rate 1 is backprop, also through two workers and for regression; standard PC
/// is not.
#[test]
fn regression_by_backprop_and_by_fixed_prediction() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let training = || Training {
        directory: directory.path(),
        strategy: ExecutionStrategy::multi(vec![device(); 2], MultiDeviceOptim::OptimMainDevice),
        learning_rate: 0.1,
        epochs: 2,
    };
    let new = || Regression { model: model() };
    let backprop = parameters(&training().of(new(), items(64), BATCH).model);
    let by = |schedule| {
        let pc = PredictiveCoding::new(schedule, LossReduction::MeanOver(BATCH * CLASSES));
        parameters(&training().of(PcModel::new(new(), pc), items(64), BATCH).model)
    };
    let exact = apart(&by(Schedule::fixed_prediction(1.0, 4).unwrap()), &backprop);
    assert!(exact <= 1e-5, "{exact:e}");
    let other = apart(&by(Schedule::standard(0.1, 20).unwrap()), &backprop);
    assert!(other > 1e-3, "{other:e}");
}

/// What the crate's docs say of passes.
#[test]
fn passes_of_schedules() {
    let _turn = turn();
    use pc_core::Evaluation;
    let device = device();
    let batch = Batches.batch(items(BATCH), &device);
    let schedule = |schedule: pc_core::Result<Schedule>| schedule.unwrap();
    let all = [
        (Schedule::backprop(), 1),
        (Schedule::zil(), 9),
        (schedule(Schedule::fixed_prediction(0.1, 50)), 1),
        (schedule(Schedule::fixed_prediction(0.1, 50)).evaluated_by(Evaluation::Simulate), 51),
        (schedule(Schedule::standard(0.1, 20)), 21),
        (schedule(Schedule::standard(0.1, 20).and_then(|s| s.until(1e-9))), 22),
        (schedule(Schedule::epc(0.1, 10)), 11),
        (schedule(Schedule::ipc(0.1, 10)), 11),
    ];
    for (schedule, passes) in all {
        let name = schedule.to_string();
        let mut model = model();
        let mut optimiser = SgdConfig::new().init();
        let mut pc = PredictiveCoding::new(schedule, LossReduction::Mean);
        let learned = pc
            .train(&mut model, |m| m.classify(batch.clone()).loss, |m, g| optimiser.step(0.1, m, g))
            .unwrap();
        println!("{name}: {} passes", learned.passes);
        assert_eq!(learned.passes, passes, "{name}");
    }
}
