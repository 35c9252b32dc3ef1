//! The models' names, and what they read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelKind {
    /// Dense relu layers.
    Mlp,
    /// Two convolutions with pooling, then dense layers (LeNet-like). Images only.
    Cnn,
    /// A tanh recurrent net, one vertex a step; an image is read row by row.
    Rnn,
    /// An LSTM, every gate, cell and hidden state of every step a vertex of its own.
    Lstm,
    /// Blocks with skip connections: convolutions for images, else dense layers.
    Residual,
    /// A transformer block: queries, keys, values, scores, softmax and mix are vertices of their
    /// own.
    Attention,
}

impl ModelKind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Mlp, Self::Cnn, Self::Rnn, Self::Lstm, Self::Residual, Self::Attention];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mlp => "mlp",
            Self::Cnn => "cnn",
            Self::Rnn => "rnn",
            Self::Lstm => "lstm",
            Self::Residual => "residual",
            Self::Attention => "attention",
        }
    }

    /// Whether it can have an output at each step that sees only the steps so far.
    pub const fn goes_by_step(self) -> bool {
        matches!(self, Self::Rnn | Self::Lstm | Self::Attention)
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ModelKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("unknown model '{name}': give one of {}", names()))
    }
}

/// How large a model to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size {
    /// A few units of every kind, for checks.
    Small,
    /// For training.
    Standard,
}

/// What the outputs are to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// The label.
    #[default]
    Label,
    /// The picture itself, which an autoencoder gives again.
    Input,
}

/// The shape of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InputShape {
    /// Channels, height, width. Models that read sequences take the rows, from the top.
    Image([usize; 3]),
    /// Symbols.
    Sequence {
        /// How many there are.
        length: usize,
        /// How many different ones, the padding symbol included.
        vocabulary: usize,
    },
}

impl InputShape {
    /// The numbers in a sample, symbols counted as one-hot rows.
    pub fn features(&self) -> usize {
        match self {
            Self::Image([channels, height, width]) => channels * height * width,
            Self::Sequence { length, vocabulary } => length * vocabulary,
        }
    }

    /// Channels, height and width, where it is an image.
    pub fn picture(&self) -> Option<[usize; 3]> {
        match self {
            Self::Image(shape) => Some(*shape),
            Self::Sequence { .. } => None,
        }
    }

    /// The steps, and the numbers in each: a symbol's one-hot row, or a row of all channels of an
    /// image.
    pub fn steps(&self) -> [usize; 2] {
        match self {
            Self::Image([channels, height, width]) => [*height, channels * width],
            Self::Sequence { length, vocabulary } => [*length, *vocabulary],
        }
    }
}

impl fmt::Display for InputShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image([channels, height, width]) => write!(f, "{channels}x{height}x{width}"),
            Self::Sequence { length, vocabulary } => write!(f, "{length} of {vocabulary} symbols"),
        }
    }
}
