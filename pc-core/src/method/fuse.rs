//! Steps that a network takes over.

use crate::{
    Result,
    clamp::Losses,
    method::Frame,
    network::{FusedSteps, Network, Residuals},
    point::Point,
    rule::StepForm,
    schedule::{ErrorStart, Learning},
};

/// Whether steps are plain and nothing looks at them, so that a network may take them over.
fn plain<N: Network>(frame: &Frame<N>) -> bool {
    let schedule = &frame.schedule;
    frame.form == Some(StepForm::Plain)
        && schedule.rates.are_plain()
        && schedule.noise.is_none()
        && schedule.errors == ErrorStart::Zero
        && schedule.tolerance.is_none()
        && !schedule.is_watched()
        && frame.point.is_gaussian()
        && frame.point.vertices.iter().all(|vertex| vertex.scratch.is_none())
}

fn take<N: Network>(
    frame: &mut Frame<N>,
    network: &mut N,
    steps: usize,
    learns: bool,
) -> Result<Option<usize>> {
    let Point { state, errors, residuals, residual, counts, free, roles, .. } = &mut frame.point;
    let request = FusedSteps {
        state,
        errors,
        residuals: Residuals { tensors: residuals, nonzero: residual },
        counts,
        free,
        losses: Losses { roles },
        gradients: learns.then_some(&mut frame.gradients),
        steps,
        rate: frame.rate,
        settings: frame.settings,
    };
    network.take_steps(request, &mut frame.at)
}

/// Hands all steps up to the end to a network that has something faster; `allowed` says whether
/// this method's steps are such as a network may take. True where it took any.
pub(crate) fn steps<N: Network>(
    frame: &mut Frame<N>,
    network: &mut N,
    allowed: bool,
) -> Result<bool> {
    let at_end = frame.schedule.learning == Learning::AtEnd;
    if !allowed || !(at_end || frame.infers) || !plain(frame) {
        return Ok(false);
    }
    let mut any = false;
    while !frame.is_last() {
        let left = frame.steps - frame.step;
        match take(frame, network, left, false)? {
            Some(taken) if taken > 0 => frame.step += taken.min(left),
            _ => break,
        }
        any = true;
    }
    Ok(any)
}

/// The same where weights learn at every step: the one step from a learning event to the next,
/// gradients included. False where the network leaves it to the engine, or it is the last one,
/// after which nothing learns.
pub(crate) fn learning_step<N: Network>(frame: &mut Frame<N>, network: &mut N) -> Result<bool> {
    let due = frame.schedule.learning == Learning::EveryStep && frame.step + 1 < frame.steps;
    if !due || frame.infers || !plain(frame) {
        return Ok(false);
    }
    frame.gradients.clear();
    let taken = take(frame, network, 1, true)?.is_some();
    frame.pulled |= taken;
    Ok(taken)
}
