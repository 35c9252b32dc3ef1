//! Forward passes, and how good their logits are.

use pc_core::{
    Clamp, Error, ErrorKind, Graph, Loss, Result, VertexId,
    host::{CrossEntropy, Element, HostTensor},
};

use super::{feed::Features, kind::Wanted, model::Model};

/// Runs a model forward, in the same memory each time.
#[derive(Debug)]
pub struct Predictor<F: Element> {
    inner: pc_core::Predictor<HostTensor<F>>,
}

/// What a set of predictions is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// The cross-entropy, or the mean squared error of each picture that was to be given again,
    /// summed.
    pub loss: f64,
    /// How many largest logits were at the label; none where there are no labels.
    pub correct: usize,
    /// How many predictions there were.
    pub count: usize,
}

impl Score {
    /// Of logits in rows of `classes`, one row for each label in the order of the labels: sample by
    /// sample, and in each step by step.
    ///
    /// # Errors
    /// Rows that are not as many as the labels; a label that is no class.
    pub fn of_rows(logits: &[f64], labels: &[usize], classes: usize) -> Result<Self> {
        if classes == 0 || logits.len() != labels.len() * classes {
            let message =
                format!("{} logits are no {} rows of {classes}", logits.len(), labels.len());
            return Err(Error::new(ErrorKind::Shape, message));
        }
        let mut score = Self { count: labels.len(), ..Self::default() };
        for (row, label) in logits.chunks_exact(classes).zip(labels) {
            let held = row.get(*label).ok_or_else(|| {
                Error::new(ErrorKind::Shape, format!("there is no class {label}"))
            })?;
            // Shifted by the largest, so that no exponential overflows.
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            score.loss += row.iter().map(|x| (x - most).exp()).sum::<f64>().ln() + most - held;
            score.correct += usize::from(largest(row) == Some(*label));
        }
        Ok(score)
    }

    /// The mean loss; NaN of nothing.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.count as f64
    }

    /// The share that is correct; NaN of nothing.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.count as f64
    }
}

impl std::ops::AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.count += other.count;
    }
}

impl<F: Element> Predictor<F> {
    /// For models with this graph.
    pub fn new(graph: &Graph<HostTensor<F>>) -> Self {
        Self { inner: pc_core::Predictor::new(graph) }
    }

    /// The logits of every output for a batch of inputs, each `[batch, classes]`.
    ///
    /// # Errors
    /// Inputs that do not fit; logits that are not finite.
    pub fn logits(
        &mut self,
        model: &mut Model<F>,
        features: Features<'_>,
    ) -> Result<Vec<&HostTensor<F>>> {
        self.outputs(model, features, None)
    }

    /// The same, below a latent of these values where there is one.
    fn outputs(
        &mut self,
        model: &mut Model<F>,
        features: Features<'_>,
        latent: Option<(VertexId, &HostTensor<F>)>,
    ) -> Result<Vec<&HostTensor<F>>> {
        let clamps = model.feed(features)?;
        let mut given = Vec::from_iter(latent);
        for (vertex, clamp) in clamps.iter() {
            if let Clamp::Held(held) = clamp {
                given.push((vertex, held));
            }
        }
        self.inner.run(&mut model.graph, &given, &model.outputs)?;
        model.outputs.iter().map(|vertex| self.inner.value(*vertex)).collect()
    }

    /// How good the logits are for these labels, [`Model::labels_per_sample`] for each sample.
    /// Where a logit is not finite, the loss is NaN and nothing is correct.
    ///
    /// # Errors
    /// Inputs or labels that do not fit.
    pub fn score(
        &mut self,
        model: &mut Model<F>,
        features: Features<'_>,
        labels: &[usize],
    ) -> Result<Score> {
        if model.wanted == Wanted::Input {
            return self.score_again(model, features, None);
        }
        let outputs = 0..model.outputs.len();
        let wanted = outputs.map(|output| {
            Ok((model.target(features, output, labels)?, model.labels_of(output, labels)))
        });
        let wanted = wanted.collect::<Result<Vec<_>>>()?;
        let classes = model.classes;
        let mut score = Score::default();
        let logits = match self.logits(model, features) {
            Err(error) if error.kind() == ErrorKind::NotFinite => {
                return Ok(Score { loss: f64::NAN, correct: 0, count: labels.len() });
            }
            found => found?,
        };
        for (logits, (target, labels)) in logits.into_iter().zip(wanted) {
            let mut drive = HostTensor::zeroed(logits.dims())?;
            score.loss += CrossEntropy::new(target).evaluate(logits, &mut drive)?;
            for (row, label) in logits.data().chunks_exact(classes).zip(labels) {
                score.correct += usize::from(largest(row) == Some(label));
                score.count += 1;
            }
        }
        Ok(score)
    }

    /// How well the model gives pictures again, below a latent of these values where it has one:
    /// the mean of `(output - picture)^2` over the numbers of each picture, summed over pictures.
    /// Where a number is not finite, it is NaN.
    ///
    /// # Errors
    /// Pictures that do not fit.
    pub fn score_again(
        &mut self,
        model: &mut Model<F>,
        features: Features<'_>,
        latent: Option<(VertexId, &HostTensor<F>)>,
    ) -> Result<Score> {
        let samples = model.samples(features)?;
        let wanted = (0..model.outputs.len()).map(|output| model.target(features, output, &[]));
        let wanted = wanted.collect::<Result<Vec<_>>>()?;
        let nothing = Score { loss: f64::NAN, correct: 0, count: samples };
        let found = match self.outputs(model, features, latent) {
            Err(error) if error.kind() == ErrorKind::NotFinite => return Ok(nothing),
            found => found?,
        };
        let squares = |(found, wanted): (&HostTensor<F>, &HostTensor<F>)| {
            let pairs = found.data().iter().zip(wanted.data());
            pairs.map(|(a, b)| (a.value() - b.value()).powi(2)).sum::<f64>()
        };
        let numbers: usize = wanted.iter().map(|wanted| wanted.data().len()).sum();
        let all: f64 = found.into_iter().zip(&wanted).map(squares).sum();
        Ok(Score { loss: all * samples as f64 / numbers as f64, ..nothing })
    }
}

/// Where the largest number is; none where one is not a number.
fn largest<F: Element>(row: &[F]) -> Option<usize> {
    let mut best: Option<(usize, F)> = None;
    for (index, x) in row.iter().enumerate() {
        if x.is_nan() {
            return None;
        }
        if best.is_none_or(|(_, most)| *x > most) {
            best = Some((index, *x));
        }
    }
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_score_as_the_losses_say() {
        let score = Score::of_rows(&[1.0, 2.0, 3.0, 1000.0, 0.0, -1000.0], &[2, 1], 3).unwrap();
        let log_sum = (1f64.exp() + 2f64.exp() + 3f64.exp()).ln();
        assert!((score.loss - (log_sum - 3.0 + 1000.0)).abs() < 1e-12, "{score:?}");
        assert_eq!((score.correct, score.count), (1, 2));
        assert!(Score::of_rows(&[1.0, f64::NAN], &[1], 2).unwrap().loss.is_nan());
        assert!(Score::of_rows(&[1.0, 2.0], &[2], 2).is_err());
        assert!(Score::of_rows(&[1.0], &[0], 2).is_err());
    }
}
