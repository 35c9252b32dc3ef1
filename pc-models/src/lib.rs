//! Networks and memories of the predictive-coding literature, as types that one uses in a few
//! lines.
//!
//! Every model here is a graph of [`pc_core`], or a few, with the calls that its paper is about:
//! classify, generate, store, recall. It is built of the tensors of one [`Backend`]: the host's
//! ([`Host`]), or, with the features `burn` and `tch`, those of the two frameworks. The graph of a
//! model is always at hand, to be saved, watched, or learned by another rule.

mod associative;
mod backend;
mod covariance;
mod features;
pub mod hopfield;
mod layer;

pub use associative::{AssociativeMemory, AssociativeSettings, Recalled};
#[cfg(feature = "burn")]
pub use backend::Burn;
#[cfg(feature = "tch")]
pub use backend::Tch;
pub use backend::{Backend, Host};
pub use covariance::{Covariance, CovarianceMemory};
pub use features::FeatureMemory;
pub use layer::Dense;
