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
mod support;

use std::sync::OnceLock;

use burn::tensor::{DType, Device};
use pc_burn::{
    BurnTensor,
    explicit::{Activate, Embedding, MaxPool2d, Reshape, Softmax},
};
use pc_core::{Clamps, Graph, Relaxation, Schedule, Tensor as _, host::Activation};
use support::apart;

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
        let p = b.vertex("p", Box::new(MaxPool2d::new(2, 2)), &[plane], &[]).unwrap();
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

#[test]
fn marked_programs_learn_by_every_rule() {
    let Some(device) = adapter() else { return };
    support::net::learns_by_every_rule(&device.autodiff(), 3e-5);
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
