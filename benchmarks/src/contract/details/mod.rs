//! What a run may choose beside its rule, rate and steps, as entries of a configuration.
//!
//! Every entry has its usual value, with which a run is what it would be without the entry. What
//! contradicts itself is refused by the entry's name
//! ([`CommandError::Entry`]).

mod clamp;
mod data;
mod recall;
mod schedule;
mod states;
mod weights;

use serde::{Deserialize, Serialize};

pub use clamp::{ClampEntry, Drive, LossEntry, OutputClamp};
pub use data::Preparation;
pub use recall::{Given, Recall};
pub use schedule::{ErrorsFrom, EvaluatedBy, ReducedBy, Relaxing, StartAt};
pub use states::{PaceKind, StateRuleKind, States};
pub use weights::{Anneal, Weights};

use super::choices::{OptimiserKind, ScheduleKind};
use crate::{
    data::Kind,
    error::CommandError,
    models::{LayerEntry, LayerKind, OutputLoss, Wanted},
};

/// Which epoch's figures stand for a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Figures {
    /// The last one's.
    #[default]
    LastEpoch,
    /// Those of the epoch with the highest accuracy, or where there is none with the lowest loss,
    /// on the data that figures are taken on.
    BestEpoch,
}

/// Everything that a run may choose beside its rule, rate and steps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Details {
    /// Which epoch is reported.
    pub report: Figures,
    /// What is done to the data.
    pub data: Preparation,
    /// What the output is to be.
    pub target: Wanted,
    /// The net, layer by layer; empty for one of the named models.
    pub layers: Vec<LayerEntry>,
    /// What is learned.
    pub loss: LossEntry,
    /// How the output is held.
    pub clamp: ClampEntry,
    /// How values relax.
    pub schedule: Relaxing,
    /// How states step.
    pub states: States,
    /// How weights step.
    pub optimiser: Weights,
    /// What is asked of a net that has stored pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall: Option<Recall>,
}

/// An entry that makes no sense.
pub(crate) fn wrong(entry: &str, message: impl Into<String>) -> CommandError {
    CommandError::Entry { entry: entry.to_owned(), message: message.into() }
}

/// What a number of an entry must be.
#[derive(Clone, Copy, Debug)]
enum Bound {
    Positive,
    NotNegative,
    /// At least 0 and below 1.
    Share,
}

impl Bound {
    /// Refuses a number that is not within.
    fn check(self, entry: &str, number: Option<f64>) -> Result<(), CommandError> {
        let (fits, what): (fn(f64) -> bool, _) = match self {
            Self::Positive => (|x| x > 0.0 && x.is_finite(), "a positive number"),
            Self::NotNegative => (|x| x >= 0.0 && x.is_finite(), "a number that is not negative"),
            Self::Share => (|x| (0.0..1.0).contains(&x), "at least 0 and below 1"),
        };
        match number.filter(|number| !fits(*number)) {
            Some(number) => Err(wrong(entry, format!("{entry} must be {what}, not {number}"))),
            None => Ok(()),
        }
    }
}

/// Refuses an entry that only another choice would honour.
fn only_with(entry: &str, given: bool, holds: bool, with: &str) -> Result<(), CommandError> {
    if given && !holds {
        return Err(wrong(entry, format!("{entry} has nothing to act on: it is for {with}")));
    }
    Ok(())
}

impl Details {
    /// Refuses what contradicts itself or the rule, the optimiser or the data.
    ///
    /// # Errors
    /// A message that names the entry.
    pub fn check(
        &self,
        rule: ScheduleKind,
        optimiser: OptimiserKind,
        data: Kind,
    ) -> Result<(), CommandError> {
        self.data.check(data)?;
        self.clamp.check(&self.loss)?;
        self.schedule.check()?;
        self.states.check()?;
        self.optimiser.check(optimiser)?;
        self.check_target(rule, data)?;
        self.check_recall()?;
        let relaxes = rule.takes_rate();
        let nudged = self.clamp.output == OutputClamp::Nudged;
        if relaxes && nudged && self.schedule.start != StartAt::Forward {
            let message = "schedule.start: a nudge counts from the feed-forward prediction, so \
                values have to start there; leave it out";
            return Err(wrong("schedule.start", message));
        }
        let states = self.states != States::default();
        only_with("states", states, relaxes, "rules that relax; leave it out")
    }

    /// Whether the net begins with a latent, which is found by relaxation on each batch.
    pub fn has_latent(&self) -> bool {
        self.layers.first().is_some_and(|layer| layer.kind == LayerKind::Latent)
    }

    fn check_recall(&self) -> Result<(), CommandError> {
        let Some(recall) = &self.recall else { return Ok(()) };
        recall.check()?;
        if !self.has_latent() {
            let message = "recall has nothing to ask: it is for a net that begins with a latent, \
                which stores the pictures that it learns";
            return Err(wrong("recall", message));
        }
        let data = &self.data;
        for (entry, given) in [
            ("data.validation", data.validation.is_some()),
            ("data.mean", data.mean.is_some()),
            ("data.deviation", data.deviation.is_some()),
        ] {
            if given {
                let message = format!(
                    "{entry} contradicts recall, which is of the training pictures, between 0 and 1"
                );
                return Err(wrong(entry, message));
            }
        }
        Ok(())
    }

