//! The command line of `train`.

use std::{num::NonZeroUsize, path::PathBuf, str::FromStr};

use super::saver::SaveEvery;
use crate::{
    backends::Backend,
    contract::{OptimiserKind, Precision, ScheduleKind},
    data,
    models::ModelKind,
};

/// Trains a model by predictive coding, beside backprop from the same weights on the same batches.
///
/// Without arguments it is the main job: a small convolutional net on handwritten digits that come
/// with the program, by backprop, by fixed prediction and by standard PC. It ends with two tables
/// (accuracies, seconds, energies; and how each layer's gradient agrees with backprop's) and a
/// report with the curves.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(after_long_help = TEACHES)]
pub struct TrainArgs {
    /// Take all choices from a file (TOML); flags given beside it come before what it says
    ///
    /// `--print-config` shows how such a file reads, docs/configurations.md all that it can say.
    /// Lines of what is unknown, missing or contradictory are named.
    #[arg(long, value_name = "FILE", conflicts_with = "resume")]
    pub config: Option<PathBuf>,

    /// Print what the run would use, every choice filled in, as a file for --config; train nothing
    #[arg(long)]
    pub print_config: bool,

    /// What computes; `host` is this program's own CPU backend, others are Cargo features [default:
    /// host]
    #[arg(long, value_parser = Backend::from_str, value_name = "NAME")]
    pub backend: Option<Backend>,

    /// The architecture [default: cnn for images, else lstm]
    #[arg(long, value_enum, value_name = "NAME")]
    pub model: Option<ModelKind>,

    /// What to learn: digits (built in), mnist, fashion-mnist, cifar10, cifar100, svhn,
    /// tiny-imagenet, names or shakespeare [default: digits]
    #[arg(long, value_name = "NAME")]
    pub data: Option<data::Kind>,

    /// The folder with the data files; all but the digits need it (`scripts/fetch-data.sh` fills
    /// one)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// The rules to train by, separated by commas or given again and again [default:
    /// backprop,fixed-prediction,standard, in so far as the backend has them]
    ///
    /// The same model is trained once by each, from the same weights on the same batches. See below
    /// for what each one is.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    pub schedule: Vec<ScheduleKind>,

    /// Gamma, the states' step [default: 0.1, with attention 0.02; for epc 0.02 with mlp and cnn,
    /// else 0.002]
    #[arg(long, value_name = "G", allow_negative_numbers = true)]
    pub rate: Option<f64>,

    /// T, the steps of relaxation for each batch [default: 20]
    #[arg(long, value_name = "T")]
    pub steps: Option<usize>,

    /// Passes over the training data, in all (a resumed run does those that are left) [default: 12
    /// for digits, 6 for names, else 3]
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,

    /// Chooses the weights, the order of the samples and, where the set has no test set, what is
    /// held out [default: 0]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,

    /// Train with so many seeds, one after the other, from --seed on, and print the mean of each
    /// figure with its 95% interval, and the paired differences to backprop [default: 1]
    #[arg(long, value_name = "N")]
    pub seeds: Option<NonZeroUsize>,

    /// Samples in a batch [default: 32 for digits, else 64]
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,

    /// The weights' rate [default: 0.002 for digits and 0.001 else with adam and adamw, 0.02 with
    /// sgd; for ipc that over T]
    #[arg(long, value_name = "RATE", allow_negative_numbers = true)]
    pub learning_rate: Option<f64>,

    /// What the weights' rate is multiplied by after each epoch [default: 0.9 for digits, else 1]
    #[arg(long, value_name = "D", allow_negative_numbers = true)]
    pub decay: Option<f64>,

    /// What moves the weights; sgd has momentum 0.9, adamw a weight decay of 0.01 [default: adam]
    #[arg(long, value_enum, value_name = "NAME")]
    pub optimiser: Option<OptimiserKind>,

    /// The numbers' precision [default: f32]
    #[arg(long, value_enum, value_name = "NAME")]
    pub precision: Option<Precision>,

