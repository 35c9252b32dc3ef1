//! libtorch through tch: ordinary programs, with marks where the host's graphs have their vertices,
//! so that results are those of the other backends. `speed` also times the drop-in, which needs no
//! marks, and whose vertices are libtorch's operations.

mod check;
mod model;
mod optimiser;
mod pass;
mod speed;
mod train;

use ::tch::{Device, TchError, Tensor};
use pc_core::{
    Error, ErrorKind,
    backend::Vertex,
    host::{Activation, Element, HostTensor},
};
use pc_tch::{Function, TchTensor};

use super::chain::{self, Parts};
use crate::{
    contract::{
        Adapter, Precision, ScheduleKind, Support,
        check::{Checked, Subject},
        gradients::{Findings, LayerChain, Number, Ways},
        speed::{Case, Timed, TimedKind},
        train::{Task, Trainee},
    },
    error::CommandError,
    models::ModelKind,
};

/// libtorch on the CPU.
#[derive(Clone, Copy, Debug)]
pub struct Tch;

/// Lets libtorch work on as many threads as the other backends have.
fn share_threads() {
    ::tch::set_num_threads(i32::try_from(rayon::current_num_threads()).unwrap_or(1));
}

impl Adapter for Tch {
    fn support() -> Support {
        Support {
            models: &ModelKind::ALL,
            timed: TimedKind::MODELS,
            varied: false,
            rules: ScheduleKind::ALL,
            precisions: Precision::ALL,
            checkpoints: true,
            // An autograd graph is relaxed behind one call.
            energies: false,
            details: false,
        }
    }

    fn trainee<F: Element>(task: &Task) -> Result<Box<dyn Trainee<F>>, CommandError> {
        share_threads();
        Ok(Box::new(train::Tch::new(task)?))
    }

    fn checked<F: Element>(subject: &Subject<F>) -> Result<Box<dyn Checked<F>>, CommandError> {
        share_threads();
        Ok(Box::new(check::Tch::new(subject)?))
    }

    fn gradients<F: Number>(net: LayerChain<F>, ways: &Ways) -> Result<Findings<F>, CommandError> {
        share_threads();
        // Layer by layer, as every backend: on an explicit graph of functions, whose values can be
        // had, and not on the autograd graph of operations.
        chain::compute(net, ways, &Parts { layer: layer::<F>, tensor: tensor::<F> })
    }

    fn timed<F: Element>(
        case: &Case,
        rules: &[ScheduleKind],
    ) -> Result<Box<dyn Timed>, CommandError> {
        share_threads();
        Ok(Box::new(speed::Tch::new::<F>(case.kind.model()?, case.batch, rules)?))
    }
}

fn layer<F: Element>(activation: Activation) -> pc_core::Result<Box<dyn Vertex<TchTensor>>> {
    let activate: fn(&Tensor) -> Result<Tensor, TchError> = match activation {
        Activation::Identity => |x| Ok(x.shallow_clone()),
        Activation::Relu => Tensor::f_relu,
        Activation::Tanh => Tensor::f_tanh,
        Activation::Sigmoid => Tensor::f_sigmoid,
        Activation::Gelu => |x| x.f_gelu("none"),
        other => {
            return Err(Error::new(
                ErrorKind::Graph,
                format!("the backend tch has no dense layers with {other:?}"),
            ));
        }
    };
    let layer = move |parents: &[Tensor], parameters: &[Tensor]| {
        activate(&parents[0].f_linear(&parameters[0], Some(&parameters[1]))?)
    };
    Ok(Box::new(Function::new("dense layer", (model::kind_of::<F>(), Device::Cpu), 2, layer)))
}

fn tensor<F: Element>(host: HostTensor<F>) -> pc_core::Result<TchTensor> {
    let tensor = model::from_host(&host)
        .map_err(|error| Error::new(ErrorKind::Backend, error.to_string()))?;
    Ok(TchTensor::new(&tensor))
}
