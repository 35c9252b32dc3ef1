//! The examples run, and find what they say. They are compiled into this test, so that nothing is
//! built twice for it.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../examples/carry_over.rs"]
pub mod carry_over;
#[path = "../examples/cycle.rs"]
pub mod cycle;
#[path = "../examples/intervention.rs"]
pub mod intervention;
#[path = "../examples/mask.rs"]
pub mod mask;
#[path = "../examples/own_energy.rs"]
pub mod own_energy;
#[path = "../examples/prior.rs"]
pub mod prior;
#[path = "../examples/two_predictions.rs"]
pub mod two_predictions;

#[test]
fn every_example_finds_what_it_says() {
    carry_over::main().unwrap();
    cycle::main().unwrap();
    intervention::main().unwrap();
    mask::main().unwrap();
    own_energy::main().unwrap();
    prior::main().unwrap();
    two_predictions::main().unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 7, "an example that is not run here");
}
