//! One pass of a program over one batch.

use ::tch::Tensor;
use pc_core::{Result, Schedule, Status};
use pc_tch::{LossReduction, PredictiveCoding, SteppingOptimizer};

use super::model::{TchNet, failed};
use crate::{
    contract::{ScheduleKind, train::Traced},
    error::CommandError,
};

/// Lets gradients add up in `.grad`, and moves nothing.
pub(super) struct Still(Vec<Tensor>);

impl Still {
    pub(super) fn of(net: &TchNet) -> Self {
        Self(net.parameters.iter().map(|(_, parameter)| parameter.shallow_clone()).collect())
    }
}

impl SteppingOptimizer for Still {
    fn moves(&self) -> Vec<Tensor> {
        self.0.iter().map(Tensor::shallow_clone).collect()
    }

    fn clear(&mut self) -> Result<()> {
        Ok(())
    }

    fn move_once(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Predictive coding on programs whose loss is a mean over samples.
pub(super) fn marked(schedule: Schedule) -> PredictiveCoding {
    PredictiveCoding::new(schedule).reduced_by(LossReduction::Mean)
}

/// The gradients of one batch by a schedule, summed over the learning events; no weight moves. All
/// NaN where it diverged.
pub(super) fn gradients(
    net: &TchNet,
    mut pc: PredictiveCoding,
    loss: impl Fn() -> std::result::Result<Tensor, CommandError>,
) -> std::result::Result<Traced, CommandError> {
    net.take_gradients()?;
    if pc.schedule().name() == ScheduleKind::Backprop.name() {
        loss()?.f_backward().map_err(failed)?;
        return Ok(Traced { gradients: net.take_gradients()?, energy: Vec::new() });
    }
    let outcome = learned(&mut pc, &mut Still::of(net), loss)?.outcome;
    let mut gradients = net.take_gradients()?;
    if outcome.status == Status::Diverged {
        gradients.iter_mut().flatten().for_each(|gradient| *gradient = f64::NAN);
    }
    Ok(Traced { gradients, energy: outcome.trace })
}

/// A step of learning whose program can fail.
pub(super) fn learned(
    pc: &mut PredictiveCoding,
    optimiser: &mut impl SteppingOptimizer,
    loss: impl Fn() -> std::result::Result<Tensor, CommandError>,
) -> std::result::Result<pc_tch::Learned, CommandError> {
    let mut failure = None;
    // What is not there is refused as no loss; why is told instead.
    let learned = pc.learn(optimiser, || {
        loss().unwrap_or_else(|error| {
            failure.get_or_insert(error);
            Tensor::new()
        })
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(learned?),
    }
}
