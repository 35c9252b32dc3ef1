//! Burn's cube backends, by wgpu: a GPU where there is one, or a software driver of Vulkan
//! (Debian's `mesa-vulkan-drivers`). Where wgpu finds no adapter these tests are skipped, and say
//! so; in a build without wgpu too.
//!
//! `cargo xtask wgpu` runs them.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../examples/digits.rs"]
mod digits;
mod suite;

use std::sync::OnceLock;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    nn::{
        LayerNorm, LayerNormConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    optim::SgdConfig,
    tensor::{DType, Device, Int, Tensor, TensorData, activation::tanh},
};
use pc_burn::{
    BurnTensor, LossReduction, PredictiveCoding,
    explicit::{Activate, Embedding, MaxPool2d as MaxPool, Reshape, Softmax},
    vertex,
};
use pc_core::{
    Agreement, Clamps, Evaluation, Graph, Relaxation, Schedule, Tensor as _, host::Activation,
};

/// The adapter that wgpu takes by itself; none where there is none at all.
fn adapter() -> Option<Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    let device = DEVICE.get_or_init(found);
    if device.is_none() {
        eprintln!("skipped: a test of wgpu");
    }
    device.clone()
}

#[cfg(feature = "wgpu")]
fn found() -> Option<Device> {
    use burn::tensor::wgpu::WgpuInitError;

    match Device::wgpu_options().init() {
        Ok(device) => Some(device),
        Err(WgpuInitError::AdapterUnavailable { message, .. }) => {
            eprintln!("skipped: wgpu finds no adapter here: {message}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[cfg(not(feature = "wgpu"))]
fn found() -> Option<Device> {
    eprintln!("skipped: built without wgpu (`cargo xtask wgpu` builds with it)");
    None
}

// The conformance suite in three parts, which threads share: it takes minutes on a software driver.

#[test]
fn explicit_graphs_pass_the_nets_of_the_conformance_suite_in_f32() {
    let Some(device) = adapter() else { return };
    suite::passes_nets(&device, DType::F32);
}

#[test]
fn explicit_graphs_pass_the_composites_of_the_conformance_suite_in_f32() {
    let Some(device) = adapter() else { return };
    suite::passes_composites(&device, DType::F32);
}

#[test]
fn explicit_graphs_pass_the_additions_of_the_conformance_suite_in_f32() {
    let Some(device) = adapter() else { return };
    suite::passes_additions(&device, DType::F32);
}

/// Compilers of shaders may take it that there are none.
#[test]
fn numbers_that_are_not_finite_are_seen() {
    let Some(device) = adapter() else { return };
    let tensor = |last: f64| {
        let values = [1.0, -3e38, last, 0.0, 2.0];
        BurnTensor::from_values(&[5], &values, &device, DType::F32).unwrap()
    };
    assert!(tensor(1e-40).is_finite() && tensor(3e38).is_finite());
    for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(!tensor(wrong).is_finite(), "{wrong} counts as finite");
    }
}

/// A wide and a deep one by every activation, live: what the comparisons behind differences do.
#[test]
fn every_activation_relaxes_live() {
    let Some(device) = adapter() else { return };
    let values = |phase: f64| -> Vec<f64> { (0..12).map(|k| (k as f64 + phase).sin()).collect() };
    let energy = |device: &Device, f: Activation| {
        let tensor =
            |phase| BurnTensor::from_values(&[3, 4], &values(phase), device, DType::F32).unwrap();
        let mut b = Graph::<BurnTensor>::builder();
        let x = b.input("x", &[4]).unwrap();
        let h = b.vertex("h", Box::new(Activate(f)), &[x], &[]).unwrap();
        let y = b.vertex("y", Box::new(Activate(f)), &[h], &[]).unwrap();
        let mut graph = b.build().unwrap();
        let clamps = Clamps::new().hold(x, tensor(0.0)).hold(y, tensor(1.0));
        let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 20).unwrap()).unwrap();
        relaxation.run(&mut graph, &clamps).unwrap().energy.total()
    };
    for f in [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu(0.1),
        Activation::HardTanh,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Gelu,
        Activation::Silu,
        Activation::Softplus,
    ] {
        let (there, here) = (energy(&device, f), energy(&Device::flex(), f));
        println!("{f:?}: {there} and {here}");
        assert!((there - here).abs() <= 1e-5 * here.abs(), "{f:?}: {there} {here}");
    }
}

/// Rows of embeddings, the largest of a softmax and of a window are found by integers.
#[test]
fn vertices_that_count_places_relax_live() {
    let Some(device) = adapter() else { return };
    let energy = |device: &Device| {
        let tensor = |shape: &[usize], values: &[f64]| {
            BurnTensor::from_values(shape, values, device, DType::F32).unwrap()
        };
        let wave = |count: usize| (0..count).map(|k| (k as f64 * 1.7).sin()).collect::<Vec<_>>();
        let mut b = Graph::<BurnTensor>::builder();
        let rows = b.parameter("rows", tensor(&[7, 4], &wave(28))).unwrap();
        let x = b.input("x", &[4]).unwrap();
        let e = b.vertex("e", Box::new(Embedding), &[x], &[rows]).unwrap();
        let s = b.vertex("s", Box::new(Softmax::new()), &[e], &[]).unwrap();
        let plane = b.vertex("plane", Box::new(Reshape::to(&[1, 4, 4])), &[s], &[]).unwrap();
        let p = b.vertex("p", Box::new(MaxPool::new(2, 2)), &[plane], &[]).unwrap();
        let mut graph = b.build().unwrap();
        let clamps = Clamps::new()
            .hold(x, tensor(&[2, 4], &[0.0, 6.0, 3.0, 3.0, 5.0, 1.0, 2.0, 4.0]))
            .hold(p, tensor(&[2, 1, 2, 2], &wave(8)));
        let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 20).unwrap()).unwrap();
        let energy = relaxation.run(&mut graph, &clamps).unwrap().energy.total();
        let gradient = relaxation.gradients().get(rows).unwrap().to_vec();
        (energy, gradient)
    };
    let ((there, ours), (here, theirs)) = (energy(&device), energy(&Device::flex()));
    println!("{there} and {here}");
    assert!((there - here).abs() <= 1e-5 * here.abs(), "{there} {here}");
    assert!(apart(&[ours], &[theirs]) <= 1e-5);
}

