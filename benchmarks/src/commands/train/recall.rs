//! Pictures that a net has stored, asked for again.

use pc_core::{
    Tensor,
    host::{Element, HostTensor},
};
use serde::Serialize;

use super::{dataset::Dataset, learner::Learner};
use crate::{
    contract::{
        details::{Given, Recall},
        train::{Batch, Inputs},
    },
    error::CommandError,
    models::InputShape,
};

/// The generator's stream of the first batch's noise.
const STREAM: u64 = 1 << 60;

/// How well stored pictures are recalled, as means over all their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Recalled {
    /// The squared error of what is recalled, cut off at 0 and 1. Not a number where a relaxation
    /// diverged.
    pub error: f64,
    /// That of what was given.
    pub given: f64,
    /// How many pictures they were.
    pub pictures: usize,
}

impl<F: Element> Learner<F> {
    /// Asks for every training picture from what `[recall]` leaves of it (`docs/configurations.md`
    /// has such a file); nothing where there is no such table. What is drawn depends on the seed
    /// alone.
    ///
    /// # Errors
    /// A batch that does not fit the model.
    pub fn recall(&mut self, data: &Dataset) -> Result<Option<Recalled>, CommandError> {
        let Some(recall) = self.settings.details.recall else { return Ok(None) };
        let InputShape::Image(shape) = data.shape else {
            return Err(CommandError::input("what is no picture is not recalled"));
        };
        let mut settings = self.settings.clone();
        settings.steps = recall.steps;
        settings.rate = recall.rate.unwrap_or(settings.rate);
        let schedule = settings.schedule()?;
        let (mut error, mut given, mut numbers, mut pictures) = (0.0, 0.0, 0, 0);
        let batches = data.probe(data.train_len(), settings.batch, settings.seed)?;
        for (number, batch) in batches.iter().enumerate() {
            let Inputs::Pixels(whole) = &batch.inputs else { continue };
            let stream = settings.seed.wrapping_add(STREAM + number as u64);
            let (left, known) = left_of(whole, &recall, shape, stream)?;
            given += squares(&left, whole);
            let asked = Batch { inputs: Inputs::Pixels(left), ..batch.clone() };
            error += match self.trainee.recall(&asked, known.as_deref(), schedule.clone())? {
                Some(found) => {
                    let found: Vec<f32> = found.iter().map(|x| x.clamp(0.0, 1.0)).collect();
                    squares(&found, whole)
                }
                None => f64::NAN,
            };
            numbers += whole.len();
            pictures += batch.samples;
        }
        let mean = |sum: f64| sum / numbers.max(1) as f64;
        Ok(Some(Recalled { error: mean(error), given: mean(given), pictures }))
    }
}

/// What is left of pictures, and where a part is known a mask that is 1 there.
fn left_of(
    whole: &[f32],
    recall: &Recall,
    [channels, height, width]: [usize; 3],
    stream: u64,
) -> Result<(Vec<f32>, Option<Vec<f32>>), CommandError> {
    match recall.given {
        Given::Noise => {
            let mut noisy = HostTensor::<f32>::new(&[1, whole.len()], whole.to_vec())?;
            noisy.add_normal(recall.deviation.unwrap_or_default(), stream);
            Ok((noisy.data().to_vec(), None))
        }
        Given::Part => {
            let lines = (recall.known.unwrap_or_default() * height as f64).round() as usize;
            let plane = (0..height * width).map(|k| if k / width < lines { 1.0 } else { 0.0 });
            let one = plane.collect::<Vec<f32>>().repeat(channels);
            let mask = one.repeat(whole.len() / one.len().max(1));
            let left = whole.iter().zip(&mask).map(|(x, known)| x * known).collect();
            Ok((left, Some(mask)))
        }
    }
}

/// The squared differences, summed.
fn squares(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_noisy_or_the_upper_lines() {
        let whole: Vec<f32> = (1..=16).map(|k| k as f32 / 16.0).collect();
        let mut recall =
            Recall { given: Given::Part, deviation: None, known: Some(0.5), steps: 1, rate: None };
        // Two pictures of two colours, 2x2.
        let (left, known) = left_of(&whole, &recall, [2, 2, 2], 0).unwrap();
        let mask = known.unwrap();
        assert_eq!(mask, [1.0, 1.0, 0.0, 0.0].repeat(4));
        assert!(left.iter().zip(&whole).zip(&mask).all(|((l, w), m)| *l == w * m));
        assert_eq!(squares(&left, &whole), squares(&whole, &left));
        recall = Recall { given: Given::Noise, deviation: Some(0.2), known: None, ..recall };
        let noisy = |stream| left_of(&whole, &recall, [2, 2, 2], stream).unwrap();
        assert_eq!(noisy(3), noisy(3));
        assert!(noisy(3).0 != noisy(4).0 && noisy(3).1.is_none());
        let off = squares(&noisy(3).0, &whole) / 16.0;
        assert!((0.005..0.2).contains(&off), "{off}");
    }
}
