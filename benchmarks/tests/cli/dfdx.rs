//! The backend `dfdx`, by every command.

use crate::common::pc_bench;

#[test]
fn typed_models_are_exact() {
    let events = pc_bench(&["check", "--backend", "dfdx", "--json"]).events();
    let (summary, found) = events.split_last().unwrap();
    assert_eq!((&summary["passed"], &summary["failed"]), (&true.into(), &0.into()));
    for model in ["mlp", "cnn", "rnn", "lstm", "residual", "attention"] {
        for against in ["reverse-sweep", "finite-differences", "reverse-sweep-f64"] {
            assert!(
                found.iter().any(|row| row["model"] == model && row["against"] == against),
                "{model} against {against}"
            );
        }
    }
}

#[test]
fn digits_are_learned_by_standard_pc_as_by_backprop() {
    let args = ["train", "--backend", "dfdx", "--schedule", "backprop,standard", "--epochs", "8"];
    let events = pc_bench(&[&args[..], &["--json", "--no-report"]].concat()).events();
    let summary = events.last().unwrap();
    assert_eq!(summary["backend"], "dfdx, f32");
    let of = |run: &str| summary["runs"][run]["test_accuracy"].as_f64().unwrap();
    let (backprop, standard) = (of("backprop"), of("standard"));
    assert!(standard >= 0.96, "{standard}");
    assert!((standard - backprop).abs() <= 0.01, "{standard} {backprop}");
}

#[test]
fn what_is_missing_is_refused() {
    for (args, words) in [
        (
            &["train", "--backend", "dfdx", "--schedule", "backprop", "--save", "run.st"][..],
            &["--save", "dfdx"][..],
        ),
        (
            &["speed", "--backend", "dfdx", "--model", "lstm", "--repeats", "1"],
            &["--model lstm", "dfdx", "mlp", "cnn"],
        ),
        (
            &["speed", "--backend", "dfdx", "--model", "vgg5", "--repeats", "1"],
            &["--model vgg5", "dfdx", "mlp", "cnn"],
        ),
    ] {
        pc_bench(args).refuses(words);
    }
}
