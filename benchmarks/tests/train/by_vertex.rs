//! The energy of each vertex: that it is part of the whole, and in the report where asked for.

use std::path::Path;

use pc_bench::{commands::train::Learner, contract::ScheduleKind, models::ModelKind};
use serde_json::Value;

use crate::{bits, digits, program::program, quick};

#[test]
fn the_energies_of_the_vertices_add_up_at_every_step() {
    for model in ModelKind::ALL {
        for &schedule in ScheduleKind::ALL {
            let settings = quick(model, schedule);
            let data = digits(&settings);
            let mut learner = Learner::<f64>::new(&settings, &data).unwrap();
            let before = bits(&learner);
            let batch = data.epoch(8, 0, 0, 0).unwrap().next().unwrap().unwrap();
            let whole = learner.measure(&batch).unwrap().trace;
            let vertices = learner.energies(&batch).unwrap();
            assert_eq!(bits(&learner), before, "{model} by {schedule} moved its weights");
            if schedule == ScheduleKind::Backprop {
                assert!(vertices.is_empty());
                continue;
            }
            assert!(vertices.iter().any(|vertex| vertex.name == "head"), "{vertices:?}");
            for (step, whole) in whole.iter().enumerate() {
                let sum: f64 = vertices.iter().map(|vertex| vertex.trace[step]).sum();
                assert!(
                    (sum - whole).abs() <= 1e-12 * whole,
                    "{model} by {schedule}, step {step}: {sum} is not {whole}"
                );
            }
            let long = vertices.iter().all(|vertex| vertex.trace.len() == whole.len());
            assert!(long && whole.len() > 1, "{model} by {schedule}");
        }
    }
}

/// The energies by vertex of a run in a report, by name.
fn vertices(report: &Path, run: usize) -> Vec<(String, Vec<f64>)> {
    let report = std::fs::read_to_string(report.join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let list = |trace: &Value| -> Vec<f64> {
        trace.as_array().unwrap().iter().map(|energy| energy.as_f64().unwrap()).collect()
    };
    let run = &report["runs"][run];
    let Some(vertices) = run["vertex_energies"].as_array() else { return Vec::new() };
    let named: Vec<(String, Vec<f64>)> = vertices
        .iter()
        .map(|vertex| (vertex["name"].as_str().unwrap().to_owned(), list(&vertex["trace"])))
        .collect();
    for (step, whole) in list(&run["energy_trace"]).iter().enumerate() {
        let sum: f64 = named.iter().map(|(_, trace)| trace[step]).sum();
        assert!((sum - whole).abs() <= 1e-5 * whole, "step {step}: {sum} is not {whole}");
    }
    named
}

#[test]
fn energies_by_vertex_are_in_the_report_where_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let train = |report: &str, words: &str| {
        let common = format!("--threads 1 --report {} {words}", at(report));
        let (status, lines, errors) = program(&common.split_whitespace().collect::<Vec<_>>());
        assert_eq!(status, 0, "{errors}");
        lines.last().unwrap().clone()
    };
    let begin = "--model mlp --samples 64 --schedule backprop,fixed-prediction,zil";
    let summary = train("whole", &format!("{begin} --epochs 2 --energy-by-vertex"));
    assert!(summary["command"].as_str().unwrap().contains(" --energy-by-vertex"), "{summary}");
    let note = summary["runs"]["backprop"]["note"].as_str().unwrap();
    assert!(note.contains("no energy by vertex"), "{note}");
    let whole = folder.path().join("whole");
    assert_eq!(vertices(&whole, 0), []);
    let page = std::fs::read_to_string(whole.join("report.html")).unwrap();
    for run in [1, 2] {
        let found = vertices(&whole, run);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["dense1", "dense2", "head"]);
        assert!(found[0].1.first() == Some(&0.0) && found[0].1.last() > Some(&0.0), "{found:?}");
    }
    assert_eq!(page.matches("Energy by vertex: ").count(), 2);

    // A comparison that was saved without them goes on with them, to the same ones.
    let save = format!("--save {}", at("run.safetensors"));
    train("without", &format!("{begin} --epochs 1 {save}"));
    let without = folder.path().join("without");
    assert_eq!(vertices(&without, 1), []);
    let page = std::fs::read_to_string(without.join("report.html")).unwrap();
    assert!(!page.contains("Energy by vertex"));
    train("on", &format!("--resume {} --epochs 2 --energy-by-vertex", at("run.safetensors")));
    for run in [1, 2] {
        assert_eq!(vertices(&folder.path().join("on"), run), vertices(&whole, run));
    }
}
