//! Any data set as batches for any model.

use std::path::Path;

use super::{
    augment::{augment, cut},
    settings::RunSettings,
};
use crate::contract::details::{Preparation, wrong};
use crate::contract::train::{Batch, Inputs};
use crate::data::{self, Batches, Data, Images, Sequences, Split, Text, TextBatch, seeded};
use crate::error::CommandError;
use crate::models::{InputShape, ModelKind};

/// The generator's stream that chooses samples to keep, and to measure on; epochs use the streams
/// from 0 up.
const CHOICE: u64 = 1 << 62;

/// Names are cut to this length.
const LONGEST_NAME: usize = 16;

/// The characters of a window of text.
const WINDOW: usize = 32;

/// The training samples, and the test windows of a text, on which figures are taken after each
/// epoch.
pub(super) const PROBE: usize = 2000;

/// Training and test data in the form that one sort of model takes.
///
/// - Images are as their loader gives them.
/// - Names are sequences of 16 symbols: longer ones are cut after their 16th letter; shorter ones
///   have the **padding symbol**, one more than the alphabet has letters, *before* them, so that
///   the last step is the last letter.
/// - A text is windows of 32 characters, unless another length is asked for. Models that go step by
///   step predict the next character after each; the others that after the window.
#[derive(Clone, Debug)]
pub struct Dataset {
    source: Source,
    /// The shape of a sample.
    pub shape: InputShape,
    /// How many classes there are.
    pub classes: usize,
    /// Whether there is a label for each step.
    pub per_step: bool,
    /// In words, such as `digits, 1438 train / 359 test`.
    pub description: String,
    how: Preparation,
}

#[derive(Clone, Debug)]
enum Source {
    Images(Split<Images>),
    Sequences(Split<Symbols>),
    Text { text: Split<Text>, windows: usize },
}

/// Sequences of one length.
#[derive(Clone, Debug)]
struct Symbols {
    symbols: Vec<usize>,
    labels: Vec<usize>,
}

impl Dataset {
    /// Loads the data set of a run.
    ///
    /// # Errors
    /// Data that cannot be read; an empty set; fewer samples than the run asks for.
    pub fn load(settings: &RunSettings, dir: Option<&Path>) -> Result<Self, CommandError> {
        let RunSettings { data: kind, seed, model, samples, details, .. } = settings;
        let data = data::load(*kind, dir, *seed)?;
        let all = Self::prepared(&kind.to_string(), data, *seed, *model, *samples, &details.data)?;
        Ok(if details.recall.is_some() { all.stored() } else { all })
    }

    /// The same as pictures to store: they are learned, and they are what is judged.
    pub(crate) fn stored(mut self) -> Self {
        if let Source::Images(split) = &mut self.source {
            split.test = split.train.clone();
            let name = self.description.split(',').next().unwrap_or_default();
            self.description = format!("{name}, {} to store", split.train.len());
        }
        self
    }

    /// The same of data that is loaded already.
    ///
    /// # Errors
    /// An empty set; fewer than `samples` samples.
    pub fn new(
        name: &str,
        data: Data,
        seed: u64,
        model: ModelKind,
        samples: Option<usize>,
    ) -> Result<Self, CommandError> {
        Self::prepared(name, data, seed, model, samples, &Preparation::default())
    }

