//! dfdx: its modules, whose types pc-dfdx reads as graphs, with the host's weights.
//!
//! Backprop is dfdx's own `backward()`, and optimisers are dfdx's. Sizes are types, so there are
//! models for those of `check`, of the digits, and of pictures of 28x28.

mod check;
mod models;
mod net;
mod speed;
mod train;

use pc_core::host::Element;

use super::{chain, host};
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

/// dfdx on the CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dfdx;

/// What dfdx or its adapter reports.
fn failed(error: impl std::fmt::Debug) -> pc_core::Error {
    pc_core::Error::new(pc_core::ErrorKind::Backend, format!("dfdx: {error:?}"))
}

impl Adapter for Dfdx {
    fn support() -> Support {
        Support {
            models: &ModelKind::ALL,
            timed: &[TimedKind::Model(ModelKind::Mlp), TimedKind::Model(ModelKind::Cnn)],
            varied: false,
            rules: ScheduleKind::ALL,
            precisions: Precision::ALL,
            // dfdx 0.13 keeps the state of its optimisers to itself.
            checkpoints: false,
            energies: true,
            details: false,
        }
    }

    fn trainee<F: Element>(task: &Task) -> Result<Box<dyn Trainee<F>>, CommandError> {
        Ok(match Precision::of::<F>() {
            Precision::F32 => Box::new(train::Dfdx::<f32>::new(task)?),
            Precision::F64 => Box::new(train::Dfdx::<f64>::new(task)?),
        })
    }

    fn checked<F: Element>(subject: &Subject<F>) -> Result<Box<dyn Checked<F>>, CommandError> {
        Ok(match Precision::of::<F>() {
            Precision::F32 => Box::new(check::Dfdx::<f32>::new(&subject.converted()?)?),
            Precision::F64 => Box::new(check::Dfdx::<f64>::new(&subject.converted()?)?),
        })
    }

    fn gradients<F: Number>(net: LayerChain<F>, ways: &Ways) -> Result<Findings<F>, CommandError> {
        // The sizes of a net that comes from a file are no types: its layers are the vertices that
        // dfdx's layers are read as.
        chain::compute(net, ways, &host::parts())
    }

    fn timed<F: Element>(
        case: &Case,
        rules: &[ScheduleKind],
    ) -> Result<Box<dyn Timed>, CommandError> {
        let (kind, batch) = (case.kind.model()?, case.batch);
        Ok(match Precision::of::<F>() {
            Precision::F32 => Box::new(speed::Dfdx::<f32>::new(kind, batch, rules)?),
            Precision::F64 => Box::new(speed::Dfdx::<f64>::new(kind, batch, rules)?),
        })
    }

    fn targets(measured: &[Measured]) -> Vec<Target> {
        speed::targets(measured)
    }
}
