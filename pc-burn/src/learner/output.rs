//! What a training step gives to metrics.

use burn::{
    tensor::Tensor,
    train::{
        ClassificationOutput, ItemLazy, MultiLabelClassificationOutput, RegressionOutput,
        SequenceOutput,
        metric::{
            AccuracyInput, Adaptor, CerInput, ConfusionStatsInput, HammingScoreInput, LossInput,
            PerplexityInput, TopKAccuracyInput, WerInput,
        },
    },
};
use pc_core::Status;

use super::metrics::RelaxationInput;
use crate::Learned;

/// An output with a loss in it, from which a relaxation starts. Burn's own outputs are such.
pub trait HasLoss {
    /// The loss, one number.
    fn loss(&self) -> Tensor<1>;
}

macro_rules! has_loss {
    ($($output:ty),+) => {
        $(impl HasLoss for $output {
            fn loss(&self) -> Tensor<1> {
                self.loss.clone()
            }
        })+
    };
}
has_loss!(ClassificationOutput, MultiLabelClassificationOutput, RegressionOutput, SequenceOutput);

/// How one relaxation went, in the numbers that a dashboard shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Relaxed {
    /// The energy at the end, internal and loss, summed over the batch.
    pub energy: f64,
    /// Its internal part, `sum 1/2 |e|^2`.
    pub internal: f64,
    /// The norm of the energy's gradient in the states, where a tolerance was set.
    pub residual: Option<f64>,
    /// The steps taken.
    pub steps: usize,
    /// Forward and backward passes of the program.
    pub passes: usize,
    /// Whether it diverged, and gave no gradients.
    pub diverged: bool,
    /// The least cosine between a parameter's gradient and backprop's, where it was compared.
    pub agreement: Option<f64>,
}

impl Relaxed {
    /// Of a relaxation that was refused: no numbers.
    pub(super) fn refused() -> Self {
        Self {
            energy: f64::NAN,
            internal: f64::NAN,
            residual: None,
            steps: 0,
            passes: 0,
            diverged: true,
            agreement: None,
        }
    }

    pub(super) fn of(learned: &Learned) -> Self {
        let outcome = &learned.outcome;
        let least = |all: &Vec<(String, pc_core::Agreement)>| {
            // A NaN is less than anything.
            all.iter()
                .map(|(_, agreement)| agreement.cosine)
                .fold(1.0, |least: f64, x| if !(x >= least) { x } else { least })
        };
        Self {
            energy: outcome.energy.total(),
            internal: outcome.energy.internal,
            residual: outcome.residual,
            steps: outcome.steps,
            passes: learned.passes,
            diverged: outcome.status == Status::Diverged,
            agreement: learned.agreement.as_ref().map(least),
        }
    }
}

/// A model's own output, that of the feed-forward pass, and how the relaxation went. Metrics of the
/// former take it as they would the model's.
#[derive(Debug)]
pub struct PcOutput<O> {
    /// The model's.
    pub output: O,
    /// The relaxation's.
    pub relaxed: Relaxed,
}

impl<O: ItemLazy> ItemLazy for PcOutput<O> {
    fn sync(self) -> Result<Self, burn::tensor::ExecutionError> {
        Ok(Self { output: self.output.sync()?, relaxed: self.relaxed })
    }
}

impl<O> Adaptor<RelaxationInput> for PcOutput<O> {
    fn adapt(&self) -> RelaxationInput {
        RelaxationInput::new(self.relaxed)
    }
}

macro_rules! passes_on {
    ($($input:ty),+) => {
        $(impl<O: Adaptor<$input>> Adaptor<$input> for PcOutput<O> {
            fn adapt(&self) -> $input {
                self.output.adapt()
            }
        })+
    };
}
passes_on!(
    AccuracyInput,
    CerInput,
    ConfusionStatsInput,
    HammingScoreInput,
    LossInput,
    PerplexityInput,
    TopKAccuracyInput,
    WerInput
);
