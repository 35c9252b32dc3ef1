//! What computes: the backends. What the commands ask of one is in [`crate::contract`].
//!
//! # To add a backend
//! 1. A folder `backends/NAME/` with a type that implements
//!    [`Adapter`](crate::contract::Adapter), and a Cargo feature `NAME` that brings its crates.
//! 2. `#[cfg(feature = "NAME")] mod NAME;` here and one line in the table of `registry.rs`. The
//!    command line, the messages and `all` follow from it.
//! 3. `Adapter::support` says which models, rules and precisions it has; what is not in it is
//!    refused before anything runs, with a message that names what there is. What only a model can
//!    know (an evaluation that needs a chain) is refused by the adapter's own error.
//! 4. `Adapter::ready` says why the machine cannot run it, where it cannot (no GPU).
//! 5. Tests of the command line behind the same feature.

mod asked;
#[cfg(feature = "burn")]
mod burn;
mod chain;
#[cfg(feature = "cuda")]
mod cuda;
// Its models are types, compiled anew for whatever holds them, and no unit test has any: without
// it the build of all tests takes minutes less. The command line's tests run it.
#[cfg(all(feature = "dfdx", not(test)))]
mod dfdx;
mod host;
pub(crate) mod observe;
mod registry;
#[cfg(feature = "tch")]
mod tch;

pub use host::Host;
pub use registry::Backend;
#[cfg(feature = "tch")]
pub use tch::Tch;
