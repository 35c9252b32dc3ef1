//! The entries of a configuration.

use std::{fmt, path::PathBuf};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::ranges::SweepEntry;
use crate::{
    backends::Backend,
    contract::{
        OptimiserKind, Precision, ScheduleKind,
        details::{
            Anneal, ClampEntry, ErrorsFrom, EvaluatedBy, Figures, LossEntry, Preparation, Recall,
            ReducedBy, Relaxing, StartAt, States, Weights,
        },
    },
    data,
    models::{LayerEntry, ModelKind, Wanted},
};

/// Makes a table of entries of its own and those of one of the details. An entry that the details
/// have and the table lacks does not compile.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($own:ident: $own_type:ty,)* }
    with $rest:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub(crate) struct $name {
            $(pub(crate) $own: $own_type,)*
            $(pub(crate) $field: $type,)*
        }

        impl $name {
            /// Those of the details.
            pub(crate) fn details(&self) -> $rest {
                $rest { $($field: self.$field,)* }
            }

            /// The same with these details.
            pub(crate) fn with(self, details: $rest) -> Self {
                Self { $($field: details.$field,)* ..self }
            }
        }
    };
}

table! {
    /// `[data]`.
    DataEntry {
        kind: Option<data::Kind>,
        dir: Option<PathBuf>,
        samples: Option<usize>,
    } with Preparation {
        validation: Option<f64>,
        flip: Option<bool>,
        crop: Option<usize>,
        side: Option<usize>,
        mean: Option<f64>,
        deviation: Option<f64>,
        window: Option<usize>,
        stride: Option<usize>,
    }
}

table! {
    /// `[schedule]`, or one of `[[schedule]]`.
    ScheduleEntry {
        rule: Option<ScheduleKind>,
        rate: Option<f64>,
        steps: Option<usize>,
        learning_rate: Option<f64>,
    } with Relaxing {
        start: StartAt,
        deviation: Option<f64>,
        errors: ErrorsFrom,
        errors_deviation: Option<f64>,
        until: Option<f64>,
        beyond: Option<f64>,
        unbounded: bool,
        evaluation: EvaluatedBy,
        temperature: Option<f64>,
        burn_in: Option<usize>,
        every: Option<usize>,
        unlevelled: bool,
        unrelaxed: bool,
        reduction: ReducedBy,
    }
}

table! {
    /// `[optimiser]`.
    OptimiserEntry {
        kind: Option<OptimiserKind>,
        learning_rate: Option<f64>,
        decay: Option<f64>,
    } with Weights {
        momentum: Option<f64>,
        first: Option<f64>,
        second: Option<f64>,
        weight_decay: Option<f64>,
        clip_norm: Option<f64>,
        clip_value: Option<f64>,
        updates: Option<usize>,
        warm_up: Option<f64>,
        warm_up_from: Option<f64>,
        anneal: Anneal,
        last: Option<f64>,
        anneal_epochs: Option<f64>,
    }
}

/// Everything that a run is. What is not said is filled in, as on the command line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Configuration {
    pub(crate) backend: Option<Backend>,
    pub(crate) model: Option<ModelKind>,
    pub(crate) precision: Option<Precision>,
    pub(crate) threads: Option<usize>,
    pub(crate) seed: Option<u64>,
    pub(crate) seeds: Option<usize>,
    pub(crate) epochs: Option<usize>,
    pub(crate) batch: Option<usize>,
    pub(crate) report: Figures,
    pub(crate) target: Wanted,
    pub(crate) data: DataEntry,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) layers: Vec<LayerEntry>,
    pub(crate) loss: LossEntry,
    pub(crate) clamp: ClampEntry,
    #[serde(deserialize_with = "one_or_more")]
    pub(crate) schedule: Vec<ScheduleEntry>,
    pub(crate) states: States,
    pub(crate) optimiser: OptimiserEntry,
    pub(crate) recall: Option<Recall>,
    /// Of `pc-bench sweep` alone.
    pub(crate) sweep: Option<SweepEntry>,
}

/// Takes `[schedule]` as well as several `[[schedule]]`.
fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ScheduleEntry>, D::Error> {
    struct OneOrMore;
    impl<'de> Visitor<'de> for OneOrMore {
        type Value = Vec<ScheduleEntry>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table [schedule], or several [[schedule]]")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Ok(vec![ScheduleEntry::deserialize(MapAccessDeserializer::new(map))?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(entry) = all.next_element()? {
                found.push(entry);
            }
            Ok(found)
        }
    }
    from.deserialize_any(OneOrMore)
}
