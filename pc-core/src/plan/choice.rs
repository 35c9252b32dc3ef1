//! The choices of a schedule, one by one, for methods to answer.

use crate::{
    rule::Pace,
    schedule::{Bound, Evaluation, Reduction, Schedule, Start, StepRule, Steps},
};

/// A choice that a schedule can make. Every method answers every choice, in a `match` without a
/// wildcard: a new choice does not compile until each has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Choice {
    Start(Start),
    Evaluation(Evaluation),
    Momentum,
    Adaptive,
    Tolerance,
    Bound,
    Unbounded,
    Noise,
    Mean,
    Trace,
    Observed,
    VertexRate,
    RateByPrecision,
    Pace,
    Unrelaxed,
    Unlevelled,
    Unmeasured,
}

/// What a method says to a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Honoured,
    Refused(&'static str),
}

impl Choice {
    /// What a schedule chooses. It is taken apart without `..`, so that a new field does not
    /// compile until it is a choice here, or said to be none.
    pub(super) fn of(schedule: &Schedule) -> impl Iterator<Item = Self> {
        let Schedule {
            // These make the method, or are numbers within it.
            name: _,
            linearisation: _,
            coordinates: _,
            learning: _,
            rate: _,
            rates,
            start,
            rule,
            steps,
            tolerance,
            bound,
            evaluation,
            noise,
            reduction,
            trace,
            observed,
            unlevelled,
            unmeasured,
        } = schedule;
        [
            Some(Self::Start(*start)),
            Some(Self::Evaluation(*evaluation)),
            match rule {
                StepRule::Plain => None,
                StepRule::Momentum(_) => Some(Self::Momentum),
                StepRule::Adaptive { .. } => Some(Self::Adaptive),
            },
            (*steps == Steps::Count(0)).then_some(Self::Unrelaxed),
            tolerance.map(|_| Self::Tolerance),
            match bound {
                Bound::Usual => None,
                Bound::Beyond(_) => Some(Self::Bound),
                Bound::Lifted => Some(Self::Unbounded),
            },
            noise.map(|_| Self::Noise),
            match reduction {
                Reduction::Sum => None,
                Reduction::Mean => Some(Self::Mean),
            },
            trace.then_some(Self::Trace),
            observed.then_some(Self::Observed),
            (!rates.of.is_empty()).then_some(Self::VertexRate),
            rates.by_precision.then_some(Self::RateByPrecision),
            (rates.pace != Pace::Constant).then_some(Self::Pace),
            unlevelled.then_some(Self::Unlevelled),
            unmeasured.then_some(Self::Unmeasured),
        ]
        .into_iter()
        .flatten()
    }
}

/// What two choices of one schedule say of each other, whatever the method.
pub(super) fn contradiction(schedule: &Schedule) -> Option<&'static str> {
    let unrelaxed = schedule.steps == Steps::Count(0);
    let adaptive = matches!(schedule.rule, StepRule::Adaptive { .. });
    let acts_on_steps = schedule.rule != StepRule::Plain
        || schedule.noise.is_some()
        || !schedule.rates.are_plain()
        || schedule.bound != Bound::Usual;
    if let Start::Noise { deviation, .. } = schedule.start
        && !(deviation >= 0.0 && deviation.is_finite())
    {
        Some("the deviation of a noisy start must be a number that is not negative")
    } else if adaptive && schedule.noise.is_some() {
        Some("noise raises the energy that an adaptive step waits to see fall")
    } else if adaptive && schedule.rates.pace != Pace::Constant {
        Some("an adaptive step finds its rate by the energy, not by the step")
    } else if schedule.noise.is_some() && schedule.bound == Bound::Lifted {
        Some("with noise there is no usual bound to lift")
    } else if schedule.unmeasured && schedule.is_watched() {
        Some("its energy is watched, so it cannot be left unmeasured")
    } else if schedule.unmeasured && schedule.observed {
        Some("its energy can be read at every step, so it cannot be left unmeasured")
    } else if unrelaxed && acts_on_steps {
        Some("it takes no steps, so nothing about its steps can be chosen")
    } else if schedule.unlevelled && schedule.evaluation == Evaluation::Front {
        Some("a graph that is not levelled has no front, level by level")
    } else {
        None
    }
}
