//! How like a stored key a query is.

use std::fmt;

use pc_core::{Error, ErrorKind, Result};

/// A similarity `s(m, q)` of a stored key and a query: the larger, the more alike. One of one's own
/// is one `impl`.
///
/// # Example
/// ```
/// use pc_core::host::HostTensor;
/// use pc_models::hopfield::{Max, Memory, Similarity};
/// /// The number of places where the two have the same sign.
/// #[derive(Debug)]
/// struct SameSigns;
/// impl Similarity for SameSigns {
///     fn kind(&self) -> &str {
///         "same signs"
///     }
///     fn score(&self, stored: &[f64], query: &[f64]) -> f64 {
///         stored.iter().zip(query).filter(|(m, q)| **m * **q > 0.0).count() as f64
///     }
///     fn add_slope(&self, _: &[f64], _: &[f64], _: f64, _: &mut [f64]) {} // It is flat.
/// }
/// let stored = HostTensor::<f32>::new(&[2, 3], vec![1.0, 1.0, -1.0, -1.0, 1.0, 1.0])?;
/// let memory = Memory::new(&stored)?.similarity(SameSigns).separation(Max);
/// let found = memory.recall(&HostTensor::new(&[1, 3], vec![0.1, 9.0, -0.1])?)?;
/// assert_eq!(found.data(), [1.0, 1.0, -1.0]);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub trait Similarity: fmt::Debug + Send + Sync {
    /// What it is, for error messages: `dot`, ...
    fn kind(&self) -> &str;

    /// Checks that it is defined for a key or a query of these numbers.
    ///
    /// # Errors
    /// It is not.
    fn check(&self, _numbers: &[f64]) -> Result<()> {
        Ok(())
    }

    /// `s(m, q)`.
    fn score(&self, stored: &[f64], query: &[f64]) -> f64;

    /// Adds `weight` times `ds/dq` to `slope`.
    fn add_slope(&self, stored: &[f64], query: &[f64], weight: f64, slope: &mut [f64]);

    /// Adds `weight` times `ds/dm` to `slope`. By default the similarity is symmetric.
    fn add_slope_of_stored(&self, stored: &[f64], query: &[f64], weight: f64, slope: &mut [f64]) {
        self.add_slope(query, stored, weight, slope);
    }

    /// What a query's energy has beside the scores: see [`super::Memory::energy`].
    fn rest(&self, _query: &[f64]) -> f64 {
        0.0
    }
}

/// `m . q`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dot;

/// `m . q / (|m| |q|)`, and 0 where one of the two is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cosine;

/// `-|m - q|^2`, which orders keys as the paper's `1 / |m - q|^2` does ([`Reciprocal`]), and is
/// finite everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Euclidean;

/// `-sum |m_k - q_k|`, which orders keys as the paper's `1 / sum |m_k - q_k|` does
/// ([`Reciprocal`]), and is finite everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Manhattan;

/// `1 / d` of a similarity `-d` that is the negative of a distance, as the paper has it. Distances
/// below [`Reciprocal::NEAREST`] count as that one, so that an exact match has a score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reciprocal<S>(
    /// The negative distance.
    pub S,
);

/// Sums over pairs, in eight lanes: a strict order would keep the processor from more than one at
/// a time.
pub(super) fn over_pairs(a: &[f64], b: &[f64], of: impl Fn(f64, f64) -> f64) -> f64 {
    let mut lanes = [0.0; 8];
    let (a, a_rest) = a.as_chunks::<8>();
    let (b, b_rest) = b.as_chunks::<8>();
    for (a, b) in a.iter().zip(b) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += of(*a, *b);
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| of(*a, *b)).sum();
    lanes.iter().sum::<f64>() + rest
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    over_pairs(a, b, |a, b| a * b)
}

impl Similarity for Dot {
    fn kind(&self) -> &str {
        "dot"
    }

    fn score(&self, stored: &[f64], query: &[f64]) -> f64 {
        dot(stored, query)
    }

