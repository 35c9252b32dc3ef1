//! What a training step of a marked program costs by each rule, against tch's own step of the same
//! program (forward pass, loss, `backward_step`), on one thread, in f32, batch 64.
//!
//! `cargo bench -p pc-tch --bench marks -- [rounds]` times the rules in turn, round by round,
//! prints the least time of each and its ratio to backprop's, and fails where standard PC is beyond
//! its limit. `cargo test` runs two rounds, which are too few to compare.

// In a benchmark a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{process::ExitCode, time::Instant};

use pc_tch::{
    PredictiveCoding,
    pc_core::{Schedule, Status},
    vertex,
};
use tch::{
    Device, Kind, Tensor,
    nn::{self, Module, Optimizer, OptimizerConfig, VarStore},
};

/// The most that standard PC with 20 steps may cost, of tch's own step.
const LIMIT: f64 = 9.0;

/// The fewest rounds that are worth comparing.
const ENOUGH: usize = 20;

struct Net {
    name: &'static str,
    store: VarStore,
    loss: Box<dyn Fn() -> Tensor>,
}

fn mlp() -> Net {
    let store = VarStore::new(Device::Cpu);
    let widths = [784, 512, 512, 10];
    let layers: Vec<nn::Linear> = widths
        .windows(2)
        .enumerate()
        .map(|(k, pair)| {
            nn::linear(store.root() / format!("l{k}"), pair[0], pair[1], Default::default())
        })
        .collect();
    let x = Tensor::randn([64, 784], (Kind::Float, Device::Cpu));
    let y = Tensor::randint(10, [64], (Kind::Int64, Device::Cpu));
    let loss = move || {
        let h = vertex(&layers[0].forward(&x).tanh());
        let h = vertex(&layers[1].forward(&h).tanh());
        vertex(&layers[2].forward(&h)).cross_entropy_for_logits(&y)
    };
    Net { name: "MLP 784-512-512-10", store, loss: Box::new(loss) }
}

fn lenet() -> Net {
    let store = VarStore::new(Device::Cpu);
    let root = store.root();
    let padded = nn::ConvConfig { padding: 2, ..Default::default() };
    let conv1 = nn::conv2d(&root / "conv1", 1, 6, 5, padded);
    let conv2 = nn::conv2d(&root / "conv2", 6, 16, 5, Default::default());
    let full1 = nn::linear(&root / "full1", 400, 120, Default::default());
    let full2 = nn::linear(&root / "full2", 120, 84, Default::default());
    let full3 = nn::linear(&root / "full3", 84, 10, Default::default());
    let x = Tensor::randn([64, 1, 28, 28], (Kind::Float, Device::Cpu));
    let y = Tensor::randint(10, [64], (Kind::Int64, Device::Cpu));
    let loss = move || {
        let h = vertex(&conv1.forward(&x).tanh().max_pool2d_default(2));
        let h = vertex(&conv2.forward(&h).tanh().max_pool2d_default(2).flatten(1, -1));
        let h = vertex(&full1.forward(&h).tanh());
        let h = vertex(&full2.forward(&h).tanh());
        vertex(&full3.forward(&h)).cross_entropy_for_logits(&y)
    };
    Net { name: "LeNet, 28x28", store, loss: Box::new(loss) }
}

/// One step by a rule, by backprop where there is none.
fn step(net: &Net, optimiser: &mut Optimizer, rule: Option<&mut PredictiveCoding>) {
    match rule {
        None => optimiser.backward_step(&(net.loss)()),
        Some(pc) => {
            let learned = pc.learn(optimiser, || (net.loss)()).unwrap();
            assert!(learned.outcome.status != Status::Diverged);
        }
    }
}

fn time(net: &Net, rounds: usize) -> bool {
    let schedules = [
        Schedule::backprop(),
        Schedule::fixed_prediction(0.1, 20).unwrap(),
        Schedule::zil(),
        Schedule::standard(0.1, 20).unwrap(),
        Schedule::ipc(0.1, 20).unwrap(),
        Schedule::epc(0.02, 20).unwrap(),
    ];
    let mut rules: Vec<Option<PredictiveCoding>> = vec![None];
    rules.extend(schedules.map(|schedule| Some(PredictiveCoding::new(schedule))));
    let mut optimiser = nn::Adam::default().build(&net.store, 1e-5).unwrap();
    let mut least = vec![f64::INFINITY; rules.len()];
    for round in 0..rounds + 1 {
        for (rule, least) in rules.iter_mut().zip(&mut least) {
            let start = Instant::now();
            step(net, &mut optimiser, rule.as_mut());
            if round > 0 {
                *least = least.min(1e3 * start.elapsed().as_secs_f64());
            }
        }
    }
    println!("{}: tch's own step takes {:.3} ms", net.name, least[0]);
    let mut kept = true;
    for (rule, own) in rules.iter().zip(&least) {
        let Some(rule) = rule else { continue };
        let ratio = own / least[0];
        let bounded = rule.schedule().name() == "standard PC" && rounds >= ENOUGH;
        kept &= !bounded || ratio <= LIMIT;
        println!(
            "  {}: {own:.3} ms, {ratio:.2} of it{}",
            rule.schedule(),
            if !bounded {
                String::new()
            } else if ratio <= LIMIT {
                format!(" (at most {LIMIT}): kept")
            } else {
                format!(" (at most {LIMIT}): MISSED")
            }
        );
    }
    kept
}

fn main() -> ExitCode {
    tch::set_num_threads(1);
    tch::manual_seed(0);
    let words: Vec<String> = std::env::args().skip(1).collect();
    let bench = words.iter().any(|word| word == "--bench");
    let rounds =
        words.iter().find_map(|word| word.parse().ok()).unwrap_or(if bench { 60 } else { 2 });
    let kept: Vec<bool> = [mlp(), lenet()].iter().map(|net| time(net, rounds)).collect();
    if kept.iter().all(|kept| *kept) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
