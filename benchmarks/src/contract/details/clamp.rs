//! The loss, and how the output is held.

use serde::{Deserialize, Serialize};

use super::{Bound, only_with, wrong};
use crate::{error::CommandError, models::OutputLoss};

/// `[loss]`: what is learned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LossEntry {
    /// Which loss.
    pub kind: OutputLoss,
    /// `lambda`: the loss drives the output so strongly. Gradients are divided by it.
    pub strength: f64,
}

impl Default for LossEntry {
    fn default() -> Self {
        Self { kind: OutputLoss::default(), strength: 1.0 }
    }
}

/// How the output is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputClamp {
    /// It follows its prediction, and the loss drives it.
    #[default]
    Driven,
    /// It is held at the label.
    Held,
    /// It is held at `mu + beta (label - mu)`, with `mu` the feed-forward prediction.
    Nudged,
}

/// `[clamp]`: how the output is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClampEntry {
    /// How.
    pub output: OutputClamp,
    /// The strength of a nudge; negative pushes away. Gradients are divided by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
    /// What `beta` grows by after each epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub growth: Option<f64>,
    /// Whether every other epoch, from the second on, has the opposite sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alternate: Option<bool>,
}

/// What one batch's output is driven by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Drive {
    /// A loss of this strength.
    Loss(OutputLoss, f64),
    /// The label.
    Held,
    /// A nudge of this strength.
    Nudge(f64),
}

impl Drive {
    /// What the gradients come out multiplied by.
    pub fn factor(self) -> f64 {
        match self {
            Self::Loss(_, factor) | Self::Nudge(factor) => factor,
            Self::Held => 1.0,
        }
    }
}

impl ClampEntry {
    /// A nudge beyond the label would be no nudge.
    const MOST: f64 = 1.0;

    pub(super) fn check(&self, loss: &LossEntry) -> Result<(), CommandError> {
        Bound::Positive.check("loss.strength", Some(loss.strength))?;
        let nudged = self.output == OutputClamp::Nudged;
        let driven = self.output == OutputClamp::Driven;
        for (entry, given) in [
            ("clamp.beta", self.beta.is_some()),
            ("clamp.growth", self.growth.is_some()),
            ("clamp.alternate", self.alternate.is_some()),
        ] {
            only_with(entry, given, nudged, "clamp.output = \"nudged\"")?;
        }
        if !driven && loss.kind != OutputLoss::SquaredError {
            return Err(wrong(
                "clamp.output",
                "clamp.output: an output that is held or nudged has half the squared error for \
                 its energy; say loss.kind = \"squared-error\" too",
            ));
        }
        if !driven && loss.strength != 1.0 {
            return Err(wrong(
                "loss.strength",
                "loss.strength is for clamp.output = \"driven\"; a nudge has clamp.beta",
            ));
        }
        let growth = self.growth.unwrap_or(0.0);
        if !growth.is_finite() {
            return Err(wrong("clamp.growth", format!("clamp.growth: {growth} is no number")));
        }
        match self.beta {
            None if nudged => {
                Err(wrong("clamp", "clamp.beta is missing: how strong is the nudge?"))
            }
            Some(beta) if !(beta != 0.0 && beta.abs() <= Self::MOST) => Err(wrong(
                "clamp.beta",
                format!("clamp.beta must be between -1 and 1, and not 0; it is {beta}"),
            )),
            Some(beta) if beta * growth < 0.0 => Err(wrong(
                "clamp.growth",
                "clamp.growth must have beta's sign, or beta comes to 0 on its way",
            )),
            _ => Ok(()),
        }
    }

    /// The strength of the nudge in an epoch, counted from 0: `beta + growth epoch`, at most 1
    /// either way.
    pub fn beta_at(&self, epoch: usize) -> f64 {
        let beta = self.beta.unwrap_or(1.0) + self.growth.unwrap_or(0.0) * epoch as f64;
        let sign = if self.alternate == Some(true) && epoch % 2 == 1 { -1.0 } else { 1.0 };
        sign * beta.clamp(-Self::MOST, Self::MOST)
    }

    /// What drives the output in an epoch, counted from 0.
    pub fn drive(&self, loss: &LossEntry, epoch: usize) -> Drive {
        match self.output {
            OutputClamp::Driven => Drive::Loss(loss.kind, loss.strength),
            OutputClamp::Held => Drive::Held,
            OutputClamp::Nudged => Drive::Nudge(self.beta_at(epoch)),
        }
    }

    /// The same with what is not said filled in.
    pub(crate) fn filled(self) -> Self {
        if self.output != OutputClamp::Nudged {
            return self;
        }
        let (growth, alternate) = (self.growth.or(Some(0.0)), self.alternate.or(Some(false)));
        Self { growth, alternate, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nudge_grows_to_the_label_and_may_change_its_sign() {
        let nudge = |alternate| ClampEntry {
            output: OutputClamp::Nudged,
            beta: Some(-0.9),
            growth: Some(-0.04),
            alternate,
        };
        let betas = |entry: ClampEntry| [0, 1, 2, 3].map(|epoch| entry.beta_at(epoch));
        assert_eq!(betas(nudge(None)), [-0.9, -0.9 - 0.04, -0.9 - 0.08, -1.0]);
        assert_eq!(betas(nudge(Some(true))), [-0.9, 0.9 + 0.04, -0.9 - 0.08, 1.0]);
    }
}