    fn add_slope(&self, stored: &[f64], _query: &[f64], weight: f64, slope: &mut [f64]) {
        slope.iter_mut().zip(stored).for_each(|(to, m)| *to += weight * m);
    }

    fn rest(&self, query: &[f64]) -> f64 {
        0.5 * dot(query, query)
    }
}

impl Similarity for Cosine {
    fn kind(&self) -> &str {
        "cosine"
    }

    fn score(&self, stored: &[f64], query: &[f64]) -> f64 {
        // Two roots, for the product of the squares may overflow, or vanish.
        let norms = dot(stored, stored).sqrt() * dot(query, query).sqrt();
        if norms > 0.0 { dot(stored, query) / norms } else { 0.0 }
    }

    fn add_slope(&self, stored: &[f64], query: &[f64], weight: f64, slope: &mut [f64]) {
        let (length, norms) =
            (dot(query, query), dot(stored, stored).sqrt() * dot(query, query).sqrt());
        if !(norms > 0.0) {
            return;
        }
        let along = dot(stored, query) / length;
        for ((to, m), q) in slope.iter_mut().zip(stored).zip(query) {
            *to += weight * (m - along * q) / norms;
        }
    }
}

impl Similarity for Euclidean {
    fn kind(&self) -> &str {
        "euclidean"
    }

    fn score(&self, stored: &[f64], query: &[f64]) -> f64 {
        -over_pairs(stored, query, |m, q| (m - q) * (m - q))
    }

    fn add_slope(&self, stored: &[f64], query: &[f64], weight: f64, slope: &mut [f64]) {
        for ((to, m), q) in slope.iter_mut().zip(stored).zip(query) {
            *to += weight * 2.0 * (m - q);
        }
    }
}

impl Similarity for Manhattan {
    fn kind(&self) -> &str {
        "manhattan"
    }

    fn score(&self, stored: &[f64], query: &[f64]) -> f64 {
        -over_pairs(stored, query, |m, q| (m - q).abs())
    }

    fn add_slope(&self, stored: &[f64], query: &[f64], weight: f64, slope: &mut [f64]) {
        for ((to, m), q) in slope.iter_mut().zip(stored).zip(query) {
            // 0 where the two meet, which `signum` is not.
            let side = if m > q {
                1.0
            } else if m < q {
                -1.0
            } else {
                0.0
            };
            *to += weight * side;
        }
    }
}

impl<S> Reciprocal<S> {
    /// The distance that smaller ones count as.
    pub const NEAREST: f64 = 1e-12;
}

impl<S: Similarity> Similarity for Reciprocal<S> {
    fn kind(&self) -> &str {
        "reciprocal"
    }

    fn check(&self, numbers: &[f64]) -> Result<()> {
        self.0.check(numbers)?;
        match self.0.score(numbers, numbers) {
            0.0 => Ok(()),
            own => Err(Error::new(
                ErrorKind::Graph,
                format!(
                    "the reciprocal is of a distance, and by {} a pattern is {own} from itself",
                    self.0.kind()
                ),
            )),
        }
    }

    fn score(&self, stored: &[f64], query: &[f64]) -> f64 {
        (-self.0.score(stored, query)).max(Self::NEAREST).recip()
    }

    fn add_slope(&self, stored: &[f64], query: &[f64], weight: f64, slope: &mut [f64]) {
        let distance = -self.0.score(stored, query);
        if distance > Self::NEAREST {
            // d(1/d) = -d(d) / d^2 = d(-d) / d^2.
            self.0.add_slope(stored, query, weight / (distance * distance), slope);
        }
    }

    fn add_slope_of_stored(&self, stored: &[f64], query: &[f64], weight: f64, slope: &mut [f64]) {
        let distance = -self.0.score(stored, query);
        if distance > Self::NEAREST {
            let weight = weight / (distance * distance);
            self.0.add_slope_of_stored(stored, query, weight, slope);
        }
    }
}