    /// The same, with what is to be done to it. With a share for validation the test set is dropped
    /// first of all, and what is held out of the training data takes its place.
    ///
    /// # Errors
    /// As [`Dataset::new`]; a share that leaves nothing; windows longer than a text.
    pub fn prepared(
        name: &str,
        data: Data,
        seed: u64,
        model: ModelKind,
        samples: Option<usize>,
        how: &Preparation,
    ) -> Result<Self, CommandError> {
        let data = match how.validation {
            Some(share) => data
                .held_out(share, seed)
                .map_err(|error| wrong("data.validation", error.to_string()))?,
            None => data,
        };
        let blank = |source, shape, classes, per_step| Self {
            source,
            shape,
            classes,
            per_step,
            description: String::new(),
            how: *how,
        };
        let choose = |len: usize| -> Result<Option<Vec<usize>>, CommandError> {
            match samples {
                Some(count) if count > len => Err(wrong(
                    "data.samples",
                    format!("--samples {count} is more than the {len} that {name} has"),
                )),
                Some(count) => Ok(Some(choice(len, count, seed)?)),
                None => Ok(None),
            }
        };
        let dataset = match data {
            Data::Images(mut split) => {
                let whole = split.train.shape;
                normalise(&mut split, how);
                if let Some(chosen) = choose(split.train.len())? {
                    split.train = split.train.select(&chosen)?;
                }
                let shape = match how.side {
                    Some(side) if side > whole[1].min(whole[2]) => {
                        let [_, height, width] = whole;
                        let message = format!(
                            "data.side is {side}, and a picture of {name} has {height}x{width} \
                             pixels"
                        );
                        return Err(wrong("data.side", message));
                    }
                    Some(side) => [whole[0], side, side],
                    None => whole,
                };
                let (shape, classes) = (InputShape::Image(shape), split.train.classes);
                blank(Source::Images(split), shape, classes, false)
            }
            Data::Sequences(mut split) => {
                if let Some(chosen) = choose(split.train.len())? {
                    split.train = split.train.select(&chosen)?;
                }
                let longest = split.train.longest().max(split.test.longest());
                let length = longest.min(how.window.unwrap_or(LONGEST_NAME));
                let (padding, classes) = (split.train.alphabet.len(), split.train.classes);
                let shape = InputShape::Sequence { length, vocabulary: padding + 1 };
                let padded = |part: &Sequences| Symbols {
                    symbols: pad(part, length, padding),
                    labels: part.labels.clone(),
                };
                let source = Source::Sequences(Split {
                    train: padded(&split.train),
                    test: padded(&split.test),
                });
                blank(source, shape, classes, false)
            }
            Data::Text(text) => {
                let classes = text.train.alphabet.len();
                let window = how.window.unwrap_or(WINDOW);
                let all = match how.stride {
                    Some(stride) => text.train.len().saturating_sub(window).div_ceil(stride),
                    None => text.train.len().saturating_sub(1) / window,
                };
                if samples.is_some_and(|count| count > all) || text.test.len() <= window {
                    return Err(CommandError::input(format!(
                        "{name} is too short: its training text has {all} windows of {window}"
                    )));
                }
                let source = Source::Text { text, windows: samples.unwrap_or(all) };
                let shape = InputShape::Sequence { length: window, vocabulary: classes };
                blank(source, shape, classes, model.goes_by_step())
            }
        };
        let (train, test) = (dataset.train_len(), dataset.test_len());
        if train == 0 || test == 0 {
            return Err(CommandError::input(format!(
                "{name} has {train} samples to train on and {test} to test on: there must be some \
                 of both"
            )));
        }
        let unit = if matches!(dataset.source, Source::Text { .. }) { " windows" } else { "" };
        let held = if how.validation.is_some() { "validation" } else { "test" };
        Ok(Self { description: format!("{name}, {train} train / {test} {held}{unit}"), ..dataset })
    }

    /// The samples of an epoch.
    pub fn train_len(&self) -> usize {
        match &self.source {
            Source::Images(split) => split.train.len(),
            Source::Sequences(split) => split.train.labels.len(),
            Source::Text { windows, .. } => *windows,
        }
    }

    /// The samples to test on.
    pub fn test_len(&self) -> usize {
        match &self.source {
            Source::Images(split) => split.test.len(),
            Source::Sequences(split) => split.test.labels.len(),
            Source::Text { text, .. } => {
                (text.test.len().saturating_sub(1) / self.shape.steps()[0]).min(PROBE)
            }
        }
    }

