//! `pc-bench check`.

use crate::common::pc_bench;

#[test]
fn every_model_is_exact() {
    let ran = pc_bench(&["check", "--backend", "host", "--json"]);
    let events = ran.events();
    let (summary, comparisons) = events.split_last().unwrap();
    assert_eq!((&summary["passed"], &summary["failed"]), (&true.into(), &0.into()));
    assert_eq!(summary["comparisons"], comparisons.len());
    for model in ["mlp", "cnn", "rnn", "lstm", "residual", "attention"] {
        for precision in ["f64", "f32"] {
            let tolerance = if precision == "f64" { 1e-10 } else { 1e-5 };
            for (schedule, evaluation, against) in [
                ("fixed-prediction", "simulation", "reverse-sweep"),
                ("fixed-prediction", "front", "reverse-sweep"),
                ("fixed-prediction", "closed form, other rates", "simulation"),
                ("zil", "simulation, levelled", "reverse-sweep"),
                ("zil", "level by level", "reverse-sweep"),
            ] {
                let of: Vec<_> = comparisons
                    .iter()
                    .filter(|c| {
                        c["model"] == model
                            && c["precision"] == precision
                            && c["schedule"] == schedule
                    })
                    .filter(|c| c["evaluation"] == evaluation && c["against"] == against)
                    .collect();
                assert!(
                    of.iter().any(|c| c["loss"] == "squared-error")
                        && of.iter().any(|c| c["loss"] == "cross-entropy")
                );
                assert!(
                    of.iter().all(|c| c["max_difference"].as_f64().unwrap() <= tolerance),
                    "{model}: {of:?}"
                );
            }
        }
        let by_differences: Vec<_> = comparisons
            .iter()
            .filter(|c| c["model"] == model && c["against"] == "finite-differences")
            .collect();
        assert!(
            by_differences.len() >= 10
                && by_differences.iter().all(|c| c["max_difference"].as_f64().unwrap() <= 1e-8)
        );
    }
}

#[test]
fn people_get_a_table_with_the_worst_parameter() {
    let ran = pc_bench(&[
        "check",
        "--model",
        "mlp",
        "--schedule",
        "zil",
        "--precision",
        "f64",
        "--verbose",
        "--threads",
        "1",
    ]);
    ran.succeeds();
    for word in [
        "worst parameter",
        "level by level",
        "dense1.weight",
        "finite-differences",
        "comparisons are within tolerance",
    ] {
        assert!(ran.stdout.contains(word), "no `{word}` in {}", ran.stdout);
    }
}
