//! The backend `burn`, by every command.

use crate::common::pc_bench;

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
