//! How values relax.

use pc_core::{ErrorStart, Evaluation, Reduction, Result, Schedule, Start};
use serde::{Deserialize, Serialize};

use super::{Bound, only_with, wrong};
use crate::error::CommandError;

/// Where free values start ([`Start`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartAt {
    /// At their feed-forward predictions.
    #[default]
    Forward,
    /// At zero.
    Zero,
    /// At normal draws.
    Noise,
    /// Where the last batch left them.
    Carried,
}

/// Where errors start, for rules that relax errors ([`ErrorStart`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorsFrom {
    /// At zero.
    #[default]
    Zero,
    /// At the activations.
    Activations,
    /// At normal draws.
    Noise,
}

/// How a frozen relaxation is computed ([`Evaluation`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvaluatedBy {
    /// The quickest way that is valid.
    #[default]
    Auto,
    /// Every vertex at every step.
    Simulate,
    /// Where errors have arrived.
    Front,
    /// Without steps.
    ClosedForm,
}

/// Whether gradients are a batch's mean or its sum ([`Reduction`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReducedBy {
    /// The mean.
    #[default]
    Mean,
    /// The sum.
    Sum,
}

/// Parts of `[schedule]`: how values relax, beside rule, rate and steps. Each is a choice of
/// [`Schedule`]; one that the rule cannot honour is refused by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Relaxing {
    /// Where free values start.
    pub start: StartAt,
    /// The standard deviation of a start at noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deviation: Option<f64>,
    /// Where errors start.
    pub errors: ErrorsFrom,
    /// The standard deviation of errors that start at noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors_deviation: Option<f64>,
    /// Ends when the energy's gradient has fallen to this share of the drive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<f64>,
    /// Has diverged where the energy is so many times what it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beyond: Option<f64>,
    /// Whether no energy counts as diverged.
    pub unbounded: bool,
    /// How it is computed.
    pub evaluation: EvaluatedBy,
    /// The temperature of the noise of every step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The steps before the first sample that is learned from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burn_in: Option<usize>,
    /// The steps from one such sample to the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every: Option<usize>,
    /// Whether Z-IL runs on the graph as it is, where it is not backprop.
    pub unlevelled: bool,
    /// Whether no step is taken.
    pub unrelaxed: bool,
    /// How gradients are put together.
    pub reduction: ReducedBy,
}

impl Relaxing {
    pub(super) fn check(&self) -> Result<(), CommandError> {
        let noisy = self.start == StartAt::Noise;
        let deviation = self.deviation.is_some();
        only_with("schedule.deviation", deviation, noisy, "schedule.start = \"noise\"")?;
        let (noisy_errors, given) =
            (self.errors == ErrorsFrom::Noise, self.errors_deviation.is_some());
        let with = "schedule.errors = \"noise\"";
        only_with("schedule.errors-deviation", given, noisy_errors, with)?;
        for (entry, missing) in [
            ("schedule.deviation", noisy && !deviation),
            ("schedule.errors-deviation", noisy_errors && !given),
            ("schedule.every", self.burn_in.is_some() && self.every.is_none()),
            ("schedule.burn-in", self.every.is_some() && self.burn_in.is_none()),
        ] {
            if missing {
                return Err(wrong("schedule", format!("{entry} is missing")));
            }
        }
        for (entry, number) in [
            ("schedule.deviation", self.deviation),
            ("schedule.until", self.until),
            ("schedule.temperature", self.temperature),
        ] {
            Bound::Positive.check(entry, number)?;
        }
        if let Some(beyond) = self.beyond.filter(|beyond| !(*beyond > 1.0 && beyond.is_finite())) {
            let message = format!("schedule.beyond must be a number above 1, not {beyond}");
            return Err(wrong("schedule.beyond", message));
        }
        if self.unbounded && self.beyond.is_some() {
            let message = "schedule.unbounded contradicts schedule.beyond";
            return Err(wrong("schedule.unbounded", message));
        }
        Ok(())
    }

    /// What keeps a run that was interrupted from coming to the same bits: what is drawn, or
    /// carried, from batch to batch.
    pub fn goes_on(&self) -> Result<(), &'static str> {
        match () {
            () if self.start == StartAt::Carried => Err("schedule.start = \"carried\""),
            () if self.start == StartAt::Noise => Err("schedule.start = \"noise\""),
            () if self.errors == ErrorsFrom::Noise => Err("schedule.errors = \"noise\""),
            () if self.temperature.is_some() => Err("schedule.temperature"),
            () => Ok(()),
        }
    }

    /// A schedule with these choices; what is drawn is drawn by the seed.
    ///
    /// # Errors
    /// Numbers that make no sense.
    pub fn apply(&self, mut schedule: Schedule, seed: u64) -> Result<Schedule> {
        schedule = schedule
            .starting(match self.start {
                StartAt::Forward => Start::Forward,
                StartAt::Zero => Start::Zero,
                StartAt::Noise => Start::Noise { deviation: self.deviation.unwrap_or(1.0), seed },
                StartAt::Carried => Start::Carried,
            })
            .evaluated_by(match self.evaluation {
                EvaluatedBy::Auto => Evaluation::Auto,
                EvaluatedBy::Simulate => Evaluation::Simulate,
                EvaluatedBy::Front => Evaluation::Front,
                EvaluatedBy::ClosedForm => Evaluation::ClosedForm,
            })
            .reduced_by(match self.reduction {
                ReducedBy::Mean => Reduction::Mean,
                ReducedBy::Sum => Reduction::Sum,
            });
        schedule = match self.errors {
            ErrorsFrom::Zero => schedule,
            ErrorsFrom::Activations => schedule.errors_from(ErrorStart::Activations)?,
            ErrorsFrom::Noise => {
                let deviation = self.errors_deviation.unwrap_or(1.0);
                schedule.errors_from(ErrorStart::Noise { deviation, seed })?
            }
        };
        if let Some(tolerance) = self.until {
            schedule = schedule.until(tolerance)?;
        }
        if let Some(factor) = self.beyond {
            schedule = schedule.diverged_beyond(factor)?;
        }
        if let Some(temperature) = self.temperature {
            schedule = schedule.with_noise(temperature, seed)?;
        }
        if let (Some(burn_in), Some(every)) = (self.burn_in, self.every) {
            schedule = schedule.learning_from_samples(burn_in, every)?;
        }
        for (chosen, choice) in [
            (self.unbounded, Schedule::unbounded as fn(Schedule) -> Schedule),
            (self.unlevelled, Schedule::even_unlevelled),
            (self.unrelaxed, Schedule::unrelaxed),
        ] {
            if chosen {
                schedule = choice(schedule);
            }
        }
        Ok(schedule)
    }
}
