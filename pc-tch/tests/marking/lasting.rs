//! Memory over many steps, with and without errors in between.

use pc_tch::{PredictiveCoding, pc_core::Schedule, vertex};
use tch::{
    Kind, Tensor,
    nn::{self, Module, OptimizerConfig, VarStore},
};

use crate::common::{cross_entropy, device, seeded};

/// What the process holds, in KiB; nothing where that cannot be read.
fn resident() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[test]
fn a_thousand_steps_hold_no_more_than_a_hundred() {
    let _turn = seeded();
    let store = VarStore::new(device());
    let first = nn::linear(store.root() / "first", 64, 256, Default::default());
    let second = nn::linear(store.root() / "second", 256, 10, Default::default());
    let mut opt = nn::Adam::default().build(&store, 1e-3).unwrap();
    let x = Tensor::randn([64, 64], (Kind::Float, device()));
    let y = Tensor::randint(10, [64], (Kind::Int64, device()));
    let loss = |name: &str| {
        let h = pc_tch::named_vertex(name, &first.forward(&x).tanh().dropout(0.1, true));
        cross_entropy(&vertex(&second.forward(&h)), &y)
    };
    let mut all = [
        Schedule::standard(0.1, 4).unwrap(),
        Schedule::ipc(0.1, 3).unwrap(),
        Schedule::epc(0.1, 3).unwrap(),
        Schedule::zil(),
    ]
    .map(PredictiveCoding::new);
    let mut steps = |count: usize, errs: bool| {
        for step in 0..count {
            let pc = &mut all[step % 4];
            let mut passes = 0;
            let learned = pc.learn(&mut opt, || {
                passes += 1;
                loss(if errs && passes == 3 { "other" } else { "h" })
            });
            // Z-IL makes one pass, and sees nothing.
            assert_eq!(learned.is_err(), errs && step % 4 != 3);
        }
        assert_eq!(pc_tch::live_graphs(), 0);
        resident()
    };
    for errs in [false, true] {
        let before = steps(200, errs);
        let after = steps(1000, errs);
        let (Some(before), Some(after)) = (before, after) else { continue };
        println!("errors {errs}: {before} KiB, then {after} KiB");
        assert!(after <= before * 1.02, "errors {errs}: {before} KiB, then {after} KiB");
    }
}

/// The least time of a step by backprop on a chain of so many marks, in seconds.
fn chain(length: usize) -> f64 {
    let store = VarStore::new(device());
    let layer = nn::linear(store.root(), 4, 4, Default::default());
    let x = Tensor::randn([2, 4], (Kind::Float, device()));
    let mut pc = PredictiveCoding::new(Schedule::backprop());
    let mut least = f64::INFINITY;
    for _ in 0..5 {
        let start = std::time::Instant::now();
        pc.backward(|| {
            let mut h = x.shallow_clone();
            for _ in 0..length {
                h = vertex(&layer.forward(&h).tanh());
            }
            h.sum(Kind::Float)
        })
        .unwrap();
        least = least.min(start.elapsed().as_secs_f64());
    }
    least
}

#[test]
fn marks_cost_in_proportion_to_their_number() {
    let _turn = seeded();
    let (short, long) = (chain(150), chain(1200));
    println!("150 marks {:.1} ms, 1200 marks {:.1} ms", 1e3 * short, 1e3 * long);
    // Eight times as many: 8 where it is linear, 64 where each mark looks at all others.
    assert!(long < 24.0 * short, "150 marks take {short} s, 1200 take {long} s");
}
