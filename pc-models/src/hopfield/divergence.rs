//! Similarities of patterns as distributions.

use pc_core::{Error, ErrorKind, Result};

use super::similarity::Similarity;

/// `-KL(m || q)`, with both taken as distributions: numbers that are not negative, raised by
/// [`KullbackLeibler::FLOOR`] and divided by their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KullbackLeibler;

/// `-KL(q || m)`, as [`KullbackLeibler`] with the two exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReverseKullbackLeibler;

/// `-1/2 KL(m || c) - 1/2 KL(q || c)` with `c = (m + q) / 2`, of distributions as
/// [`KullbackLeibler`] has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JensenShannon;

impl KullbackLeibler {
    /// What is added to every number, so that none has the probability 0.
    pub const FLOOR: f64 = 1e-6;
}

fn not_negative(kind: &str, numbers: &[f64]) -> Result<()> {
    match numbers.iter().position(|x| !(*x >= 0.0)) {
        None => Ok(()),
        Some(k) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "the {kind} similarity takes numbers that are not negative, and number {k} is {}",
                numbers[k]
            ),
        )),
    }
}

/// The sum of the raised numbers.
fn total(x: &[f64]) -> f64 {
    x.iter().map(|x| x + KullbackLeibler::FLOOR).sum()
}

/// Pairs of probabilities of the two.
fn shares<'a>(a: &'a [f64], b: &'a [f64]) -> impl Iterator<Item = (f64, f64)> + Clone {
    let (all_a, all_b) = (total(a), total(b));
    let raised = |x: &f64, all: f64| (x + KullbackLeibler::FLOOR) / all;
    a.iter().zip(b).map(move |(x, y)| (raised(x, all_a), raised(y, all_b)))
}

/// Adds `weight` times the slope in the second pattern, where `by_share` is the slope in its
/// probability, up to a constant: `d s / d b_k = (g_k - sum_j B_j g_j) / total(b)`.
fn add(a: &[f64], b: &[f64], weight: f64, by_share: impl Fn(f64, f64) -> f64, slope: &mut [f64]) {
    let mean: f64 = shares(a, b).map(|(x, y)| y * by_share(x, y)).sum();
    let scale = weight / total(b);
    for (to, (x, y)) in slope.iter_mut().zip(shares(a, b)) {
        *to += scale * (by_share(x, y) - mean);
    }
}

/// `-KL(a || b)`.
fn negative(a: &[f64], b: &[f64]) -> f64 {
    let apart = shares(a, b).map(|(x, y)| x * (x / y).ln()).sum::<f64>();
    // Exactly 0 for equal patterns, and never above it by rounding; NaN stays NaN.
    if apart <= 0.0 { 0.0 } else { -apart }
}

fn add_slope_of_second(a: &[f64], b: &[f64], weight: f64, slope: &mut [f64]) {
    add(a, b, weight, |x, y| x / y, slope);
}

fn add_slope_of_first(a: &[f64], b: &[f64], weight: f64, slope: &mut [f64]) {
    add(b, a, weight, |y, x| (y / x).ln(), slope);
}

impl Similarity for KullbackLeibler {
    fn kind(&self) -> &str {
        "KL"
    }

    fn check(&self, numbers: &[f64]) -> Result<()> {
        not_negative(self.kind(), numbers)
    }

    fn score(&self, stored: &[f64], query: &[f64]) -> f64 {
        negative(stored, query)
    }

    fn add_slope(&self, stored: &[f64], query: &[f64], weight: f64, slope: &mut [f64]) {
        add_slope_of_second(stored, query, weight, slope);
    }

    fn add_slope_of_stored(&self, stored: &[f64], query: &[f64], weight: f64, slope: &mut [f64]) {
        add_slope_of_first(stored, query, weight, slope);
    }
}

impl Similarity for ReverseKullbackLeibler {
    fn kind(&self) -> &str {
        "reverse KL"
    }

    fn check(&self, numbers: &[f64]) -> Result<()> {
        not_negative(self.kind(), numbers)
    }

    fn score(&self, stored: &[f64], query: &[f64]) -> f64 {
        negative(query, stored)
    }

    fn add_slope(&self, stored: &[f64], query: &[f64], weight: f64, slope: &mut [f64]) {
        add_slope_of_first(query, stored, weight, slope);
    }

    fn add_slope_of_stored(&self, stored: &[f64], query: &[f64], weight: f64, slope: &mut [f64]) {
        add_slope_of_second(query, stored, weight, slope);
    }
}

impl Similarity for JensenShannon {
    fn kind(&self) -> &str {
        "Jensen-Shannon"
    }

    fn check(&self, numbers: &[f64]) -> Result<()> {
        not_negative(self.kind(), numbers)
    }

    fn score(&self, stored: &[f64], query: &[f64]) -> f64 {
        let part = |(x, y): (f64, f64)| {
            let middle = 0.5 * (x + y);
            x * (x / middle).ln() + y * (y / middle).ln()
        };
        (-0.5 * shares(stored, query).map(part).sum::<f64>()).min(0.0)
    }

    fn add_slope(&self, stored: &[f64], query: &[f64], weight: f64, slope: &mut [f64]) {
        add(stored, query, weight, |x, y| -0.5 * (2.0 * y / (x + y)).ln(), slope);
    }
}
