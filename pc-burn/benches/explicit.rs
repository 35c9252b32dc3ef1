//! Explicit graphs against Burn's own backprop step (forward, loss, backward) on Flex, batch 64, in interleaved pairs: one step of standard PC,
//! `(t at T = 21 - t at T = 1) / 20`, and the whole of fixed prediction by its closed form. No optimiser.
//!
//! `cargo bench -p pc-burn --bench explicit -- [pairs]` prints, for each, the mean ratio over the pairs and its 95% interval.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::{Duration, Instant};

use burn::{
    module::Module,
    nn::{
        Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    tensor::{Device, Distribution, Tensor, activation},
};
use pc_burn::{
    BurnTensor,
    explicit::{ModuleGraph, Parameters},
};
use pc_core::{Clamps, Evaluation, Graph, Relaxation, Schedule, host::Activation};

const BATCH: usize = 64;

#[derive(Module, Debug)]
struct Mlp {
    a: Linear,
    b: Linear,
    c: Linear,
}

#[derive(Module, Debug)]
struct Cnn {
    c1: Conv2d,
    c2: Conv2d,
    pool: MaxPool2d,
    f1: Linear,
    f2: Linear,
    f3: Linear,
}

/// One net as this crate has it, and one step of Burn's.
struct Subject {
    name: &'static str,
    graph: Graph<BurnTensor>,
    clamps: Clamps<BurnTensor>,
    backprop: Box<dyn Fn()>,
}

fn finish(name: &'static str, built: (Graph<BurnTensor>, Parameters), clamps: Clamps<BurnTensor>, backprop: Box<dyn Fn()>) -> Subject {
    Subject { name, graph: built.0, clamps, backprop }
}

fn step<const D: usize>(output: Tensor<D>, target: Tensor<D>) {
    let loss = (output - target).square().sum().mul_scalar(0.5);
    std::hint::black_box(loss.backward());
}

fn hold<const D: usize>(x: (pc_core::VertexId, &Tensor<D>), y: (pc_core::VertexId, &Tensor<2>)) -> Clamps<BurnTensor> {
    Clamps::new().hold(x.0, BurnTensor::new(x.1.clone()).unwrap()).hold(y.0, BurnTensor::new(y.1.clone()).unwrap())
}

fn mlp(device: &Device) -> Subject {
    let linear = |from, to| LinearConfig::new(from, to).init(device);
    let m = Mlp { a: linear(784, 512), b: linear(512, 512), c: linear(512, 10) };
    let x = Tensor::<2>::random([BATCH, 784], Distribution::Default, device);
    let y = Tensor::<2>::random([BATCH, 10], Distribution::Default, device);
    let mut b = ModuleGraph::new();
    let input = b.input("x", &[784]).unwrap();
    let h = b.linear("a", input, &m.a, Activation::Relu).unwrap();
    let h = b.linear("b", h, &m.b, Activation::Relu).unwrap();
    let output = b.linear("c", h, &m.c, Activation::Identity).unwrap();
    let clamps = hold((input, &x), (output, &y));
    let backprop = move || {
        let h = activation::relu(m.b.forward(activation::relu(m.a.forward(x.clone()))));
        step(m.c.forward(h), y.clone());
    };
    finish("MLP 784-512-512-10", b.build().unwrap(), clamps, Box::new(backprop))
}

fn cnn(device: &Device) -> Subject {
    let linear = |from, to| LinearConfig::new(from, to).init(device);
    let m = Cnn {
        c1: Conv2dConfig::new([1, 6], [5, 5]).with_padding(PaddingConfig2d::Same).init(device),
        c2: Conv2dConfig::new([6, 16], [5, 5]).init(device),
        pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        f1: linear(400, 120),
        f2: linear(120, 84),
        f3: linear(84, 10),
    };
    let x = Tensor::<4>::random([BATCH, 1, 28, 28], Distribution::Default, device);
    let y = Tensor::<2>::random([BATCH, 10], Distribution::Default, device);
    let mut b = ModuleGraph::new();
    let input = b.input("x", &[1, 28, 28]).unwrap();
    let h = b.conv2d("c1", input, &m.c1, Activation::Relu, Some(&m.pool)).unwrap();
    let h = b.conv2d("c2", h, &m.c2, Activation::Relu, Some(&m.pool)).unwrap();
    let h = b.flatten("flat", h).unwrap();
    let h = b.linear("f1", h, &m.f1, Activation::Relu).unwrap();
    let h = b.linear("f2", h, &m.f2, Activation::Relu).unwrap();
    let output = b.linear("f3", h, &m.f3, Activation::Identity).unwrap();
    let clamps = hold((input, &x), (output, &y));
    let backprop = move || {
        let h = m.pool.forward(activation::relu(m.c1.forward(x.clone())));
        let h = m.pool.forward(activation::relu(m.c2.forward(h))).flatten::<2>(1, 3);
        let h = activation::relu(m.f2.forward(activation::relu(m.f1.forward(h))));
        step(m.f3.forward(h), y.clone());
    };
    finish("CNN 28x28, 6 and 16 maps", b.build().unwrap(), clamps, Box::new(backprop))
}

fn timed(mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// The mean and the 95% interval around it.
fn interval(ratios: &[f64]) -> (f64, f64, f64) {
    let n = ratios.len() as f64;
    let mean = ratios.iter().sum::<f64>() / n;
    let deviation = (ratios.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt();
    let half = 2.05 * deviation / n.sqrt();
    (mean, mean - half, mean + half)
}

fn run(mut subject: Subject, pairs: usize) {
    let standard = |steps| Schedule::standard(0.05, steps).unwrap();
    let closed = Schedule::fixed_prediction(0.1, 20).unwrap().evaluated_by(Evaluation::ClosedForm);
    let mut relaxations: Vec<Relaxation<Graph<BurnTensor>>> =
        [standard(21), standard(1), closed].into_iter().map(|schedule| Relaxation::new(&subject.graph, schedule).unwrap()).collect();
    let mut ratios = [Vec::new(), Vec::new()];
    let mut backprops = Vec::new();
    for pair in 0..pairs + 3 {
        let backprop = timed(|| (0..5).for_each(|_| (subject.backprop)())) / 5;
        let mut times = [Duration::ZERO; 3];
        for (relaxation, time) in relaxations.iter_mut().zip(&mut times) {
            *time = timed(|| (0..5).for_each(|_| drop(relaxation.run(&mut subject.graph, &subject.clamps).unwrap()))) / 5;
        }
        // The first few warm up.
        if pair >= 3 {
            ratios[0].push((times[0].as_secs_f64() - times[1].as_secs_f64()) / 20.0 / backprop.as_secs_f64());
            ratios[1].push(times[2].as_secs_f64() / backprop.as_secs_f64());
            backprops.push(backprop.as_secs_f64() * 1e3);
        }
    }
    println!("{}: a backprop step takes {:.3} ms", subject.name, interval(&backprops).0);
    for (name, ratios) in ["standard PC, one of T = 20 steps", "fixed prediction, closed form"].into_iter().zip(&ratios) {
        let (mean, low, high) = interval(ratios);
        println!("  {name}: {mean:.3} of it ({low:.3} to {high:.3}, {} pairs)", ratios.len());
    }
}

fn main() {
    // `cargo test` runs benches too, and asks for nothing.
    let asked: Vec<String> = std::env::args().skip(1).collect();
    let bench = asked.iter().any(|word| word == "--bench");
    let pairs = asked.iter().find_map(|word| word.parse().ok()).unwrap_or(if bench { 30 } else { 2 });
    let device = Device::flex().autodiff();
    device.seed(1);
    run(mlp(&device), pairs);
    run(cnn(&device), pairs);
}
