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
