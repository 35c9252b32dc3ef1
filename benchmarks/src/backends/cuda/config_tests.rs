//! What a configuration may choose, on the host layer beside the host: the same energies and
//! weights.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;

use pc_core::Agreement;

use crate::{
    backends::Backend,
    commands::train::{Dataset, Learner, TrainArgs, TrainingPlan},
};

/// Pictures through convolutions: with pooling of either kind, and what the named models have.
const LAYERS: &str = r#"
[[layers]]
kind = "conv"
channels = 3
kernel = 3
padding = 1
activation = "gelu"
pool = "max"
size = 2
start = "torch"

[[layers]]
kind = "conv"
channels = 5
kernel = 3
padding = 1
activation = "tanh"
pool = "average"
size = 2

[[layers]]
kind = "dense"
"#;

/// What a run of three batches comes to: energies, and weights by name.
fn learned(text: &str, backend: Backend) -> (Vec<f64>, Vec<(String, Vec<f64>)>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    fs::write(&path, text).unwrap();
    let flags = TrainArgs {
        config: Some(path),
        backend: Some(backend),
        no_report: true,
        ..TrainArgs::default()
    };
    let plan = TrainingPlan::new(&flags).unwrap_or_else(|error| panic!("{text}\n{error}"));
    let data = Dataset::load(&plan.runs[0], None).unwrap();
    let mut learner = Learner::<f32>::new(&plan.runs[0], &data).unwrap();
    let mut energies = Vec::new();
    for batch in data.epoch(6, 0, 0, 0).unwrap().take(3) {
        energies.push(learner.learn(&batch.unwrap()).unwrap());
    }
    let parameters = learner.trainee().parameters().unwrap();
    let numbers = |tensor: &pc_core::host::HostTensor<f32>| {
        tensor.data().iter().map(|x| f64::from(*x)).collect()
    };
    (energies, parameters.iter().map(|(name, tensor)| (name.clone(), numbers(tensor))).collect())
}

/// Every choice with every rule, on a fused chain and on a net of layers.
#[test]
fn choices_are_honoured_as_on_the_host() {
    let choices = [
        ("", ""),
        ("[loss]\nkind = \"squared-error\"", ""),
        ("[loss]\nstrength = 0.25", ""),
        ("[loss]\nkind = \"squared-error\"\nstrength = 0.5", ""),
        ("[loss]\nkind = \"squared-error\"\n[clamp]\noutput = \"held\"", ""),
        ("[loss]\nkind = \"squared-error\"\n[clamp]\noutput = \"nudged\"\nbeta = -0.3", ""),
        ("[states]\nrule = \"momentum\"\nmomentum = 0.5", ""),
        ("", "reduction = \"sum\""),
        ("[optimiser]\nkind = \"adamw\"\nfirst = 0.5\nsecond = 0.9\nweight-decay = 0.1", ""),
        ("[optimiser]\nkind = \"sgd\"\nmomentum = 0.5\nweight-decay = 0.01", ""),
        ("[optimiser]\nclip-norm = 0.05", ""),
        ("[optimiser]\nclip-value = 0.001", ""),
        ("[optimiser]\nupdates = 2", ""),
        ("[optimiser]\nkind = \"sgd\"\nmomentum = 0.5\nupdates = 3", ""),
    ];
    let (mut worst, mut wrong) = (0f64, Vec::new());
    for (own, schedule) in choices {
        for rule in ["standard", "ipc", "fixed-prediction", "zil", "epc", "backprop"] {
            let relaxes = !matches!(rule, "zil" | "backprop");
            let nudged = own.contains("nudged") && !matches!(rule, "standard" | "ipc");
            if (own.contains("[states]") && !relaxes) || nudged {
                continue;
            }
            let steps = if relaxes { "steps = 4\nrate = 0.05\n" } else { "" };
            for net in ["model = \"mlp\"\n", ""] {
                let layers = if net.is_empty() { LAYERS } else { "" };
                let text = format!(
                    "batch = 6\nepochs = 1\n{net}[data]\nkind = \"digits\"\n{layers}\n{own}\n\
                     [schedule]\nrule = \"{rule}\"\n{steps}{schedule}\n"
                );
                let (found, weights) = learned(&text, Backend::Cuda);
                let (wanted, host) = learned(&text, Backend::Host);
                let all = found.len() == wanted.len() && weights.len() == host.len();
                assert!(all, "{text}");
                let energies = Agreement::of_slices(&found, &wanted).relative_norm;
                let off = weights.iter().zip(&host).map(|((name, a), (other, b))| {
                    assert_eq!(name, other, "{text}");
                    Agreement::of_slices(a, b).relative_norm
                });
                let off =
                    off.fold(
                        energies,
                        |worst, off| {
                            if worst.is_nan() || off <= worst { worst } else { off }
                        },
                    );
                if off <= 1e-3 {
                    worst = worst.max(off);
                } else {
                    wrong.push(format!("off by {off:.1e}:\n{text}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("off by {worst:.1e} at most");
}
