//! A fused net's parameters, to be handed over.

use pc_core::{HandOver, Result, Tensor};

use crate::{net::FusedNet, tensor::DeviceTensor};

/// # Example
/// ```
/// # #[cfg(feature = "simulation")] {
/// use pc_core::{Graph, HandOver, host::{Activation, HostLayers, HostTensor, Init}};
/// use pc_cuda::{Device, FusedNet, Precision, Simulation};
/// let mut b = Graph::<HostTensor<f64>>::builder();
/// let x = b.input("x", &[2])?;
/// b.dense("y", x, 1, Activation::Tanh, &mut Init::new(1))?;
/// let mut graph = b.build()?;
/// let device = Device::simulated(&Simulation::new(0))?; // Device::cuda(0)? where there is a GPU
/// let mut net = FusedNet::from_graph(&graph, &device, Precision::F32)?;
/// net.parameters_mut()[0].set_numbers(&[3.0, 4.0])?;
/// graph.copy_parameters_from(&net)?;
/// assert_eq!(graph.parameters()[0].data(), [3.0, 4.0]);
/// # }
/// # Ok::<(), pc_core::Error>(())
/// ```
impl HandOver for FusedNet {
    type Tensor = DeviceTensor;

    fn named(&self) -> (&[String], &[DeviceTensor]) {
        (self.topology.parameter_names(), &self.parameters)
    }

    fn take_over(
        &mut self,
        parameters: Vec<DeviceTensor>,
        _statistics: Vec<DeviceTensor>,
    ) -> Result<()> {
        // In place: recordings have the addresses built in.
        for (own, new) in self.parameters.iter_mut().zip(&parameters) {
            own.copy_from(new);
        }
        self.device.check()
    }

    fn failure(&self) -> Result<()> {
        self.device.check()
    }
}
