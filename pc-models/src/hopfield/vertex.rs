//! A memory inside a graph.

use std::{fmt, sync::Arc};

use pc_core::{
    Error, ErrorKind, Result, Tensor,
    backend::{Cache, Inputs, Pulled, Vertex},
};

use super::{separation::Separation, similarity::Similarity};

/// `mu = P sep(sim(M, v))`: what a [`super::Memory`] recalls for its one parent. Parameters: the
/// keys `M [count, shape of the parent...]` and the values `P [count, shape...]`, which may be one.
/// They learn unless they are buffers.
///
/// Its [`Vertex::change`] subtracts, so that live rules lose digits in `f32` where a step is small.
#[derive(Clone)]
pub struct Retrieval {
    similarity: Arc<dyn Similarity>,
    separation: Arc<dyn Separation>,
}

// Slots of the cache: scores and weights at the current point.
const SCORES: usize = 0;
const WEIGHTS: usize = 1;

impl fmt::Debug for Retrieval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { similarity, separation } = self;
        write!(f, "Retrieval({similarity:?}, {separation:?})")
    }
}

impl Retrieval {
    pub(super) fn new(similarity: Arc<dyn Similarity>, separation: Arc<dyn Separation>) -> Self {
        Self { similarity, separation }
    }
}

/// The rows of a parameter.
fn rows<T: Tensor>(parameter: &T) -> (Vec<f64>, usize) {
    let numbers = parameter.to_vec();
    let length = (numbers.len() / parameter.batch().max(1)).max(1);
    (numbers, length)
}

/// Adds to the gradient of parameter `k`.
fn learn<T: Tensor>(k: usize, parameter: &T, slopes: &[f64], pulled: &mut Pulled<'_, T>) {
    let scale = pulled.scale();
    if let Some(gradient) = pulled.gradient(k) {
        let mut own = parameter.clone();
        own.assign(slopes);
        gradient.axpy(scale, &own);
    }
}

impl<T: Tensor> Vertex<T> for Retrieval {
    fn kind(&self) -> &str {
        "retrieval"
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        match (parents, parameters) {
            ([parent], [[keys, key @ ..], [values, value @ ..]])
                if key == *parent && keys == values =>
            {
                Ok(value.to_vec())
            }
            _ => Err(Error::new(
                ErrorKind::Shape,
                format!(
                    "a retrieval vertex takes one parent, keys [count, shape of the parent...] and \
                     as many values, not {parents:?} and {parameters:?}"
                ),
            )),
        }
    }

    fn parameters(&self) -> usize {
        2
    }

    fn predict(&self, at: &Inputs<'_, T>, cache: &mut Cache<T>, output: &mut T) -> Result<()> {
        at.agree()?;
        let v = at.value(0);
        let ((keys, width), (values, length)) = (rows(at.parameter(0)), rows(at.parameter(1)));
        let count = at.parameter(0).batch();
        let mut scores = cache.take(SCORES, &[v.batch(), count], v);
        let mut weights = cache.take(WEIGHTS, &[v.batch(), count], v);
        let mut checked = keys.chunks_exact(width).try_for_each(|key| self.similarity.check(key));
        let outputs = &mut [output, &mut scores, &mut weights];
        T::by_rows(&[v], outputs, &mut |inputs, outputs| {
            let ([v], [output, scores, weights]) = (inputs, outputs) else { return };
            if checked.is_ok() {
                checked = self.similarity.check(v);
            }
            output.fill(0.0);
            if checked.is_err() {
                return;
            }
            for (score, key) in scores.iter_mut().zip(keys.chunks_exact(width)) {
                *score = self.similarity.score(key, v);
            }
            self.separation.separate(scores, weights);
            for (weight, value) in weights.iter().zip(values.chunks_exact(length)) {
                output.iter_mut().zip(value).for_each(|(to, x)| *to += weight * x);
            }
        });
        cache.put(SCORES, scores);
        cache.put(WEIGHTS, weights);
        checked
    }

    fn pull(
        &self,
        at: &Inputs<'_, T>,
        cache: &mut Cache<T>,
        cotangent: &T,
        pulled: &mut Pulled<'_, T>,
    ) -> Result<()> {
        let ((keys, width), (values, length)) = (rows(at.parameter(0)), rows(at.parameter(1)));
        let learns = pulled.wants_gradients();
        let mut on_keys = vec![0.0; if learns { keys.len() } else { 0 }];
        let mut on_values = vec![0.0; if learns { values.len() } else { 0 }];
        let count = at.parameter(0).batch();
        let (mut on_weights, mut on_scores) = (vec![0.0; count], vec![0.0; count]);
        let inputs = [at.value(0), cotangent, cache.get(SCORES)?, cache.get(WEIGHTS)?];
        let mut outputs: Vec<&mut T> = pulled.force(0).into_iter().collect();
        T::by_rows(&inputs, &mut outputs, &mut |inputs, outputs| {
            let [v, c, scores, weights] = inputs else { return };
            for (to, value) in on_weights.iter_mut().zip(values.chunks_exact(length)) {
                *to = value.iter().zip(*c).map(|(p, c)| p * c).sum();
            }
            self.separation.pull(scores, weights, &on_weights, &mut on_scores);
            for output in outputs {
                output.fill(0.0);
                for (weight, key) in on_scores.iter().zip(keys.chunks_exact(width)) {
                    self.similarity.add_slope(key, v, *weight, output);
                }
            }
            for ((to, key), weight) in
                on_keys.chunks_exact_mut(width).zip(keys.chunks_exact(width)).zip(&on_scores)
            {
                self.similarity.add_slope_of_stored(key, v, *weight, to);
            }
            for (to, weight) in on_values.chunks_exact_mut(length).zip(*weights) {
                to.iter_mut().zip(*c).for_each(|(to, c)| *to += weight * c);
            }
        });
        if learns {
            learn(0, at.parameter(0), &on_keys, pulled);
            learn(1, at.parameter(1), &on_values, pulled);
        }
        Ok(())
    }
}
