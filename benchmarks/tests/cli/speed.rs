//! `pc-bench speed`.

use pc_bench::models::ModelKind;

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

/// The large net: as it comes, and with what can be asked of it.
#[test]
fn vgg5_is_timed_where_it_is_named() {
    let timed = |words: &str| {
        let words = format!("speed --backend host --repeats 1 --json {words}");
        pc_bench(&words.split_whitespace().collect::<Vec<_>>()).events()
    };
    let events = timed("--model vgg5 --schedule backprop");
    let net = events.iter().find(|event| event["event"] == "net").unwrap();
    assert_eq!((&net["model"], &net["batch"]), (&"vgg5".into(), &16.into()));
    let summary = events.last().unwrap();
    assert_eq!((&summary["batch"], &summary["steps"]), (&16.into(), &8.into()));
    // That of its backprop.
    assert_eq!(summary["targets"], 1);

    let events =
        timed("--model vgg5 --schedule standard --activation gelu --batch 2 --steps 2 --threads 1");
    let net = events.iter().find(|event| event["event"] == "net").unwrap();
    assert_eq!(net["batch"], 2);
    let description = net["description"].as_str().unwrap();
    assert!(description.starts_with("VGG5") && description.ends_with(", gelu"), "{description}");
    assert!(net["relaxation_steps"]["standard"]["seconds"]["median"].is_f64());
    for (name, steps) in [("backprop", 0), ("standard", 2), ("standard T=0", 0)] {
        let step = events.iter().find(|event| event["name"] == name).expect(name);
        assert_eq!((&step["model"], &step["steps"]), (&"vgg5".into(), &steps.into()));
        assert!(step["seconds"]["median"].as_f64().unwrap() > 0.0, "{name}");
    }
    let rate = events.iter().find(|event| event["name"] == "standard").unwrap();
    assert!(rate["share_of_gemm"]["median"].as_f64().unwrap() > 0.0);
    let summary = events.last().unwrap();
    assert_eq!((&summary["batch"], &summary["steps"]), (&2.into(), &2.into()));
    assert_eq!((&summary["activation"], &summary["targets"]), (&"gelu".into(), &0.into()));

    let events = timed("--model all --schedule backprop --batch 1");
    let models: Vec<_> = ModelKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(events.last().unwrap()["models"], serde_json::json!(models));
    let nets = events.iter().filter(|event| event["event"] == "net");
    assert_eq!(nets.map(|net| net["model"].as_str().unwrap()).collect::<Vec<_>>(), models);
    assert!(pc_bench(&["speed", "--help"]).stdout.contains("these but vgg5, which is slow"));
}
