//! The nets that `speed` times.

use std::{fmt, str::FromStr};

use crate::{error::CommandError, models::ModelKind};

/// T of all schedules that take one, for the nets of `train`, where none is asked for.
pub const STEPS: usize = 20;

/// A net that `speed` times.
///
/// # Example
/// ```
/// use pc_bench::{contract::speed::TimedKind, models::ModelKind};
/// assert_eq!("vgg5".parse(), Ok(TimedKind::Vgg5));
/// assert_eq!((TimedKind::Vgg5.batch(), TimedKind::Vgg5.steps()), (16, 8));
/// assert_eq!("cnn".parse(), Ok(TimedKind::from(ModelKind::Cnn)));
/// assert!(TimedKind::Vgg5.model().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimedKind {
    /// One of those that `train` has, for 28x28 pictures.
    Model(ModelKind),
    /// The VGG5 of the literature on predictive coding, for 32x32 pictures in colour: four
    /// convolutions of 3x3 to 128, 256, 512 and 512 channels, an activation and 2x2 max-pooling
    /// after each, then a dense layer 2048-10.
    Vgg5,
}

impl TimedKind {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Model(ModelKind::Mlp),
        Self::Model(ModelKind::Cnn),
        Self::Model(ModelKind::Rnn),
        Self::Model(ModelKind::Lstm),
        Self::Model(ModelKind::Residual),
        Self::Model(ModelKind::Attention),
        Self::Vgg5,
    ];

    /// Those that `train` has too: what `all` stands for, as the others take long.
    pub const MODELS: &[Self] = Self::ALL.split_at(ModelKind::ALL.len()).0;

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model(kind) => kind.name(),
            Self::Vgg5 => "vgg5",
        }
    }

    /// The model of `train` that it is.
    ///
    /// # Errors
    /// It is none, and is timed on the host alone.
    pub fn model(self) -> Result<ModelKind, CommandError> {
        match self {
            Self::Model(kind) => Ok(kind),
            Self::Vgg5 => Err(CommandError::input(format!("{self} is timed on the host alone"))),
        }
    }

    /// Samples in a batch where none are asked for.
    pub const fn batch(self) -> usize {
        match self {
            Self::Model(_) => 64,
            Self::Vgg5 => 16,
        }
    }

    /// T of the schedules that take one, where none is asked for.
    pub const fn steps(self) -> usize {
        match self {
            Self::Model(_) => STEPS,
            Self::Vgg5 => 8,
        }
    }
}

impl From<ModelKind> for TimedKind {
    fn from(kind: ModelKind) -> Self {
        Self::Model(kind)
    }
}

impl fmt::Display for TimedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TimedKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("unknown model '{name}': give one of {}", names()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_timed_and_every_name_is_understood() {
        let models: Vec<_> = ModelKind::ALL.into_iter().map(TimedKind::from).collect();
        assert_eq!(TimedKind::MODELS, models);
        for kind in TimedKind::ALL {
            assert_eq!(kind.name().parse(), Ok(*kind));
            assert_eq!(
                kind.model().ok().map(TimedKind::from),
                models.contains(kind).then_some(*kind)
            );
        }
        assert!("vgg6".parse::<TimedKind>().unwrap_err().contains("attention, vgg5"));
    }
}
