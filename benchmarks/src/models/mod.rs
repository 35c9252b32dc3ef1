//! The models that every command trains, checks and times: explicit graphs of host vertices.
//!
//! [`build`] makes any [`ModelKind`] for any [`InputShape`] it fits; [`Model::clamps`] says what is
//! held for a batch, [`Predictor`] gives the logits of a forward pass. Equal seeds give equal
//! weights, whatever trains them.

mod activation;
mod attention;
mod build;
mod cnn;
mod continuation;
mod decoder;
mod feed;
mod kind;
mod layer_entry;
mod layered;
mod lstm;
mod mlp;
mod model;
mod parts;
mod predict;
mod residual;
mod rnn;

pub use activation::ActivationKind;
pub use build::{build, build_per_step};
pub use decoder::decoder;
pub use feed::{Features, OutputLoss, one_for_all};
pub use kind::{InputShape, ModelKind, Size, Wanted};
pub use layer_entry::{
    LayerEntry, LayerKind, Parameterisation, Place, PoolName, StartName, likeness,
};
pub use layered::build_layers;
pub use model::Model;
pub use predict::{Predictor, Score};
