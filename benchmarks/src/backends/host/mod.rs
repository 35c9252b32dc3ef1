//! The CPU backend of pc-core: graphs of host vertices, all models by all schedules in both
//! precisions.

mod check;
mod net;
mod optimiser;
mod speed;
mod targets;
mod train;

use pc_core::host::{Activate, Activation, Element, HostChain, HostTensor, HostVertex, Linear};

use super::chain::{self, Parts};
use crate::{
    contract::{
        Adapter, Precision, ScheduleKind, Support,
        check::{Checked, Subject},
        gradients::{Findings, LayerChain, Number, Ways},
        speed::{Case, Measured, Target, Timed, TimedKind},
        train::{Task, Trainee},
    },
    error::CommandError,
    models::ModelKind,
};

#[cfg(feature = "cuda")]
pub(super) use net::net as timed_net;
#[cfg(any(feature = "cuda", all(feature = "dfdx", not(test))))]
pub(super) use speed::contenders;

/// The CPU backend of pc-core.
#[derive(Clone, Copy, Debug)]
pub struct Host;

impl Adapter for Host {
    fn support() -> Support {
        Support {
            models: &ModelKind::ALL,
            timed: TimedKind::ALL,
            varied: true,
            rules: ScheduleKind::ALL,
            precisions: Precision::ALL,
            checkpoints: true,
            energies: true,
            details: true,
        }
    }

    fn trainee<F: Element>(task: &Task) -> Result<Box<dyn Trainee<F>>, CommandError> {
        Ok(Box::new(train::Host::new(task)?))
    }

    fn checked<F: Element>(subject: &Subject<F>) -> Result<Box<dyn Checked<F>>, CommandError> {
        Ok(Box::new(check::Host::new(subject)?))
    }

    fn gradients<F: Number>(net: LayerChain<F>, ways: &Ways) -> Result<Findings<F>, CommandError> {
        chain::compute(net, ways, &parts())
    }

    fn timed<F: Element>(
        case: &Case,
        rules: &[ScheduleKind],
    ) -> Result<Box<dyn Timed>, CommandError> {
        Ok(Box::new(speed::Host::<F>::new(case, rules)?))
    }

    fn targets(measured: &[Measured]) -> Vec<Target> {
        targets::targets(measured)
    }
}

/// What a chain is made of here.
pub(super) fn parts<F: Element>() -> Parts<HostTensor<F>, F> {
    Parts { layer, tensor: Ok }
}

fn layer<F: Element>(activation: Activation) -> pc_core::Result<HostVertex<F>> {
    let linear: HostVertex<F> = Box::new(Linear::new());
    if activation == Activation::Identity {
        return Ok(linear);
    }
    Ok(Box::new(HostChain::<F>::new(vec![linear, Box::new(Activate(activation))])?))
}
