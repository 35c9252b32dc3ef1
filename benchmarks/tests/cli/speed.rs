//! `pc-bench speed`.

use crate::common::pc_bench;

#[test]
fn every_schedule_is_timed_beside_backprop() {
    let events =
        pc_bench(&["speed", "--backend", "host", "--repeats", "2", "--model", "mlp", "--json"])
            .events();
    let step = |name: &str| {
        events.iter().find(|event| event["event"] == "step" && event["name"] == name).expect(name)
    };
    for name in [
        "backprop",
        "fixed-prediction",
        "fixed-prediction, simulated",
        "zil",
        "standard",
        "standard T=0",
        "ipc",
        "epc",
    ] {
        assert!(step(name)["seconds"]["median"].as_f64().unwrap() > 0.0, "{name}");
        assert!(
            step(name)["over_backprop"]["low"].as_f64()
                <= step(name)["over_backprop"]["high"].as_f64()
        );
    }
    assert_eq!(step("backprop")["over_backprop"]["median"], 1.0);
    assert!(step("standard")["share_of_gemm"]["median"].as_f64().unwrap() > 0.0);
    assert_eq!(events.iter().filter(|event| event["event"] == "target").count(), 3);
    let summary = events.last().unwrap();
    assert!(summary["gemm_gflops"].as_f64().unwrap() > 0.0 && summary["threads"] == 1);
}

#[test]
fn any_model_can_be_timed_and_people_get_a_table() {
    let ran = pc_bench(&[
        "speed",
        "--repeats",
        "1",
        "--model",
        "attention",
        "--schedule",
        "zil",
        "--batch",
        "2",
        "--precision",
        "f64",
    ]);
    ran.succeeds();
    for word in ["backprop", "zil", "x backprop", "one thread, f32 and batch 64"] {
        assert!(ran.stdout.contains(word), "no `{word}` in {}", ran.stdout);
    }
}

/// Nets that are not as they come: what is asked for is what is timed, and said.
#[test]
fn other_activations_widths_and_steps() {
    use pc_bench::models::ActivationKind;
    for activation in ActivationKind::ALL {
        let name = activation.name();
        let words = format!(
            "speed --backend host --schedule standard --activation {name} --repeats 1 --batch 2 \
             --widths 5,4,3 --steps 3 --json"
        );
        let events = pc_bench(&words.split_whitespace().collect::<Vec<_>>()).events();
        let net = events.iter().find(|event| event["event"] == "net").unwrap();
        assert_eq!(net["description"], format!("mlp 5-4-3, {name}"));
        let standard = |event: &&serde_json::Value| event["name"] == "standard";
        assert_eq!(events.iter().find(standard).unwrap()["steps"], 3);
        let summary = events.last().unwrap();
        assert_eq!(summary["activation"], name);
        assert_eq!(summary["widths"], serde_json::json!([5, 4, 3]));
        assert_eq!((&summary["steps"], &summary["targets"]), (&3.into(), &0.into()));
    }
    let ran = pc_bench(&[
        "speed",
        "--model",
        "cnn",
        "--activation",
        "silu",
        "--repeats",
        "1",
        "--batch",
        "1",
        "--steps",
        "3",
        "--schedule",
        "all",
    ]);
    ran.succeeds();
    for word in ["120-84-10, silu", "(t at T = 3 - t at T = 0) / 3", "the nets as they are"] {
        assert!(ran.stdout.contains(word), "no `{word}` in {}", ran.stdout);
    }
}
