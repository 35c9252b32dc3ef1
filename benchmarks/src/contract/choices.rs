//! What can be chosen by name.

use std::{fmt, str::FromStr};

use pc_core::{Result, Schedule, host::Element};
use serde::{Deserialize, Serialize};

use crate::models::{ActivationKind, ModelKind};

/// Gives an enum its names on the command line in `Display` and `FromStr` too.
macro_rules! named {
    ($kind:ident, $what:literal, [$($variant:ident = $name:literal),+ $(,)?]) => {
        impl $kind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $kind {
            type Err = String;

            fn from_str(name: &str) -> Result<Self, String> {
                let names = || {
                    Self::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
                };
                Self::ALL.iter().copied().find(|kind| kind.name() == name).ok_or_else(|| {
                    format!(concat!("unknown ", $what, " '{}': give one of {}"), name, names())
                })
            }
        }
    };
}

/// A rule to train by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// The baseline.
    Backprop,
    /// Predictions and Jacobians stay at the forward pass.
    FixedPrediction,
    /// Each level learns at its own step.
    Zil,
    /// Predictions follow the values.
    Standard,
    /// Values and weights move together.
    Ipc,
    /// Errors are relaxed.
    Epc,
}

/// What moves the weights.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum OptimiserKind {
    /// Adam.
    #[default]
    Adam,
    /// Adam with a decoupled weight decay of 0.01.
    #[value(name = "adamw")]
    #[serde(rename = "adamw")]
    AdamW,
    /// Gradient descent with momentum 0.9.
    Sgd,
}

/// The numbers' precision.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Single.
    #[default]
    F32,
    /// Double.
    F64,
}

named!(
    ScheduleKind,
    "schedule",
    [
        Backprop = "backprop",
        FixedPrediction = "fixed-prediction",
        Zil = "zil",
        Standard = "standard",
        Ipc = "ipc",
        Epc = "epc",
    ]
);
named!(OptimiserKind, "optimiser", [Adam = "adam", AdamW = "adamw", Sgd = "sgd"]);
named!(
    ActivationKind,
    "activation",
    [
        Identity = "identity",
        Relu = "relu",
        LeakyRelu = "leaky-relu",
        HardTanh = "hard-tanh",
        Tanh = "tanh",
        Sigmoid = "sigmoid",
        Gelu = "gelu",
        Silu = "silu",
        Softplus = "softplus",
    ]
);
named!(Precision, "precision", [F32 = "f32", F64 = "f64"]);

impl Precision {
    /// That of a scalar.
    pub const fn of<F: Element>() -> Self {
        if size_of::<F>() == 4 { Self::F32 } else { Self::F64 }
    }
}

impl ScheduleKind {
    /// Whether it takes a rate and a number of steps.
    pub const fn takes_rate(self) -> bool {
        !matches!(self, Self::Backprop | Self::Zil)
    }

    /// The rate where none is given. Attention's layer norms and the skips and shared weights of
    /// other nets make their Jacobians larger, which asks for smaller steps.
    pub const fn default_rate(self, model: ModelKind) -> f64 {
        match (self, model) {
            (Self::Backprop | Self::Zil, _) => 1.0,
            (Self::Standard | Self::Ipc, ModelKind::Attention) => 0.02,
            (Self::FixedPrediction | Self::Standard | Self::Ipc, _) => 0.1,
            (Self::Epc, ModelKind::Mlp | ModelKind::Cnn) => 0.02,
            (Self::Epc, _) => 0.002,
        }
    }

    /// The steps where none are given.
    pub const fn default_steps(self) -> usize {
        if self.takes_rate() { 20 } else { 1 }
    }

    /// The schedule itself, its gradients the mean over the batch.
    ///
    /// # Errors
    /// A rate that is not a positive number; zero steps. Backprop and Z-IL ignore both.
    pub fn schedule(self, rate: f64, steps: usize) -> Result<Schedule> {
        let schedule = match self {
            Self::Backprop => Schedule::backprop(),
            Self::FixedPrediction => Schedule::fixed_prediction(rate, steps)?,
            Self::Zil => Schedule::zil(),
            Self::Standard => Schedule::standard(rate, steps)?,
            Self::Ipc => Schedule::ipc(rate, steps)?,
            Self::Epc => Schedule::epc(rate, steps)?,
        };
        Ok(schedule.reduced_by(pc_core::Reduction::Mean))
    }
}

/// One of the choices, or `all` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrAll<T> {
    /// All that there are.
    All,
    /// This one.
    One(T),
}

impl<T: Copy> OrAll<T> {
    /// The chosen among `all`.
    pub fn among(self, all: &[T]) -> Vec<T> {
        match self {
            Self::All => all.to_vec(),
            Self::One(one) => vec![one],
        }
    }
}

impl<T: FromStr> FromStr for OrAll<T> {
    type Err = T::Err;

    fn from_str(name: &str) -> Result<Self, T::Err> {
        if name == "all" { Ok(Self::All) } else { name.parse().map(Self::One) }
    }
}
