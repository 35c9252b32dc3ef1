//! The drop-in at rate 1 needs no more memory than backprop. A program of its own, since the high-water mark is the process's.

// In a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use pc_tch::Pc;
use tch::{
    Device, Kind, Tensor,
    nn::{self, Module},
};

/// The process's high-water mark since it was last set back, and what it holds now, in KiB.
fn marks() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let read = |name: &str| status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok();
    Some((read("VmHWM:")?, read("VmRSS:")?))
}

/// How far a step's memory rises above what is held before it.
fn peak(step: impl Fn()) -> Option<u64> {
    step();
    let mut most = 0;
    for _ in 0..3 {
        // Sets the mark back to what is held now.
        std::fs::write("/proc/self/clear_refs", "5").ok()?;
        let (_, before) = marks()?;
        step();
        most = most.max(marks()?.0 - before);
    }
    Some(most)
}

#[test]
fn the_drop_in_needs_no_more_memory() {
    tch::set_num_threads(1);
    tch::manual_seed(0);
    let store = nn::VarStore::new(Device::Cpu);
    let root = store.root();
    let conv1 = nn::conv2d(&root / "conv1", 1, 6, 5, nn::ConvConfig { padding: 2, ..Default::default() });
    let conv2 = nn::conv2d(&root / "conv2", 6, 16, 5, Default::default());
    let full = nn::linear(&root / "full", 400, 10, Default::default());
    let (x, y) = (Tensor::randn([1024, 1, 28, 28], (Kind::Float, Device::Cpu)), Tensor::randint(10, [1024], (Kind::Int64, Device::Cpu)));
    let loss = || {
        let h = conv1.forward(&x).relu().max_pool2d_default(2);
        let h = conv2.forward(&h).relu().max_pool2d_default(2).flatten(1, -1);
        full.forward(&h).cross_entropy_for_logits(&y)
    };
    let pc = Pc::exact();
    let backprop = || loss().backward();
    let drop_in = || drop(pc.backward(&loss()).unwrap());
    let Some(theirs) = peak(backprop) else { return };
    let Some(ours) = peak(drop_in) else { return };
    let ratio = ours as f64 / theirs as f64;
    println!("peak above what is held: backprop {theirs} KiB, drop-in {ours} KiB, {ratio:.3}");
    assert!(theirs > 20_000, "the mark does not move: {theirs} KiB");
    assert!(ratio <= 1.05, "{ratio:.3} times backprop's");
}
