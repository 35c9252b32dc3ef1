//! A `PcModel` is its model seen through: records, paths, groups and summaries are the model's; and
//! what a step refuses ends the training as Burn's own errors do.

use burn::{
    module::{ModuleDisplay, ModuleVisitor, Param, ParamGroup},
    nn::{Dropout, DropoutConfig},
    optim::{AdamConfig, SgdConfig},
    tensor::Distribution,
};
use pc_burn::drawn;

use super::*;

fn by(schedule: Schedule) -> PredictiveCoding {
    PredictiveCoding::new(schedule, LossReduction::Mean)
}

fn wrapped(model: Mlp) -> PcModel<Mlp> {
    PcModel::new(model, by(Schedule::backprop()))
}

fn paths<M: Module>(model: &M) -> Vec<String> {
    #[derive(Default)]
    struct Paths(Vec<String>, Vec<String>);
    impl ModuleVisitor for Paths {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.pop();
        }
        fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<D>>) {
            self.1.push(self.0.join("."));
        }
    }
    let mut paths = Paths::default();
    model.visit(&mut paths);
    paths.1
}

#[test]
fn records_load_into_each_other() {
    let _turn = crate::turn();
    let directory = tempfile::tempdir().unwrap();
    let (plain, other) = (model(), Mlp::new(&device()));
    let expected = parameters(&plain);
    assert_ne!(parameters(&other), expected);
    let into_plain = other.clone().load_record(wrapped(plain.clone()).into_record());
    assert_eq!(parameters(&into_plain), expected);
    let into_wrapped = wrapped(other.clone()).load_record(plain.clone().into_record());
    assert_eq!(parameters(&into_wrapped), expected);
    let path = directory.path().join("plain");
    plain.clone().save_file(&path).unwrap();
    assert_eq!(parameters(&wrapped(other.clone()).load_file(&path)), expected);
    let path = directory.path().join("wrapped");
    wrapped(plain.clone()).save_file(&path).unwrap();
    assert_eq!(parameters(&other.load_file(&path)), expected);
    assert_eq!(paths(&wrapped(plain.clone())), paths(&plain));
    assert_eq!(paths(&plain)[0], "first.weight");
    assert_eq!(wrapped(plain.clone()).num_params(), plain.num_params());
    assert_eq!(format!("{}", wrapped(plain.clone())), format!("{plain}"));
    assert_eq!(wrapped(plain.clone()).format(Default::default()), plain.format(Default::default()));
}

/// Trains, with a checkpoint at every epoch.
fn checkpointed<M>(model: M, directory: &Path, epochs: usize, resume: Option<usize>) -> M
where
    M: TrainStep<Input = Batch>
        + InferenceStep<Input = Batch>
        + Module
        + std::fmt::Display
        + 'static,
    <M as TrainStep>::Output: burn::train::ItemLazy,
    <M as InferenceStep>::Output: burn::train::ItemLazy,
{
    let training = SupervisedTraining::new(
        directory,
        loader(items(64), 16, device()),
        loader(items(16), 16, Device::flex()),
    )
    .num_epochs(epochs)
    .with_application_logger(None)
    .with_default_checkpointers();
    let training = match resume {
        Some(epoch) => training.checkpoint(epoch),
        None => training,
    };
    let result = training.launch(Learner::new(model, SgdConfig::new().init(), 0.2));
    assert!(result.error.is_none(), "{:?}", result.error);
    result.model
}

/// Two epochs of the one go on as one of the other, from the `Learner`'s checkpoint.
#[test]
fn checkpoints_of_the_learner_load_into_each_other() {
    let _turn = crate::turn();
    let whole = parameters(&{
        let directory = tempfile::tempdir().unwrap();
        checkpointed(model(), directory.path(), 3, None)
    });
    let directory = tempfile::tempdir().unwrap();
    checkpointed(wrapped(model()), directory.path(), 2, None);
    let plain = checkpointed(Mlp::new(&device()), directory.path(), 3, Some(2));
    assert!(apart(&parameters(&plain), &whole) <= 1e-5);
    let directory = tempfile::tempdir().unwrap();
    checkpointed(model(), directory.path(), 2, None);
    let pc = checkpointed(wrapped(Mlp::new(&device())), directory.path(), 3, Some(2));
    assert!(apart(&parameters(&pc), &whole) <= 1e-5);
}

