//! Reports for tests, and a way to look at them.

use std::path::PathBuf;

use super::{Epoch, Layer, Report, Run, VertexEnergy, table, write};

fn epoch(epoch: usize, share: f64) -> Epoch {
    Epoch {
        epoch,
        train_loss: 2.3 * (1.0 - share) + 0.02,
        train_accuracy: Some(share + 0.005),
        test_loss: 2.3 * (1.0 - share) + 0.05,
        test_accuracy: Some(share),
        energy: Some(0.5 * (1.0 - share)),
        seconds: 1.5,
    }
}

fn layers(cosines: &[f64], ratios: &[f64]) -> Vec<Layer> {
    let pairs = cosines.iter().zip(ratios).enumerate();
    pairs
        .map(|(k, (cosine, norm_ratio))| Layer {
            name: format!("linear {k}"),
            cosine: *cosine,
            norm_ratio: *norm_ratio,
        })
        .collect()
}

/// The first has the most energy, which the others take over step by step.
pub(super) fn vertices(count: usize) -> Vec<VertexEnergy> {
    let energy = |k: usize, t: usize| match t {
        0 if k > 0 => 0.0,
        _ => 0.4 * f64::exp(-(k as f64)) / (t + 1) as f64,
    };
    let trace = |k: usize| (0..=20).map(|t| energy(k, t)).collect();
    (0..count).map(|k| VertexEnergy { name: format!("vertex {k}"), trace: trace(k) }).collect()
}

/// A comparison such as a user would make.
pub(super) fn sample() -> Report {
    let curve = |gain: f64| {
        let shares = (1..=10).map(|k| (k, 0.98 - 0.2 * f64::exp(-gain * k as f64)));
        shares.map(|(k, share)| epoch(k, share)).collect::<Vec<_>>()
    };
    let trace = |from: f64, rate: f64| {
        (0..=20).map(|t| from * f64::exp(-rate * f64::from(t)) + 0.004).collect()
    };
    let backprop = Run {
        schedule: "backprop".into(),
        curve: curve(0.6).into_iter().map(|e| Epoch { energy: None, ..e }).collect(),
        test_accuracy: Some(0.9795),
        test_loss: 0.071,
        seconds: 12.31,
        samples_per_second: 48_700.0,
        ..Run::default()
    };
    let fixed = Run {
        schedule: "fixed prediction (gamma 0.1, T 20)".into(),
        curve: curve(0.58),
        energy_trace: trace(0.4, 0.2),
        layers: layers(&[1.0; 4], &[0.12, 0.32, 0.61, 0.88]),
        test_accuracy: Some(0.9795),
        test_loss: 0.072,
        seconds: 101.9,
        min_cosine: Some(1.0),
        samples_per_second: 5_880.0,
        ..Run::default()
    };
    let standard = Run {
        schedule: "standard PC (gamma 0.1, T 20)".into(),
        note: "Weights change once per batch.".into(),
        curve: curve(0.4),
        energy_trace: trace(0.4, 0.4),
        vertex_energies: vertices(4),
        layers: layers(&[0.83, 0.91, 0.972, 0.9991], &[0.04, 0.2, 0.55, 0.9]),
        test_accuracy: Some(0.9712),
        test_loss: 0.101,
        seconds: 184.4,
        min_cosine: Some(0.83),
        samples_per_second: 3_250.0,
    };
    let incremental = Run {
        schedule: "incremental PC (gamma 0.1, T 20)".into(),
        curve: curve(0.3),
        energy_trace: trace(0.4, 0.55),
        layers: layers(&[0.62, 0.85, 0.93, 0.98], &[0.9, 1.2, 1.6, 2.1]),
        test_accuracy: Some(0.9688),
        test_loss: 0.11,
        seconds: 201.3,
        min_cosine: None,
        samples_per_second: 2_980.0,
        ..Run::default()
    };
    Report {
        validation: false,
        title: "Predictive coding beside backprop".into(),
        model: "mlp 784-256-256-256-10, tanh".into(),
        data: "MNIST, 60000 train / 10000 test".into(),
        backend: "CPU, f32".into(),
        seed: 1,
        threads: 8,
        batch: 64,
        epochs: 10,
        notes: vec!["All runs start from the same weights.".into()],
        command: "pc-bench train --data mnist --epochs 10 --seed 1".into(),
        runs: vec![backprop, fixed, standard, incremental],
    }
}

/// Every way in which numbers can be missing.
pub(super) fn broken() -> Report {
    let mut report = sample();
    for run in &mut report.runs {
        run.test_loss = f64::NAN;
        run.test_accuracy = Some(f64::NAN);
        run.seconds = 0.0;
        run.samples_per_second = f64::INFINITY;
        run.energy_trace = vec![f64::NAN, f64::INFINITY, 0.0, -1.0];
        for epoch in &mut run.curve {
            epoch.train_loss = f64::NAN;
            epoch.test_loss = f64::INFINITY;
            epoch.test_accuracy = None;
        }
        for vertex in &mut run.vertex_energies {
            vertex.trace.clone_from(&run.energy_trace);
        }
        for layer in &mut run.layers {
            layer.cosine = f64::NAN;
            layer.norm_ratio = f64::NEG_INFINITY;
        }
    }
    report
}

/// Writes sample reports to look at: `REPORT_SAMPLES=folder cargo test -p pc-bench report --
/// --ignored`.
#[test]
#[ignore = "writes files to look at"]
fn samples() {
    let Some(dir) = std::env::var_os("REPORT_SAMPLES") else {
        return;
    };
    let dir = PathBuf::from(dir);
    let mut long = sample();
    for (place, run) in long.runs.iter_mut().enumerate().skip(1) {
        run.layers = (0..24)
            .map(|k| Layer {
                name: format!("encoder.block{k}.attention.weight"),
                cosine: 1.0 - 0.01 * (k * place) as f64,
                norm_ratio: 10_f64.powf(-0.2 * (24 - k) as f64 * place as f64 / 2.0),
            })
            .collect();
    }
    long.runs[2].vertex_energies = vertices(60);
    for k in 0..3 {
        let mut run = long.runs[2].clone();
        run.schedule = format!("a schedule with a name that is very long indeed, number {k}");
        long.runs.push(run);
    }
    let mut single = sample();
    for run in &mut single.runs {
        run.curve.truncate(1);
    }
    for (name, report) in [
        ("usual", sample()),
        ("broken", broken()),
        ("empty", Report::default()),
        ("long", long),
        ("single", single),
    ] {
        println!("{}", table(&report));
        write(&dir.join(name), &report).unwrap();
    }
}
