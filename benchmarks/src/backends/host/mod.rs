//! The CPU backend of pc-core: graphs of host vertices, all models by all schedules in both precisions.

mod check;
mod gradients;
mod net;
mod optimiser;
mod speed;
mod targets;
mod train;

use pc_core::host::Element;

use super::{Adapter, Checked, Support, Task, Timed, Trainee};
use crate::{
    commands::{
        check::Subject,
        gradients::{Findings, Net, Number, Ways},
        speed::{Measured, Target},
        train::{Precision, ScheduleKind},
    },
    error::CommandError,
    models::ModelKind,
};

#[cfg(feature = "cuda")]
pub(super) use gradients::build as chain;
#[cfg(feature = "cuda")]
pub(super) use net::net as timed_net;
#[cfg(feature = "cuda")]
pub(super) use speed::contenders;

/// The CPU backend of pc-core.
#[derive(Clone, Copy, Debug)]
pub struct Host;

impl Adapter for Host {
    fn support() -> Support {
        Support { models: &ModelKind::ALL, rules: ScheduleKind::ALL, precisions: Precision::ALL, checkpoints: true }
    }

    fn trainee<F: Element>(task: &Task<'_>) -> Result<Box<dyn Trainee<F>>, CommandError> {
        Ok(Box::new(train::Host::new(task)?))
    }

    fn checked<F: Element>(subject: &Subject<F>) -> Result<Box<dyn Checked<F>>, CommandError> {
        Ok(Box::new(check::Host::new(subject)?))
    }

    fn gradients<F: Number>(net: Net<F>, ways: &Ways) -> Result<Findings<F>, CommandError> {
        gradients::compute(net, ways)
    }

    fn timed<F: Element>(kind: ModelKind, batch: usize, rules: &[ScheduleKind]) -> Result<Box<dyn Timed>, CommandError> {
        Ok(Box::new(speed::Host::<F>::new(kind, batch, rules)?))
    }

    fn targets(measured: &[Measured]) -> Vec<Target> {
        targets::targets(measured)
    }
}