/// A group by path, by expression, and by what a module's own call freezes.
#[test]
fn groups_match_the_models_own_paths() {
    let _turn = crate::turn();
    fn trained<M>(model: M, group: ParamGroup) -> Vec<Vec<f64>>
    where
        M: TrainStep<Input = Batch> + Module,
    {
        let mut optimiser =
            SgdConfig::new().init().with_group(group, AdamConfig::new().build(), None);
        let mut model = model;
        for _ in 0..3 {
            let step = TrainStep::step(&model, Batches.batch(items(16), &device()));
            model = optimiser.step(0.2, model, step.grads);
        }
        parameters(&model)
    }
    type Group = fn() -> ParamGroup;
    let groups: [Group; 2] =
        [|| ParamGroup::from_path("first.weight"), || ParamGroup::from_regex("^first").unwrap()];
    for group in groups {
        let off = apart(&trained(wrapped(model()), group()), &trained(model(), group()));
        assert!(off <= 1e-5, "{off:e}");
        let learning = |model: PcModel<Mlp>| {
            TrainStep::step(&model, Batches.batch(items(16), &device())).grads.len()
        };
        let frozen = wrapped(model()).set_require_grad_group(group(), false);
        assert!(learning(frozen) < learning(wrapped(model())));
    }
}

/// Draws a branch by Burn's generator at every step, as stochastic depth does, and marks one value
/// more at every other run from where it is told to.
#[derive(Module, Debug)]
struct Branching {
    model: Mlp,
    #[module(skip)]
    runs: Count,
    breaks: usize,
}

impl TrainStep for Branching {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, mut batch: Batch) -> TrainOutput<ClassificationOutput> {
        let run = self.runs.0.fetch_add(1, Ordering::SeqCst);
        if self.breaks > 0 && run >= self.breaks && run.is_multiple_of(2) {
            batch.x = pc_burn::named_vertex("late", batch.x * 1.0);
        }
        let toss = Tensor::<1>::random([1], Distribution::Uniform(0.0, 1.0), &batch.x.device());
        if toss.into_scalar::<f32>() > 0.5 {
            batch.x = vertex(batch.x * 1.0);
        }
        let item = self.model.classify(batch);
        TrainOutput::new(self, item.loss.backward(), item)
    }
}

impl InferenceStep for Branching {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.model.classify(batch)
    }
}

fn branching(breaks: usize) -> Branching {
    Branching { model: model(), runs: Count(Arc::default()), breaks }
}

#[test]
fn drawn_branches_train_and_a_refusal_ends_training_in_order() {
    let _turn = crate::turn();
    for (breaks, interrupting) in [(0, false), (70, true)] {
        let directory = tempfile::tempdir().unwrap();
        let training = SupervisedTraining::new(
            directory.path(),
            loader(items(64), BATCH, device()),
            loader(items(16), BATCH, Device::flex()),
        )
        .metric_train_numeric(PassesMetric::new())
        .num_epochs(3)
        .with_application_logger(None);
        let mut wrapped = PcModel::new(branching(breaks), standard(LossReduction::Mean));
        if interrupting {
            wrapped = wrapped.interrupting(training.interrupter());
        }
        let result = training.launch(Learner::new(wrapped, SgdConfig::new().init(), 0.2));
        match result.error {
            None => assert_eq!(breaks, 0),
            Some(error) => {
                let text = error.to_string();
                assert!(breaks > 0 && text.contains("before"), "{text}");
                assert!(text.contains("step ") && text.contains("pass "), "{text}");
            }
        }
        let moved = apart(&parameters(&result.model), &parameters(&model()));
        assert!(moved > 1e-3, "{moved:e}");
    }
}

/// Noise is another at every step, by workers that each have a copy.
#[test]
fn noise_is_drawn_anew_at_every_step() {
    let _turn = crate::turn();
    let schedule = Schedule::standard(0.1, 4).and_then(|s| s.with_noise(0.05, 1)).unwrap();
    let pc_model = PcModel::new(model(), by(schedule.clone()));
    let energy = |model: &PcModel<Mlp>| {
        TrainStep::step(model, Batches.batch(items(16), &device())).item.relaxed.energy
    };
    let clone = pc_model.clone();
    let energies = [energy(&pc_model), energy(&clone), energy(&pc_model)];
    assert!(energies[0] != energies[1] && energies[1] != energies[2], "{energies:?}");
    let again = PcModel::new(model(), by(schedule));
    assert_eq!([energy(&again), energy(&again.clone()), energy(&again)], energies);
    // What is carried is refused by name.
    let carried = Schedule::standard(0.1, 4).unwrap().starting(pc_core::Start::Carried);
    let text = by(carried)
        .learn(&model(), |m| m.classify(Batches.batch(items(16), &device())).loss)
        .unwrap_err()
        .to_string();
    assert!(text.contains("ModuleGraph"), "{text}");
}

/// Augments by numbers that are drawn in the loader's workers, of the same generator as masks.
#[derive(Clone)]
struct Augmenting;

impl Batcher<Item, Batch> for Augmenting {
    fn batch(&self, items: Vec<Item>, device: &Device) -> Batch {
        let mut batch = Batches.batch(items, device);
        for _ in 0..20 {
            batch.x = batch.x.clone() + batch.x.random_like(Distribution::Normal(0.0, 0.02));
        }
        batch
    }
}