    /// Train on this many samples only (windows of text), chosen by the seed [default: all]
    #[arg(long, value_name = "N")]
    pub samples: Option<usize>,

    /// Threads to compute with; the same bits come only from the same number [default: one for each
    /// core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// Train a twin by backprop too, where the schedules leave it out
    #[arg(long)]
    pub compare_backprop: bool,

    /// Where the report goes: report.html, curves.svg and report.json
    #[arg(long, value_name = "DIR", default_value = "report", conflicts_with = "no_report")]
    pub report: PathBuf,

    /// Write no report
    #[arg(long)]
    pub no_report: bool,

    /// Show the energy of each vertex too, step by step, in the report and in report.json
    ///
    /// It is that of one batch at a run's final weights, the batch whose energy as a whole the
    /// report shows by step. Fixed prediction, whose gradients have a closed form, takes its steps
    /// for this; backprop has none to take. A checkpoint does not keep this choice: give it beside
    /// --resume again.
    #[arg(long)]
    pub energy_by_vertex: bool,

    /// Save a checkpoint here after each epoch, and on Ctrl-C: weights, the optimiser's state and
    /// the place in the data (safetensors)
    ///
    /// Where several runs train, each has its own file with the schedule in its name:
    /// NAME.standard.safetensors for NAME.safetensors, which says what is compared. Where a save
    /// fails the run goes on, and it is tried again.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,

    /// Save within epochs too: after so many batches (500), or so much time (30s, 10m, 2h)
    #[arg(long, value_name = "N|TIME", value_parser = SaveEvery::from_str)]
    pub save_every: Option<SaveEvery>,

    /// Go on from a checkpoint, to the same bits as if it had not been interrupted
    ///
    /// The file says with which model, data, schedule, seed and so on; what is given beside it must
    /// agree. Give --epochs for how far to go, and --save to save again. The file of a comparison
    /// goes on with all its runs, to as many epochs as it was begun with.
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
}

// Lines of at most 78 characters, so that terminals do not break them again.
const TEACHES: &str = "\
What a schedule is:
  Predictive coding gives every layer's output a value of its own. For each
  batch it relaxes those values for T steps at rate gamma, so that each fits
  what its parents predict and what its children need; then every weight
  learns from the error next to it. Schedules differ in what stands still
  meanwhile:
  backprop          no relaxation: the baseline
  fixed-prediction  predictions stay at the forward pass. On a chain this is
                    backprop with each depth's gradient rescaled; at --rate 1
                    with T at least the depth it is backprop itself
  zil               Z-IL: each level learns at its own step, which gives
                    backprop's gradients exactly (takes no rate, no steps)
  standard          predictions follow the values, weights learn at the end:
                    another learner than backprop
  ipc               as standard, but the weights move at every step too
  epc               error-based PC: relaxes errors instead of values; the
                    equilibrium of standard PC in few steps

Good rates:
  standard and ipc want 0.05 to 0.1 with 10 to 40 steps (attention 0.02).
  Fewer steps leave the first layers without much of an error; above about
  0.2 deep nets stop learning or diverge (a run then stops and says so).
  epc's step grows with the net's Jacobians, so it wants less: 0.01 to 0.05
  with mlp and cnn. Recurrent nets and attention learn badly by it, unless
  the rate is so small that it is backprop: they learn to be easily moved
  instead. Rates of epc and of the others are not comparable.

Examples:
  pc-bench train
  pc-bench train --model lstm --data names --data-dir data \\
      --schedule zil --compare-backprop
  pc-bench train --schedule standard,ipc --epochs 6 --save run.safetensors
  pc-bench train --resume run.safetensors --save run.safetensors
  pc-bench train --resume run.standard.safetensors --epochs 12

Exit status: 0 done, 1 a run diverged, 2 wrong input or a file that could not
be written, 130 after Ctrl-C.";
