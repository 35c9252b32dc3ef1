//! The entropy of what a network says, to second order.

use pc_core::{EnergyInputs, Error, ErrorKind, PredictionEnergy, Result, Slopes, Tensor};

/// Minus the entropy that a sample adds to a running covariance `C`, to second order in what lies
/// off its diagonal: with `C = D + O` and `e = v - mu`,
/// `E = 1/2 e^T M e` where `M_kj = O_kj / (D_k D_j)` off the diagonal and, on it,
/// `M_kk = -1/D_k - sum_j O_kj^2 / (D_k^2 D_j)`.
///
/// `C` becomes `l C + (1 - l) e e^T`, and `log det C` is about `sum_k log D_k - 1/2 sum_kj O_kj^2 /
/// (D_k D_j)`: `(1 - l)` times the slope of `-E` in `v` is that of half of it. The truncated form
/// leaves out the last sum, which is small where sources are nearly uncorrelated; then every vertex
/// needs only its own variance, and its own covariances with the others.
///
/// It is the energy of a prediction by the running mean (`Prior`), with the covariance `[n, n]` as
/// its parameter, which should be a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntropySurrogate {
    truncated: bool,
}

impl EntropySurrogate {
    /// With the slope of the surrogate itself.
    pub fn exact() -> Self {
        Self { truncated: false }
    }

    /// Without the last sum.
    pub fn truncated() -> Self {
        Self { truncated: true }
    }

    /// `M`, row by row.
    fn matrix(self, covariance: &[f64], n: usize) -> Result<Vec<f64>> {
        let variance = |k: usize| covariance[k * n + k];
        if let Some(k) = (0..n).find(|k| !(variance(*k) > 0.0)) {
            let why = format!(
                "its running variance must be positive, and that of element {k} is {}",
                variance(k)
            );
            return Err(Error::new(ErrorKind::Graph, why));
        }
        let mut matrix = vec![0.0; n * n];
        for k in 0..n {
            let mut own = -1.0;
            for j in (0..n).filter(|j| *j != k) {
                let off = 0.5 * (covariance[k * n + j] + covariance[j * n + k]);
                let scaled = off / (variance(k) * variance(j));
                matrix[k * n + j] = scaled;
                if !self.truncated {
                    own -= off * scaled;
                }
            }
            matrix[k * n + k] = own / variance(k);
        }
        Ok(matrix)
    }
}

impl<T: Tensor> PredictionEnergy<T> for EntropySurrogate {
    fn kind(&self) -> &str {
        if self.truncated { "truncated entropy" } else { "entropy" }
    }

    fn parameters(&self) -> usize {
        1
    }

    fn check(&self, shape: &[usize], parameters: &[&[usize]]) -> Result<()> {
        let n: usize = shape.iter().product();
        if parameters == [&[n, n][..]] {
            return Ok(());
        }
        let why = format!("its covariance must be [{n}, {n}], not {parameters:?}");
        Err(Error::new(ErrorKind::Shape, why))
    }

    fn evaluate(&self, at: &EnergyInputs<'_, T>, slopes: Slopes<'_, T>) -> Result<f64> {
        let covariance = at.parameter(0).to_vec();
        let n = covariance.len().isqrt();
        let matrix = self.matrix(&covariance, n)?;
        let mut energy = 0.0;
        let Slopes { on_prediction, on_value } = slopes;
        T::by_rows(&[at.error()], &mut [on_prediction, on_value], &mut |rows, slopes| {
            let e = rows[0];
            for (k, row) in matrix.chunks(n).enumerate() {
                let slope: f64 = row.iter().zip(e).map(|(m, e)| m * e).sum();
                energy += 0.5 * e[k] * slope;
                slopes[0][k] = slope;
                slopes[1][k] = -slope;
            }
        });
        Ok(energy)
    }
}
