//! What a task asks of a graph of pc-core's, wherever its tensors lie.

use pc_core::{Clamps, Loss, Schedule, SquaredError, Tensor, VertexId, host::Element};

use crate::{
    contract::{
        ScheduleKind,
        details::{Details, Drive},
        train::Task,
    },
    error::CommandError,
    models::{Model, OutputLoss},
};

/// Factors of the states' rate, by vertex.
pub(super) type Rates = Vec<(VertexId, f64)>;

/// The model of a task: levelled for Z-IL, unless the task says that it is not to be.
///
/// # Errors
/// As [`Task::model`].
pub(super) fn model<F: Element>(task: &Task) -> Result<Model<F>, CommandError> {
    let model = task.model::<F>()?;
    let levelled = task.rule == ScheduleKind::Zil && !task.details.schedule.unlevelled;
    if levelled { Ok(model.levelled()?) } else { Ok(model) }
}

/// The states' rates that a task speaks of, where its rule takes any.
///
/// # Errors
/// A vertex that the model does not have.
pub(super) fn rates<F: Element>(task: &Task, model: &Model<F>) -> Result<Rates, CommandError> {
    let Details { states, .. } = &task.details;
    let named = states.rates.iter().filter(|_| task.rule.takes_rate());
    named
        .map(|(name, factor)| {
            let vertex = model.graph.vertex(name).map_err(at("states.rates"))?;
            Ok((vertex, *factor))
        })
        .collect()
}

/// An error of one entry of the configuration.
pub(super) fn at(entry: &'static str) -> impl Fn(pc_core::Error) -> CommandError {
    move |error| CommandError::Entry { entry: entry.to_owned(), message: error.to_string() }
}

/// A schedule with these rates.
///
/// # Errors
/// A rate that is not a positive number.
pub(super) fn with_rates(
    mut schedule: Schedule,
    rates: &[(VertexId, f64)],
) -> pc_core::Result<Schedule> {
    // Backprop, which others are compared with, takes no steps.
    if schedule == Schedule::backprop().reduced_by(schedule.reduction()) {
        return Ok(schedule);
    }
    for (vertex, factor) in rates {
        schedule = schedule.with_rate_of(*vertex, *factor)?;
    }
    Ok(schedule)
}

/// Clamps with an output driven towards its target, or held at it; `cross_entropy` is that of these
/// tensors.
pub(super) fn driven<T: Tensor + 'static, L: Loss<T> + 'static>(
    clamps: Clamps<T>,
    vertex: VertexId,
    target: T,
    drive: Drive,
    cross_entropy: impl Fn(T) -> L,
) -> Clamps<T> {
    match drive {
        Drive::Loss(OutputLoss::CrossEntropy, by) => {
            clamps.weak_loss(vertex, cross_entropy(target), by)
        }
        Drive::Loss(OutputLoss::SquaredError, by) => {
            clamps.weak_loss(vertex, SquaredError::new(target), by)
        }
        Drive::Held => clamps.hold(vertex, target),
        Drive::Nudge(beta) => clamps.nudge(vertex, target, beta),
    }
}
