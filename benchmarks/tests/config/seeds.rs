//! Several seeds: each is the run of its own, the whole goes on after a kill, and statistics are
//! those of the single runs.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use pc_bench::checkpoint::Checkpoint;
use serde_json::Value;

const RUN: &str = "--json --no-report --threads 1 --model mlp --samples 96 --batch 16 --epochs 3";

fn train(folder: &Path, more: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pc-bench"));
    command.current_dir(folder).arg("train").args(RUN.split(' ')).args(more.split(' '));
    command
}

/// The events that a run prints.
fn events(mut command: Command) -> Vec<Value> {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All that was saved of the runs of each seed, but for the time it took.
fn saved(folder: &Path, seeds: u64) -> Vec<Checkpoint<f32>> {
    let path = |seed, rule| folder.join(format!("run.seed-{seed}.{rule}.safetensors"));
    let all = (3..3 + seeds).flat_map(|seed| ["standard", "backprop"].map(|rule| path(seed, rule)));
    all.map(|path| {
        let mut saved = Checkpoint::read(&path).unwrap();
        for entry in ["current", "figures", "comparison"] {
            saved.metadata.remove(entry);
        }
        saved
    })
    .collect()
}

#[test]
fn seeds_are_runs_of_their_own_and_their_statistics_are_those_of_the_runs() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "--schedule standard --compare-backprop";
    let all = events(train(folder.path(), &format!("{rules} --seed 3 --seeds 3")));
    let summary = all.last().unwrap();
    assert_eq!((&summary["event"], &summary["seeds"]), (&"summary".into(), &vec![3, 4, 5].into()));
    let accuracy = |run: &Value, rule: &str| run["runs"][rule]["test_accuracy"].as_f64().unwrap();
    let mut found: Vec<[f64; 2]> = Vec::new();
    for seed in 3..6 {
        let alone = events(train(folder.path(), &format!("{rules} --seed {seed}")));
        let own = all.iter().find(|event| event["event"] == "seed" && event["seed"] == seed);
        let (own, alone) = (own.unwrap(), alone.last().unwrap());
        for rule in ["standard", "backprop"] {
            for figure in ["test_accuracy", "test_loss", "train_loss", "min_cosine"] {
                assert_eq!(own["runs"][rule][figure], alone["runs"][rule][figure], "{seed} {rule}");
            }
        }
        found.push(["standard", "backprop"].map(|rule| accuracy(alone, rule)));
    }
    let mean = |of: fn(&[f64; 2]) -> f64| found.iter().map(of).sum::<f64>() / 3.0;
    let said = |rule: &str, figure: &str| summary["runs"][rule][figure]["mean"].as_f64().unwrap();
    assert!((said("standard", "test_accuracy") - mean(|own| own[0])).abs() < 1e-12);
    assert!((said("standard", "minus_backprop") - mean(|own| own[0] - own[1])).abs() < 1e-12);
    assert!(summary["runs"]["backprop"]["minus_backprop"].is_null());
}

#[test]
fn seeds_go_on_after_a_kill_to_the_same_bits() {
    let rules = "--schedule standard,backprop --seed 3 --seeds 2 --save run.safetensors";
    let whole = tempfile::tempdir().unwrap();
    events(train(whole.path(), rules));
    let expected = saved(whole.path(), 2);
    for wait in [40, 120, 250] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = train(folder.path(), &format!("{rules} --save-every 1"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        if !folder.path().join("run.safetensors").exists() {
            continue;
        }
        let resume = "--resume run.safetensors --save run.safetensors";
        let ran = events(train(folder.path(), resume));
        assert_eq!(ran.last().unwrap()["seeds"], Value::from(vec![3, 4]), "after {wait} ms");
        assert_eq!(saved(folder.path(), 2), expected, "after {wait} ms");
    }
    // What is done can be gone on with by more seeds, and not by fewer.
    let (resume, folder) = ("--resume run.safetensors --save run.safetensors", whole.path());
    let more = events(train(folder, &format!("{resume} --seeds 3")));
    assert_eq!(more.last().unwrap()["seeds"], Value::from(vec![3, 4, 5]));
    assert_eq!(saved(folder, 2), expected);
    let fewer = train(folder, &format!("{resume} --seeds 2")).output().unwrap();
    assert_eq!(fewer.status.code(), Some(2));
    let said = String::from_utf8(fewer.stderr).unwrap();
    assert!(said.contains("--seeds 2 contradicts run.safetensors"), "{said}");
    assert!(fs::read_dir(folder).unwrap().count() >= 10);
}
