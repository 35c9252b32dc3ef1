//! Bad input is an error that says what is wrong, and no panic.

use dfdx::{
    nn::{builders::*, modules},
    prelude::*,
};
use pc_core::{ErrorKind, Schedule, Status};
use pc_dfdx::{
    Learned, LossReduction, PredictiveCoding,
    builders::{Conv2d, FlattenTo},
};

type Net = (Linear<3, 4>, Tanh, Linear<4, 2>);
type Traced<S> = Tensor<S, f64, Cpu, OwnedTape<f64, Cpu>>;

fn pc() -> PredictiveCoding<f64> {
    PredictiveCoding::new(Schedule::standard(0.1, 3).unwrap(), LossReduction::Mean)
}

fn says(found: pc_core::Result<Learned<f64>>, kind: ErrorKind, words: &[&str]) {
    let error = found.expect_err("it is bad");
    let said = error.to_string();
    assert_eq!(error.kind(), kind, "{said}");
    words.iter().for_each(|word| assert!(said.contains(word), "`{said}` lacks `{word}`"));
}

fn input(samples: usize) -> Tensor<(usize, Const<3>), f64, Cpu> {
    let numbers = (0..samples * 3).map(|k| (k as f64).cos()).collect::<Vec<_>>();
    Cpu::default().tensor_from_vec(numbers, (samples, Const))
}

fn square(found: Traced<(usize, Const<2>)>) -> Traced<Rank0> {
    found.square().mean()
}

#[test]
fn batches() {
    let device = Cpu::default();
    let mut model = device.build_module::<Net, f64>();
    says(pc().learn(&mut model, input(0), square), ErrorKind::Shape, &["at least one sample"]);
    for bad in [f64::NAN, f64::INFINITY] {
        let mut x = input(2);
        x.copy_from(&[0.0, 1.0, bad, 0.0, 0.0, 0.0]);
        says(pc().learn(&mut model, x, square), ErrorKind::NotFinite, &["input"]);
    }
    let mut embedding = device.build_module::<(Embedding<4, 3>, Linear<3, 2>), f64>();
    let beyond: Tensor<Rank2<1, 2>, usize, _> = device.tensor([[1, 4]]);
    let found = pc().learn(&mut embedding, beyond, |found| found.square().mean());
    says(found, ErrorKind::Clamp, &["index 4", "from 0 to 3"]);
}

#[test]
fn losses() {
    let device = Cpu::default();
    let mut model = device.build_module::<Net, f64>();
    let root = |found: Traced<(usize, Const<2>)>| (found.square().mean() - 1e9).sqrt();
    says(pc().learn(&mut model, input(2), root), ErrorKind::NotFinite, &["loss", "NaN"]);
    // A target of another batch, where the type leaves the size open.
    let y = device.zeros_like(&(3, Const::<2>));
    let towards = move |found: Traced<(usize, Const<2>)>| mse_loss(found, y.clone());
    says(pc().learn(&mut model, input(2), towards), ErrorKind::Shape, &["the loss panicked"]);
    let mut heads = device.build_module::<SplitInto<(Linear<3, 2>, Linear<3, 2>)>, f64>();
    let coupled =
        |(a, b): (Traced<(usize, Const<2>)>, Traced<(usize, Const<2>)>)| (a * b).square().mean();
    says(pc().learn(&mut heads, input(2), coupled), ErrorKind::Unsupported, &["couples output 0"]);
    for lambda in [0.0, -1.0, f64::NAN] {
        assert_eq!(pc().with_weak_loss(lambda).unwrap_err().kind(), ErrorKind::Clamp);
    }
    let mut none = PredictiveCoding::new(Schedule::backprop(), LossReduction::MeanOver(0));
    says(none.learn(&mut model, input(2), square), ErrorKind::Misuse, &["no samples"]);
}

