//! Figures over seeds.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// The mean of a figure over seeds, and how far it can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How many seeds have it.
    pub count: usize,
    /// The mean.
    pub mean: f64,
    /// The standard deviation of single seeds (of `count - 1`); none of one seed.
    pub deviation: Option<f64>,
    /// Half of the 95% interval of the mean, by Student's t; none of one seed.
    pub half: Option<f64>,
}

/// The summary of these figures; none where there are none. One that is not a number makes the mean
/// so.
pub fn summary(values: &[f64]) -> Option<Summary> {
    let count = values.len();
    if count == 0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / count as f64;
    if count == 1 {
        return Some(Summary { count, mean, deviation: None, half: None });
    }
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    let deviation = (squares / (count - 1) as f64).sqrt();
    let t = StudentsT::new(0.0, 1.0, (count - 1) as f64).ok().map(|t| t.inverse_cdf(0.975));
    let half = t.map(|t| t * deviation / (count as f64).sqrt());
    Some(Summary { count, mean, deviation: Some(deviation), half })
}

/// The summary of the differences of two figures, seed by seed; of the seeds that have both.
pub fn difference(of: &[Option<f64>], from: &[Option<f64>]) -> Option<Summary> {
    let both = of.iter().zip(from).filter_map(|(of, from)| Some((*of)? - (*from)?));
    summary(&both.collect::<Vec<_>>())
}

/// The lesser of two figures; not a number where either is not, which `f64::min` would drop.
pub fn lesser(a: f64, b: f64) -> f64 {
    if a.is_nan() || a < b { a } else { b }
}

/// The greater of two figures, likewise.
pub fn greater(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_students() {
        // 12.706 and 4.303: the 97.5% points of Student's t at 1 and 2 degrees of freedom.
        let two = summary(&[1.0, 3.0]).unwrap();
        assert_eq!((two.count, two.mean), (2, 2.0));
        assert!((two.deviation.unwrap() - 2.0f64.sqrt()).abs() < 1e-12);
        assert!((two.half.unwrap() - 12.706).abs() < 1e-3);
        let three = summary(&[1.0, 2.0, 3.0]).unwrap();
        assert!((three.half.unwrap() - 4.303 / 3.0f64.sqrt()).abs() < 1e-3);
    }

    #[test]
    fn what_is_not_a_number_stays() {
        assert_eq!((lesser(1.0, 2.0), lesser(2.0, 1.0)), (1.0, 1.0));
        assert_eq!((greater(1.0, 2.0), greater(2.0, 1.0)), (2.0, 2.0));
        for of in [lesser, greater] {
            assert!(of(f64::NAN, 1.0).is_nan() && of(1.0, f64::NAN).is_nan());
        }
    }

    #[test]
    fn one_seed_has_no_interval_and_none_no_mean() {
        let one = summary(&[4.0]).unwrap();
        assert_eq!((one.mean, one.deviation, one.half), (4.0, None, None));
        assert_eq!(summary(&[]), None);
        assert!(summary(&[1.0, f64::NAN]).unwrap().mean.is_nan());
    }

    #[test]
    fn differences_are_found_seed_by_seed() {
        let found = difference(&[Some(3.0), None, Some(5.0)], &[Some(1.0), Some(9.0), Some(3.0)]);
        let found = found.unwrap();
        assert_eq!((found.count, found.mean, found.deviation), (2, 2.0, Some(0.0)));
    }
}
