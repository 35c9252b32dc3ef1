//! pc-core's conformance suite: every chain in it, by every rule; other nets are refused.

use pc_core::{
    ErrorKind, Result,
    conformance::{Backend, Built, HostBackend, Net, run},
};
use pc_cuda::{Device, DeviceTensor, FusedNet, Precision, Simulation, Strategy};

struct Fused {
    device: Device,
    strategy: Strategy,
}

impl Backend for Fused {
    type Tensor = DeviceTensor;
    type Network = FusedNet;

    fn name(&self) -> String {
        format!("pc-cuda on the host layer, {:?}", self.strategy)
    }

    fn tolerance(&self) -> f64 {
        1e-5
    }

    fn tensor(&self, shape: &[usize], values: &[f64]) -> Result<DeviceTensor> {
        self.device.tensor(shape, &values.iter().map(|x| *x as f32).collect::<Vec<_>>())
    }

    fn build(&self, net: &Net) -> Result<Option<Built<FusedNet>>> {
        let Some(built) = HostBackend::<f64>::new().build(net)? else { return Ok(None) };
        match FusedNet::from_graph(&built.network, &self.device, Precision::F32) {
            Ok(network) => Ok(Some(Built {
                network: network.relaxed_by(self.strategy),
                vertices: built.vertices,
                parameters: built.parameters,
            })),
            Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[test]
fn the_conformance_suite_passes() {
    for (seed, strategy) in
        [(0, Strategy::Fastest), (5, Strategy::Cluster(2)), (6, Strategy::Graph)]
    {
        let device = Device::simulated(&Simulation::new(seed)).unwrap();
        let report = run(&Fused { device: device.clone(), strategy }).unwrap();
        for case in &report.cases {
            println!("{case}");
        }
        report.check().unwrap();
        device.synchronize().unwrap();
        println!("{}: {} passed, {} skipped", report.backend, report.passed(), report.skipped());
        assert!(report.passed() > 20, "{} passed", report.passed());
    }
}
