//! What an experiment is run with.

use std::path::Path;

use super::Findings;
use crate::{
    data::{self, Data, Images, Kind, Split, invented, svhn, tiny_imagenet},
    error::CommandError,
    output,
    progress::Line,
};

/// Pictures that an experiment can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pictures {
    /// Handwritten digits: MNIST, 28x28. Where no folder of data was given a quick run takes the
    /// 8x8 digits that are built in.
    Mnist,
    /// Fashion-MNIST, 28x28; or the digits, as for MNIST.
    FashionMnist,
    /// CIFAR-10, 3x32x32; or the digits, as for MNIST.
    Cifar10,
    /// CIFAR-100, 3x32x32; or the digits, as for MNIST.
    Cifar100,
    /// SVHN, 3x32x32; or the digits, as for MNIST.
    Svhn,
    /// Tiny ImageNet, 3x64x64; or the digits, as for MNIST.
    TinyImagenet,
}

impl Pictures {
    pub(super) const fn kind(self) -> Kind {
        match self {
            Self::Mnist => Kind::Mnist,
            Self::FashionMnist => Kind::FashionMnist,
            Self::Cifar10 => Kind::Cifar10,
            Self::Cifar100 => Kind::Cifar100,
            Self::Svhn => Kind::Svhn,
            Self::TinyImagenet => Kind::TinyImagenet,
        }
    }
}

/// Parts that are done, by their names, and where they are kept.
pub trait Parts {
    /// What a part has found, where it is done.
    fn done(&self, name: &str) -> Option<Findings>;

    /// Keeps what a part has found.
    ///
    /// # Errors
    /// It cannot be kept.
    fn keep(&mut self, name: &str, findings: &Findings) -> Result<(), CommandError>;

    /// Notes that a data set was read whose numbers have this check sum.
    ///
    /// # Errors
    /// Parts that are done have read another.
    fn read(&mut self, set: &str, sum: u32) -> Result<(), CommandError>;

    /// Whether an end was asked for.
    fn interrupted(&self) -> bool;
}

/// What one seed of an experiment is computed with.
pub struct Context<'a> {
    seed: u64,
    full: bool,
    data_dir: Option<&'a Path>,
    progress: &'a Line,
    parts: &'a mut dyn Parts,
    data: Vec<String>,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, full, data_dir, data, .. } = self;
        f.debug_struct("Context")
            .field("seed", seed)
            .field("full", full)
            .field("data_dir", data_dir)
            .field("data", data)
            .finish_non_exhaustive()
    }
}

impl<'a> Context<'a> {
    /// For one seed.
    pub(crate) fn new(
        seed: u64,
        full: bool,
        data_dir: Option<&'a Path>,
        progress: &'a Line,
        parts: &'a mut dyn Parts,
    ) -> Self {
        Self { seed, full, data_dir, progress, parts, data: Vec::new() }
    }

    /// Where all that is random comes from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Whether the paper's settings are wanted, whatever they take; else what seconds can
    /// show (two minutes with a folder of data).
    pub fn full(&self) -> bool {
        self.full
    }

    /// One of two settings, by the size of the run.
    pub fn by_size<T>(&self, quick: T, full: T) -> T {
        if self.full { full } else { quick }
    }

    /// Says on a terminal how far the work has come.
    pub fn say(&self, text: impl Into<String>) {
        self.progress.say(text.into());
    }

    /// Tells people something while the work goes on, such as what it will take.
    pub fn tell(&self, text: &str) {
        output::note(text);
    }

    /// Whether no pictures but the digits that are built in can be had.
    pub fn has_digits_alone(&self) -> bool {
        self.data_dir.is_none()
    }

    /// Whether the folder of data has SVHN.
    pub fn has_svhn(&self) -> bool {
        self.data_dir.is_some_and(svhn::is_in)
    }

    /// Whether the folder of data has Tiny ImageNet, which few users have.
    pub fn has_tiny_imagenet(&self) -> bool {
        self.data_dir.is_some_and(tiny_imagenet::is_in)
    }

    /// Whether this part of the work was done by an earlier run.
    pub fn is_done(&self, name: &str) -> bool {
        self.parts.done(name).is_some()
    }

    /// A data set, divided into training and test sets. Where no folder of data was given, a quick
    /// run takes what is built in: the 8x8 digits for pictures, [`invented`] names and text.
    ///
    /// # Errors
    /// The files are missing or damaged, or others than a saved run has read; a full run without a
    /// folder of data.
    pub fn data(&mut self, kind: Kind) -> Result<Data, CommandError> {
        let (name, data) = match (self.data_dir, self.full, kind) {
            (Some(_), ..) => (kind.name(), data::load(kind, self.data_dir, self.seed)?),
            (None, true, _) if kind.needs_data_dir() => {
                return Err(CommandError::input(format!(
                    "--full: it learns {kind}, which needs a data folder, given with --data-dir \
                     DIR; {}",
                    kind.advice(None)
                )));
            }
            (None, _, Kind::Names) => {
                ("invented names", Data::Sequences(invented::names(self.seed)?))
            }
            (None, _, Kind::Shakespeare) => {
                ("invented text", Data::Text(invented::text(self.seed)?))
            }
            (None, ..) => (Kind::Digits.name(), data::load(Kind::Digits, None, self.seed)?),
        };
        self.parts.read(name, data.check_sum())?;
        if !self.data.iter().any(|own| own == name) {
            self.data.push(name.to_owned());
        }
        Ok(data)
    }

    /// Pictures with labels, divided into training and test sets.
    ///
    /// # Errors
    /// As of [`Context::data`].
    pub fn pictures(&mut self, which: Pictures) -> Result<Split<Images>, CommandError> {
        let kind = which.kind();
        let Data::Images(images) = self.data(kind)? else {
            return Err(CommandError::input(format!("{kind}: these are no pictures")));
        };
        Ok(images)
    }

    /// The sets that were read, by name.
    pub(crate) fn read(&self) -> &[String] {
        &self.data
    }

    /// A part of the work. Where the run is saved (`--save`), what a part has found is kept, and a
    /// run that goes on does not compute it again. So a part takes from outside nothing that
    /// another part has made, and everything random from [`Context::seed`].
    ///
    /// # Errors
    /// As of `compute`; where an end was asked for.
    pub fn part(
        &mut self,
        name: &str,
        compute: impl FnOnce(&mut Self) -> Result<Findings, CommandError>,
    ) -> Result<Findings, CommandError> {
        if let Some(done) = self.parts.done(name) {
            return Ok(done);
        }
        if self.parts.interrupted() {
            return Err(CommandError::Interrupted);
        }
        self.say(name);
        let found = compute(self)?;
        self.parts.keep(name, &found)?;
        Ok(found)
    }
}
