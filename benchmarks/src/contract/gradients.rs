//! What `gradients` asks of a backend, and what comes of it.

use pc_core::{
    Outcome, Schedule, Status,
    host::{Activation, Element, HostTensor},
};
use safetensors::Dtype;

use crate::error::CommandError;

/// A scalar of a safetensors file.
pub trait Number: Element {
    /// Its type there.
    const DTYPE: Dtype;
    /// Its bytes there.
    fn to_bytes(self) -> Vec<u8>;
    /// From as many bytes.
    fn from_bytes(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($scalar:ty, $dtype:expr) => {
        impl Number for $scalar {
            const DTYPE: Dtype = $dtype;

            fn to_bytes(self) -> Vec<u8> {
                self.to_le_bytes().to_vec()
            }

            fn from_bytes(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<Self>()];
                own.copy_from_slice(bytes);
                Self::from_le_bytes(own)
            }
        }
    };
}

number!(f32, Dtype::F32);
number!(f64, Dtype::F64);

/// A chain of layers and the batch it is shown.
#[derive(Debug)]
pub struct LayerChain<F> {
    /// Weight `[out, in]` and bias `[out]` of each layer.
    pub layers: Vec<(HostTensor<F>, HostTensor<F>)>,
    /// The inputs, `[batch, in]`.
    pub x: HostTensor<F>,
    /// The targets, `[batch, out]`.
    pub y: HostTensor<F>,
    /// Tensors in the file that are none of the above, and are not used.
    pub ignored: Vec<String>,
}

/// What came of it.
#[derive(Debug)]
pub struct Findings<F> {
    /// The gradients of each layer's weight and bias.
    pub gradients: Vec<(HostTensor<F>, HostTensor<F>)>,
    /// The energy before each step and after the last.
    pub energy: Vec<f64>,
    /// The value of each layer's output.
    pub values: Vec<HostTensor<F>>,
    /// The schedule and how it was computed.
    pub schedule: String,
}

/// The schedule that gives the gradients, and where that one cannot be watched step by step another
/// that goes the same way and can.
#[derive(Clone, Debug)]
pub struct Ways {
    /// Gives the gradients.
    pub gradients: Schedule,
    /// Gives energies and values, where the other does not.
    pub watched: Option<Schedule>,
    /// The nonlinearity of hidden layers.
    pub activation: Activation,
}

impl Ways {
    /// Fails where a relaxation has diverged, with a message that says what may help.
    ///
    /// # Errors
    /// One that has.
    pub fn finite(outcome: &Outcome, schedule: &Schedule) -> Result<(), CommandError> {
        if outcome.status == Status::Diverged {
            let hint = match outcome.steps {
                // No relaxation has had a part in it.
                0 => "the pass forward is not finite: the net's weights or inputs are too large",
                _ => "a number is no longer finite; a smaller --rate or fewer --steps may help",
            };
            return Err(CommandError::input(format!(
                "{schedule} diverged at step {}: {hint}",
                outcome.steps
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use pc_core::Energy;

    use super::*;

    #[test]
    fn the_hint_can_help_where_it_diverged() {
        let schedule = Schedule::standard(0.1, 3).unwrap();
        let said = |steps| {
            let outcome = Outcome {
                status: Status::Diverged,
                steps,
                energy: Energy::default(),
                residual: None,
                trace: Vec::new(),
                shallow: false,
            };
            Ways::finite(&outcome, &schedule).unwrap_err().to_string()
        };
        assert!(said(0).contains("pass forward") && !said(0).contains("--rate"), "{}", said(0));
        assert!(said(2).contains("a smaller --rate"), "{}", said(2));
    }
}
