//! What live steps cost beside backprop. Timings depend on what else the machine does: this is for
//! people, `cargo test --release -p pc-burn --test marked -- --ignored --nocapture cost`.

use std::time::Instant;

use burn::{
    module::Module,
    nn::{
        Linear, LinearConfig,
        conv::{Conv2d, Conv2dConfig},
        pool::{MaxPool2d, MaxPool2dConfig},
    },
    optim::GradientsParams,
    tensor::{Device, Int, Tensor, activation::relu},
};
use pc_burn::{LossReduction, PredictiveCoding, vertex, vertex_of};
use pc_core::Schedule;

use crate::models::normal;

const BATCH: usize = 64;

/// 784-512-512-10.
#[derive(Module, Debug)]
struct Wide {
    layers: Vec<Linear>,
}

impl Wide {
    fn forward(&self, x: &Tensor<4>, lazy: bool) -> Tensor<2> {
        let x: Tensor<2> = x.clone().flatten(1, 3);
        let first = || relu(self.layers[0].forward(x.clone()));
        let x = if lazy { vertex_of(first) } else { vertex(first()) };
        let x = vertex(relu(self.layers[1].forward(x)));
        vertex(self.layers[2].forward(x))
    }
}

/// LeNet-5 on 28 x 28.
#[derive(Module, Debug)]
struct LeNet {
    convs: Vec<Conv2d>,
    pool: MaxPool2d,
    layers: Vec<Linear>,
}

impl LeNet {
    fn forward(&self, x: &Tensor<4>, lazy: bool) -> Tensor<2> {
        let first = || self.pool.forward(relu(self.convs[0].forward(x.clone())));
        let x = if lazy { vertex_of(first) } else { vertex(first()) };
        let x = vertex(self.pool.forward(relu(self.convs[1].forward(x))));
        let x: Tensor<2> = x.flatten(1, 3);
        let x = vertex(relu(self.layers[0].forward(x)));
        let x = vertex(relu(self.layers[1].forward(x)));
        vertex(self.layers[2].forward(x))
    }
}

fn cross_entropy(logits: Tensor<2>, y: &Tensor<1, Int>) -> Tensor<1> {
    crate::models::cross_entropy(logits, y.clone())
}

fn measure<M: Module>(name: &str, model: &M, forward: impl Fn(&M, bool) -> Tensor<1>) {
    let least = |mut run: Box<dyn FnMut() + '_>, rounds: usize| {
        (0..rounds).fold(f64::INFINITY, |least, _| {
            let start = Instant::now();
            run();
            least.min(start.elapsed().as_secs_f64() * 1e3)
        })
    };
    let schedule = Schedule::standard(0.1, 20).unwrap();
    let new = || PredictiveCoding::new(schedule.clone(), LossReduction::Mean);
    let (mut plain, mut lazy) = (new(), new());
    let rounds = 8;
    let backprop = |rounds| {
        least(
            Box::new(|| {
                drop(GradientsParams::from_grads(forward(model, false).backward(), model));
            }),
            rounds,
        )
    };
    let before = backprop(5 * rounds);
    let plain =
        least(Box::new(|| drop(plain.learn(model, |m| forward(m, false)).unwrap())), rounds);
    let lazy = least(Box::new(|| drop(lazy.learn(model, |m| forward(m, true)).unwrap())), rounds);
    let base = before.min(backprop(5 * rounds));
    println!(
        "{name}: backprop {base:.2} ms, `vertex` {:.2}x, `vertex_of` in front {:.2}x",
        plain / base,
        lazy / base
    );
}

#[test]
#[ignore = "a timing"]
fn cost() {
    let device = Device::flex().autodiff();
    device.seed(1);
    let linear = |from, to| LinearConfig::new(from, to).init(&device);
    let conv = |from, to| Conv2dConfig::new([from, to], [5, 5]).init(&device);
    let (x, y): (Tensor<4>, _) =
        (normal([BATCH, 1, 28, 28], &device), Tensor::arange(0..BATCH as i64, &device) % 10);
    let wide = Wide { layers: vec![linear(784, 512), linear(512, 512), linear(512, 10)] };
    measure("784-512-512-10", &wide, |m, lazy| cross_entropy(m.forward(&x, lazy), &y));
    let lenet = LeNet {
        convs: vec![conv(1, 6), conv(6, 16)],
        pool: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
        layers: vec![linear(256, 120), linear(120, 84), linear(84, 10)],
    };
    measure("LeNet", &lenet, |m, lazy| cross_entropy(m.forward(&x, lazy), &y));
}
