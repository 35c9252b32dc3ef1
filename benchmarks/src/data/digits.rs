//! The small handwritten digits that come with the program.

use smartcore::dataset::digits::load_dataset;

use super::error::{Error, Result};
use super::images::Images;
use super::split::{Split, TEST_SHARE};

/// The side of a picture.
const SIDE: usize = 8;

/// The largest value a pixel has in the source.
const DEPTH: f32 = 16.0;

/// UCI digits: 1,797 handwritten digits of 8x8 pixels, shape `[1, 8, 8]`, ten classes.
///
/// "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, UCI Machine Learning
/// Repository, 1998), the part of it that scikit-learn has too, built into the program through the
/// crate `smartcore`: no file and no network are needed. Pixels are the source's counts from 0 to
/// 16, divided by 16.
///
/// The source has no test set of its own, so a fifth is held out: for each digit in turn its
/// samples are shuffled by `seed` and a fifth of them (rounded) is taken to test on. The same seed
/// always gives the same split.
///
/// # Errors
/// [`ErrorKind::Malformed`](super::ErrorKind::Malformed) if what the crate carries is not that data
/// set.
pub fn digits(seed: u64) -> Result<Split<Images>> {
    let source = load_dataset();
    if source.num_features != SIDE * SIDE || source.num_samples != source.target.len() {
        return Err(Error::inconsistent(format!(
            "the built-in digits have {} samples of {} values, {} labels: \
             build with the versions in Cargo.lock",
            source.num_samples,
            source.num_features,
            source.target.len()
        )));
    }
    let pixels = source.data.iter().map(|value| value / DEPTH).collect();
    // Labels are whole numbers kept as f32; the check below refuses any outside 0..10.
    let labels = source.target.iter().map(|&label| label as usize).collect();
    let names = ('0'..='9').map(String::from).collect();
    Images::new(pixels, [1, SIDE, SIDE], labels, names)?.split(TEST_SHARE, seed)
}
