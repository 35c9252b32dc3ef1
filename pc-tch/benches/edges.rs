//! What awkward graphs cost beside `backward()` on the same graph: least times of rounds in turn,
//! on one thread, and how far memory rises.
//!
//! `cargo bench -p pc-tch --bench edges` prints each and fails where one is beyond its limit.
//! `cargo test` runs one round of small graphs, and compares nothing.

// In a benchmark a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{fs, process::ExitCode, time::Instant};

use pc_tch::{
    Pc, StoredWeights, TchLayers, TchTensor, identity,
    pc_core::{Clamps, Graph, Relaxation, Schedule, Tensor as _},
};
use tch::{Device, Kind, Tensor, nn};

const F32: (Kind, Device) = (Kind::Float, Device::Cpu);

/// A graph, and the most that a pass may cost of `backward()`.
struct Awkward {
    name: &'static str,
    limit: f64,
    /// The most that it may hold beside, of what `backward()` does.
    memory: f64,
    size: [usize; 2],
    loss: fn(&Tensor, usize) -> Tensor,
    pc: fn() -> Pc,
}

fn growing(x: &Tensor, steps: usize) -> Tensor {
    let mut h = x.tanh();
    for _ in 0..steps {
        h = Tensor::cat(&[&h, &(x * 0.5)], 0);
    }
    h.square().sum(Kind::Float)
}

fn tiny(x: &Tensor, steps: usize) -> Tensor {
    (0..steps).fold(x.shallow_clone(), |h, _| h.sin()).sum(Kind::Float)
}

const GRAPHS: [Awkward; 3] = [
    Awkward {
        name: "a concatenation that grows",
        limit: 1.3,
        memory: 1.3,
        size: [4000, 40],
        loss: growing,
        pc: Pc::exact,
    },
    Awkward {
        name: "tiny operations",
        limit: 1.3,
        memory: 1.5,
        size: [60_000, 600],
        loss: tiny,
        pc: Pc::exact,
    },
    Awkward {
        name: "a long chain by fixed prediction",
        limit: 4.0,
        memory: 8.0,
        size: [64_000, 600],
        loss: tiny,
        pc: || Pc::fixed_prediction(0.1, 640_000).unwrap(),
    },
];

/// The process's high-water mark, set back to what it holds now, and what that is, in KiB.
fn marks() -> Option<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let read = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    fs::write("/proc/self/clear_refs", "5").ok()?;
    Some((read("VmHWM:")?, read("VmRSS:")?))
}

/// The least time of a pass over a fresh graph, which is made untimed, and the most memory that it
/// rose by.
fn least(
    rounds: usize,
    make: &dyn Fn() -> Tensor,
    passes: [&dyn Fn(&Tensor); 2],
) -> [(f64, u64); 2] {
    let mut found = [(f64::INFINITY, 0); 2];
    for _ in 0..rounds {
        for (pass, found) in passes.iter().zip(&mut found) {
            let loss = make();
            let before = marks().map_or(0, |(_, held)| held);
            let start = Instant::now();
            pass(&loss);
            found.0 = found.0.min(start.elapsed().as_secs_f64());
            found.1 = found.1.max(marks().map_or(0, |(most, _)| most.saturating_sub(before)));
        }
    }
    found
}

fn graphs(rounds: usize, whole: bool) -> bool {
    let mut kept = true;
    for Awkward { name, limit, memory, size, loss, pc } in GRAPHS {
        let x = Tensor::rand([4], F32).set_requires_grad(true);
        let make = || loss(&x, size[usize::from(!whole)]);
        let pc = pc();
        let [(theirs, held), (ours, more)] =
            least(rounds, &make, [&|loss| loss.backward(), &|loss| pc.backward(loss)]);
        let (time, room) = (ours / theirs, more as f64 / held.max(1) as f64);
        println!(
            "{name}: backward() {:.2} ms, ours {time:.2} of it (at most {limit}); it rises by \
             {held} and {more} KiB",
            1e3 * theirs
        );
        kept &= !whole || (time <= limit && (room <= memory || more < 8192));
    }
    kept
}

/// One live step of an explicit graph of functions, beside a forward and backward pass of the same
/// net in plain tch.
fn function(rounds: usize, whole: bool) -> bool {
    let sizes: [i64; 4] = if whole { [784, 512, 512, 10] } else { [8, 6, 6, 3] };
    let store = nn::VarStore::new(Device::Cpu);
    let mut b = Graph::<TchTensor>::builder();
    let input = b.input("x", &[usize::try_from(sizes[0]).unwrap()]).unwrap();
    let mut h = input;
    for (layer, size) in sizes.iter().enumerate().skip(1) {
        let path = store.root() / format!("{layer}");
        h = if layer == 3 {
            b.linear(&path, h, *size, Default::default(), identity).unwrap()
        } else {
            b.linear(&path, h, *size, Default::default(), Tensor::f_tanh).unwrap()
        };
    }
    let mut net = b.build().unwrap();
    let _ = StoredWeights::new(&net, &store).unwrap();
    let x = Tensor::randn([64, sizes[0]], F32);
    let y = Tensor::randn([64, sizes[3]], F32);
    let v = store.variables();
    let plain = || {
        let linear = |x: &Tensor, k: usize| {
            x.linear(&v[&format!("{k}.weight")], Some(&v[&format!("{k}.bias")]))
        };
        let h = linear(&linear(&x, 1).tanh(), 2).tanh();
        (linear(&h, 3) - &y).square().sum(Kind::Float).backward();
    };
    let clamps = Clamps::new().hold(input, TchTensor::new(&x)).hold(h, TchTensor::new(&y));
    let mut rules = [20, 60].map(|steps| {
        let schedule = Schedule::standard(0.05, steps).unwrap();
        Relaxation::new(&net, schedule).unwrap()
    });
    let (mut pass, mut relaxed) = (f64::INFINITY, [f64::INFINITY; 2]);
    for _ in 0..rounds {
        let start = Instant::now();
        plain();
        pass = pass.min(start.elapsed().as_secs_f64());
        for (rule, least) in rules.iter_mut().zip(&mut relaxed) {
            let start = Instant::now();
            let _ = rule.run(&mut net, &clamps).unwrap();
            *least = least.min(start.elapsed().as_secs_f64());
        }
    }
    assert!(net.parameters()[0].is_finite());
    let step = (relaxed[1] - relaxed[0]) / 40.0 / pass;
    println!(
        "MLP {sizes:?}, batch 64: forward and backward {:.3} ms; a live step of explicit functions \
         {step:.3} of it (at most 0.35), T = 20 {:.2} of it",
        1e3 * pass,
        relaxed[0] / pass
    );
    !whole || step <= 0.35
}

fn main() -> ExitCode {
    tch::set_num_threads(1);
    tch::manual_seed(0);
    let whole = std::env::args().any(|word| word == "--bench");
    let rounds = if whole { 12 } else { 1 };
    let kept = graphs(if whole { 4 } else { 1 }, whole) & function(rounds * 4, whole);
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
