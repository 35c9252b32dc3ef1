//! How scores become weights.

use std::fmt;

use pc_core::{Error, ErrorKind, Result};

use super::similarity::dot;

/// A separation: from the scores of all stored keys to their weights. One of one's own is one
/// `impl`.
///
/// # Example
/// ```
/// use pc_models::hopfield::Separation;
/// /// Scores below zero do not count.
/// #[derive(Debug)]
/// struct Rectified;
/// impl Separation for Rectified {
///     fn kind(&self) -> &str {
///         "rectified"
///     }
///     fn separate(&self, scores: &[f64], weights: &mut [f64]) {
///         weights.iter_mut().zip(scores).for_each(|(w, s)| *w = s.max(0.0));
///     }
///     fn pull(&self, scores: &[f64], _: &[f64], cotangent: &[f64], pulled: &mut [f64]) {
///         for ((to, s), c) in pulled.iter_mut().zip(scores).zip(cotangent) {
///             *to = if *s > 0.0 { *c } else { 0.0 };
///         }
///     }
/// }
/// let mut weights = [0.0; 2];
/// Rectified.separate(&[3.0, -1.0], &mut weights);
/// assert_eq!(weights, [3.0, 0.0]);
/// ```
pub trait Separation: fmt::Debug + Send + Sync {
    /// What it is, for error messages: `softmax`, ...
    fn kind(&self) -> &str;

    /// Writes the weights of these scores.
    fn separate(&self, scores: &[f64], weights: &mut [f64]);

    /// Writes `J^T cotangent`, with `J` the derivative of the weights in the scores, which
    /// [`Separation::separate`] made `weights` of.
    fn pull(&self, scores: &[f64], weights: &[f64], cotangent: &[f64], pulled: &mut [f64]);

    /// A function whose gradient in the scores is the weights. Returns `None` if there is none, or
    /// none that is convex. See [`super::Memory::energy`].
    fn potential(&self, _scores: &[f64]) -> Option<f64> {
        None
    }
}

/// `w = s`: the classical Hopfield network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity;

/// `w = s^n`: dense associative memories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polynomial {
    order: i32,
}

/// `w = softmax(beta s)`: modern Hopfield networks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Softmax {
    beta: f64,
}

/// 1 for the largest score (the first of several), 0 for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Max;

/// The weights of another separation divided by their sum, so that recall is a mean of what is
/// stored. Where the sum is 0, so are the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Normalised<S>(
    /// The other.
    pub S,
);

impl Polynomial {
    /// Of this order.
    ///
    /// # Errors
    /// An order of 0, or above 100.
    pub fn new(order: u32) -> Result<Self> {
        match i32::try_from(order) {
            Ok(order @ 1..=100) => Ok(Self { order }),
            _ => Err(Error::new(
                ErrorKind::Graph,
                format!("the order of a polynomial separation is 1 to 100, not {order}"),
            )),
        }
    }
}

impl Softmax {
    /// Of this inverse temperature.
    ///
    /// # Errors
    /// It is not a positive number.
    pub fn new(beta: f64) -> Result<Self> {
        if beta > 0.0 && beta.is_finite() {
            return Ok(Self { beta });
        }
        Err(Error::new(
            ErrorKind::Graph,
            format!("the beta of a softmax separation must be a positive number, not {beta}"),
        ))
    }
}

impl Separation for Identity {
    fn kind(&self) -> &str {
        "identity"
    }

    fn separate(&self, scores: &[f64], weights: &mut [f64]) {
        weights.copy_from_slice(scores);
    }

    fn pull(&self, _scores: &[f64], _weights: &[f64], cotangent: &[f64], pulled: &mut [f64]) {
        pulled.copy_from_slice(cotangent);
    }

    fn potential(&self, scores: &[f64]) -> Option<f64> {
        Some(0.5 * dot(scores, scores))
    }
}

impl Separation for Polynomial {
    fn kind(&self) -> &str {
        "polynomial"
    }

    fn separate(&self, scores: &[f64], weights: &mut [f64]) {
        weights.iter_mut().zip(scores).for_each(|(w, s)| *w = s.powi(self.order));
    }

    fn pull(&self, scores: &[f64], _weights: &[f64], cotangent: &[f64], pulled: &mut [f64]) {
        for ((to, s), c) in pulled.iter_mut().zip(scores).zip(cotangent) {
            *to = c * f64::from(self.order) * s.powi(self.order - 1);
        }
    }

    /// `sum s^(n + 1) / (n + 1)`, which is convex where `n` is odd.
    fn potential(&self, scores: &[f64]) -> Option<f64> {
        let next = self.order + 1;
        let sum = || scores.iter().map(|s| s.powi(next)).sum::<f64>();
        (next % 2 == 0).then(|| sum() / f64::from(next))
    }
}

impl Separation for Softmax {
    fn kind(&self) -> &str {
        "softmax"
    }

    fn separate(&self, scores: &[f64], weights: &mut [f64]) {
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut sum = 0.0;
        for (w, s) in weights.iter_mut().zip(scores) {
            *w = (self.beta * (s - largest)).exp();
            sum += *w;
        }
        weights.iter_mut().for_each(|w| *w /= sum);
    }

    fn pull(&self, _scores: &[f64], weights: &[f64], cotangent: &[f64], pulled: &mut [f64]) {
        let mean = dot(weights, cotangent);
        for ((to, w), c) in pulled.iter_mut().zip(weights).zip(cotangent) {
            *to = self.beta * w * (c - mean);
        }
    }

    fn potential(&self, scores: &[f64]) -> Option<f64> {
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scores.iter().map(|s| (self.beta * (s - largest)).exp()).sum();
        Some(largest + sum.ln() / self.beta)
    }
}

impl Separation for Max {
    fn kind(&self) -> &str {
        "max"
    }

    fn separate(&self, scores: &[f64], weights: &mut [f64]) {
        weights.fill(0.0);
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if let Some(first) = scores.iter().position(|s| *s == largest) {
            weights[first] = 1.0;
        }
    }

    /// The weights are flat wherever they have a slope.
    fn pull(&self, _scores: &[f64], _weights: &[f64], _cotangent: &[f64], pulled: &mut [f64]) {
        pulled.fill(0.0);
    }

    fn potential(&self, scores: &[f64]) -> Option<f64> {
        Some(scores.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    }
}

impl<S: Separation> Separation for Normalised<S> {
    fn kind(&self) -> &str {
        "normalised"
    }

    fn separate(&self, scores: &[f64], weights: &mut [f64]) {
        self.0.separate(scores, weights);
        let sum: f64 = weights.iter().sum();
        if sum == 0.0 {
            weights.fill(0.0);
        } else {
            weights.iter_mut().for_each(|w| *w /= sum);
        }
    }

    fn pull(&self, scores: &[f64], weights: &[f64], cotangent: &[f64], pulled: &mut [f64]) {
        let mut inner = vec![0.0; scores.len()];
        self.0.separate(scores, &mut inner);
        let sum: f64 = inner.iter().sum();
        if sum == 0.0 {
            return pulled.fill(0.0);
        }
        // y = w / sum w: c reaches w as (c - y . c) / sum w.
        let mean = dot(weights, cotangent);
        let through: Vec<f64> = cotangent.iter().map(|c| (c - mean) / sum).collect();
        self.0.pull(scores, &inner, &through, pulled);
    }
}
