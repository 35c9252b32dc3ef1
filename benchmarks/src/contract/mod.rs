//! What the commands and the backends say to each other: the choices that both know by name, what
//! each command asks of a backend, and what it gets.
//!
//! The commands know no framework, and the backends no command; both know this. The commands
//! choose a [`Backend`](crate::backends::Backend), and ask its [`Adapter`] for a
//! [`train::Trainee`], a [`check::Checked`], a [`speed::Timed`], or for the
//! [`gradients::Findings`] of a chain. The models are those of [`crate::models`] on every backend:
//! the graphs there say which parameters there are, in which order and layout, and what they start
//! at; weights and gradients travel as [`HostTensor`](pc_core::host::HostTensor)s in that layout.
//! So all backends start from the same weights, read the same checkpoints, and are compared entry
//! by entry.

mod adapter;
pub mod check;
mod choices;
pub mod details;
pub mod gradients;
mod optimiser_state;
pub mod speed;
pub mod train;

pub use adapter::{Adapter, Support};
pub use choices::{OptimiserKind, OrAll, Precision, ScheduleKind};
pub use optimiser_state::OptimiserState;
pub(crate) use optimiser_state::{MOMENTS, VELOCITY};
