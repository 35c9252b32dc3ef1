//! Any set by name.

use std::path::Path;

use super::{
    cifar,
    digits::digits,
    error::{Error, Result},
    images::Images,
    kind::Kind,
    mnist, names,
    names::Sequences,
    split::Split,
    svhn, text,
    text::Text,
    tiny_imagenet,
};

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

impl Data {
    /// The training set divided in two: so large a share of it takes the test set's place, which is
    /// dropped. Pictures and sequences are chosen by the seed, class by class; of a text it is the
    /// end.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`](super::ErrorKind::Argument) if the share is not between 0 and 1, or
    /// a part would be empty.
    pub fn held_out(self, share: f64, seed: u64) -> Result<Self> {
        Ok(match self {
            Self::Images(Split { train, .. }) => Self::Images(train.split(share, seed)?),
            Self::Sequences(Split { train, .. }) => Self::Sequences(train.split(share, seed)?),
            Self::Text(Split { train, .. }) => Self::Text(train.split_at(1.0 - share)?),
        })
    }

    /// A check sum over all its numbers, training set first.
    pub fn check_sum(&self) -> u32 {
        let mut sum = flate2::Crc::new();
        let mut ids = |list: &[usize]| {
            list.iter().for_each(|id| sum.update(&id.to_le_bytes()));
        };
        match self {
            Self::Images(Split { train, test }) => {
                for own in [train, test] {
                    own.pixels.iter().for_each(|pixel| sum.update(&pixel.to_le_bytes()));
                    own.labels.iter().for_each(|label| sum.update(&label.to_le_bytes()));
                }
            }
            Self::Sequences(Split { train, test }) => {
                for own in [train, test] {
                    // With its length, so that letters cannot move from name to name.
                    for sample in &own.samples {
                        ids(&[sample.len()]);
                        ids(sample);
                    }
                    ids(&own.labels);
                }
            }
            Self::Text(Split { train, test }) => {
                ids(&[train.len()]);
                ids(&train.ids);
                ids(&test.ids);
            }
        }
        sum.sum()
    }
}

/// Loads a data set from under `data_dir`.
///
/// `seed` chooses what is held out to test on where the set has no standard test set
/// ([`Kind::Digits`] and [`Kind::Names`]); the others ignore it. [`Kind::Digits`] ignores
/// `data_dir`.
///
/// # Errors
/// [`ErrorKind::Argument`](super::ErrorKind::Argument) if `data_dir` is needed and not given,
/// saying how to come by the data; else as of the set's own loader: [`digits()`](super::digits()),
/// [`mnist::load`], [`mnist::load_fashion`], [`cifar::load_10`], [`cifar::load_100`],
/// [`svhn::load`], [`tiny_imagenet::load`], [`names::load`], [`text::load`].
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
        Kind::Svhn => Data::Images(svhn::load(dir()?)?),
        Kind::TinyImagenet => Data::Images(tiny_imagenet::load(dir()?)?),
        Kind::Names => Data::Sequences(names::load(dir()?, seed)?),
        Kind::Shakespeare => Data::Text(text::load(dir()?)?),
    })
}
