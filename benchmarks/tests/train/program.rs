//! The program itself: what it prints, its exit status, Ctrl-C.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use pc_bench::checkpoint::Checkpoint;
use serde_json::Value;

/// Runs the program, and gives its exit status and the JSON objects it printed.
pub(crate) fn program(arguments: &[&str]) -> (i32, Vec<Value>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pc-bench"))
        .args(["train", "--json"])
        .args(arguments)
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let objects = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code().unwrap(), objects, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn the_main_job_reaches_its_figures() {
    let (status, lines, _) = program(&["--no-report"]);
    assert_eq!(status, 0);
    let runs = &lines[lines.len() - 1]["runs"];
    let figure = |run: &str, key: &str| runs[run][key].as_f64().unwrap();
    for run in ["fixed-prediction", "standard"] {
        let (ours, backprop) =
            (figure(run, "test_accuracy"), figure(run, "backprop_test_accuracy"));
        assert!(ours >= 0.97 && (ours - backprop).abs() <= 0.01, "{run}: {ours} beside {backprop}");
    }
    assert!(figure("standard", "min_cosine") < 0.99, "standard PC is another learner");
    assert!(
        (figure("fixed-prediction", "min_cosine") - 1.0).abs() < 1e-4,
        "fixed prediction is backprop rescaled"
    );
}

#[test]
fn the_program_prints_a_line_an_epoch_and_a_summary() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("deep/report");
    let (status, lines, _) = program(&[
        "--model",
        "mlp",
        "--samples",
        "128",
        "--epochs",
        "2",
        "--seed",
        "1",
        "--report",
        report.to_str().unwrap(),
    ]);
    assert_eq!((status, lines.len()), (0, 7));
    for line in &lines[..6] {
        assert_eq!(line["event"], "epoch");
        assert!(
            line["train_loss"].is_f64() && line["test_accuracy"].is_f64() && line["epoch"].is_u64(),
            "{line}"
        );
    }
    let summary = &lines[6];
    assert_eq!(summary["event"], "summary");
    let runs = summary["runs"].as_object().unwrap();
    assert_eq!(runs.len(), 3);
    for name in ["fixed-prediction", "standard"] {
        for key in [
            "test_accuracy",
            "backprop_test_accuracy",
            "min_cosine",
            "seconds",
            "energy",
            "test_loss",
        ] {
            assert!(runs[name][key].is_f64(), "{name}: {key}");
        }
        assert_eq!(runs[name]["backprop_test_accuracy"], runs["backprop"]["test_accuracy"]);
        assert_eq!(runs[name]["status"], "finished");
    }
    for key in ["test_accuracy", "backprop_test_accuracy", "min_cosine", "seconds"] {
        assert_eq!(summary[key], runs["fixed-prediction"][key], "{key}");
    }
    assert!(
        (runs["fixed-prediction"]["min_cosine"].as_f64().unwrap() - 1.0).abs() < 1e-5,
        "backprop rescaled"
    );
    assert!(runs["standard"]["min_cosine"].as_f64().unwrap() < 0.999, "another learner");
    assert!(runs["fixed-prediction"]["note"].as_str().unwrap().contains("rescaled"));
    assert!(
        ["report.html", "curves.svg", "report.json"].iter().all(|name| report.join(name).is_file())
    );
}

#[test]
fn a_run_that_diverges_leaves_the_others_and_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let (status, lines, errors) = program(&[
        "--samples",
        "64",
        "--epochs",
        "2",
        "--schedule",
        "standard,backprop",
        "--rate",
        "60",
        "--report",
        report.to_str().unwrap(),
    ]);
    assert_eq!(status, 1);
    assert!(errors.contains("standard diverged in epoch 1"), "{errors}");
    assert_eq!(lines[0]["event"], "diverged");
    let runs = &lines[lines.len() - 1]["runs"];
    assert_eq!(
        (&runs["standard"]["status"], &runs["backprop"]["status"]),
        (&"diverged".into(), &"finished".into())
    );
    assert!(
        std::fs::read_to_string(report.join("report.json"))
            .unwrap()
            .contains("diverged in epoch 1")
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_the_run_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (stopped, whole) =
        (folder.path().join("stopped.safetensors"), folder.path().join("whole.safetensors"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_pc-bench"))
        .args([
            "train",
            "--json",
            "--model",
            "mlp",
            "--schedule",
            "standard",
            "--no-report",
            "--epochs",
            "100000",
            "--threads",
            "1",
        ])
        .args(["--samples", "320", "--save", stopped.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("epoch"));
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success()
    );
    let last: Value = serde_json::from_str(&lines.last().unwrap().unwrap()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(last["event"], "interrupted");
    let epochs = (last["epoch"].as_u64().unwrap() + 1).to_string();
    let (status, ..) = program(&[
        "--model",
        "mlp",
        "--schedule",
        "standard",
        "--no-report",
        "--epochs",
        &epochs,
        "--threads",
        "1",
        "--samples",
        "320",
        "--save",
        whole.to_str().unwrap(),
    ]);
    assert_eq!(status, 0);
    let path = stopped.to_str().unwrap();
    let (status, lines, errors) = program(&[
        "--resume",
        path,
        "--no-report",
        "--epochs",
        &epochs,
        "--threads",
        "1",
        "--save",
        path,
    ]);
    assert_eq!(status, 0, "{errors}");
    assert!(lines.len() <= 3, "only what was left is trained");
    let [stopped, whole] = [stopped, whole].map(|path| Checkpoint::<f32>::read(&path).unwrap());
    assert_eq!(stopped.tensors, whole.tensors);
    assert_eq!(stopped.metadata["epoch"], epochs);
}
