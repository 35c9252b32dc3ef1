//! MNIST and Fashion-MNIST, from their standard IDX files.
//!
//! Both have 60,000 training and 10,000 test pictures of 28x28 grey pixels (shape `[1, 28, 28]`) in
//! ten classes, in four files: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
//! `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`. The spelling `train-images.idx3-ubyte` is
//! taken too, and each with `.gz`. Smaller files of the same format, with pictures of another size,
//! are taken as they are.
//!
//! MNIST: Y. LeCun, C. Cortes, C. Burges. Fashion-MNIST: H. Xiao, K. Rasul, R. Vollgraf, 2017.

use std::path::Path;

use super::{
    error::{Error, Place, Result},
    file::{Layout, locate},
    idx,
    images::Images,
    kind::Kind,
    split::Split,
};

/// What the sets come in too.
const ARRAYS: &str = "NumPy's arrays";

/// The four files: pictures and labels to train on, pictures and labels to test on.
const FILES: [&[&str]; 4] = [
    &["train-images-idx3-ubyte", "train-images.idx3-ubyte"],
    &["train-labels-idx1-ubyte", "train-labels.idx1-ubyte"],
    &["t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte"],
    &["t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte"],
];

/// Fashion-MNIST's classes.
const CLOTHES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

/// The labels each set's training file begins with, to tell the two apart: their file names are the
/// same.
const MNIST_BEGINS: [usize; 16] = [5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 3, 5, 3, 6, 1, 7];
const FASHION_BEGINS: [usize; 16] = [9, 0, 0, 3, 0, 2, 7, 2, 5, 5, 0, 9, 5, 5, 7, 9];

/// Loads MNIST from `dir`, or from `mnist`, `MNIST`, `mnist/raw` or `MNIST/raw` in it.
///
/// The sub-folders are looked in first.
///
/// # Errors
/// [`ErrorKind::NotFound`](super::ErrorKind::NotFound) if a file is missing, saying where it was
/// looked for; as of [`idx::load`]; and [`ErrorKind::Malformed`](super::ErrorKind::Malformed) if
/// the training and test pictures differ in size or the files are Fashion-MNIST's.
pub fn load(dir: &Path) -> Result<Split<Images>> {
    let layout = Layout {
        title: "MNIST",
        folders: &["mnist", "MNIST", "mnist/raw", "MNIST/raw", ""],
        files: &FILES,
        elsewise: (&["mnist.npz", "mnist.pkl.gz"], ARRAYS),
    };
    let names = ('0'..='9').map(String::from).collect();
    load_set(dir, &layout, Kind::Mnist, names, &FASHION_BEGINS)
}

/// Loads Fashion-MNIST from `dir`, or from `fashion-mnist`, `fashion_mnist`, `FashionMNIST`,
/// `fashion-mnist/raw` or `FashionMNIST/raw` in it.
///
/// The sub-folders are looked in first.
///
/// # Errors
/// As of [`load`], the other way about.
pub fn load_fashion(dir: &Path) -> Result<Split<Images>> {
    let layout = Layout {
        title: "Fashion-MNIST",
        folders: &[
            "fashion-mnist",
            "fashion_mnist",
            "FashionMNIST",
            "fashion-mnist/raw",
            "FashionMNIST/raw",
            "",
        ],
        files: &FILES,
        elsewise: (&["fashion_mnist.npz", "fashion-mnist.npz"], ARRAYS),
    };
    let names = CLOTHES.map(String::from).to_vec();
    load_set(dir, &layout, Kind::FashionMnist, names, &MNIST_BEGINS)
}

/// Loads either set; `other` is what the other one's training labels begin with.
fn load_set(
    dir: &Path,
    layout: &Layout<'_>,
    kind: Kind,
    names: Vec<String>,
    other: &[usize],
) -> Result<Split<Images>> {
    let advice = kind.advice(Some(dir));
    let paths = locate(dir, layout, &advice)?;
    let [images, labels, test_images, test_labels] = paths.as_slice() else {
        return Err(Error::not_found(dir, advice));
    };
    let train = idx::load(images, labels, names.clone())?;
    if train.labels.starts_with(other) {
        let what = format!(
            "these are the files of the other data set with these names, not {}",
            layout.title
        );
        return Err(Error::malformed(labels, Place::Whole, what, advice));
    }
    let test = idx::load(test_images, test_labels, names)?;
    if train.shape != test.shape {
        let what = format!(
            "pictures of {:?} (channels, height, width), but {:?} in {}",
            test.shape,
            train.shape,
            images.display()
        );
        let remedy = "the files are not of one set: fetch all again";
        return Err(Error::malformed(test_images, Place::Whole, what, remedy));
    }
    Ok(Split { train, test })
}
