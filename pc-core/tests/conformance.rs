//! The host backend in both precisions passes its own suite; a backend that is wrong does not.

// Helpers outside `#[test]` functions too: in a test a panic is the report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(feature = "conformance")]

use pc_core::{
    Graph, Result,
    conformance::{Backend, Built, HostBackend, Net, Report, run},
    host::HostTensor,
};

fn passes(report: &Report, least: usize) {
    if let Err(failures) = report.check() {
        panic!("{failures}");
    }
    assert!(report.passed() >= least, "only {} cases passed", report.passed());
    assert_eq!(report.skipped(), 0);
}

#[test]
fn host_in_f64() {
    passes(&run(&HostBackend::<f64>::new()).unwrap(), 150);
}

#[test]
fn host_in_f32() {
    passes(&run(&HostBackend::<f32>::new()).unwrap(), 150);
}

/// The host with one weight a thousandth off.
struct Wrong;

impl Backend for Wrong {
    type Tensor = HostTensor<f64>;
    type Network = Graph<HostTensor<f64>>;

    fn name(&self) -> String {
        "wrong".to_owned()
    }

    fn tolerance(&self) -> f64 {
        1e-10
    }

    fn tensor(&self, shape: &[usize], values: &[f64]) -> Result<HostTensor<f64>> {
        HostBackend::<f64>::new().tensor(shape, values)
    }

    fn build(&self, net: &Net) -> Result<Option<Built<Self::Network>>> {
        let mut built = HostBackend::<f64>::new().build(net)?;
        if let Some(built) = &mut built {
            built.network.parameters_mut()[0].data_mut()[0] *= 1.001;
        }
        Ok(built)
    }
}

#[test]
fn a_wrong_backend_fails() {
    let report = run(&Wrong).unwrap();
    let failures = report.check().unwrap_err();
    assert!(failures.contains("tanh chain, held, standard PC"), "{failures}");
}
