//! Networks and memories of the predictive-coding literature, as types that one uses in a few
//! lines.
//!
//! Every model here is a graph of [`pc_core`], or a few, with the calls that its paper is about:
//! classify, generate, store, recall. It is built of the tensors of one [`Backend`]: the host's
//! ([`Host`]), or, with the features `burn` and `tch`, those of the two frameworks. The graph of a
//! model is always at hand, to be saved, watched, or learned by another rule.

mod associative;
mod asymmetric;
mod backend;
mod bidirectional;
mod causal;
mod covariance;
mod features;
mod generative;
pub mod hopfield;
mod hybrid;
mod kalman;
mod known;
mod layer;
mod monte_carlo;
mod pc_graph;
mod separation;
mod temporal;

pub use associative::{AssociativeMemory, AssociativeSettings, Recalled};
pub use asymmetric::AsymmetricHopfield;
#[cfg(feature = "burn")]
pub use backend::Burn;
#[cfg(feature = "tch")]
pub use backend::Tch;
pub use backend::{Backend, Host};
pub use bidirectional::{Bidirectional, BidirectionalSettings};
pub use causal::{Causal, StructureSearch, Variable, World, acyclicity};
pub use covariance::{Covariance, CovarianceMemory};
pub use features::FeatureMemory;
pub use generative::{Generative, GenerativeSettings};
pub use hybrid::{Guess, Hybrid, HybridSettings};
pub use kalman::Kalman;
pub use known::{Answer, Known, classes};
pub use layer::Dense;
pub use monte_carlo::{Langevin, MonteCarloPc};
pub use pc_graph::{Hold, PcGraph, Wiring};
pub use separation::{Domain, EntropyMaximisation, EntropySurrogate, Unmixing};
pub use temporal::{Temporal, TemporalPc, to_signs};
