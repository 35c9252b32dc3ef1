//! Networks and memories of the predictive-coding literature, as types that one uses in a few
//! lines.
//!
//! Every model here is a graph of [`pc_core`], or a few, with the calls that its paper is about:
//! classify, generate, store, recall. It is built of the tensors of one [`Backend`]: the host's
//! ([`Host`]), or, with the features `burn` and `tch`, those of the two frameworks. The graph of a
//! model is always at hand, to be saved, watched, or learned by another rule; an optimiser is given
//! as a closure over the graph and its gradients, so any will do.
//!
//! | to | take |
//! |---|---|
//! | classify, generate and complete with one net | [`Bidirectional`], [`Generative`] |
//! | start inference from a learned guess | [`Hybrid`] |
//! | wire neurons in any way, and clamp any of them | [`PcGraph`] |
//! | ask what follows from a cause, from an act, and what would have been | [`Causal`] |
//! | find which variable causes which | [`StructureSearch`] |
//! | draw samples of causes and of data | [`MonteCarloPc`] |
//! | learn and recall sequences, or follow a linear process | [`TemporalPc`] |
//! | store pictures and recall them from parts, noise or labels | [`AssociativeMemory`] |
//! | the same by covariances | [`CovarianceMemory`] |
//! | the same in one formula, or as a vertex of a graph | [`hopfield::Memory`] |
//! | the same between features of an encoder | [`FeatureMemory`] |
//! | separate mixed sources online | [`EntropyMaximisation`] |
//! | know the equilibrium of a linear net, or how well a step of learning aims | [`theory`] |
//!
//! # Example
//! A sequence of three frames, recalled from its first:
//! ```
//! use pc_core::{Tensor, host::{Init, Sgd}};
//! use pc_models::{Backend, Host, Temporal, TemporalPc};
//! let host = Host::<f64>::new();
//! let frame = |x: [f64; 3]| host.tensor(&[1, 3], &x);
//! let frames = [frame([1., 0., 0.])?, frame([0., 1., 0.])?, frame([0., 0., 1.])?];
//! let mut memory = TemporalPc::new(&host, &Temporal::one_layer(3), &mut Init::new(0))?;
//! let mut sgd = Sgd::new(0.1)?;
//! for _ in 0..200 {
//!     memory.learn_sequence(&frames, |graph, g| sgd.step(graph.parameters_mut(), g))?;
//! }
//! let recalled = memory.recall_offline(&frames[0], 2, |_| Ok(()))?;
//! assert!((recalled[1].to_vec()[2] - 1.0).abs() < 0.05);
//! # Ok::<(), pc_core::Error>(())
//! ```

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
mod matrix;
mod monte_carlo;
mod pc_graph;
mod separation;
mod settled;
mod temporal;
pub mod theory;

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
