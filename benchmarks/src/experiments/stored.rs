//! What the experiments on memories have in common: pictures to store, ways to corrupt them, and
//! how far what is recalled is from what was stored.

use pc_core::{Tensor, host::HostTensor};

use super::{Context, Picture, Pictures};
use crate::{
    data::{Batches, Images, Split},
    error::CommandError,
};

type Rows = HostTensor<f32>;

/// Pictures of one set.
#[derive(Debug)]
pub(super) struct Set {
    /// Its name, for columns.
    pub(super) name: &'static str,
    pub(super) images: Split<Images>,
    seed: u64,
}

impl Set {
    /// Reads it; where the built-in digits stand in, it is called so.
    pub(super) fn read(context: &mut Context<'_>, which: Pictures) -> Result<Self, CommandError> {
        let images = context.pictures(which)?;
        let name = match (images.train.shape, which) {
            ([1, 8, 8], _) => "digits",
            (_, Pictures::Cifar10) => "CIFAR-10",
            (_, Pictures::FashionMnist) => "Fashion-MNIST",
            _ => "MNIST",
        };
        Ok(Self { name, images, seed: context.seed() })
    }

    /// The numbers of a picture.
    pub(super) fn pixels(&self) -> usize {
        self.images.train.features()
    }

    /// `count` training pictures `[count, pixels]` with their labels, drawn by the seed.
    pub(super) fn drawn(&self, count: usize) -> Result<(Rows, Vec<usize>), CommandError> {
        let train = &self.images.train;
        let order: Vec<usize> = Batches::new(train.len(), count, self.seed, 0)?
            .next()
            .filter(|first| first.len() == count)
            .ok_or_else(|| {
                CommandError::input(format!("{} has no {count} pictures to store", self.name))
            })?;
        rows(train, &order)
    }

    /// A picture of the report.
    pub(super) fn picture(&self, numbers: &[f32]) -> Result<Picture, CommandError> {
        let numbers: Vec<f64> = numbers.iter().map(|x| f64::from(*x)).collect();
        Picture::new(self.images.train.shape, &numbers)
    }

    /// The first pictures of a batch.
    pub(super) fn gallery(&self, rows: &Rows, count: usize) -> Result<Vec<Picture>, CommandError> {
        rows.data().chunks(self.pixels()).take(count).map(|row| self.picture(row)).collect()
    }

    /// A mask `[count, pixels]` that is 1 in the upper `share` of the lines of every picture.
    pub(super) fn upper(&self, count: usize, share: f64) -> Result<Rows, CommandError> {
        let [channels, height, width] = self.images.train.shape;
        let lines = (share * height as f64).round() as usize;
        let channel = (0..height * width).map(|k| if k / width < lines { 1.0 } else { 0.0 });
        let one: Vec<f32> = channel.collect::<Vec<_>>().repeat(channels);
        Ok(HostTensor::new(&[count, one.len()], one.repeat(count))?)
    }
}

/// Pictures at these places as rows, with their labels.
pub(super) fn rows(images: &Images, places: &[usize]) -> Result<(Rows, Vec<usize>), CommandError> {
    let chosen = images.select(places)?;
    Ok((HostTensor::new(&[places.len(), images.features()], chosen.pixels)?, chosen.labels))
}

/// What is left of pictures where a mask is 1; 0 elsewhere.
pub(super) fn masked(pictures: &Rows, mask: &Rows) -> Rows {
    let mut left = pictures.clone();
    left.multiply(mask);
    left
}

/// Pictures with normal noise of this standard deviation, cut off at 0 and 1.
pub(super) fn noisy(pictures: &Rows, deviation: f64, stream: u64) -> Rows {
    let mut noisy = pictures.clone();
    noisy.add_normal(deviation, stream);
    noisy.data_mut().iter_mut().for_each(|x| *x = x.clamp(0.0, 1.0));
    noisy
}

/// The squared error of every picture, summed over its pixels.
pub(super) fn squared_errors(found: &Rows, wanted: &Rows) -> Vec<f64> {
    let width = wanted.dims().last().copied().unwrap_or(1).max(1);
    let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
    let pairs = found.data().chunks(width).zip(wanted.data().chunks(width));
    pairs.map(|(a, b)| a.iter().zip(b).map(square).sum()).collect()
}

/// The percentage of errors below a bound. An error that is not a number is above it.
pub(super) fn below(errors: &[f64], bound: f64) -> f64 {
    100.0 * errors.iter().filter(|error| **error < bound).count() as f64
        / errors.len().max(1) as f64
}

/// The mean.
pub(super) fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_picture_by_picture() {
        let of = |x: Vec<f32>| HostTensor::new(&[2, 2], x).unwrap();
        let errors = squared_errors(&of(vec![1.0, 2.0, 0.0, 0.0]), &of(vec![0.0, 0.0, 0.0, 0.0]));
        assert_eq!(errors, [5.0, 0.0]);
        assert_eq!(below(&[5.0, 0.0, f64::NAN], 5.0), 100.0 / 3.0);
        assert_eq!(mean(&errors), 2.5);
    }

    #[test]
    fn noise_stays_between_black_and_white() {
        let grey = HostTensor::new(&[1, 64], vec![0.5; 64]).unwrap();
        let noisy = noisy(&grey, 2.0, 1);
        assert!(noisy.data().iter().all(|x| (0.0..=1.0).contains(x)));
        assert!(noisy.data().contains(&0.0) && noisy.data().contains(&1.0));
    }
}
