//! How weights step.

use pc_core::{Clipping, Result, WeightRate};
use serde::{Deserialize, Serialize};

use super::{Bound, only_with, wrong};
use crate::{contract::choices::OptimiserKind, error::CommandError};

/// How the weights' rate goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anneal {
    /// It is multiplied by `decay` after each epoch.
    #[default]
    Decay,
    /// It falls along half a wave.
    Cosine,
}

/// Parts of `[optimiser]`: how weights step, beside kind, rate and decay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Weights {
    /// Of `sgd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// Adam's decay of the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<f64>,
    /// Adam's decay of the mean of squares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second: Option<f64>,
    /// Of `adamw` (decoupled) and `sgd`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// The most that the norm of all gradients may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_norm: Option<f64>,
    /// The most that any number of a gradient may be, either way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_value: Option<f64>,
    /// How often a batch's gradients are applied, each time clipped and with the rate; once where
    /// nothing is said. Some released programs do it twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updates: Option<usize>,
    /// The rate rises over so many epochs first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<f64>,
    /// From this rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warm_up_from: Option<f64>,
    /// How the rate goes on.
    pub anneal: Anneal,
    /// The last rate of a cosine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<f64>,
    /// The epochs until then, the warm-up included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anneal_epochs: Option<f64>,
}

impl Weights {
    /// What an optimiser has where nothing is said.
    pub fn usual(kind: OptimiserKind) -> Self {
        let sgd = kind == OptimiserKind::Sgd;
        let adam = |number: f64| (!sgd).then_some(number);
        Self {
            momentum: sgd.then_some(0.9),
            first: adam(0.9),
            second: adam(0.999),
            weight_decay: match kind {
                OptimiserKind::Adam => None,
                OptimiserKind::AdamW => Some(0.01),
                OptimiserKind::Sgd => Some(0.0),
            },
            ..Self::default()
        }
    }

    /// The same with what is not said filled in; a cosine ends after `epochs`.
    pub(crate) fn filled(self, kind: OptimiserKind, epochs: usize) -> Self {
        let usual = Self::usual(kind);
        let cosine = self.anneal == Anneal::Cosine;
        Self {
            momentum: self.momentum.or(usual.momentum),
            first: self.first.or(usual.first),
            second: self.second.or(usual.second),
            weight_decay: self.weight_decay.or(usual.weight_decay),
            warm_up_from: self.warm_up_from.or(self.warm_up.map(|_| 0.0)),
            anneal_epochs: self.anneal_epochs.or(cosine.then_some(epochs as f64)),
            ..self
        }
    }

    /// What an optimiser does in each step, without how its rate goes.
    pub(super) fn steps(&self) -> [Option<f64>; 7] {
        let Self { momentum, first, second, weight_decay, clip_norm, clip_value, .. } = *self;
        let updates = Some(self.updates() as f64);
        [momentum, first, second, weight_decay, clip_norm, clip_value, updates]
    }

    pub(super) fn check(&self, kind: OptimiserKind) -> Result<(), CommandError> {
        let sgd = kind == OptimiserKind::Sgd;
        let cosine = self.anneal == Anneal::Cosine;
        for (entry, given, holds, with) in [
            ("optimiser.momentum", self.momentum.is_some(), sgd, "sgd"),
            ("optimiser.first", self.first.is_some(), !sgd, "adam and adamw"),
            ("optimiser.second", self.second.is_some(), !sgd, "adam and adamw"),
            (
                "optimiser.weight-decay",
                self.weight_decay.is_some(),
                kind != OptimiserKind::Adam,
                "adamw and sgd",
            ),
            (
                "optimiser.warm-up-from",
                self.warm_up_from.is_some(),
                self.warm_up.is_some(),
                "optimiser.warm-up",
            ),
            ("optimiser.last", self.last.is_some(), cosine, "optimiser.anneal = \"cosine\""),
            (
                "optimiser.anneal-epochs",
                self.anneal_epochs.is_some(),
                cosine,
                "optimiser.anneal = \"cosine\"",
            ),
        ] {
            only_with(entry, given, holds, with)?;
        }
        if cosine && self.last.is_none() {
            return Err(wrong("optimiser", "optimiser.last is missing: where does a cosine end?"));
        }
        if self.clip_norm.is_some() && self.clip_value.is_some() {
            let message = "optimiser.clip-value contradicts optimiser.clip-norm: give one";
            return Err(wrong("optimiser.clip-value", message));
        }
        if self.updates == Some(0) {
            let message = "optimiser.updates = 0 would learn nothing: it must be 1 or more";
            return Err(wrong("optimiser.updates", message));
        }
        for (entry, number, bound) in [
            ("optimiser.momentum", self.momentum, Bound::Share),
            ("optimiser.first", self.first, Bound::Share),
            ("optimiser.second", self.second, Bound::Share),
            ("optimiser.weight-decay", self.weight_decay, Bound::NotNegative),
            ("optimiser.clip-norm", self.clip_norm, Bound::Positive),
            ("optimiser.clip-value", self.clip_value, Bound::Positive),
            ("optimiser.warm-up", self.warm_up, Bound::Positive),
            ("optimiser.warm-up-from", self.warm_up_from, Bound::NotNegative),
            ("optimiser.last", self.last, Bound::Positive),
            ("optimiser.anneal-epochs", self.anneal_epochs, Bound::Positive),
        ] {
            bound.check(entry, number)?;
        }
        if let (Some(warm_up), Some(epochs)) = (self.warm_up, self.anneal_epochs)
            && warm_up >= epochs
        {
            let message = format!("optimiser.warm-up takes all of the {epochs} epochs");
            return Err(wrong("optimiser.warm-up", message));
        }
        Ok(())
    }

