//! The backend `burn`, by every command.

use pc_bench::checkpoint::Checkpoint;

use crate::common::{pc_bench, pc_bench_in};

#[test]
fn marked_modules_are_exact_and_have_the_hosts_vertices() {
    let events = pc_bench(&["check", "--backend", "burn", "--json"]).events();
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
    assert!(found.iter().any(|row| row["event"] == "refused"
        && row["model"] == "lstm"
        && row["schedule"] == "zil"));
}

#[test]
fn digits_are_learned_and_what_is_missing_is_refused() {
    let args =
        ["train", "--backend", "burn", "--model", "mlp", "--epochs", "3", "--json", "--no-report"];
    let events = pc_bench(&args).events();
    let summary = events.last().unwrap();
    assert_eq!(summary["backend"], "burn, f32");
    for schedule in ["backprop", "fixed-prediction", "standard"] {
        assert!(
            summary["runs"][schedule]["test_accuracy"].as_f64().unwrap() > 0.85,
            "{schedule}: {summary}"
        );
    }
    let cosine = summary["runs"]["fixed-prediction"]["min_cosine"].as_f64().unwrap();
    assert!((cosine - 1.0).abs() < 1e-5, "{cosine}");
    pc_bench(&["check", "--backend", "burn", "--model", "lstm", "--schedule", "zil"])
        .refuses(&["levelled"]);
    pc_bench(&["train", "--backend", "burn", "--energy-by-vertex"]).refuses(&[
        "--energy-by-vertex",
        "burn",
        "host",
    ]);
}

/// Weights, Burn's own optimiser and the place in the data come back from a file as they were.
#[test]
fn a_resumed_run_comes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    for (model, optimiser) in [("cnn", "adam"), ("lstm", "adamw"), ("mlp", "sgd")] {
        let train = |words: &str| {
            let args = ["train", "--no-report", "--threads", "1", "--json"];
            pc_bench_in(
                folder.path(),
                &[&args[..], &words.split_whitespace().collect::<Vec<_>>()].concat(),
            )
            .events()
        };
        let settings = format!(
            "--backend burn --model {model} --optimiser {optimiser} --schedule standard --samples \
             160"
        );
        train(&format!("{settings} --epochs 3 --save whole.safetensors"));
        train(&format!("{settings} --epochs 1 --save part.safetensors"));
        train("--resume part.safetensors --epochs 3 --save part.safetensors");
        let read = |name: &str| Checkpoint::<f32>::read(&folder.path().join(name)).unwrap();
        let (whole, part) = (read("whole.safetensors"), read("part.safetensors"));
        let state = if optimiser == "sgd" { ".velocity" } else { ".second" };
        let kept = whole
            .tensors
            .keys()
            .filter(|name| name.starts_with("optimiser.") && name.ends_with(state))
            .count();
        assert_eq!(
            kept,
            whole.tensors.keys().filter(|name| !name.starts_with("optimiser.")).count(),
            "{model}: one for each parameter"
        );
        assert_eq!(whole.tensors, part.tensors, "{model} by {optimiser}");
        assert_eq!(whole.metadata["counts"], part.metadata["counts"]);
    }
    // The file is the host's kind of file, and says which backend's run it is.
    let host = [
        "train",
        "--backend",
        "host",
        "--resume",
        "part.safetensors",
        "--epochs",
        "4",
        "--no-report",
    ];
    pc_bench_in(folder.path(), &host).refuses(&["--backend host contradicts"]);
}

#[test]
fn schedules_are_timed_beside_burns_backprop() {
    let events =
        pc_bench(&["speed", "--backend", "burn", "--model", "mlp", "--repeats", "2", "--json"])
            .events();
    for name in [
        "backprop",
        "fixed-prediction",
        "fixed-prediction, rate 1",
        "fixed-prediction, explicit graph",
        "standard",
        "standard T=0",
        "standard, explicit graph",
        "standard, explicit graph T=0",
        "ipc",
        "epc",
    ] {
        let step = events
            .iter()
            .find(|event| event["event"] == "step" && event["name"] == name)
            .expect(name);
        assert!(step["seconds"]["median"].as_f64().unwrap() > 0.0, "{step}");
    }
    let net = events.iter().find(|event| event["event"] == "net").unwrap();
    for name in ["standard", "standard, explicit graph"] {
        let step = net["relaxation_steps"][name]["over_backprop"]["median"].as_f64().unwrap();
        assert!(step > 0.0 && step.is_finite(), "{net}");
    }
    assert_eq!(events.iter().filter(|event| event["event"] == "target").count(), 3);
}
