//! What a model makes of a text that it goes on with.

use pc_core::{
    Error, ErrorKind, Result,
    host::{Element, HostTensor},
};
use rand::{Rng, RngExt};

use super::{feed::Features, kind::InputShape, model::Model, predict::Predictor};

fn misuse(message: String) -> Error {
    Error::new(ErrorKind::Misuse, message)
}

impl<F: Element> Predictor<F> {
    /// The logits of what follows these symbols, of which only as many as the model's window has
    /// are read: the last ones.
    ///
    /// # Errors
    /// No symbols, or one outside the vocabulary; a model without an output at each step of a
    /// sequence; logits that are not finite.
    pub fn following(&mut self, model: &mut Model<F>, symbols: &[usize]) -> Result<Vec<f64>> {
        let InputShape::Sequence { length, .. } = model.shape else {
            return Err(misuse(format!("a {} of pictures goes on with no text", model.kind)));
        };
        if model.labels_per_sample() != length {
            let message = format!("this {} has no output at each step of a text", model.kind);
            return Err(misuse(message));
        }
        let mut window = symbols[symbols.len().saturating_sub(length)..].to_vec();
        let Some(step) = window.len().checked_sub(1) else {
            return Err(misuse("there is no text to go on with".to_owned()));
        };
        // No step sees those after it, so what stands there is the same to it.
        window.resize(length, 0);
        let classes = model.classes;
        let logits = self.logits(model, Features::Symbols(&window))?;
        let all = logits.into_iter().flat_map(HostTensor::data).skip(step * classes);
        Ok(all.take(classes).map(|x| x.value()).collect())
    }

    /// So many symbols after these, each drawn from the softmax of the logits over the temperature,
    /// given all those before it that fit the model's window.
    ///
    /// # Errors
    /// As of [`Predictor::following`]; a temperature that is not a positive number.
    ///
    /// # Example
    /// ```
    /// use pc_bench::data::seeded;
    /// use pc_bench::models::{InputShape, Predictor, Wanted, build_layers, decoder};
    /// let shape = InputShape::Sequence { length: 6, vocabulary: 5 };
    /// let mut model = build_layers::<f32>(&decoder(1, 8, 2), &shape, 5, 0, true, Wanted::Label)?;
    /// let mut predictor = Predictor::new(&model.graph);
    /// let drawn = predictor.continuation(&mut model, &[1, 2], 20, 0.8, &mut seeded(0, 0))?;
    /// assert!(drawn.len() == 20 && drawn.iter().all(|symbol| *symbol < 5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn continuation(
        &mut self,
        model: &mut Model<F>,
        begin: &[usize],
        count: usize,
        temperature: f64,
        rng: &mut impl Rng,
    ) -> Result<Vec<usize>> {
        if !(temperature > 0.0 && temperature.is_finite()) {
            let message = format!("the temperature must be a positive number, not {temperature}");
            return Err(misuse(message));
        }
        let mut text = begin.to_vec();
        for _ in 0..count {
            let logits = self.following(model, &text)?;
            text.push(pick(&logits, temperature, rng.random::<f64>()));
        }
        Ok(text.split_off(begin.len()))
    }
}

/// The class at this share, from 0 to 1, of the softmax of the logits over the temperature.
fn pick(logits: &[f64], temperature: f64, share: f64) -> usize {
    let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.iter().map(|x| ((x - most) / temperature).exp()).collect();
    let mut left = share * weights.iter().sum::<f64>();
    for (class, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return class;
        }
    }
    weights.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::seeded,
        models::{LayerEntry, LayerKind, ModelKind, Size, Wanted, build, build_layers, decoder},
    };

    const SHAPE: InputShape = InputShape::Sequence { length: 6, vocabulary: 5 };

    fn models() -> Vec<Model<f64>> {
        let recurrent = |kind| {
            vec![
                LayerEntry { width: Some(7), ..LayerEntry::of(kind) },
                LayerEntry::of(LayerKind::Dense),
            ]
        };
        [recurrent(LayerKind::Rnn), recurrent(LayerKind::Lstm), decoder(2, 8, 2)]
            .map(|layers| build_layers(&layers, &SHAPE, 5, 3, true, Wanted::Label).unwrap())
            .into()
    }

    #[test]
    fn what_follows_depends_on_what_is_before_and_on_nothing_else() {
        for mut model in models() {
            let mut predictor = Predictor::new(&model.graph);
            let whole = [4, 1, 0, 3, 2, 2];
            let mut at = |symbols: &[usize]| predictor.following(&mut model, symbols).unwrap();
            let short = at(&whole[..3]);
            assert_eq!(at(&whole[..3]), short);
            // The first steps of a whole window say the same as windows that end there.
            assert_ne!(at(&[0, 1, 0]), short);
            assert_ne!(at(&[4, 1, 1]), short);
            assert_eq!(at(&[&[3, 3, 3], &whole[..]].concat()), at(&whole));
        }
        let mut models = models();
        let model = models.last_mut().unwrap();
        let mut predictor = Predictor::new(&model.graph);
        let mut rows = |symbols: &[usize]| {
            let logits = predictor.logits(model, Features::Symbols(symbols)).unwrap();
            logits[0].data().to_vec()
        };
        let (one, other) = (rows(&[4, 1, 0, 3, 2, 2]), rows(&[4, 1, 0, 1, 1, 1]));
        assert_eq!(one[..15], other[..15]);
        assert!(one[15..].iter().zip(&other[15..]).all(|(a, b)| a != b));
    }

    #[test]
    fn draws_follow_the_softmax() {
        let mut rng = seeded(0, 0);
        let mut counts = [0.0; 3];
        for _ in 0..20_000 {
            counts[pick(&[0.0, 1.0, 2.0], 0.5, rng.random())] += 1.0 / 20_000.0;
        }
        let sum: f64 = (0..3).map(|k| f64::from(2 * k).exp()).sum();
        for (k, share) in counts.iter().enumerate() {
            assert!((share - (2.0 * k as f64).exp() / sum).abs() < 0.01, "{counts:?}");
        }
        assert_eq!(pick(&[0.0, 1.0], 1.0, 1.0), 1);
        // Far too large for an exponential.
        assert_eq!(pick(&[-1e5, 1e5], 1e-3, 0.5), 1);
    }

    #[test]
    fn what_cannot_go_on_is_refused() {
        let mut whole = build::<f64>(ModelKind::Attention, &SHAPE, 5, 0, Size::Small).unwrap();
        let mut predictor = Predictor::new(&whole.graph);
        assert!(predictor.following(&mut whole, &[1]).is_err());
        let mut models = models();
        let model = &mut models[0];
        let mut predictor = Predictor::new(&model.graph);
        assert!(predictor.following(model, &[]).is_err());
        assert!(predictor.following(model, &[5]).is_err());
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(predictor.continuation(model, &[1], 2, bad, &mut seeded(0, 0)).is_err());
        }
    }
}
