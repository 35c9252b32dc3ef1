//! Every experiment of `pc-bench reproduce`, as a user runs it: what should hold does, and a run
//! that is saved goes on to the same figures.

// Clippy knows tests, but not what they share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "cli/common.rs"]
mod common;

use common::{FAILED, names, pc_bench, pc_bench_in};
use serde_json::Value;

/// The summary without what another run may have otherwise.
fn figures(mut summary: Value) -> Value {
    for name in ["seconds", "files"] {
        summary.as_object_mut().unwrap().remove(name);
    }
    summary
}

fn summary(args: &[&str]) -> Value {
    let mut words = vec!["reproduce"];
    words.extend(args);
    words.extend(["--threads", "1", "--json", "--quiet"]);
    pc_bench(&words).events().pop().unwrap()
}

/// A quick run without data: all that should hold does, and every figure is a number.
fn quick(name: &str) {
    let summary = summary(&[name]);
    let cells = summary["cells"].as_array().unwrap();
    assert!(!cells.is_empty(), "{name} has no figures");
    for cell in cells {
        assert!(cell["mean"].is_number(), "{name}: {cell}");
    }
    let claims = summary["claims"].as_array().unwrap();
    assert!(!claims.is_empty(), "{name} claims nothing");
    assert!(claims.iter().all(|claim| claim["holds"] == true), "{name}: {claims:?}");
    let shows = |list: &str| !summary[list].as_array().unwrap().is_empty();
    assert!(shows("curves") || summary["galleries"].as_u64().unwrap() > 0, "{name} shows nothing");
}

macro_rules! experiments {
    ($($test:ident: $name:literal;)+) => {
        $(
            #[test]
            fn $test() {
                quick($name);
            }
        )+

        /// The tests above, which must be all that there are.
        const TESTED: &[&str] = &[$($name),+];
    };
}

experiments! {
    bidirectional: "bidirectional";
    generative: "generative";
    hybrid: "hybrid";
    pc_graph: "pc-graph";
    causal: "causal";
    monte_carlo: "monte-carlo";
    temporal_capacity: "temporal-capacity";
    temporal_mnist: "temporal-mnist";
    tracking: "tracking";
    hopfield: "hopfield";
    associative: "associative";
    covariance: "covariance";
    features: "features";
    sources: "sources";
    width_limit: "width-limit";
    mupc: "mupc";
    prospective: "prospective";
    infinitesimal: "infinitesimal";
    sample_efficiency: "sample-efficiency";
    zil: "zil";
    ipc: "ipc";
    error_based: "error-based";
    beyond_gaussian: "beyond-gaussian";
    any_graph: "any-graph";
    attention: "attention";
    names_rnn: "names-rnn";
    char_lstm: "char-lstm";
    pcx: "pcx";
    pcx_autoencoder: "pcx-autoencoder";
    pcx_memory: "pcx-memory";
    pcx_vgg5: "pcx-vgg5";
    pcx_cifar100: "pcx-cifar100";
}

#[test]
fn the_list_has_all_with_their_papers() {
    let events = pc_bench(&["reproduce", "--list", "--json"]).events();
    let listed: Vec<&str> = events.iter().filter_map(|event| event["name"].as_str()).collect();
    assert_eq!(listed, TESTED);
    let text = pc_bench(&["reproduce", "--list"]);
    text.succeeds();
    for event in &events[..TESTED.len()] {
        for field in ["about", "paper", "takes"] {
            assert!(!event[field].as_str().unwrap().is_empty(), "{event}");
        }
        let name = event["name"].as_str().unwrap();
        assert!(text.stdout.lines().any(|line| line == name), "{name}");
    }
    assert!(text.stdout.lines().all(|line| line.chars().count() <= 80), "{}", text.stdout);
}

/// A small experiment, seed by seed; then one more seed from its file.
#[test]
fn a_saved_run_goes_on_to_the_same_figures() {
    let whole = summary(&["tracking", "--seed", "3", "--seeds", "2"]);
    let folder = tempfile::tempdir().unwrap();
    let ran = |more: &[&str]| {
        let mut words = vec!["reproduce", "--json", "--quiet"];
        words.extend(more);
        pc_bench_in(folder.path(), &words)
    };
    ran(&["tracking", "--seed", "3", "--threads", "1", "--no-report", "--save", "run.json"])
        .succeeds();
    assert_eq!(names(folder.path()), ["run.json"]);
    let go_on = ["--resume", "run.json", "--seeds", "2", "--save", "run.json"];
    let more = ran(&go_on).events().pop().unwrap();
    assert_eq!(figures(more.clone()), figures(whole));
    assert_eq!(names(folder.path()), ["report", "run.json"]);
    assert_eq!(names(&folder.path().join("report/tracking")), ["report.html", "report.json"]);
    // All of it is done: it is read, not computed.
    let again = ran(&["--resume", "run.json", "--no-report"]).events().pop().unwrap();
    assert_eq!(figures(again), figures(more));

    for (given, word) in [
        (["hybrid", "--no-report"], "`hybrid`"),
        (["--full", "--no-report"], "--full"),
        (["--seed=4", "--no-report"], "--seed 4"),
        (["--seeds=1", "--no-report"], "--seeds 1"),
        (["--threads=2", "--no-report"], "--threads 2"),
        (["--data-dir=data", "--no-report"], "--data-dir"),
    ] {
        let refused = ran(&[&["--resume", "run.json"][..], &given].concat());
        refused.refuses(&["run.json", word]);
    }
    ran(&["tracking", "--no-report", "--save", "run.json"]).refuses(&["run.json", "already"]);
    std::fs::write(folder.path().join("bad.json"), "{\"format\": 1}").unwrap();
    ran(&["--resume", "bad.json"]).refuses(&["bad.json", "damaged"]);
    ran(&["--resume", "none.json"]).refuses(&["none.json"]);
}

#[test]
fn people_get_a_table_and_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let ran = pc_bench_in(folder.path(), &["reproduce", "tracking", "--seeds", "2"]);
    ran.succeeds();
    assert!(ran.stdout.contains(" ± ") && ran.stdout.contains("holds: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("report/tracking/report.html"), "{}", ran.stdout);
    let page = folder.path().join("report/tracking/report.html");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains("--seed 0 --seeds 2"));
}

#[test]
fn wrong_input_is_named() {
    for (args, words) in [
        (&["nothing"][..], &["`nothing`", "tracking"][..]),
        (&["tracking", "--threads", "100000"], &["--threads"]),
        (&["tracking", "--seed", "18446744073709551615"], &["--seed"]),
        (&["temporal-mnist", "--full"], &["--full", "--data-dir", "fetch-data.sh"]),
        (&["temporal-mnist", "--data-dir", "not/here"], &["not/here"]),
        (&["tracking", "--save", "not/here.json"], &["--save", "not/here.json"]),
    ] {
        pc_bench(&[&["reproduce"][..], args].concat()).refuses(words);
    }
    for args in [
        &[][..],
        &["tracking", "--quick", "--full"],
        &["tracking", "--list"],
        &["tracking", "--seeds", "0"],
        &["tracking", "--report", "r", "--no-report"],
    ] {
        let ran = pc_bench(&[&["reproduce"][..], args].concat());
        assert_eq!(ran.status, FAILED, "{args:?}");
    }
}
