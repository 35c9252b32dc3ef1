//! pc-core's conformance suite over graphs on the device, and backends that it has to fail.

use pc_core::{
    Graph, Result,
    conformance::{Backend, Built, HostBackend, Net, Report, additions, composites, layers, run},
};
use pc_cuda::{Device, DeviceTensor, Precision, Simulation, graph_to_device};

struct Stepped {
    device: Device,
    /// What the first number of the first parameter is multiplied by: 1, or there is a mistake.
    factor: f32,
}

impl Stepped {
    fn new(seed: u64, factor: f32) -> Self {
        Self { device: Device::simulated(&Simulation::new(seed)).unwrap(), factor }
    }
}

impl Backend for Stepped {
    type Tensor = DeviceTensor;
    type Network = Graph<DeviceTensor>;

    fn name(&self) -> String {
        "pc-cuda's graphs on the host layer".to_owned()
    }

    fn tolerance(&self) -> f64 {
        1e-5
    }

    fn tensor(&self, shape: &[usize], values: &[f64]) -> Result<DeviceTensor> {
        self.device.tensor(shape, &values.iter().map(|x| *x as f32).collect::<Vec<_>>())
    }

    fn build(&self, net: &Net) -> Result<Option<Built<Graph<DeviceTensor>>>> {
        let Some(built) = HostBackend::<f64>::new().build(net)? else { return Ok(None) };
        let mut network = graph_to_device(&built.network, &self.device, Precision::F32)?;
        let first = &mut network.parameters_mut()[0];
        let mut numbers = first.numbers()?;
        numbers[0] *= self.factor;
        first.set_numbers(&numbers)?;
        Ok(Some(Built { network, vertices: built.vertices, parameters: built.parameters }))
    }
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
        let backend = Stepped::new(seed, 1.0);
        passes(&run(&backend).unwrap(), 150);
        backend.device.synchronize().unwrap();
    }
}

#[test]
fn every_layer_of_the_host_passes() {
    let backend = Stepped::new(3, 1.0);
    let remade = |graph| graph_to_device(&graph, &backend.device, Precision::F32);
    passes(&layers(&backend, remade).unwrap(), 40);
}

#[test]
fn what_is_written_once_for_all_backends_passes() {
    let backend = Stepped::new(4, 1.0);
    passes(&composites(&backend).unwrap(), 20);
    passes(&additions(&backend).unwrap(), 20);
}

/// One wrong number in one weight fails cases of every net.
#[test]
fn a_wrong_weight_fails() {
    let failures = run(&Stepped::new(0, 1.001)).unwrap().check().unwrap_err();
    for net in ["tanh chain", "skip", "recurrence", "gate", "convolution", "cycle"] {
        assert!(failures.contains(&format!("{net}, held, standard PC")), "{net}: {failures}");
    }
}
