//! Predictive coding on NVIDIA GPUs.
//!
//! A small net relaxed step by step costs a framework hundreds of tiny launches, where the
//! arithmetic needs a few microseconds. [`FusedNet`] takes a chain of linear vertices with
//! activations (the very graph that runs on pc-core's host backend) and runs a whole relaxation,
//! from one learning event to the next, in **one** launch where thread-block clusters can hold the
//! weights in shared memory, and as one recorded graph of launches elsewhere. [`plan`] chooses and
//! says why.
//!
//! Nothing of CUDA is needed to build: the driver, NVRTC and cuBLASLt are loaded when a [`Device`]
//! is made, and their absence is an error. The feature `simulation` runs the same kernels on the
//! CPU, thread by thread, for tests.
//!
//! # Example
//! ```
//! # #[cfg(feature = "simulation")] {
//! use pc_core::host::{Activation, HostLayers, HostTensor, Init};
//! use pc_core::{Clamps, Graph, Relaxation, Schedule};
//! use pc_cuda::{Device, FusedNet, Precision, Sgd, Simulation};
//!
//! let mut init = Init::new(7);
//! let mut b = Graph::<HostTensor<f32>>::builder();
//! let x = b.input("x", &[6])?;
//! let h = b.dense("h", x, 12, Activation::Tanh, &mut init)?;
//! let y = b.dense("y", h, 3, Activation::Identity, &mut init)?;
//! let graph = b.build()?;
//!
//! let device = Device::simulated(&Simulation::new(0))?; // Device::cuda(0)? where there is a GPU
//! let mut net = FusedNet::from_graph(&graph, &device, Precision::F32)?;
//! let clamps = Clamps::new()
//!     .hold(x, device.tensor(&[1, 6], &[0.5; 6])?)
//!     .hold(y, device.tensor(&[1, 3], &[1.0, 0.0, 0.0])?);
//! let mut rule = Relaxation::new(&net, Schedule::standard(0.1, 20)?)?;
//! let mut sgd = Sgd::new(0.1)?;
//! let outcome = rule.train(&mut net, &clamps, |net, gradients| sgd.step(net, gradients))?;
//! assert_eq!(outcome.steps, 20);
//! # }
//! # Ok::<(), pc_core::Error>(())
//! ```

mod device;
mod graph;
mod loss;
mod net;
mod optimiser;
mod parallel;
mod params;
mod plan;
mod precision;
pub mod primitives;
mod tensor;
mod transfer;

#[cfg(feature = "simulation")]
pub use device::Simulation;
pub use device::{Device, DeviceProps, Launches};
pub use graph::graph_to_device;
pub use loss::CrossEntropy;
pub use net::{FusedLinearisation, FusedNet};
pub use optimiser::{AdamW, OnDevice, Sgd};
pub use parallel::{AllReduce, DataParallel, Nccl, ThroughHost};
pub use plan::{Kernel, NetShape, Output, Plan, Strategy, plan};
pub use precision::Precision;
pub use tensor::DeviceTensor;
