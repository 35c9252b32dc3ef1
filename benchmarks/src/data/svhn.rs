//! SVHN, the cropped house numbers, from their MATLAB files.
//!
//! A file has the array `X` of 32x32x3xN pixels and the array `y` of N labels from 1 to 10, of
//! which 10 is the digit 0. Pixels are divided by 255; the shape is `[3, 32, 32]`, and labels are
//! the digits. The full sets have 73,257 and 26,032 pictures; the 531,131 of `extra_32x32.mat` are
//! not read.
//!
//! Y. Netzer, T. Wang, A. Coates, A. Bissacco, B. Wu and A. Y. Ng, "Reading Digits in Natural
//! Images with Unsupervised Feature Learning", 2011.

use std::path::{Path, PathBuf};

use super::{
    error::{Error, Place, Result},
    file::{Layout, REFETCH, locate},
    images::Images,
    kind::Kind,
    matlab,
    split::Split,
};

/// The lines and the columns of a picture.
const SIDE: usize = 32;

/// How many numbers one picture has.
const FEATURES: usize = 3 * SIDE * SIDE;

const LAYOUT: Layout<'static> = Layout {
    title: "SVHN",
    folders: &["svhn", "SVHN", ""],
    files: &[&["train_32x32.mat"], &["test_32x32.mat"]],
    elsewise: (
        &["train.tar.gz", "train/digitStruct.mat", "digitStruct.mat"],
        "whole photographs (its first format)",
    ),
};

/// Whether a folder of data has SVHN where [`load`] looks for it.
pub fn is_in(dir: &Path) -> bool {
    locate(dir, &LAYOUT, "").is_ok()
}

/// Loads SVHN from `train_32x32.mat` and `test_32x32.mat`.
///
/// They are looked for in `svhn` and `SVHN` in `dir`, then in `dir` itself.
///
/// # Errors
/// [`ErrorKind::NotFound`](super::ErrorKind::NotFound) if a file is missing, saying where it was
/// looked for; as of [`read`].
pub fn load(dir: &Path) -> Result<Split<Images>> {
    let advice = Kind::Svhn.advice(Some(dir));
    let paths: Vec<PathBuf> = locate(dir, &LAYOUT, &advice)?;
    let [train, test] = paths.as_slice() else {
        return Err(Error::not_found(dir, advice));
    };
    Ok(Split { train: read(train)?, test: read(test)? })
}

/// Reads one file.
///
/// # Errors
/// [`ErrorKind::Io`](super::ErrorKind::Io) if it cannot be read;
/// [`ErrorKind::Malformed`](super::ErrorKind::Malformed) if it is no MATLAB file of version 5, is
/// damaged or cut short, lacks an array, or has arrays of other sizes or labels out of range.
pub fn read(path: &Path) -> Result<Images> {
    let wrong = |what: String| Error::malformed(path, Place::Whole, what, REFETCH);
    let [pictures, labels] = matlab::read(path, ["X", "y"])?;
    let count = match *pictures.dims.as_slice() {
        [SIDE, SIDE, 3, count] => count,
        // MATLAB leaves out last sizes of 1.
        [SIDE, SIDE, 3] => 1,
        ref other => {
            return Err(wrong(format!("X has the sizes {other:?}, and 32x32x3xN must be there")));
        }
    };
    if labels.numbers.len() != count {
        let given = labels.numbers.len();
        return Err(wrong(format!("y has {given} labels for the {count} pictures of X")));
    }
    if count == 0 {
        return Err(wrong("it has no pictures".to_owned()));
    }
    let digit = |(picture, &label): (usize, &u8)| match label {
        1..=9 => Ok(usize::from(label)),
        10 => Ok(0),
        _ => Err(wrong(format!(
            "label {label} of picture {picture} (from 0) is out of range: y has 1 to 10, where 10 \
             is the digit 0"
        ))),
    };
    let labels = labels.numbers.iter().enumerate().map(digit).collect::<Result<Vec<usize>>>()?;
    let mut pixels = Vec::with_capacity(pictures.numbers.len());
    for picture in pictures.numbers.chunks_exact(FEATURES) {
        // MATLAB's first index, here the line, goes fastest.
        for place in 0..FEATURES {
            let (colour, line, column) = (place / (SIDE * SIDE), place / SIDE % SIDE, place % SIDE);
            let from = picture.get((colour * SIDE + column) * SIDE + line);
            pixels.push(f32::from(from.copied().unwrap_or(0)) / 255.0);
        }
    }
    Images::new(pixels, [3, SIDE, SIDE], labels, ('0'..='9').map(String::from).collect())
}