#[derive(Module, Debug)]
struct Net {
    conv: Conv2d,
    pool: MaxPool2d,
    norm: LayerNorm,
    dense: Linear,
    head: Linear,
}

impl Net {
    /// The same weights on every device.
    fn new(device: &Device) -> Self {
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
        Self {
            conv: Conv2dConfig::new([1, 4], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device),
            pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            norm: LayerNormConfig::new(36).init(device),
            dense: LinearConfig::new(36, 12).init(device),
            head: LinearConfig::new(12, 4).init(device),
        }
        .map(&mut Fixed(0.0))
    }

    fn loss(&self, x: Tensor<4>, y: Tensor<1, Int>) -> Tensor<1> {
        let x = vertex(self.pool.forward(tanh(self.conv.forward(x))));
        let x = vertex(self.norm.forward(x.flatten::<2>(1, 3)));
        let x = vertex(tanh(self.dense.forward(x)));
        let x = vertex(self.head.forward(x));
        CrossEntropyLossConfig::new().init(&x.device()).forward(x, y)
    }
}

fn batch(count: usize, device: &Device) -> (Tensor<4>, Tensor<1, Int>) {
    let x: Vec<f32> = (0..count * 36).map(|k| (k as f32 * 0.7).sin()).collect();
    let y: Vec<i64> = (0..count as i64).map(|k| (k * k + k / 3) % 4).collect();
    (
        Tensor::from_data(TensorData::new(x, [count, 1, 6, 6]), device),
        Tensor::from_data(TensorData::new(y, [count]), device),
    )
}

fn parameters<M: Module>(model: &M) -> Vec<Vec<f64>> {
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

/// The largest relative difference of a parameter; a NaN where there is one.
fn apart(ours: &[Vec<f64>], theirs: &[Vec<f64>]) -> f64 {
    let all = ours
        .iter()
        .zip(theirs)
        .map(|(ours, theirs)| Agreement::of_slices(ours, theirs).relative_norm);
    all.fold(0.0, |most: f64, x| if !(x <= most) { x } else { most })
}

/// Two steps by one `PredictiveCoding`, of batches of two sizes.
fn trained(device: &Device, schedule: &Schedule) -> Vec<Vec<f64>> {
    let mut model = Net::new(device);
    let mut optimiser = SgdConfig::new().init();
    let mut pc = PredictiveCoding::new(schedule.clone(), LossReduction::Mean);
    for count in [6, 4] {
        let (x, y) = batch(count, device);
        pc.train(&mut model, |m| m.loss(x.clone(), y.clone()), |m, g| optimiser.step(0.1, m, g))
            .unwrap();
    }
    parameters(&model)
}

#[test]
fn marked_programs_learn_by_every_rule() {
    let Some(device) = adapter() else { return };
    let before = parameters(&Net::new(&Device::flex().autodiff()));
    for schedule in [
        Schedule::backprop(),
        Schedule::fixed_prediction(0.1, 20).unwrap(),
        Schedule::fixed_prediction(1.0, 5).unwrap().evaluated_by(Evaluation::Simulate),
        Schedule::zil(),
        Schedule::standard(0.1, 20).unwrap(),
        Schedule::standard(0.05, 10).unwrap().with_momentum(0.5).unwrap(),
        Schedule::epc(0.1, 10).unwrap(),
        Schedule::ipc(0.1, 5).unwrap(),
    ] {
        let ours = trained(&device.clone().autodiff(), &schedule);
        let here = trained(&Device::flex().autodiff(), &schedule);
        let off = apart(&ours, &here);
        println!("{schedule}: off by {off:.1e}");
        assert!(apart(&here, &before) > 1e-3, "{schedule}: training moves the weights");
        assert!(off <= 3e-5, "{schedule}: {off:e}");
    }
}

#[test]
fn the_digits_train() {
    if adapter().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let options = format!(
        "--device wgpu --epochs 3 --steps 8 --rate 0.2 --quiet --directory {}",
        directory.path().display()
    );
    let (accuracy, _) = digits::run(options.split_whitespace().map(str::to_owned)).unwrap();
    println!("held-out accuracy after three epochs: {accuracy:.4}");
    assert!(accuracy >= 0.9, "{accuracy}");
}
