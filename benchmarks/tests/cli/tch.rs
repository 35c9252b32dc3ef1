//! The backend `tch`, by every command.

use crate::common::pc_bench;

#[test]
fn marked_programs_are_exact_and_have_the_hosts_vertices() {
    let events = pc_bench(&["check", "--backend", "tch", "--json"]).events();
    let (summary, found) = events.split_last().unwrap();
    assert_eq!((&summary["passed"], &summary["failed"]), (&true.into(), &0.into()));
    for model in ["mlp", "cnn", "rnn", "lstm", "residual", "attention"] {
        for against in
            ["reverse-sweep", "finite-differences", "reverse-sweep-f64", "host-simulation-f64"]
        {
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
    for schedule in ["backprop", "fixed-prediction", "standard"] {
        assert!(
            summary["runs"][schedule]["test_accuracy"].as_f64().unwrap() > 0.85,
            "{schedule}: {summary}"
        );
    }
    pc_bench(&["train", "--backend", "tch", "--energy-by-vertex"])
        .refuses(&["--energy-by-vertex", "tch"]);
}

/// At rate 1 a marked program learns as by backprop, loss by loss; in f64, since training makes
/// much of the last digits.
#[test]
fn curves_at_rate_1_are_those_of_backprop() {
    let args = [
        "train",
        "--backend",
        "tch",
        "--model",
        "cnn",
        "--precision",
        "f64",
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
fn the_drop_in_and_marks_are_timed_beside_libtorchs_backprop() {
    let args = ["speed", "--backend", "tch", "--model", "mlp", "--repeats", "2", "--json"];
    let events = pc_bench(&args).events();
    for name in ["backprop", "drop-in, rate 1", "fixed-prediction", "marked, rate 1", "standard"] {
        let step = events
            .iter()
            .find(|event| event["event"] == "step" && event["name"] == name)
            .expect(name);
        assert!(step["seconds"]["median"].as_f64().unwrap() > 0.0, "{step}");
    }
}
