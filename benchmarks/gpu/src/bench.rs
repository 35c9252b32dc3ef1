//! How long a relaxation takes, beside other frameworks on the same machine.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use pc_core::{Evaluation, Relaxation, Result, Schedule, host::Activation};
use pc_cuda::{Device, FusedNet, Precision, Strategy};

use crate::{graphs, nets::Pair};

/// A chain to time.
struct Case {
    name: &'static str,
    widths: &'static [usize],
    batch: usize,
    precisions: &'static [Precision],
}

const CASES: [Case; 2] = [
    Case {
        name: "mlp",
        widths: &[784, 512, 512, 10],
        batch: 64,
        precisions: &[Precision::Tf32, Precision::Bf16, Precision::F32],
    },
    Case {
        name: "wide",
        widths: &[1024; 11],
        batch: 256,
        precisions: &[Precision::Bf16, Precision::Tf32],
    },
];
const STEPS: usize = 20;
const WARM: usize = 20;
const ROUNDS: usize = 200;

pub(crate) fn word(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::Tf32 => "tf32",
        Precision::Bf16 => "bf16",
    }
}

/// Whether there is a net of this name to time.
pub(crate) fn knows(name: &str) -> bool {
    let chains = CASES.iter().map(|case| case.name);
    chains.chain(graphs::CASES.iter().map(|case| case.name)).any(|known| known == name)
}

/// Times every kernel in every precision and mode, on every net or on the one of this name; always
/// true, for nothing is judged.
pub(crate) fn bench(device: &Device, only: Option<&str>) -> Result<bool> {
    let mut chosen = CASES.iter().filter(|case| only.is_none_or(|name| name == case.name));
    chosen.try_for_each(|case| time(device, case))?;
    let mut chosen = graphs::CASES.iter().filter(|case| only.is_none_or(|name| name == case.name));
    chosen.try_for_each(|case| graphs::time(device, case))?;
    Ok(true)
}

fn time(device: &Device, case: &Case) -> Result<()> {
    let Case { widths, batch, precisions, .. } = case;
    let mut pair = Pair::new(device, widths, Activation::Tanh, *batch, false, 0)?;
    let peers = [
        ("PyTorch, CUDA graph", include_str!("../relax_torch.py")),
        ("JAX, jit", include_str!("../relax_jax.py")),
    ];
    let numbers = |all: &[usize]| all.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let words = precisions.iter().map(|p| word(*p)).collect::<Vec<_>>().join(",");
    let words = [numbers(widths), batch.to_string(), words];
    let peers = peers.map(|(name, program)| Peer::run(name, program, &words));
    println!(
        "widths {widths:?}, tanh, batch {batch}, T = {STEPS}: medians of {ROUNDS} in \
         microseconds, by device events (JAX: by the clock)"
    );
    println!("{:6} {:8} {:43} {:>9}", "", "", "", "median");
    for &precision in *precisions {
        for live in [true, false] {
            let (word, mode) = (word(precision), if live { "live" } else { "frozen" });
            for strategy in [
                Strategy::Fastest,
                Strategy::Cluster(8),
                Strategy::Cluster(16),
                Strategy::Gemm,
                Strategy::Graph,
            ] {
                let net = FusedNet::from_graph(&pair.here, device, precision)?
                    .relaxed_by(strategy)
                    .timed();
                match net.plan(*batch, live) {
                    Ok(plan) => println!(
                        "{word:6} {mode:8} {:43} {:9.1}",
                        plan.to_string(),
                        median(net, &mut pair, live)? * 1e6
                    ),
                    Err(error) => println!(
                        "{word:6} {mode:8} {:43} {:>9}: {error}",
                        format!("{strategy:?}"),
                        "absent"
                    ),
                }
            }
            peers.iter().for_each(|peer| peer.print(word, mode));
        }
    }
    Ok(())
}

fn median(mut net: FusedNet, pair: &mut Pair, live: bool) -> Result<f64> {
    let schedule = if live {
        Schedule::standard(0.1, STEPS)?
    } else {
        Schedule::fixed_prediction(0.1, STEPS)?
    };
    let mut rule = Relaxation::new(&net, schedule.evaluated_by(Evaluation::Simulate))?;
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..WARM + ROUNDS {
        rule.run(&mut net, &pair.on)?;
        if round >= WARM {
            times.extend(net.last_relaxation());
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied().unwrap_or(f64::NAN))
}

/// Medians by precision and mode.
type Times = BTreeMap<(String, String), f64>;

/// What a program of another framework took, or why there is nothing of it.
pub(crate) struct Peer {
    name: &'static str,
    times: std::result::Result<Times, String>,
}

impl Peer {
    /// Runs a program that prints lines of a precision, a mode and microseconds.
    pub(crate) fn run(name: &'static str, program: &str, words: &[String]) -> Self {
        Self { name, times: python(program, words) }
    }

    /// Its line of the table.
    pub(crate) fn print(&self, precision: &str, mode: &str) {
        let name = self.name;
        match &self.times {
            Ok(times) => match times.get(&(precision.to_owned(), mode.to_owned())) {
                Some(time) => println!("{precision:6} {mode:8} {name:43} {time:9.1}"),
                None => println!("{precision:6} {mode:8} {name:43} {:>9}", "absent"),
            },
            Err(why) => println!("{precision:6} {mode:8} {name:43} {:>9}: {why}", "absent"),
        }
    }
}

fn python(program: &str, words: &[String]) -> std::result::Result<Times, String> {
    let mut child = Command::new("python3")
        .arg("-")
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("python3: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(program.as_bytes()).map_err(|error| format!("python3: {error}"))?;
    }
    let output = child.wait_with_output().map_err(|error| format!("python3: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(said.lines().last().unwrap_or("it failed").to_owned());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        Some(((words.next()?.to_owned(), words.next()?.to_owned()), words.next()?.parse().ok()?))
    };
    Ok(said.lines().filter_map(line).collect())
}
