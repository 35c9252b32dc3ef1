//! What a whole training step (forward pass, loss, gradients, optimiser) costs by predictive coding
//! at rate 1, against the same step by backprop: in time, over interleaved pairs on one thread, and
//! in memory, each way in processes of its own.
//!
//! `cargo bench -p pc-tch --bench step -- [pairs]` prints, for each net, the mean ratio of the two
//! times with its 95% interval and the ratio of the two peaks, and fails where one is beyond its
//! limit. `cargo test` runs too few pairs to compare times, which wants a quiet machine and an
//! optimised program, and holds memory alone to its limit.

// In a benchmark a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../tests/drop_in/common.rs"]
#[allow(dead_code)]
mod common;
#[path = "../tests/drop_in/models.rs"]
#[allow(dead_code)]
mod models;

use std::{
    fs,
    process::{Command, ExitCode},
    time::Instant,
};

use common::Model;
use pc_tch::{Pc, PcOptimizer};
use tch::{
    Kind,
    nn::{self, Optimizer, OptimizerConfig},
};

/// A net, and what a step of it may cost.
struct BenchNet {
    name: &'static str,
    make: fn(Kind, i64) -> Model,
    /// Samples in a batch: to be timed, and where memory is read.
    batch: [i64; 2],
    /// Steps in one reading of a time.
    steps: u32,
    /// The most that the upper end of the interval may be.
    limit: f64,
}

const NETS: [BenchNet; 2] = [
    BenchNet { name: "lenet", make: models::lenet_of, batch: [64, 1024], steps: 20, limit: 1.10 },
    BenchNet { name: "lstm", make: models::lstm_of, batch: [64, 512], steps: 20, limit: 1.25 },
];

/// The most that the peak of memory may be, of backprop's.
const MEMORY: f64 = 1.05;

/// The fewest pairs that an interval is made of.
const ENOUGH: usize = 30;

/// `cargo bench -- memory NET WAY` is what a process of its own is started with.
const CHILD: &str = "memory";

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Backprop,
    Pc,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Backprop => "backprop",
            Way::Pc => "pc",
        }
    }
}

/// A model with its optimiser.
struct Program {
    model: Model,
    optimiser: Optimizer,
    pc: Pc,
}

impl Program {
    fn new(net: &BenchNet, batch: i64) -> Self {
        tch::set_num_threads(1);
        tch::manual_seed(0);
        let model = (net.make)(Kind::Float, batch);
        let optimiser = nn::Adam::default().build(&model.store, 1e-4).unwrap();
        Self { model, optimiser, pc: Pc::exact() }
    }

    fn step(&mut self, way: Way) {
        let loss = self.model.loss();
        match way {
            Way::Backprop => self.optimiser.backward_step(&loss),
            Way::Pc => self.optimiser.pc_step(&loss, &self.pc),
        }
    }
}

/// The mean, and the 95% interval around it by Student's t.
fn interval(figures: &[f64]) -> (f64, f64, f64) {
    let n = figures.len() as f64;
    let mean = figures.iter().sum::<f64>() / n;
    let deviation =
        (figures.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt();
    // For 29 degrees of freedom; with more of them the interval is a little too wide.
    let half = 2.05 * deviation / n.sqrt();
    (mean, mean - half, mean + half)
}

/// The ratios of the times of a step, pair by pair.
fn time(net: &BenchNet, pairs: usize) -> bool {
    let mut program = Program::new(net, net.batch[0]);
    let mut ratios = Vec::new();
    let mut backprop = Vec::new();
    // The first few warm up.
    for pair in 0..pairs + 3 {
        let mut seconds = [0.0; 2];
        // Neither goes first every time.
        for turn in 0..2 {
            let which = (pair + turn) % 2;
            let way = [Way::Backprop, Way::Pc][which];
            let start = Instant::now();
            (0..net.steps).for_each(|_| program.step(way));
            seconds[which] = start.elapsed().as_secs_f64() / f64::from(net.steps);
        }
        if pair >= 3 {
            ratios.push(seconds[1] / seconds[0]);
            backprop.push(1e3 * seconds[0]);
        }
    }
    let milliseconds = interval(&backprop).0;
    if pairs < ENOUGH {
        println!(
            "{}, batch {}: a step by backprop takes {milliseconds:.3} ms; {pairs} pairs are too \
             few to compare",
            program.model.name, net.batch[0]
        );
        return true;
    }
    let (mean, low, high) = interval(&ratios);
    let kept = high <= net.limit;
    println!(
        "{}, batch {}: a step by backprop takes {milliseconds:.3} ms, by predictive coding \
         {mean:.3} of it ({low:.3} to {high:.3}, {pairs} pairs, at most {}): {}",
        program.model.name,
        net.batch[0],
        net.limit,
        if kept { "kept" } else { "MISSED" }
    );
    kept
}

/// The process's high-water mark since it was last set back, and what it holds now, in KiB.
fn marks() -> Option<(u64, u64)> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let read = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    Some((read("VmHWM:")?, read("VmRSS:")?))
}

