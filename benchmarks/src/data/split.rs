//! Dividing samples into training and test sets.

use std::collections::BTreeMap;

use rand::seq::SliceRandom;

use super::batches::seeded;
use super::error::{Error, Result};

/// The share of samples held out for testing where a data set has no standard test set: a fifth.
pub const TEST_SHARE: f64 = 0.2;

/// The generator's stream that splits use; epochs use the streams from 0 up.
const STREAM: u64 = 1 << 63;

/// Data to train on, and data held out to test on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split<T> {
    /// What to train on.
    pub train: T,
    /// What to test on; never trained on.
    pub test: T,
}

/// Divides samples class by class, so that both parts have each class in proportion.
///
/// `labels[i]` is the class of sample `i`. Of a class's `n` samples, `n * test_share` (rounded, at
/// least one and at most `n - 1`) go to the test part, chosen by `seed`; a class with a single
/// sample leaves it in the training part. The same arguments always give the same split. Gives the
/// samples' indices, each part in ascending order.
///
/// # Errors
/// [`ErrorKind::Argument`](super::ErrorKind::Argument) if `test_share` is not between 0 and 1, a
/// label is `classes` or more, or a part would be empty.
pub fn stratified(
    labels: &[usize],
    classes: usize,
    test_share: f64,
    seed: u64,
) -> Result<Split<Vec<usize>>> {
    stratified_by(labels, classes, test_share, seed, |sample| sample)
}

/// Like [`stratified`], but keeps samples of one class with the same `key` on the same side.
///
/// A group goes to the test part whole, if it still fits under the class's share, or not at all; so
/// a class of few, large groups may have less than its share there.
pub(super) fn stratified_by<K: Ord>(
    labels: &[usize],
    classes: usize,
    test_share: f64,
    seed: u64,
    key: impl Fn(usize) -> K,
) -> Result<Split<Vec<usize>>> {
    if !(test_share > 0.0 && test_share < 1.0) {
        return Err(Error::argument(format!(
            "the share to test on is {test_share}; give one between 0 and 1, such as {TEST_SHARE}"
        )));
    }
    let mut by_class: Vec<BTreeMap<K, Vec<usize>>> = Vec::new();
    by_class.resize_with(classes, BTreeMap::new);
    for (sample, &label) in labels.iter().enumerate() {
        let groups = by_class.get_mut(label).ok_or_else(|| {
            Error::argument(format!(
                "sample {sample} has label {label}, but the labels of {classes} classes end at {}",
                classes.saturating_sub(1)
            ))
        })?;
        groups.entry(key(sample)).or_default().push(sample);
    }
    let mut rng = seeded(seed, STREAM);
    let mut split = Split { train: Vec::with_capacity(labels.len()), test: Vec::new() };
    for groups in by_class {
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        groups.shuffle(&mut rng);
        let size: usize = groups.iter().map(Vec::len).sum();
        let mut room = share_of(size, test_share);
        for group in groups {
            if group.len() <= room {
                room -= group.len();
                split.test.extend(group);
            } else {
                split.train.extend(group);
            }
        }
    }
    if split.train.is_empty() || split.test.is_empty() {
        return Err(Error::argument(format!(
            "{} samples in {classes} classes are too few to hold out a share of {test_share}: \
             give at least two different samples of one class",
            labels.len()
        )));
    }
    split.train.sort_unstable();
    split.test.sort_unstable();
    Ok(split)
}

/// How many of a class's `size` samples to hold out.
fn share_of(size: usize, test_share: f64) -> usize {
    if size < 2 {
        return 0;
    }
    ((size as f64 * test_share).round() as usize).clamp(1, size - 1)
}
