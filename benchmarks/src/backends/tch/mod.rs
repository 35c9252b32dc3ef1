//! libtorch through tch: ordinary forward passes, whose autograd graphs pc-tch relaxes.
//!
//! The vertices are libtorch's operations, finer than the other backends' (a dense layer is a linear and an activation), so that below rate 1 results are not
//! theirs. The outputs are held at their drives, as everywhere.

mod check;
mod model;
mod speed;
mod train;

use ::tch::TchError;
use pc_core::host::Element;

use super::{Adapter, Checked, Support, Task, Timed, Trainee};
use crate::{
    commands::{
        check::Subject,
        gradients::{Findings, Net, Number, Ways},
        train::{Precision, ScheduleKind},
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

fn failed(error: TchError) -> CommandError {
    CommandError::input(format!("libtorch: {error}"))
}

impl Adapter for Tch {
    fn support() -> Support {
        Support {
            models: &ModelKind::ALL,
            rules: &[ScheduleKind::Backprop, ScheduleKind::FixedPrediction],
            precisions: Precision::ALL,
            // tch lends no hand to an optimiser's state.
            checkpoints: false,
        }
    }

    fn trainee<F: Element>(task: &Task<'_>) -> Result<Box<dyn Trainee<F>>, CommandError> {
        share_threads();
        Ok(Box::new(train::Tch::new(task)?))
    }

    fn checked<F: Element>(subject: &Subject<F>) -> Result<Box<dyn Checked<F>>, CommandError> {
        share_threads();
        Ok(Box::new(check::Tch::new(subject)?))
    }

    fn gradients<F: Number>(_net: Net<F>, _ways: &Ways) -> Result<Findings<F>, CommandError> {
        Err(CommandError::input("--backend tch: its vertices are operations, not layers, and their values are not kept; take host"))
    }

    fn timed<F: Element>(kind: ModelKind, batch: usize, rules: &[ScheduleKind]) -> Result<Box<dyn Timed>, CommandError> {
        share_threads();
        Ok(Box::new(speed::Tch::new::<F>(kind, batch, rules)?))
    }
}
