//! The choices of a schedule, one by one, for methods to answer.

use crate::{
    rule::{Pace, Setting, StepForm},
    schedule::{Bound, ErrorStart, Evaluation, Learning, Reduction, Schedule, Start, Steps},
};

/// A choice that a schedule can make. Every method answers every choice, in a `match` without a
/// wildcard: a new choice does not compile until each has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Choice {
    Start(Start),
    Errors,
    Evaluation(Evaluation),
    Momentum,
    Adaptive,
    /// Another rule, and why it does not work while weights move, or on errors.
    Ruled {
        moving_weights: Option<&'static str>,
        errors: Option<&'static str>,
    },
    Tolerance,
    Bound,
    Unbounded,
    Noise,
    Mean,
    Trace,
    Observed,
    Samples,
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
            errors,
            rule,
            steps,
            samples,
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
            (*errors != ErrorStart::Zero).then_some(Self::Errors),
            Some(Self::Evaluation(*evaluation)),
            match rule.form() {
                Some(StepForm::Plain) => None,
                Some(StepForm::Momentum(_)) => Some(Self::Momentum),
                Some(StepForm::Adaptive { .. }) => Some(Self::Adaptive),
                None => Some(Self::Ruled {
                    moving_weights: rule.refuses(Setting::MovingWeights),
                    errors: rule.refuses(Setting::Errors),
                }),
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
            samples.map(|_| Self::Samples),
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
    let form = schedule.rule.form();
    let adaptive = matches!(form, Some(StepForm::Adaptive { .. }));
    let misled = schedule.noise.and_then(|_| schedule.rule.refuses(Setting::Noise));
    let acts_on_steps = form != Some(StepForm::Plain)
        || schedule.noise.is_some()
        || !schedule.rates.are_plain()
        || schedule.bound != Bound::Usual;
    if let Start::Noise { deviation, .. } = schedule.start
        && !(deviation >= 0.0 && deviation.is_finite())
    {
        Some("the deviation of a noisy start must be a number that is not negative")
    } else if schedule.errors != ErrorStart::Zero && schedule.start != Start::Forward {
        Some("errors start by themselves only where states start at their predictions")
    } else if misled.is_some() {
        misled
    } else if adaptive && schedule.rates.pace != Pace::Constant {
        Some("an adaptive step finds its rate by the energy, not by the step")
    } else if schedule.noise.is_some() && schedule.bound == Bound::Lifted {
        Some("with noise there is no usual bound to lift")
    } else if schedule.unmeasured && schedule.is_watched() {
        Some("its energy is watched, so it cannot be left unmeasured")
    } else if schedule.samples.is_some() && schedule.learning == Learning::EveryStep {
        Some("its weights learn at every step already")
    } else if schedule.samples.is_some() && schedule.noise.is_none() {
        Some("without noise there are no samples to learn from")
    } else if let (Some((burn_in, every)), Steps::Count(count)) = (schedule.samples, schedule.steps)
        && count < burn_in.saturating_add(every)
    {
        Some("its steps end before the first sample that it would learn from")
    } else if unrelaxed && acts_on_steps {
        Some("it takes no steps, so nothing about its steps can be chosen")
    } else if schedule.unlevelled && schedule.evaluation == Evaluation::Front {
        Some("a graph that is not levelled has no front, level by level")
    } else {
        None
    }
}
