//! A net as data: its layers, one after another.

use pc_core::host::{self, Activation, Fan, Starting};
use serde::{Deserialize, Serialize};

use super::{activation::ActivationKind, kind::ModelKind};
use crate::error::CommandError;

/// What a layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LayerKind {
    /// In place of the data, and first: a vertex that nothing predicts, found by relaxation on each
    /// batch. It starts at zero.
    Latent,
    /// `f(W v + b)`.
    Dense,
    /// A convolution, with pooling in the same vertex where it is asked for.
    Conv,
    /// The transpose of a convolution, which makes pictures larger by its stride.
    ConvTranspose,
    /// The maximum over windows, as a vertex of its own.
    MaxPool,
    /// The mean over windows, as a vertex of its own.
    AveragePool,
    /// All numbers as one axis.
    Flatten,
    /// `f(v)`, as a vertex of its own.
    Activation,
    /// The sum with the layer called `from`: a skip.
    Residual,
    /// A tanh recurrent net, one vertex a step.
    Rnn,
    /// An LSTM, six vertices a step.
    Lstm,
    /// A learned place for each step, added.
    Positions,
    /// Self-attention, seven vertices.
    Attention,
    /// Normalisation over the last axis.
    LayerNorm,
    /// The whole of a muPC net (`host::MuPc`), its output included.
    Mupc,
    /// Not on any backend here: refused.
    Dropout,
    /// Not on any backend here: refused.
    BatchNorm,
}

/// Where a layer's activation is, within its one vertex.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// After the map: `f(W v + b)`.
    #[default]
    After,
    /// Before it: `W f(v) + b`.
    Before,
}

/// Pooling within a convolution's vertex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PoolName {
    /// The maximum.
    Max,
    /// The mean.
    Average,
}

/// How weights start ([`Starting`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartName {
    /// Uniform, of a variance that fits the activation.
    Gain,
    /// Uniform in `+-spread`.
    Uniform,
    /// Normal, of standard deviation `spread`.
    Normal,
    /// Glorot's uniform rule.
    XavierUniform,
    /// Glorot's normal rule.
    XavierNormal,
    /// He's uniform rule.
    HeUniform,
    /// He's normal rule.
    HeNormal,
    /// As torch's layers.
    Torch,
}

/// How a layer's weights are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parameterisation {
    /// As they are.
    #[default]
    Standard,
    /// Normal of variance 1, and the map divided by the square root of its inputs (Jacot, Gabriel
    /// and Hongler 2018).
    Ntk,
}

/// One layer, of `[[layers]]`. What its kind does not have is refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LayerEntry {
    /// What it is.
    pub kind: LayerKind,
    /// Its name; where there is none, its kind and its place among the layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its outputs; of the last dense layer, where it is not said, the classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Of a convolution, or of a latent that is a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// The side of a kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<usize>,
    /// How far a kernel or a window moves; of windows, where it is not said, their size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Zeros around the picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub padding: Option<usize>,
    /// Rows and columns more that a transposed convolution gives, at the bottom and on the right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_padding: Option<usize>,
    /// The activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<ActivationKind>,
    /// The slope of a leaky relu; 0.01 where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slope: Option<f64>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation_at: Option<Place>,
    /// Pooling, after the activation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolName>,
    /// The side of a window, or of a latent that is a picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
    /// Whether there is a bias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<bool>,
    /// How weights start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartName>,
    /// The bound or the deviation of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<f64>,
    /// How weights are scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameterisation: Option<Parameterisation>,
    /// A constant factor of the map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// The weight of its error in the energy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<f64>,
    /// What a skip comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Of attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Whether no place sees those after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causal: Option<bool>,
    /// The layers of a muPC net.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Whether a muPC net has skips.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skips: Option<bool>,
}

/// The kind of model that a net of these layers is most like: it has that one's form of the data,
/// and its usual rates.
pub fn likeness(layers: &[LayerEntry]) -> ModelKind {
    let has = |kind: LayerKind| layers.iter().any(|layer| layer.kind == kind);
    if has(LayerKind::Attention) || has(LayerKind::Positions) {
        ModelKind::Attention
    } else if has(LayerKind::Lstm) {
        ModelKind::Lstm
    } else if has(LayerKind::Rnn) {
        ModelKind::Rnn
    } else if has(LayerKind::Residual) {
        ModelKind::Residual
    } else if layers.iter().any(|layer| layer.kind.reads_pictures()) {
        ModelKind::Cnn
    } else {
        ModelKind::Mlp
    }
}

impl LayerKind {
    /// Whether what is below it must be a picture.
    pub(super) fn reads_pictures(self) -> bool {
        matches!(self, Self::Conv | Self::ConvTranspose | Self::MaxPool | Self::AveragePool)
    }
}

