//! Experiments of the literature, one file each, that `pc-bench reproduce` runs.
//!
//! An [`Experiment`] says what it shows, from which paper, and which figures were published. Its
//! function computes one seed: it takes data and size from its [`Context`] and returns
//! [`Findings`]. Statistics over seeds, tables, reports and saving are the command's.

mod any_graph;
mod associative;
mod attention;
mod beyond;
mod bidirectional;
mod causal;
mod context;
mod coupled;
mod covariance;
mod error_based;
mod fast_ica;
mod features;
mod findings;
mod generative;
mod hopfield;
mod hybrid;
mod incremental;
mod infinitesimal;
mod labelled;
mod monte_carlo;
mod monte_carlo_judge;
mod mupc;
mod nets;
mod pc_graph;
mod pcx;
mod pcx_autoencoder;
mod pcx_memory;
mod pcx_vgg;
mod prospective;
mod recurrent;
mod released;
mod sample_efficiency;
mod sequences;
mod sources;
mod stored;
mod symmetric;
mod temporal_capacity;
mod temporal_mnist;
mod tracking;
mod wide_transformer;
mod width_limit;
mod zil;

pub use context::{Context, Parts, Pictures};
pub use findings::{Cell, Claim, Curve, Findings, Gallery, Picture, PictureRow};

use crate::error::CommandError;

/// All experiments, in the order of `pc-bench reproduce --list`.
pub const EXPERIMENTS: &[Experiment] = &[
    bidirectional::EXPERIMENT,
    generative::EXPERIMENT,
    hybrid::EXPERIMENT,
    pc_graph::EXPERIMENT,
    causal::EXPERIMENT,
    monte_carlo::EXPERIMENT,
    temporal_capacity::EXPERIMENT,
    temporal_mnist::EXPERIMENT,
    tracking::EXPERIMENT,
    hopfield::EXPERIMENT,
    associative::EXPERIMENT,
    covariance::EXPERIMENT,
    features::EXPERIMENT,
    sources::EXPERIMENT,
    width_limit::EXPERIMENT,
    mupc::EXPERIMENT,
    prospective::EXPERIMENT,
    infinitesimal::EXPERIMENT,
    sample_efficiency::EXPERIMENT,
    zil::EXPERIMENT,
    incremental::EXPERIMENT,
    error_based::EXPERIMENT,
    beyond::EXPERIMENT,
    any_graph::EXPERIMENT,
    attention::EXPERIMENT,
    recurrent::NAMES,
    recurrent::CHARACTERS,
    pcx::EXPERIMENT,
    pcx_autoencoder::EXPERIMENT,
    pcx_memory::EXPERIMENT,
    pcx_vgg::CIFAR10,
    pcx_vgg::CIFAR100,
];

/// One experiment.
#[derive(Clone, Copy, Debug)]
pub struct Experiment {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in one line without a full stop.
    pub about: &'static str,
    /// The paper: authors, year, title.
    pub paper: &'static str,
    /// What a full run takes, such as `6 minutes`.
    pub takes: &'static str,
    /// The row that others are compared with, seed by seed.
    pub baseline: Option<&'static str>,
    /// Figures that were published for its cells.
    pub published: &'static [Published],
    /// Computes one seed.
    pub run: fn(&mut Context<'_>) -> Result<Findings, CommandError>,
}

impl Experiment {
    /// The experiment of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        EXPERIMENTS.iter().find(|experiment| experiment.name == name)
    }
}

/// A figure that was published for one cell of an experiment's table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Published {
    /// The row of the cell.
    pub row: &'static str,
    /// The column of the cell.
    pub column: &'static str,
    /// The figure, in the cell's unit.
    pub figure: f64,
    /// When a full run has reached it.
    pub goal: Goal,
    /// Where it is from, and how far that is to be trusted.
    pub source: &'static str,
}

/// When a published figure counts as reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// At this or above.
    AtLeast(
        /// The bound, in the cell's unit.
        f64,
    ),
    /// At this or below.
    AtMost(
        /// The bound, in the cell's unit.
        f64,
    ),
    /// It stands beside ours, and nothing is judged.
    Shown,
}

impl Goal {
    /// The bound, where there is one.
    pub fn bound(self) -> Option<f64> {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) => Some(bound),
            Self::Shown => None,
        }
    }

    /// Whether a figure reaches it; none where nothing is judged.
    pub fn reached(self, figure: f64) -> Option<bool> {
        match self {
            Self::AtLeast(bound) => Some(figure >= bound),
            Self::AtMost(bound) => Some(figure <= bound),
            Self::Shown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_fit_a_command_line() {
        for (place, experiment) in EXPERIMENTS.iter().enumerate() {
            let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(experiment.name.chars().all(word), "{}", experiment.name);
            assert!(EXPERIMENTS[..place].iter().all(|other| other.name != experiment.name));
            assert!(experiment.published.iter().all(|published| published.figure.is_finite()));
        }
    }

    #[test]
    fn a_figure_that_is_none_reaches_nothing() {
        assert_eq!(Goal::AtLeast(1.0).reached(f64::NAN), Some(false));
        assert_eq!(Goal::AtMost(1.0).reached(f64::NAN), Some(false));
        assert_eq!(Goal::AtMost(1.0).reached(0.5), Some(true));
        assert_eq!(Goal::Shown.reached(0.5), None);
    }
}
