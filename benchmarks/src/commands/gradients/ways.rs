//! The schedules that give what was asked for.

use pc_core::{Evaluation, Schedule};

use super::args::GradientsArgs;
use crate::{
    contract::{ScheduleKind, gradients::Ways},
    error::CommandError,
    models::ActivationKind,
};

/// The ways for a chain of this depth: edges from the first predicted layer to the last.
pub(super) fn ways(args: &GradientsArgs, depth: usize) -> Result<Ways, CommandError> {
    let (rule, activation) = (args.schedule, args.activation.function(ActivationKind::LEAK));
    if args.evaluation != Evaluation::Auto
        && !matches!(rule, ScheduleKind::FixedPrediction | ScheduleKind::Zil)
    {
        return Err(CommandError::input(format!(
            "--evaluation: there is one way only to compute {rule}"
        )));
    }
    let alone = |gradients| Ok(Ways { gradients, watched: None, activation });
    match rule {
        ScheduleKind::Ipc => Err(CommandError::input(
            "--schedule ipc: its weights move with its states, so its gradients depend on a \
             weight rate too; \
             take `pc-bench train --schedule ipc`",
        )),
        ScheduleKind::Backprop => {
            args.refuse_rate("it does not relax")?;
            args.refuse_steps("it does not relax")?;
            // What it is the short cut of: one step a layer, at rate 1.
            let watched = with_steps(Schedule::fixed_prediction, 1.0, depth)?
                .evaluated_by(Evaluation::Simulate)
                .traced();
            Ok(Ways { gradients: Schedule::backprop(), watched: Some(watched), activation })
        }
        ScheduleKind::FixedPrediction => {
            let schedule =
                with_steps(Schedule::fixed_prediction, args.need_rate()?, args.need_steps()?)?;
            let simulated = schedule.clone().evaluated_by(Evaluation::Simulate).traced();
            match args.evaluation {
                Evaluation::Auto | Evaluation::Simulate => alone(simulated),
                Evaluation::Front => alone(schedule.evaluated_by(Evaluation::Front).traced()),
                Evaluation::ClosedForm => Ok(Ways {
                    gradients: schedule.evaluated_by(Evaluation::ClosedForm),
                    watched: Some(simulated),
                    activation,
                }),
            }
        }
        ScheduleKind::Zil => {
            args.refuse_rate("its rate is 1")?;
            let steps = args.steps.unwrap_or(depth);
            if steps < depth {
                return Err(CommandError::input(format!(
                    "--steps {steps}: Z-IL reads the first layer's weights after {depth} steps \
                     in a net of {} layers; leave --steps out",
                    depth + 1
                )));
            }
            let evaluation = if args.evaluation == Evaluation::Auto {
                Evaluation::Simulate
            } else {
                args.evaluation
            };
            // Its states move as standard PC's at rate 1 do; only when weights learn is its
            // own.
            let watched = with_steps(Schedule::standard, 1.0, steps)?.traced();
            // Levels that have learned go where they will, without a bound.
            let watched = if steps == 0 { watched } else { watched.unbounded() };
            Ok(Ways {
                gradients: Schedule::zil().evaluated_by(evaluation),
                watched: Some(watched),
                activation,
            })
        }
        ScheduleKind::Standard => {
            alone(with_steps(Schedule::standard, args.need_rate()?, args.need_steps()?)?.traced())
        }
        ScheduleKind::Epc => {
            alone(with_steps(Schedule::epc, args.need_rate()?, args.need_steps()?)?.traced())
        }
    }
}
/// A schedule of any number of steps: none is allowed here, to see what learning from the start
/// gives.
fn with_steps(
    make: fn(f64, usize) -> pc_core::Result<Schedule>,
    rate: f64,
    steps: usize,
) -> Result<Schedule, CommandError> {
    let schedule = make(rate, steps.max(1))?;
    Ok(if steps == 0 { schedule.unrelaxed() } else { schedule })
}