/// What is wrong with an entry of a layer.
pub(super) fn wrong(layer: usize, entry: &str, message: String) -> CommandError {
    let dot = if entry.is_empty() { "" } else { "." };
    CommandError::Entry { entry: format!("layers[{layer}]{dot}{entry}"), message }
}

impl LayerEntry {
    /// A layer of this kind, of which nothing else is said.
    pub fn of(kind: LayerKind) -> Self {
        Self {
            kind,
            name: None,
            width: None,
            channels: None,
            kernel: None,
            stride: None,
            padding: None,
            output_padding: None,
            activation: None,
            slope: None,
            activation_at: None,
            pool: None,
            size: None,
            bias: None,
            start: None,
            spread: None,
            parameterisation: None,
            scale: None,
            precision: None,
            from: None,
            heads: None,
            causal: None,
            depth: None,
            skips: None,
        }
    }

    /// The entries that are given, and those of them that its kind takes.
    fn given(&self) -> [(&'static str, bool, &'static [LayerKind]); 19] {
        use LayerKind::{
            Activation, Attention, AveragePool, Conv, ConvTranspose, Dense, Latent, Lstm, MaxPool,
            Mupc, Positions, Residual, Rnn,
        };
        [
            ("width", self.width.is_some(), &[Latent, Dense, Rnn, Lstm, Mupc]),
            ("channels", self.channels.is_some(), &[Latent, Conv, ConvTranspose]),
            ("kernel", self.kernel.is_some(), &[Conv, ConvTranspose]),
            ("stride", self.stride.is_some(), &[Conv, ConvTranspose, MaxPool, AveragePool]),
            ("padding", self.padding.is_some(), &[Conv, ConvTranspose]),
            ("output-padding", self.output_padding.is_some(), &[ConvTranspose]),
            (
                "activation",
                self.activation.is_some(),
                &[Dense, Conv, ConvTranspose, Activation, Mupc],
            ),
            ("slope", self.slope.is_some(), &[Dense, Conv, ConvTranspose, Activation, Mupc]),
            ("activation-at", self.activation_at.is_some(), &[Dense, Conv, ConvTranspose]),
            ("pool", self.pool.is_some(), &[Conv]),
            ("size", self.size.is_some(), &[Latent, Conv, MaxPool, AveragePool]),
            ("bias", self.bias.is_some(), &[Dense, Conv, ConvTranspose]),
            ("start", self.start.is_some(), &[Dense, Conv, ConvTranspose, Rnn, Lstm]),
            ("spread", self.spread.is_some(), &[Dense, Conv, ConvTranspose, Rnn, Lstm, Positions]),
            ("parameterisation", self.parameterisation.is_some(), &[Dense, Conv, ConvTranspose]),
            ("scale", self.scale.is_some(), &[Dense, Conv, ConvTranspose]),
            ("precision", self.precision.is_some(), &[Dense, Conv, ConvTranspose]),
            ("from", self.from.is_some(), &[Residual]),
            ("heads", self.heads.is_some(), &[Attention]),
        ]
    }

    /// Refuses what its kind does not have, what contradicts itself, and what is missing.
    ///
    /// # Errors
    /// A message that names the entry.
    pub(crate) fn check(&self, at: usize) -> Result<(), CommandError> {
        let kind = self.kind;
        if matches!(kind, LayerKind::Dropout | LayerKind::BatchNorm) {
            let message = format!(
                "{}: no backend of this program has it as a vertex; leave it out, or take \
                 layer-norm",
                self.word()
            );
            return Err(wrong(at, "kind", message));
        }
        let more = [
            ("causal", self.causal.is_some(), [LayerKind::Attention].as_slice()),
            ("depth", self.depth.is_some(), &[LayerKind::Mupc]),
            ("skips", self.skips.is_some(), &[LayerKind::Mupc]),
        ];
        for (entry, given, takes) in self.given().into_iter().chain(more) {
            if given && !takes.contains(&kind) {
                let message = format!("{entry}: a layer of kind {} has none", self.word());
                return Err(wrong(at, entry, message));
            }
        }
        use LayerKind::{
            Activation, Attention, AveragePool, Conv, ConvTranspose, Lstm, MaxPool, Mupc, Residual,
            Rnn,
        };
        for (entry, missing) in [
            ("width", self.width.is_none() && matches!(kind, Rnn | Lstm | Mupc)),
            ("channels", self.channels.is_none() && matches!(kind, Conv | ConvTranspose)),
            ("kernel", self.kernel.is_none() && matches!(kind, Conv | ConvTranspose)),
            ("size", self.size.is_none() && (matches!(kind, MaxPool | AveragePool))),
            ("size", self.size.is_none() && self.pool.is_some()),
            ("activation", self.activation.is_none() && kind == Activation),
            ("from", self.from.is_none() && kind == Residual),
            ("heads", self.heads.is_none() && kind == Attention),
            ("depth", self.depth.is_none() && kind == Mupc),
        ] {
            if missing {
                return Err(wrong(
                    at,
                    "",
                    format!("{entry} is missing: a {} needs it", self.word()),
                ));
            }
        }
        for (entry, number) in [
            ("width", self.width),
            ("channels", self.channels),
            ("kernel", self.kernel),
            ("stride", self.stride),
            ("size", self.size),
            ("heads", self.heads),
        ] {
            if number == Some(0) {
                return Err(wrong(at, entry, format!("{entry} must be at least 1")));
            }
        }
        if self.depth.is_some_and(|depth| depth < 2) {
            let message = "depth must be at least 2: a first and a last layer";
            return Err(wrong(at, "depth", message.to_owned()));
        }
        for (entry, number) in
            [("spread", self.spread), ("scale", self.scale), ("precision", self.precision)]
        {
            if let Some(number) = number.filter(|number| !(*number > 0.0 && number.is_finite())) {
                let message = format!("{entry} must be a positive number, not {number}");
                return Err(wrong(at, entry, message));
            }
        }
        if kind == LayerKind::Latent {
            self.check_latent(at)?;
        }
        self.contradictions(at)
    }