#[test]
fn parameters() {
    let device = Cpu::default();
    let mut model = device.build_module::<Net, f64>();
    model.2.bias.copy_from(&[0.0, f64::NAN]);
    says(pc().learn(&mut model, input(2), square), ErrorKind::NotFinite, &["2.bias"]);
    let mut turned = device.build_module::<(Linear<3, 3>, Linear<3, 2>), f64>();
    turned.0.weight = turned.0.weight.clone().permute();
    let found = pc().learn(&mut turned, input(2), square);
    says(found, ErrorKind::Backend, &["0.weight", "permuted", ".contiguous()"]);
    turned.0.weight = turned.0.weight.clone().contiguous();
    assert!(pc().learn(&mut turned, input(2), square).is_ok());
    // A module that its collection forgets.
    let mut forgets = Forgets(device.build_module::<Linear<3, 2>, f64>());
    says(pc().learn(&mut forgets, input(2), square), ErrorKind::Graph, &["iter_tensors"]);
}

struct Forgets(modules::Linear<3, 2, f64, Cpu>);

impl TensorCollection<f64, Cpu> for Forgets {
    type To<E2: Dtype, D2: Device<E2>> = ();

    fn iter_tensors<V: ModuleVisitor<Self, f64, Cpu>>(_: &mut V) -> Result<Option<()>, V::Err> {
        Ok(None)
    }
}

impl<B: Dim> pc_dfdx::Vertices<pc_dfdx::Value<(B, Const<3>), f64>, f64> for Forgets {
    type Output = pc_dfdx::Value<(B, Const<2>), f64>;

    fn read(
        &self,
        input: pc_dfdx::Value<(B, Const<3>), f64>,
        reader: &mut pc_dfdx::Reader<'_, f64>,
    ) -> pc_core::Result<Self::Output> {
        self.0.read(input, reader)
    }
}

#[test]
fn dimensions_known_at_run_time() {
    let device = Cpu::default();
    let picture: Tensor<Rank4<2, 1, 4, 4>, f64, _> = device.sample_normal();
    let mut wide = device.build_module::<(Conv2d<1, 2, 5>, FlattenTo<2>), f64>();
    let found = pc().learn(&mut wide, picture.clone(), |found| found.square().mean());
    says(found, ErrorKind::Shape, &["5x5", "no place", "[1, 4, 4]"]);
    let mut other = device.build_module::<(Conv2d<1, 2, 3>, FlattenTo<9>), f64>();
    let found = pc().learn(&mut other, picture, |found| found.square().mean());
    says(found, ErrorKind::Shape, &["8 numbers", "row of 9"]);
    let mut norm = device.build_module::<(Linear<3, 2>, BatchNorm1D<2>), f64>();
    says(pc().learn(&mut norm, input(1), square), ErrorKind::Shape, &["batch norm"]);
    let mut all = device.build_module::<(Linear<3, 2>, Dropout), f64>();
    all.1.p = 1.0;
    says(pc().learn(&mut all, input(2), square), ErrorKind::Misuse, &["dropout of 1"]);
    let mut batch = device.build_module::<(Linear<3, 2>, Reshape<Rank2<4, 1>>), f64>();
    let found = pc().learn(&mut batch, input(2), |found| found.square().mean());
    says(found, ErrorKind::Shape, &["changes the batch"]);
}

#[test]
fn schedules() {
    let device = Cpu::default();
    let mut model = device.build_module::<Net, f64>();
    let mut ipc = PredictiveCoding::new(Schedule::ipc(0.1, 3).unwrap(), LossReduction::Mean);
    says(ipc.learn(&mut model, input(2), square), ErrorKind::Schedule, &["optimiser", "train"]);
    // A relaxation that diverges gives no gradients, and an optimiser refuses none.
    let wild = Schedule::standard(1e3, 200).unwrap();
    let mut pc = PredictiveCoding::new(wild, LossReduction::Mean);
    let learned = pc.learn(&mut model, input(2), square).unwrap();
    assert_eq!(learned.outcome.status, Status::Diverged);
    let mut sgd = dfdx::optim::Sgd::new(&model, Default::default());
    let refused = sgd.update(&mut model, &learned.gradients);
    assert!(matches!(refused, Err(OptimizerUpdateError::UnusedParams(_))));
    // The same value goes on with the next batch.
    assert!(pc.learn(&mut model, input(1), square).is_ok());
}
