//! What is timed.

use super::kind::TimedKind;
use crate::{
    error::CommandError,
    models::{ActivationKind, ModelKind},
};

/// A net with a batch, and how far its schedules relax.
///
/// # Example
/// ```
/// use pc_bench::{contract::speed::{Case, TimedKind}, models::{ActivationKind, ModelKind}};
/// let pcx = Case {
///     activation: Some(ActivationKind::Gelu),
///     widths: Some(vec![784, 128, 128, 128, 10]),
///     steps: 8,
///     ..Case::new(ModelKind::Mlp, 128)
/// };
/// assert!(pcx.fits().is_ok());
/// assert_eq!(pcx.varied(), Some("--activation"));
/// assert_eq!(Case::new(TimedKind::Vgg5, 16).steps, 8);
/// assert!(Case { widths: pcx.widths, ..Case::new(TimedKind::Vgg5, 1) }.fits().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The net.
    pub kind: TimedKind,
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
    /// A net as it is, relaxed for as many steps as it comes with ([`TimedKind::steps`]).
    pub fn new(kind: impl Into<TimedKind>, batch: usize) -> Self {
        let kind = kind.into();
        Self { kind, batch, activation: None, widths: None, steps: kind.steps() }
    }

    /// What of it is asked for beside the net and the batch, as its flag.
    pub fn varied(&self) -> Option<&'static str> {
        [
            ("--activation", self.activation.is_some()),
            ("--widths", self.widths.is_some()),
            ("--steps", self.steps != self.kind.steps()),
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
            if kind != TimedKind::Model(ModelKind::Mlp) {
                return Err(CommandError::input(format!("--widths are of the mlp, not of {kind}")));
            }
            if widths.len() < 2 || widths.contains(&0) {
                return Err(CommandError::input(format!(
                    "--widths {widths:?}: give the inputs, what is hidden, and the classes, each \
                     at least 1"
                )));
            }
        }
        let takes_one = match kind {
            TimedKind::Model(model) => matches!(model, ModelKind::Mlp | ModelKind::Cnn),
            TimedKind::Vgg5 => true,
        };
        if self.activation.is_some() && !takes_one {
            return Err(CommandError::input(format!(
                "--activation: each layer of {kind} has its own; mlp, cnn and vgg5 take one"
            )));
        }
        if self.steps < 2 {
            return Err(CommandError::input(format!("--steps {}: give at least 2", self.steps)));
        }
        Ok(())
    }
}