    /// Where a latent may be, and what it may be.
    fn check_latent(&self, at: usize) -> Result<(), CommandError> {
        if at > 0 {
            let message = "a latent stands in place of the data: it can only be the first layer";
            return Err(wrong(at, "kind", message.to_owned()));
        }
        match (self.width, self.channels, self.size) {
            (Some(_), None, None) | (None, Some(_), Some(_)) => Ok(()),
            _ => {
                let message = "a latent has a width, or channels and a size";
                Err(wrong(at, "", message.to_owned()))
            }
        }
    }

    /// The shape of a latent that was checked.
    pub(super) fn latent(&self) -> Vec<usize> {
        match (self.width, self.channels, self.size) {
            (Some(width), ..) => vec![width],
            (None, channels, size) => {
                let side = size.unwrap_or(1);
                vec![channels.unwrap_or(1), side, side]
            }
        }
    }

    fn contradictions(&self, at: usize) -> Result<(), CommandError> {
        let needs_spread = matches!(self.start, Some(StartName::Uniform | StartName::Normal));
        let positions = self.kind == LayerKind::Positions;
        let ntk = self.parameterisation == Some(Parameterisation::Ntk);
        let leaky = self.activation == Some(ActivationKind::LeakyRelu);
        let slope = self.slope.filter(|slope| !slope.is_finite());
        for (entry, contradicts, message) in [
            ("start", ntk && self.start.is_some(), "start contradicts parameterisation = \"ntk\""),
            ("scale", ntk && self.scale.is_some(), "scale contradicts parameterisation = \"ntk\""),
            (
                "",
                needs_spread && self.spread.is_none(),
                "spread is missing: the bound of uniform, \
             or the deviation of normal",
            ),
            (
                "spread",
                self.spread.is_some() && !needs_spread && !positions,
                "spread is for start = \"uniform\" or \"normal\"",
            ),
            ("slope", self.slope.is_some() && !leaky, "slope is for activation = \"leaky-relu\""),
            ("slope", slope.is_some(), "slope must be a finite number"),
            (
                "size",
                self.kind == LayerKind::Conv && self.size.is_some() && self.pool.is_none(),
                "size is that of pooling windows: say pool = \"max\" or \"average\"",
            ),
            (
                "activation-at",
                self.activation_at.is_some() && self.activation.is_none(),
                "activation-at is for a layer with an activation",
            ),
        ] {
            if contradicts {
                return Err(wrong(at, entry, message.to_owned()));
            }
        }
        Ok(())
    }

    /// Its kind as it is written.
    pub(super) fn word(&self) -> String {
        serde_json::to_value(self.kind)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    }

    pub(super) fn function(&self) -> Activation {
        let slope = self.slope.unwrap_or(ActivationKind::LEAK);
        self.activation.unwrap_or_default().function(slope)
    }

    pub(super) fn starting(&self) -> Option<Starting> {
        if self.parameterisation == Some(Parameterisation::Ntk) {
            return Some(Starting::Normal(1.0));
        }
        let spread = self.spread.unwrap_or(1.0);
        self.start.map(|start| match start {
            StartName::Gain => Starting::Gain,
            StartName::Uniform => Starting::Uniform(spread),
            StartName::Normal => Starting::Normal(spread),
            StartName::XavierUniform => Starting::XavierUniform,
            StartName::XavierNormal => Starting::XavierNormal,
            StartName::HeUniform => Starting::HeUniform,
            StartName::HeNormal => Starting::HeNormal,
            StartName::Torch => Starting::Torch,
        })
    }

    /// The constant factor of a map with so many inputs.
    pub(super) fn factor(&self, inputs: usize) -> f64 {
        match self.parameterisation {
            Some(Parameterisation::Ntk) => host::Parameterisation::Ntk.factor(Fan::hidden(inputs)),
            _ => self.scale.unwrap_or(1.0),
        }
    }
}
