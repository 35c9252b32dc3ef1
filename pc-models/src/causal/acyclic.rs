//! How far a weighted graph is from having no cycle.

use pc_core::{Error, ErrorKind, Result};

/// `h(W) = tr (I + W o W / d)^d - d` of a matrix `[d, d]` and its gradient in `W`, row by row. It
/// is 0 where `W` has no cycle and positive elsewhere (Yu, Chen, Gao and Yu, "DAG-GNN", 2019, after
/// the exponential of Zheng, Aragam, Ravikumar and Xing, "DAGs with NO TEARS", 2018).
///
/// # Errors
/// Another number of elements; one that is not finite.
///
/// # Example
/// ```
/// use pc_models::acyclicity;
/// assert_eq!(acyclicity(2, &[0.0, 0.7, 0.0, 0.0])?.0, 0.0);
/// // There and back: d = 2, (w v / 2)^2 twice on the diagonal.
/// let (h, slope) = acyclicity(2, &[0.0, 1.0, 0.5, 0.0])?;
/// assert!((h - 2.0 * 0.25 * 0.25).abs() < 1e-12 && slope[1] > 0.0);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub fn acyclicity(d: usize, weights: &[f64]) -> Result<(f64, Vec<f64>)> {
    if d == 0 || d.checked_mul(d) != Some(weights.len()) {
        let count = weights.len();
        return Err(Error::new(
            ErrorKind::Shape,
            format!("{count} weights make no square matrix of {d} rows"),
        ));
    }
    if let Some(place) = weights.iter().position(|w| !w.is_finite()) {
        let message = format!("weight {place} is not finite: it is {}", weights[place]);
        return Err(Error::new(ErrorKind::NotFinite, message));
    }
    let at = |index: usize| weights[index] * weights[index] / d as f64;
    let identity = |index: usize| f64::from(u8::from(index / d == index % d));
    let base: Vec<f64> = (0..d * d).map(|index| identity(index) + at(index)).collect();
    // The power d - 1, whose transpose times 2 W is the slope, and one more for the trace.
    let mut power: Vec<f64> = (0..d * d).map(identity).collect();
    for _ in 1..d {
        power = product(d, &power, &base);
    }
    let last = product(d, &power, &base);
    let trace: f64 = last.iter().step_by(d + 1).sum();
    let slope = |index: usize| 2.0 * weights[index] * power[(index % d) * d + index / d];
    Ok((trace - d as f64, (0..d * d).map(slope).collect()))
}

fn product(d: usize, a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut all = vec![0.0; d * d];
    for (row, all) in all.chunks_mut(d).enumerate() {
        for (k, b) in b.chunks(d).enumerate() {
            let factor = a[row * d + k];
            all.iter_mut().zip(b).for_each(|(x, b)| *x += factor * b);
        }
    }
    all
}
