//! How states step.

use std::collections::BTreeMap;

use pc_core::{Pace, Result, Schedule, rule};
use serde::{Deserialize, Serialize};

use super::{Bound, only_with, wrong};
use crate::error::CommandError;

/// How states step ([`rule`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StateRuleKind {
    /// Along the forces.
    #[default]
    Plain,
    /// With momentum.
    Momentum,
    /// With Nesterov's momentum.
    Nesterov,
    /// Adam.
    Adam,
    /// Heun's two-part steps.
    Heun,
    /// Anderson acceleration.
    Anderson,
    /// Steps that are halved where the energy rises.
    Adaptive,
}

/// How the rate goes over the steps ([`Pace`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PaceKind {
    /// It stays.
    #[default]
    Constant,
    /// `1 / (1 + k t)`.
    Inverse,
    /// `exp(-k t)`.
    Exponential,
    /// By a table.
    Table,
}

/// `[states]`: how states step while they relax.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct States {
    /// The optimiser.
    pub rule: StateRuleKind,
    /// Of `momentum` and `nesterov`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// Adam's decay of the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<f64>,
    /// Adam's decay of the mean of squares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second: Option<f64>,
    /// Adam's epsilon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// The steps that `anderson` looks back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<usize>,
    /// How the rate goes over the steps.
    pub pace: PaceKind,
    /// The `k` of `inverse` and `exponential`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<f64>,
    /// The factors of `table`, step by step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub table: Vec<f64>,
    /// Whether the rate of a vertex is divided by the precisions around it.
    pub by_precision: bool,
    /// Factors of the rate, by vertex.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rates: BTreeMap<String, f64>,
}

/// What Adam's numbers are where they are not said.
const ADAM: [f64; 3] = [0.9, 0.999, 1e-8];

impl States {
    pub(super) fn check(&self) -> Result<(), CommandError> {
        use StateRuleKind::{Adam, Anderson, Momentum, Nesterov};
        let rule = |with: &[StateRuleKind]| with.contains(&self.rule);
        let paced = matches!(self.pace, PaceKind::Inverse | PaceKind::Exponential);
        let (moves, adam) =
            ("states.rule = \"momentum\" or \"nesterov\"", "states.rule = \"adam\"");
        for (entry, given, holds, with) in [
            ("states.momentum", self.momentum.is_some(), rule(&[Momentum, Nesterov]), moves),
            ("states.first", self.first.is_some(), rule(&[Adam]), adam),
            ("states.second", self.second.is_some(), rule(&[Adam]), adam),
            ("states.epsilon", self.epsilon.is_some(), rule(&[Adam]), adam),
            (
                "states.columns",
                self.columns.is_some(),
                rule(&[Anderson]),
                "states.rule = \"anderson\"",
            ),
            (
                "states.decay",
                self.decay.is_some(),
                paced,
                "states.pace = \"inverse\" or \"exponential\"",
            ),
            (
                "states.table",
                !self.table.is_empty(),
                self.pace == PaceKind::Table,
                "states.pace = \"table\"",
            ),
        ] {
            only_with(entry, given, holds, with)?;
        }
        for (entry, missing) in [
            ("states.momentum", rule(&[Momentum, Nesterov]) && self.momentum.is_none()),
            ("states.columns", rule(&[Anderson]) && self.columns.is_none()),
            ("states.decay", paced && self.decay.is_none()),
            ("states.table", self.pace == PaceKind::Table && self.table.is_empty()),
        ] {
            if missing {
                return Err(wrong("states", format!("{entry} is missing")));
            }
        }
        for (entry, number, bound) in [
            ("states.momentum", self.momentum, Bound::Share),
            ("states.first", self.first, Bound::Share),
            ("states.second", self.second, Bound::Share),
            ("states.decay", self.decay, Bound::NotNegative),
        ] {
            bound.check(entry, number)?;
        }
        Ok(())
    }

    /// The same with what is not said filled in.
    pub(crate) fn filled(self) -> Self {
        if self.rule != StateRuleKind::Adam {
            return self;
        }
        let [first, second, epsilon] = ADAM;
        Self {
            first: self.first.or(Some(first)),
            second: self.second.or(Some(second)),
            epsilon: self.epsilon.or(Some(epsilon)),
            ..self
        }
    }

    /// A schedule whose states step so, but for [`States::rates`], which only a graph knows.
    ///
    /// # Errors
    /// Numbers that make no sense.
    pub fn apply(&self, schedule: Schedule) -> Result<Schedule> {
        let [first, second, epsilon] = ADAM;
        let momentum = self.momentum.unwrap_or_default();
        let schedule = match self.rule {
            StateRuleKind::Plain => schedule,
            StateRuleKind::Momentum => schedule.with_momentum(momentum)?,
            StateRuleKind::Nesterov => schedule.ruled_by(rule::Nesterov::new(momentum)?),
            StateRuleKind::Adam => schedule.ruled_by(rule::Adam::new(
                self.first.unwrap_or(first),
                self.second.unwrap_or(second),
                self.epsilon.unwrap_or(epsilon),
            )?),
            StateRuleKind::Heun => schedule.ruled_by(rule::Heun),
            StateRuleKind::Anderson => {
                schedule.ruled_by(rule::Anderson::new(self.columns.unwrap_or_default())?)
            }
            StateRuleKind::Adaptive => schedule.adaptive(),
        };
        let decay = self.decay.unwrap_or_default();
        let schedule = match self.pace {
            PaceKind::Constant => schedule,
            PaceKind::Inverse => schedule.paced(Pace::Inverse(decay))?,
            PaceKind::Exponential => schedule.paced(Pace::Exponential(decay))?,
            PaceKind::Table => schedule.paced(Pace::Table(self.table.clone()))?,
        };
        Ok(if self.by_precision { schedule.rate_by_precision() } else { schedule })
    }
}
