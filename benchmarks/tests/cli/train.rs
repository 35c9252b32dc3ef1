//! `pc-bench train`: that the command line reaches it. What it learns is tested beside it.

use crate::common::{names, pc_bench_in};

#[test]
fn the_summary_has_what_machines_look_for() {
    let folder = tempfile::tempdir().unwrap();
    let events = pc_bench_in(
        folder.path(),
        &["train", "--epochs", "1", "--samples", "192", "--json", "--report", "out"],
    )
    .events();
    let summary = events.last().unwrap();
    for schedule in ["backprop", "fixed-prediction", "standard"] {
        let run = &summary["runs"][schedule];
        for key in ["test_accuracy", "backprop_test_accuracy", "seconds"] {
            assert!(run[key].is_number(), "{schedule} has no {key}: {run}");
        }
    }
    assert!(summary["runs"]["standard"]["min_cosine"].is_number(), "{summary}");
    assert_eq!(names(folder.path()), ["out"]);
    assert_eq!(names(&folder.path().join("out")), ["curves.svg", "report.html", "report.json"]);
}
