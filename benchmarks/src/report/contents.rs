//! What a report says.

use serde::Serialize;

/// One comparison of training schedules on the same model and data.
///
/// In JSON, numbers that are not finite become `null`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// What was compared, in a few words.
    pub title: String,
    /// The model, for example `mlp 784-256-256-10, tanh`.
    pub model: String,
    /// The data, for example `MNIST, 60000 train / 10000 test`.
    pub data: String,
    /// What computed it, for example `ndarray on the CPU, f32`.
    pub backend: String,
    /// Seed of the weights and of the order of the samples.
    pub seed: u64,
    /// Threads used.
    pub threads: usize,
    /// Samples in a batch.
    pub batch: usize,
    /// Passes over the training data.
    pub epochs: usize,
    /// Whether what is called test is a part of the training data, held out.
    pub validation: bool,
    /// Anything a reader needs to judge the numbers; one sentence each.
    pub notes: Vec<String>,
    /// The exact command that repeats this comparison.
    pub command: String,
    /// The runs, in the order in which they are shown.
    pub runs: Vec<Run>,
}

impl Report {
    /// What figures were taken on, in a word.
    pub(super) fn judged_on(&self) -> &'static str {
        if self.validation { "validation" } else { "test" }
    }
}

/// One training run under one schedule.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Run {
    /// Name of the schedule; the first one that starts with `backprop` is the baseline.
    pub schedule: String,
    /// A remark about this run; may be empty.
    pub note: String,
    /// Measurements after each epoch.
    pub curve: Vec<Epoch>,
    /// Energy on one batch while values relax: entry `k` is after `k` steps; may be empty.
    pub energy_trace: Vec<f64>,
    /// The same, vertex by vertex; left out of the file where it was not asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vertex_energies: Vec<VertexEnergy>,
    /// Agreement of the weight gradients with backprop, layer by layer; may be empty.
    pub layers: Vec<Layer>,
    /// Final share of test samples classified correctly, from 0 to 1.
    pub test_accuracy: Option<f64>,
    /// Final loss on the test data.
    pub test_loss: f64,
    /// Training time in seconds.
    pub seconds: f64,
    /// Lowest cosine over all layers.
    pub min_cosine: Option<f64>,
    /// Training throughput.
    pub samples_per_second: f64,
}

/// Measurements after one epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Epoch {
    /// Number of the epoch, starting at 1.
    pub epoch: usize,
    /// Mean loss on the training data.
    pub train_loss: f64,
    /// Share of training samples classified correctly, from 0 to 1.
    pub train_accuracy: Option<f64>,
    /// Loss on the test data.
    pub test_loss: f64,
    /// Share of test samples classified correctly, from 0 to 1.
    pub test_accuracy: Option<f64>,
    /// Energy at the end of relaxation, for schedules that relax.
    pub energy: Option<f64>,
    /// Training time of this epoch in seconds.
    pub seconds: f64,
}

/// How far one layer's weight gradient agrees with that of backprop.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Layer {
    /// Name of the layer.
    pub name: String,
    /// Cosine of the angle between the two gradients.
    pub cosine: f64,
    /// Norm of this gradient divided by the norm of backprop's.
    pub norm_ratio: f64,
}

/// The energy of one vertex while values relax.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct VertexEnergy {
    /// Name of the vertex.
    pub name: String,
    /// Its part of [`Run::energy_trace`], step by step.
    pub trace: Vec<f64>,
}
