//! The backend `tch`, by every command.

use crate::common::pc_bench;

#[test]
fn autograd_graphs_are_exact() {
    let events = pc_bench(&["check", "--backend", "tch", "--json"]).events();
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
fn digits_are_learned_and_what_is_missing_is_refused() {
    let args =
        ["train", "--backend", "tch", "--model", "mlp", "--epochs", "3", "--json", "--no-report"];
    let events = pc_bench(&args).events();
    let summary = events.last().unwrap();
    assert_eq!(summary["backend"], "tch, f32");
    for schedule in ["backprop", "fixed-prediction"] {
        assert!(
            summary["runs"][schedule]["test_accuracy"].as_f64().unwrap() > 0.85,
            "{schedule}: {summary}"
        );
    }
    for (args, words) in [
        (
            &["train", "--backend", "tch", "--schedule", "standard"][..],
            &["standard", "tch", "fixed-prediction"][..],
        ),
        (&["train", "--backend", "tch", "--energy-by-vertex"], &["--energy-by-vertex", "tch"]),
        (&["check", "--backend", "tch", "--schedule", "zil"], &["zil", "tch"]),
    ] {
        pc_bench(args).refuses(words);
    }
}

/// At rate 1 the drop-in learns as backprop does, loss by loss.
#[test]
fn curves_at_rate_1_are_those_of_backprop() {
    let args = [
        "train",
        "--backend",
        "tch",
        "--model",
        "cnn",
        "--schedule",
        "fixed-prediction",
        "--rate",
        "1",
        "--steps",
        "40",
    ];
    let events = pc_bench(
        &[
            &args[..],
            &["--compare-backprop", "--epochs", "3", "--threads", "1", "--json", "--no-report"],
        ]
        .concat(),
    )
    .events();
    let losses = |schedule: &str| -> Vec<[f64; 2]> {
        let epochs = events
            .iter()
            .filter(|event| event["event"] == "epoch" && event["schedule"] == schedule);
        epochs
            .map(|epoch| ["train_loss", "test_loss"].map(|name| epoch[name].as_f64().unwrap()))
            .collect()
    };
    let (ours, theirs) = (losses("fixed-prediction"), losses("backprop"));
    assert_eq!((ours.len(), theirs.len()), (3, 3));
    for (ours, theirs) in ours.as_flattened().iter().zip(theirs.as_flattened()) {
        assert!((ours - theirs).abs() <= 1e-5 * theirs, "{ours} is not {theirs}");
    }
}

#[test]
fn the_drop_in_is_timed_beside_libtorchs_backprop() {
    let args = [
        "speed",
        "--backend",
        "tch",
        "--model",
        "mlp",
        "--schedule",
        "fixed-prediction",
        "--repeats",
        "2",
        "--json",
    ];
    let events = pc_bench(&args).events();
    for name in ["backprop", "drop-in, rate 1", "fixed-prediction"] {
        let step = events
            .iter()
            .find(|event| event["event"] == "step" && event["name"] == name)
            .expect(name);
        assert!(step["seconds"]["median"].as_f64().unwrap() > 0.0, "{step}");
    }
}