/// With a mask between its layers: of the step, or of the process.
#[derive(Module, Debug)]
struct Dropped {
    model: Mlp,
    dropout: Dropout,
    of_the_step: bool,
}

impl Dropped {
    fn classify(&self, batch: Batch) -> ClassificationOutput {
        let x = vertex(tanh(self.model.first.forward(batch.x)));
        let x = if self.of_the_step {
            pc_burn::dropout(&self.dropout, x)
        } else {
            self.dropout.forward(x)
        };
        let x = vertex(tanh(self.model.second.forward(x)));
        let output = vertex(self.model.third.forward(x));
        classified(output, batch.y)
    }
}

impl TrainStep for Dropped {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let item = self.classify(batch);
        TrainOutput::new(self, item.loss.backward(), item)
    }
}

impl InferenceStep for Dropped {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.classify(batch)
    }
}

#[test]
fn masks_of_the_step_train_beside_workers_that_draw() {
    let _turn = crate::turn();
    let train = |of_the_step: bool| {
        let directory = tempfile::tempdir().unwrap();
        let loader = DataLoaderBuilder::new(Augmenting)
            .batch_size(BATCH)
            .num_workers(2)
            .set_device(device())
            .build(InMemDataset::new(items(512)));
        let schedule = Schedule::fixed_prediction(1.0, 4).unwrap();
        let simulated = schedule.evaluated_by(pc_core::Evaluation::Simulate);
        let training = SupervisedTraining::new(
            directory.path(),
            loader,
            super::loader(items(16), BATCH, Device::flex()),
        )
        .metric_train_numeric(AgreementMetric::new())
        .num_epochs(2)
        .with_application_logger(None);
        let asks = Asks(Arc::default());
        let training = training.early_stopping(asks.clone());
        let dropout = DropoutConfig::new(0.5).init();
        let wrapped = PcModel::new(
            Dropped { model: model(), dropout, of_the_step },
            by(simulated).compared_every(1),
        )
        .interrupting(training.interrupter());
        let result = training.launch(Learner::new(wrapped, SgdConfig::new().init(), 0.1));
        let agreement = asks.0.lock().unwrap().iter().map(|asked| asked[2]).collect::<Vec<_>>();
        (result.error.map(|error| error.to_string()), agreement)
    };
    // Only with one mask in all passes is the simulation backprop.
    let (error, agreement) = train(true);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(agreement.len(), 2);
    for cosine in agreement {
        assert!(cosine.unwrap() > 1.0 - 1e-5, "{cosine:?}");
    }
    // Masks of the process are right, or the error says what to do.
    let (error, agreement) = train(false);
    match error {
        Some(text) => assert!(text.contains("pc_burn::dropout"), "{text}"),
        None => assert!(agreement.iter().all(|cosine| cosine.unwrap() > 1.0 - 1e-5)),
    }
}

/// What a program draws for the step is drawn once, and beside what it draws from the process.
#[test]
fn drawn_numbers_stay_beside_others() {
    let _turn = crate::turn();
    let device = device();
    device.seed(3);
    let batch = Batches.batch(items(16), &device);
    let model = model();
    let dropout = DropoutConfig::new(0.5).init();
    let schedule = Schedule::fixed_prediction(1.0, 4).unwrap();
    let new = || by(schedule.clone().evaluated_by(pc_core::Evaluation::Simulate)).compared_every(1);
    let mut each = [new(), new()];
    for both in [false, true, false, true] {
        let pc = &mut each[usize::from(both)];
        let draws = std::cell::Cell::new(0);
        let learned = pc
            .learn(&model, |m| {
                let noise = drawn(|| {
                    draws.set(draws.get() + 1);
                    batch.x.random_like(Distribution::Normal(0.0, 0.3))
                });
                let x = batch.x.clone() + noise;
                let x = vertex(tanh(m.first.forward(x)));
                let x = if both { dropout.forward(x) } else { x };
                let x = vertex(tanh(m.second.forward(pc_burn::dropout(&dropout, x))));
                let output = vertex(m.third.forward(x));
                CrossEntropyLossConfig::new()
                    .init(&output.device())
                    .forward(output, batch.y.clone())
            })
            .unwrap();
        assert_eq!(draws.get(), 1);
        for (name, agreement) in learned.agreement.unwrap() {
            assert!(agreement.relative_norm <= 1e-5, "{both}, {name}: {agreement:?}");
        }
    }
    // It cannot be made of a parameter.
    let text = new()
        .learn(&model, |m| {
            let bad = drawn(|| m.first.forward(batch.x.clone()));
            let x = vertex(tanh(m.second.forward(vertex(tanh(bad)))));
            m.third.forward(x).mean()
        })
        .unwrap_err()
        .to_string();
    assert!(text.contains("made of parameters"), "{text}");
}
