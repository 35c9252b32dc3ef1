//! Metrics of relaxations, shown in burn-train's dashboard beside its own.

use std::sync::Arc;

use burn::{
    tensor::TensorReadError,
    train::metric::{
        Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes,
        NumericEntry, SerializedEntry,
        state::{FormatOptions, NumericMetricState},
    },
};

use super::Relaxed;

/// What these metrics take.
#[derive(Clone, Copy, Debug)]
pub struct RelaxationInput {
    relaxed: Relaxed,
}

impl RelaxationInput {
    /// Of one training step.
    pub fn new(relaxed: Relaxed) -> Self {
        Self { relaxed }
    }
}

macro_rules! metric {
    ($(#[$doc:meta])* $metric:ident, $name:literal, $precision:literal, $higher:literal,
    |$relaxed:ident| $value:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $metric {
            name: Arc<String>,
            state: NumericMetricState,
            seen: bool,
        }

        impl Default for $metric {
            fn default() -> Self {
                Self::new()
            }
        }

        impl $metric {
            /// Makes the metric.
            pub fn new() -> Self {
                Self { name: Arc::new($name.to_owned()), state: NumericMetricState::default(),
                seen: false }
            }
        }

        impl Metric for $metric {
            type Input = RelaxationInput;

            fn update(&mut self, input: &RelaxationInput,
            _: &MetricMetadata) -> Result<SerializedEntry, TensorReadError> {
                let $relaxed = &input.relaxed;
                let value: Option<f64> = $value;
                if let Some(value) = value {
                    self.seen = true;
                    self.state.update(value, 1);
                }
                Ok(self.state.compute_update(FormatOptions::new(self.name()).precision($precision)))
            }

            fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
                Ok(self.state.compute_final(FormatOptions::new(self.name()).precision($precision)))
            }

            fn clear(&mut self) {
                self.seen = false;
                self.state.reset();
            }

            fn name(&self) -> MetricName {
                Arc::clone(&self.name)
            }

            fn attributes(&self) -> MetricAttributes {
                NumericAttributes { unit: None, higher_is_better: $higher }.into()
            }
        }

        impl Numeric for $metric {
            fn value(&self) -> Option<NumericEntry> {
                self.seen.then(|| self.state.current_value())
            }

            fn running_value(&self) -> Option<NumericEntry> {
                self.seen.then(|| self.state.running_value())
            }

            fn final_value(&self) -> NumericEntry {
                self.state.final_value()
            }
        }
    };
}

metric!(
    /// The energy at the end of a relaxation, summed over the batch.
    EnergyMetric, "PC energy", 4, false, |relaxed| Some(relaxed.energy)
);
metric!(
    /// The norm of the energy's gradient in the states at the end, where the schedule has a
    /// tolerance.
    ResidualMetric, "PC residual", 6, false, |relaxed| relaxed.residual
);
metric!(
    /// The least cosine between a parameter's gradient and backprop's, where
    /// [`crate::PredictiveCoding::compared_every`] asks for it.
    AgreementMetric, "PC agreement with backprop", 4, true, |relaxed| relaxed.agreement
);
metric!(
    /// How often a step ran the model forward and backward.
    PassesMetric, "PC passes", 0, false, |relaxed| Some(relaxed.passes as f64)
);