    /// How often a batch's gradients are applied.
    pub fn updates(&self) -> usize {
        self.updates.unwrap_or(1)
    }

    /// What gradients are clipped to.
    ///
    /// # Errors
    /// Bounds that are not positive numbers.
    pub fn clipping(&self) -> Result<Option<Clipping>> {
        match (self.clip_norm, self.clip_value) {
            (Some(most), _) => Clipping::norm(most).map(Some),
            (None, Some(most)) => Clipping::value(most).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Whether the rate stays as it is within an epoch.
    pub fn steps_by_epoch(&self) -> bool {
        self.warm_up.is_none() && self.anneal == Anneal::Decay
    }

    /// The rate of a batch of an epoch (both from 0) of so many batches.
    ///
    /// # Errors
    /// Numbers that are not positive.
    pub fn rate(
        &self,
        [rate, decay]: [f64; 2],
        [epoch, batch, batches]: [usize; 3],
    ) -> Result<f64> {
        if self.steps_by_epoch() {
            return Ok(WeightRate::step_decay(rate, decay, 1)?.at(epoch));
        }
        let count = |epochs: f64| ((epochs * batches as f64).round() as usize).max(1);
        let warm_up = self.warm_up.map_or(0, count);
        let step = epoch * batches + batch;
        let Some(after) = step.checked_sub(warm_up) else {
            let from = self.warm_up_from.unwrap_or(0.0);
            return Ok(from + (rate - from) * ((step + 1) as f64 / warm_up as f64));
        };
        match (self.anneal, self.last, self.anneal_epochs) {
            (Anneal::Cosine, Some(last), Some(epochs)) => {
                let steps = count(epochs).saturating_sub(warm_up).max(1);
                Ok(WeightRate::cosine(rate, last, steps)?.at(after))
            }
            _ => Ok(WeightRate::step_decay(rate, decay, batches)?.at(after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_rises_and_then_falls_along_half_a_wave() {
        let weights = Weights {
            warm_up: Some(1.0),
            warm_up_from: Some(0.1),
            anneal: Anneal::Cosine,
            last: Some(0.01),
            anneal_epochs: Some(3.0),
            ..Weights::default()
        };
        let rate = |epoch, batch| weights.rate([1.1, 1.0], [epoch, batch, 10]).unwrap();
        assert!((rate(0, 0) - 0.2).abs() < 1e-12, "a tenth of the way");
        assert_eq!(rate(0, 9), 1.1);
        assert_eq!(rate(1, 0), 1.1);
        assert!((rate(2, 0) - 0.555).abs() < 1e-12, "half of the wave");
        assert_eq!(rate(5, 0), 0.01);
    }

    #[test]
    fn without_entries_a_rate_changes_by_epoch() {
        let rate = |epoch, batch| Weights::default().rate([1.0, 0.5], [epoch, batch, 3]).unwrap();
        assert_eq!([rate(0, 0), rate(0, 2), rate(2, 1)], [1.0, 1.0, 0.25]);
    }
}