/// How far steps rise above what is held between them, in KiB, and how high the process has risen
/// in all.
fn rise(net: &BenchNet, way: Way) -> Option<(u64, u64)> {
    let mut program = Program::new(net, net.batch[1]);
    (0..3).for_each(|_| program.step(way));
    let whole = marks()?.0;
    // Sets the mark back to what is held now.
    fs::write("/proc/self/clear_refs", "5").ok()?;
    let (_, before) = marks()?;
    (0..3).for_each(|_| program.step(way));
    let after = marks()?.0;
    Some((after.saturating_sub(before), whole.max(after)))
}

/// The same in a process of its own, which gives freed tensors back at once, so that what it holds
/// is what lives.
fn rise_apart(net: &BenchNet, way: Way) -> (f64, f64) {
    let own = std::env::current_exe().unwrap();
    let output = Command::new(own)
        .args([CHILD, net.name, way.name()])
        .env("MALLOC_MMAP_THRESHOLD_", "32768")
        .env("MALLOC_TRIM_THRESHOLD_", "0")
        .env("MALLOC_TOP_PAD_", "0")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().unwrap()).collect();
    assert!(
        output.status.success() && numbers.len() == 2,
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    (numbers[0], numbers[1])
}

/// The peaks of memory, the middle one of three processes.
fn memory(net: &BenchNet) -> bool {
    let middle = |way: Way| {
        let mut peaks = [0; 3].map(|_| rise_apart(net, way));
        peaks.sort_by(|a, b| a.0.total_cmp(&b.0));
        peaks[1]
    };
    let (theirs, ours) = (middle(Way::Backprop), middle(Way::Pc));
    let (rise, whole) = (ours.0 / theirs.0, ours.1 / theirs.1);
    let kept = rise <= MEMORY && whole <= MEMORY && theirs.0 > 4096.0;
    println!(
        "{}, batch {}: steps by backprop rise {:.0} KiB above what is held between them, by \
         predictive coding {rise:.3} of it; the whole process \
         {whole:.3} (at most {MEMORY}): {}",
        net.name,
        net.batch[1],
        theirs.0,
        if kept { "kept" } else { "MISSED" }
    );
    kept
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, net, way, ..] = words.as_slice()
        && mode == CHILD
    {
        let net = NETS.iter().find(|known| known.name == net).unwrap();
        let way = [Way::Backprop, Way::Pc].into_iter().find(|known| known.name() == way).unwrap();
        let (above, whole) = rise(net, way).unwrap();
        println!("{above} {whole}");
        return ExitCode::SUCCESS;
    }
    let bench = words.iter().any(|word| word == "--bench");
    let pairs =
        words.iter().find_map(|word| word.parse().ok()).unwrap_or(if bench { ENOUGH } else { 2 });
    let mut kept = true;
    for net in &NETS {
        kept &= time(net, pairs);
        // What is read here, Linux alone has.
        kept &= !cfg!(target_os = "linux") || memory(net);
    }
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