    /// The batches of an epoch, in the order that the seed gives it, from the `skip`th on.
    ///
    /// # Errors
    /// A batch size of zero.
    pub fn epoch(
        &self,
        batch: usize,
        seed: u64,
        epoch: u64,
        skip: usize,
    ) -> Result<Box<dyn Iterator<Item = Result<Batch, CommandError>> + '_>, CommandError> {
        Ok(match &self.source {
            Source::Images(split) => {
                let order = Batches::new(split.train.len(), batch, seed, epoch)?;
                let shape = split.train.shape;
                Box::new(order.enumerate().skip(skip).map(move |(number, chosen)| {
                    let mut batch = pictures(&split.train, &chosen)?;
                    augment(&mut batch, &self.how, shape, seed, [epoch, number as u64]);
                    Ok(batch)
                }))
            }
            Source::Sequences(split) => {
                let order = Batches::new(split.train.labels.len(), batch, seed, epoch)?;
                Box::new(order.skip(skip).map(|chosen| Ok(self.sequences(&split.train, &chosen))))
            }
            Source::Text { text, windows } => {
                let window = self.shape.steps()[0];
                if let Some(stride) = self.how.stride {
                    let order = Batches::new(*windows, batch, seed, epoch)?;
                    return Ok(Box::new(order.skip(skip).map(move |chosen| {
                        let starts = chosen.iter().map(|place| place * stride).collect::<Vec<_>>();
                        Ok(self.windows(text.train.windows_at(&starts, window)?))
                    })));
                }
                let whole = text.train.windows(batch, window, seeded(seed, epoch))?;
                let count = windows.div_ceil(batch);
                Box::new(whole.take(count).skip(skip).map(|item| Ok(self.windows(item))))
            }
        })
    }

    /// The batches of an epoch.
    pub fn batches(&self, batch: usize) -> usize {
        self.train_len().div_ceil(batch.max(1))
    }

    /// The test samples in their own order.
    ///
    /// # Errors
    /// A batch size of zero.
    pub fn test(
        &self,
        batch: usize,
    ) -> Result<Box<dyn Iterator<Item = Result<Batch, CommandError>> + '_>, CommandError> {
        Ok(match &self.source {
            Source::Images(split) => Box::new(
                Batches::in_order(split.test.len(), batch)?
                    .map(|chosen| self.middles(&split.test, &chosen)),
            ),
            Source::Sequences(split) => {
                let order = Batches::in_order(split.test.labels.len(), batch)?;
                Box::new(order.map(|chosen| Ok(self.sequences(&split.test, &chosen))))
            }
            Source::Text { text, .. } => {
                let whole = text.test.sweep(batch, self.shape.steps()[0])?;
                Box::new(
                    whole.take(self.test_len().div_ceil(batch)).map(|item| Ok(self.windows(item))),
                )
            }
        })
    }

    /// A fixed choice of at most `count` training samples, in batches: the same for every epoch and
    /// every run of this seed.
    ///
    /// # Errors
    /// A batch size of zero.
    pub fn probe(&self, count: usize, batch: usize, seed: u64) -> Result<Vec<Batch>, CommandError> {
        if let Source::Text { text, .. } = &self.source {
            let window = self.shape.steps()[0];
            let windows = text.train.windows(batch, window, seeded(seed, CHOICE))?;
            return Ok(windows
                .take(count.min(self.train_len()).div_ceil(batch))
                .map(|item| self.windows(item))
                .collect());
        }
        let chosen = choice(self.train_len(), count, seed)?;
        let parts = chosen.chunks(batch.max(1));
        parts
            .map(|chosen| match &self.source {
                Source::Images(split) => self.middles(&split.train, chosen),
                Source::Sequences(split) => Ok(self.sequences(&split.train, chosen)),
                Source::Text { text, .. } => Err(CommandError::input(format!(
                    "{} characters are no list of samples",
                    text.train.len()
                ))),
            })
            .collect()
    }

    /// These pictures, or their middles where pieces of them are learned.
    fn middles(&self, images: &Images, chosen: &[usize]) -> Result<Batch, CommandError> {
        let mut batch = pictures(images, chosen)?;
        if let (Some(side), Inputs::Pixels(pixels)) = (self.how.side, &mut batch.inputs) {
            *pixels = cut(pixels, images.shape, side, None);
        }
        Ok(batch)
    }

    fn sequences(&self, part: &Symbols, chosen: &[usize]) -> Batch {
        let [length, _] = self.shape.steps();
        let row = |index: &usize| part.symbols.iter().skip(index * length).take(length).copied();
        Batch {
            inputs: Inputs::Symbols(chosen.iter().flat_map(row).collect()),
            labels: chosen.iter().filter_map(|index| part.labels.get(*index).copied()).collect(),
            samples: chosen.len(),
        }
    }

    fn windows(&self, item: TextBatch) -> Batch {
        let labels = if self.per_step {
            item.targets
        } else {
            item.targets.chunks(item.length).filter_map(|targets| targets.last().copied()).collect()
        };
        Batch { inputs: Inputs::Symbols(item.inputs), labels, samples: item.batch }
    }
}

fn pictures(images: &Images, chosen: &[usize]) -> Result<Batch, CommandError> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    images.gather(chosen, &mut pixels, &mut labels)?;
    Ok(Batch { inputs: Inputs::Pixels(pixels), labels, samples: chosen.len() })
}

/// Takes the mean away from every pixel, and divides by the deviation, where they are given.
fn normalise(split: &mut Split<Images>, how: &Preparation) {
    if how.mean.is_none() && how.deviation.is_none() {
        return;
    }
    let (mean, by) = (how.mean.unwrap_or(0.0) as f32, how.deviation.unwrap_or(1.0) as f32);
    for pixel in split.train.pixels.iter_mut().chain(&mut split.test.pixels) {
        *pixel = (*pixel - mean) / by;
    }
}

/// At most `count` of `len`, chosen by the seed.
fn choice(len: usize, count: usize, seed: u64) -> Result<Vec<usize>, CommandError> {
    Ok(Batches::new(len, count.max(1), seed, CHOICE)?.next().unwrap_or_default())
}

/// Every sequence, cut or padded to `length`.
fn pad(part: &Sequences, length: usize, padding: usize) -> Vec<usize> {
    let mut symbols = Vec::with_capacity(part.len() * length);
    for sample in &part.samples {
        let kept = &sample[..sample.len().min(length)];
        symbols.extend(std::iter::repeat_n(padding, length - kept.len()));
        symbols.extend_from_slice(kept);
    }
    symbols
}
