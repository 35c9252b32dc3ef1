//! What is timed.

use super::contender::STEPS;
use crate::{
    error::CommandError,
    models::{ActivationKind, ModelKind},
};

/// A net with a batch, and how far its schedules relax.
///
/// # Example
/// ```
/// use pc_bench::{contract::speed::Case, models::{ActivationKind, ModelKind}};
/// let pcx = Case {
///     activation: Some(ActivationKind::Gelu),
///     widths: Some(vec![784, 128, 128, 128, 10]),
///     steps: 8,
///     ..Case::new(ModelKind::Mlp, 128)
/// };
/// assert!(pcx.fits().is_ok());
/// assert_eq!(pcx.varied(), Some("--activation"));
/// assert!(Case { widths: pcx.widths, ..Case::new(ModelKind::Cnn, 1) }.fits().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The net.
    pub kind: ModelKind,
    /// The samples in a batch.
    pub batch: usize,
    /// What its hidden layers apply; none for what the net has.
    pub activation: Option<ActivationKind>,
    /// The layers of the mlp, from the input to the classes; none for what the net has.
    pub widths: Option<Vec<usize>>,
    /// T of all schedules that take one.
    pub steps: usize,
}

impl Case {
    /// A net as it is, relaxed for [`STEPS`] steps.
    pub fn new(kind: ModelKind, batch: usize) -> Self {
        Self { kind, batch, activation: None, widths: None, steps: STEPS }
    }

    /// What of it is asked for beside the net and the batch, as its flag.
    pub fn varied(&self) -> Option<&'static str> {
        [
            ("--activation", self.activation.is_some()),
            ("--widths", self.widths.is_some()),
            ("--steps", self.steps != STEPS),
        ]
        .into_iter()
        .find_map(|(flag, asked)| asked.then_some(flag))
    }

    /// Refuses what its net has no room for.
    ///
    /// # Errors
    /// Widths of a net that is not made of them, or that are no net; an activation where each layer
    /// has its own; fewer than two steps, of which half could not be taken.
    pub fn fits(&self) -> Result<(), CommandError> {
        let kind = self.kind;
        if let Some(widths) = &self.widths {
            if kind != ModelKind::Mlp {
                return Err(CommandError::input(format!("--widths are of the mlp, not of {kind}")));
            }
            if widths.len() < 2 || widths.contains(&0) {
                return Err(CommandError::input(format!(
                    "--widths {widths:?}: give the inputs, what is hidden, and the classes, each \
                     at least 1"
                )));
            }
        }
        if self.activation.is_some() && !matches!(kind, ModelKind::Mlp | ModelKind::Cnn) {
            return Err(CommandError::input(format!(
                "--activation: each layer of {kind} has its own; mlp and cnn take one"
            )));
        }
        if self.steps < 2 {
            return Err(CommandError::input(format!("--steps {}: give at least 2", self.steps)));
        }
        Ok(())
    }
}