    fn check_target(&self, rule: ScheduleKind, data: Kind) -> Result<(), CommandError> {
        if self.target == Wanted::Label {
            if self.has_latent() {
                let message = "a latent reads no data, so what the output is to be must say which \
                    sample it is of: say target = \"input\" too";
                return Err(wrong("layers[0].kind", message));
            }
            return Ok(());
        }
        let refuse = |message: &str| Err(wrong("target", format!("target = \"input\" {message}")));
        if matches!(data, Kind::Names | Kind::Shakespeare) {
            return refuse("is for pictures");
        }
        if self.layers.is_empty() {
            return refuse("is for a net of [[layers]]: the named models give classes");
        }
        if self.loss.kind != OutputLoss::SquaredError {
            return refuse("is learned by squares: say loss.kind = \"squared-error\" too");
        }
        if !self.has_latent() {
            return Ok(());
        }
        if !matches!(rule, ScheduleKind::Standard | ScheduleKind::Ipc) {
            let message = format!(
                "{rule} finds no latent: it takes a rule whose predictions follow values, standard \
                 or ipc; for {rule} give the net an encoder in its place"
            );
            return Err(wrong("schedule.rule", message));
        }
        if !matches!(self.schedule.start, StartAt::Zero | StartAt::Forward) {
            let message = "schedule.start: a latent starts at zero in every batch, and the others \
                with it (\"zero\") or at their predictions from there (\"forward\")";
            return Err(wrong("schedule.start", message));
        }
        Ok(())
    }

    /// Refuses, by name, what a backend other than the host's does not honour: outputs that are
    /// their inputs, which the host's alone has, and without `details`
    /// ([`Support::details`](crate::contract::Support::details)) all that makes another net,
    /// another loss or other steps.
    ///
    /// # Errors
    /// A message that names the entry and the backend.
    pub fn refuse_on(
        &self,
        backend: &str,
        optimiser: OptimiserKind,
        details: bool,
    ) -> Result<(), CommandError> {
        let refuse = |entry: &str| {
            Err(wrong(entry, format!("{entry}: the backend {backend} does not have it; host has")))
        };
        if self.target != Wanted::default() {
            return refuse("target");
        }
        if details {
            return Ok(());
        }
        if !self.layers.is_empty() {
            return refuse("layers");
        }
        if self.loss != LossEntry::default() {
            return refuse("loss");
        }
        if self.clamp != ClampEntry::default() {
            return refuse("clamp");
        }
        if !self.states.rates.is_empty() {
            return refuse("states.rates");
        }
        if self.schedule.reduction != ReducedBy::default() {
            return refuse("schedule.reduction");
        }
        if self.optimiser.steps() != Weights::usual(optimiser).steps() {
            return refuse("optimiser");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_host_honours_is_refused_by_name_and_nothing_else() {
        let refused_by = |honours: bool, words: &str, kind: OptimiserKind| {
            let mut details: Details = toml::from_str(words).unwrap();
            details.optimiser = details.optimiser.filled(kind, 3);
            match details.refuse_on("abacus", kind, honours) {
                Ok(()) => None,
                Err(CommandError::Entry { entry, message }) => {
                    assert!(message.contains(&entry) && message.contains("abacus"), "{message}");
                    Some(entry)
                }
                Err(other) => panic!("{words}: {other}"),
            }
        };
        let refused = |words: &str, kind| refused_by(false, words, kind);
        for (words, entry) in [
            ("target = \"input\"", "target"),
            ("[[layers]]\nkind = \"dense\"", "layers"),
            ("[loss]\nkind = \"squared-error\"", "loss"),
            ("[loss]\nstrength = 0.5", "loss"),
            ("[clamp]\noutput = \"held\"", "clamp"),
            ("[states.rates]\nhidden = 2.0", "states.rates"),
            ("[schedule]\nreduction = \"sum\"", "schedule.reduction"),
            ("[optimiser]\nweight-decay = 0.1", "optimiser"),
            ("[optimiser]\nfirst = 0.5", "optimiser"),
            ("[optimiser]\nsecond = 0.5", "optimiser"),
            ("[optimiser]\nclip-norm = 1.0", "optimiser"),
            ("[optimiser]\nclip-value = 1.0", "optimiser"),
            ("[optimiser]\nupdates = 2", "optimiser"),
        ] {
            assert_eq!(refused(words, OptimiserKind::AdamW).as_deref(), Some(entry), "{words}");
            let by_all = refused_by(true, words, OptimiserKind::AdamW);
            assert_eq!(by_all.as_deref(), (entry == "target").then_some(entry), "{words}");
        }
        assert_eq!(
            refused("[optimiser]\nmomentum = 0.5", OptimiserKind::Sgd).unwrap(),
            "optimiser"
        );
        // Every engine has the schedule, every optimiser rates; data come before both.
        for words in [
            "",
            "report = \"best-epoch\"",
            "[data]\nflip = true\nvalidation = 0.2",
            "[schedule]\nstart = \"zero\"\nuntil = 0.001\nevaluation = \"simulate\"",
            "[states]\nrule = \"momentum\"\nmomentum = 0.5",
            "[optimiser]\nupdates = 1",
            "[optimiser]\nwarm-up = 1.0\nanneal = \"cosine\"",
        ] {
            for kind in [OptimiserKind::Adam, OptimiserKind::AdamW, OptimiserKind::Sgd] {
                assert_eq!(refused(words, kind), None, "{words}");
            }
        }
    }
}
