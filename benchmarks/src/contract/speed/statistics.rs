//! Medians, with an interval that assumes nothing about how times are distributed.

use serde::Serialize;

/// A median with its 95% interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Median {
    /// The median.
    pub median: f64,
    /// Where the interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
}

impl Median {
    /// Of some figures. The interval lies between two of them, in order of size, which the true
    /// median is between with a probability of at least 95% whatever the distribution; of fewer
    /// than nine figures it is all of them.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
            return Self { median: f64::NAN, low: f64::NAN, high: f64::NAN };
        };
        let median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0;
        match outside(count) {
            0 => Self { median, low: *first, high: *last },
            out => Self { median, low: sorted[out], high: sorted[count - 1 - out] },
        }
    }

    /// The same of every figure multiplied by a positive number.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self { median: factor * self.median, low: factor * self.low, high: factor * self.high }
    }
}

/// How many figures may be left out at each end: the most `k` with `P[Binomial(count, 1/2) <= k] <=
/// 2.5%`; none where there is no such `k`.
fn outside(count: usize) -> usize {
    if count > 1000 {
        // Here 2^-count is nearly no number any more, and the binomial nearly normal.
        return (0.5 * count as f64 - 0.98 * (count as f64).sqrt()) as usize - 1;
    }
    let mut mass = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut tail = mass;
    let mut k = 0;
    while tail <= 0.025 && k < count {
        mass *= (count - k) as f64 / (k + 1) as f64;
        tail += mass;
        k += 1;
    }
    k.saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_lie_between_the_textbook_ranks() {
        // The 95% interval of a median of 30 is between the 10th and the 21st.
        let thirty = Median::of((1..=30).rev().map(f64::from));
        assert_eq!(thirty, Median { median: 15.5, low: 10.0, high: 21.0 });
        // All six hold it with 1 - 2/64, five no longer with 95%.
        assert_eq!(
            [5, 6, 8, 9, 10, 30, 100, 1000, 1001].map(outside),
            [0, 0, 0, 1, 1, 9, 39, 468, 468]
        );
        assert_eq!(Median::of([3.0, 1.0]), Median { median: 2.0, low: 1.0, high: 3.0 });
        assert!(Median::of([]).median.is_nan());
        assert_eq!(thirty.scaled(2.0).high, 42.0);
    }
}
