//! pc-core's conformance suite over graphs on the device, and backends that it has to fail.

use pc_core::conformance::{Report, additions, composites, layers, run};
use pc_cuda::{Device, Precision, Simulation, graph_to_device};

use crate::stepped::{Stepped, added, edges, embedded, swallowed};

fn stepped(seed: u64, factor: f32) -> Stepped {
    Stepped { device: Device::simulated(&Simulation::new(seed)).unwrap(), factor }
}

fn passes(report: &Report, least: usize) {
    if let Err(failures) = report.check() {
        panic!("{failures}");
    }
    println!("{}: {} passed", report.backend, report.passed());
    assert!(report.passed() >= least, "only {} cases passed", report.passed());
    assert_eq!(report.skipped(), 0);
}

#[test]
fn every_net_of_the_suite_passes() {
    for seed in [0, 5] {
        let backend = stepped(seed, 1.0);
        passes(&run(&backend).unwrap(), 150);
        backend.device.synchronize().unwrap();
    }
}

#[test]
fn every_layer_of_the_host_passes() {
    let backend = stepped(3, 1.0);
    let remade = |graph| graph_to_device(&graph, &backend.device, Precision::F32);
    passes(&layers(&backend, remade).unwrap(), 40);
}

#[test]
fn what_is_written_once_for_all_backends_passes() {
    let backend = stepped(4, 1.0);
    passes(&composites(&backend).unwrap(), 20);
    passes(&additions(&backend).unwrap(), 20);
}

/// Ties, and numbers that lie far apart.
#[test]
fn layers_hold_at_their_edges() {
    for seed in 0..4 {
        let (name, worst) = edges(&stepped(seed, 1.0).device).unwrap();
        println!("seed {seed}: {worst:.1e} at {name}");
        assert!(worst <= 1e-5, "{name} is off by {worst:.1e}");
    }
}

#[test]
fn tensors_add_up_over_samples() {
    let off = added(&stepped(2, 1.0).device).unwrap();
    assert!(off <= 1e-6, "off by {off:.1e}");
}

#[test]
fn embeddings_learn_row_by_row() {
    for seed in 0..2 {
        let off = embedded(&stepped(seed, 1.0).device).unwrap();
        assert!(off <= 1e-5, "seed {seed}: off by {off:.1e}");
    }
}

#[test]
fn no_layer_swallows_a_nan() {
    let swallowed = swallowed(&stepped(1, 1.0).device).unwrap();
    assert!(swallowed.is_empty(), "a NaN became a number in {swallowed:?}");
}

/// One wrong number in one weight fails cases of every net.
#[test]
fn a_wrong_weight_fails() {
    let failures = run(&stepped(0, 1.001)).unwrap().check().unwrap_err();
    for net in ["tanh chain", "skip", "recurrence", "gate", "convolution", "cycle"] {
        assert!(failures.contains(&format!("{net}, held, standard PC")), "{net}: {failures}");
    }
}
