//! What a backend, a vertex or a network of one's own needs.
//!
//! A program that builds graphs of ready layers and trains them needs none of these names: what it
//! needs is at the [crate's root](crate). Here is the rest, by what it is for.
//!
//! - **A vertex of one's own** is one `impl` of [`Vertex`]. It reads [`Inputs`], keeps what the
//!   pullback needs in a [`Cache`], and writes to [`Pulled`]. With [`Structure`] it may say what it
//!   is made of.
//! - **A loss that a backend computes itself** says which loss it is with [`LossForm`]; one that a
//!   user weighs has a [`loss_strength`].
//! - **A backend** is one `impl` of [`Tensor`](crate::Tensor), whose state updates arrive as a
//!   [`StateStep`], and one of [`GraphTensor`], which runs each [`NodeJob`] over the [`NodeState`]s
//!   of a graph in one [`GraphFrame`].
//! - **A network** is one `impl` of [`Network`](crate::Network). It is made of [`Prediction`]s, and
//!   says what it can do with [`Abilities`]. The other types here are what its calls take.
//! - **An optimiser** that is saved with a graph is one `impl` of [`OptimiserState`], which lists a
//!   [`ParameterState`] for each parameter, and checks with [`check_states`] what it is given.
//! - **A set of layers** that adds several vertices at once can take them back to a [`Mark`].

pub use crate::{
    clamp::Losses,
    energy::EnergyOf,
    graph::{GraphFrame, GraphLinearisation, GraphTensor, Mark, NodeJob, NodeState},
    loss::{LossForm, loss_strength},
    network::{Abilities, Drives, Forward, FusedSteps, Residuals, Settings, State, Want},
    optimiser_state::{OptimiserState, ParameterState, check_states},
    structure::Structure,
    tensor::{RowJob, StateStep},
    topology::Prediction,
    vertex::{Cache, Inputs, Pulled, Vertex},
};
