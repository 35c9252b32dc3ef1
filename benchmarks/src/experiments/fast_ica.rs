//! FastICA, to compare with: symmetric, with the hyperbolic tangent (Hyvärinen 1999).

use pc_core::host::{HostTensor, Init};

use super::symmetric::{Matrix, eigen};
use crate::error::CommandError;

/// So many independent components of samples, one row each, sample by sample.
///
/// # Errors
/// There is not enough memory for its starting draws.
pub(super) fn fast_ica(
    samples: &[Vec<f64>],
    components: usize,
    seed: u64,
) -> Result<Matrix, CommandError> {
    let count = samples.len().max(1) as f64;
    let width = samples.first().map_or(0, Vec::len);
    let mut mean = vec![0.0; width];
    for x in samples {
        mean.iter_mut().zip(x).for_each(|(m, x)| *m += x / count);
    }
    let mut covariance = vec![vec![0.0; width]; width];
    for x in samples {
        for i in 0..width {
            for j in 0..width {
                covariance[i][j] += (x[i] - mean[i]) * (x[j] - mean[j]) / count;
            }
        }
    }
    // To the components of largest variance, each with variance 1.
    let (values, vectors) = eigen(covariance);
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    order.truncate(components);
    let white: Matrix = samples
        .iter()
        .map(|x| {
            let project = |k: &usize| {
                let along = (0..width).map(|i| vectors[i][*k] * (x[i] - mean[i])).sum::<f64>();
                along / values[*k].max(f64::MIN_POSITIVE).sqrt()
            };
            order.iter().map(project).collect()
        })
        .collect();

    let n = order.len();
    let start: HostTensor<f64> = Init::new(seed).uniform(&[n, n], 1.0)?;
    let mut w = orthogonal(start.data().chunks(n.max(1)).map(<[f64]>::to_vec).collect());
    for _ in 0..200 {
        let mut next = vec![vec![0.0; n]; n];
        for z in &white {
            for (row, next) in w.iter().zip(&mut next) {
                let g = row.iter().zip(z).map(|(w, z)| w * z).sum::<f64>().tanh();
                for ((next, z), w) in next.iter_mut().zip(z).zip(row) {
                    *next += (z * g - (1.0 - g * g) * w) / count;
                }
            }
        }
        let next = orthogonal(next);
        let turned = w.iter().zip(&next).map(|(a, b)| {
            let along: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            (along.abs() - 1.0).abs()
        });
        let still = turned.fold(0.0, f64::max) < 1e-9;
        w = next;
        if still {
            break;
        }
    }
    Ok(white
        .iter()
        .map(|z| w.iter().map(|row| row.iter().zip(z).map(|(w, z)| w * z).sum()).collect())
        .collect())
}

/// `(W W^T)^(-1/2) W`.
fn orthogonal(w: Matrix) -> Matrix {
    let n = w.len();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let gram = w.iter().map(|a| w.iter().map(|b| dot(a, b)).collect()).collect();
    let (values, vectors) = eigen(gram);
    let root = |i: usize, j: usize| {
        let along = |k: usize| vectors[i][k] * vectors[j][k];
        (0..n).map(|k| along(k) / values[k].max(f64::MIN_POSITIVE).sqrt()).sum::<f64>()
    };
    let columns = w.first().map_or(0, Vec::len);
    let entry = |i: usize, j: usize| (0..n).map(|k| root(i, k) * w[k][j]).sum();
    (0..n).map(|i| (0..columns).map(|j| entry(i, j)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn independent_sources_come_apart() {
        let drawn: HostTensor<f64> = Init::new(3).uniform(&[4000, 2], 1.0).unwrap();
        let sources: Matrix = drawn.data().chunks(2).map(<[f64]>::to_vec).collect();
        let mixed: Matrix = sources
            .iter()
            .map(|s| vec![s[0] + 0.5 * s[1], 0.4 * s[0] - s[1], 0.2 * s[0] + s[1]])
            .collect();
        let found = fast_ica(&mixed, 2, 0).unwrap();
        let alike = |i: usize, j: usize| {
            let sum = |of: &dyn Fn(&[f64], &[f64]) -> f64| {
                sources.iter().zip(&found).map(|(s, y)| of(s, y)).sum::<f64>()
            };
            let sizes = sum(&|s, _| s[i] * s[i]) * sum(&|_, y| y[j] * y[j]);
            sum(&|s, y| s[i] * y[j]).abs() / sizes.sqrt()
        };
        let straight = alike(0, 0).min(alike(1, 1));
        let crossed = alike(0, 1).min(alike(1, 0));
        assert!(straight.max(crossed) > 0.999, "{straight} {crossed}");
    }
}
