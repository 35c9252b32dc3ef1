//! Gaussian energies whose precision is more than a number.

use crate::{
    Error, Result,
    energy::{EnergyInputs, PredictionEnergy, Slopes, exact_shapes},
    tensor::Tensor,
    vertex::Pulled,
};

/// `E = 1/2 sum pi_k e_k^2` with a fixed precision for each element: a parameter of the vertex's
/// shape, which should be a buffer ([`crate::GraphBuilder::buffer`]) and has no gradient. An
/// element of precision 0 has no error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiagonalPrecision;

/// `E = 1/2 e^T Pi e` with a fixed matrix: a parameter `[n, n]`, with `n` the number of elements of
/// the vertex, of which the symmetric part counts. It should be a buffer
/// ([`crate::GraphBuilder::buffer`]) and has no gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatrixPrecision;

/// `E = sum 1/2 (e^(s_k) e_k^2 - s_k)` with a log precision `s` for each element, which learns: a
/// parameter of the vertex's shape, or `[1]` for one that all elements share. This is the negative
/// log-likelihood up to a constant, so that `e^(-s)` goes to the variance of the errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearnedDiagonalPrecision;

/// `E = 1/2 |L^T e|^2 - sum log |L_kk|`, which is `1/2 (e^T Pi e - log det Pi)` with `Pi = L L^T`
/// and a lower triangular `L` that learns: a parameter `[n, n]`, with `n` the number of elements of
/// the vertex. What lies above its diagonal is not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LearnedMatrixPrecision;

fn square(kind: &str, shape: &[usize], parameters: &[&[usize]]) -> Result<()> {
    let n = shape.iter().product();
    exact_shapes(kind, parameters, &[&[n, n]])
}

impl<T: Tensor> PredictionEnergy<T> for DiagonalPrecision {
    fn kind(&self) -> &str {
        "diagonal precision"
    }

    fn parameters(&self) -> usize {
        1
    }

    fn check(&self, shape: &[usize], parameters: &[&[usize]]) -> Result<()> {
        exact_shapes("diagonal precision", parameters, &[shape])
    }

    fn evaluate(&self, at: &EnergyInputs<'_, T>, slopes: Slopes<'_, T>) -> Result<f64> {
        let precisions = at.parameter(0).to_vec();
        if let Some(negative) = precisions.iter().find(|pi| !(**pi >= 0.0)) {
            return Err(Error::graph(format!(
                "a precision must not be negative, as {negative} is"
            )));
        }
        let mut energy = 0.0;
        let Slopes { on_prediction, on_value } = slopes;
        T::by_rows(&[at.error()], &mut [on_prediction, on_value], &mut |rows, slopes| {
            for (k, (e, pi)) in rows[0].iter().zip(&precisions).enumerate() {
                energy += 0.5 * pi * e * e;
                slopes[0][k] = pi * e;
                slopes[1][k] = -pi * e;
            }
        });
        Ok(energy)
    }
}

impl<T: Tensor> PredictionEnergy<T> for MatrixPrecision {
    fn kind(&self) -> &str {
        "matrix precision"
    }

    fn parameters(&self) -> usize {
        1
    }

    fn check(&self, shape: &[usize], parameters: &[&[usize]]) -> Result<()> {
        square("matrix precision", shape, parameters)
    }

    fn evaluate(&self, at: &EnergyInputs<'_, T>, slopes: Slopes<'_, T>) -> Result<f64> {
        let matrix = at.parameter(0).to_vec();
        let mut energy = 0.0;
        let Slopes { on_prediction, on_value } = slopes;
        T::by_rows(&[at.error()], &mut [on_prediction, on_value], &mut |rows, slopes| {
            let n = rows[0].len();
            for (k, own) in rows[0].iter().enumerate() {
                let both = |j: usize| 0.5 * (matrix[k * n + j] + matrix[j * n + k]);
                let weighed: f64 = rows[0].iter().enumerate().map(|(j, e)| both(j) * e).sum();
                energy += 0.5 * own * weighed;
                slopes[0][k] = weighed;
                slopes[1][k] = -weighed;
            }
        });
        Ok(energy)
    }
}

impl<T: Tensor> PredictionEnergy<T> for LearnedDiagonalPrecision {
    fn kind(&self) -> &str {
        "learned diagonal precision"
    }

    fn parameters(&self) -> usize {
        1
    }

    fn check(&self, shape: &[usize], parameters: &[&[usize]]) -> Result<()> {
        if parameters == [&[1][..]] {
            return Ok(());
        }
        exact_shapes("learned diagonal precision", parameters, &[shape])
    }

    fn evaluate(&self, at: &EnergyInputs<'_, T>, slopes: Slopes<'_, T>) -> Result<f64> {
        let logs = at.parameter(0).to_vec();
        let mut energy = 0.0;
        let Slopes { on_prediction, on_value } = slopes;
        T::by_rows(&[at.error()], &mut [on_prediction, on_value], &mut |rows, slopes| {
            for (k, (e, s)) in rows[0].iter().zip(logs.iter().cycle()).enumerate() {
                let pi = s.exp();
                energy += 0.5 * (pi * e * e - s);
                slopes[0][k] = pi * e;
                slopes[1][k] = -pi * e;
            }
        });
        Ok(energy)
    }

    fn learn(&self, at: &EnergyInputs<'_, T>, gradients: &mut Pulled<'_, T>) -> Result<()> {
        let logs = at.parameter(0).to_vec();
        let mut slopes = vec![0.0; logs.len()];
        T::by_rows(&[at.error()], &mut [], &mut |rows, _| {
            for (k, e) in rows[0].iter().enumerate() {
                let k = k % logs.len();
                slopes[k] += 0.5 * (logs[k].exp() * e * e - 1.0);
            }
        });
        add(at.parameter(0), &slopes, gradients);
        Ok(())
    }
}

impl<T: Tensor> PredictionEnergy<T> for LearnedMatrixPrecision {
    fn kind(&self) -> &str {
        "learned matrix precision"
    }

    fn parameters(&self) -> usize {
        1
    }

    fn check(&self, shape: &[usize], parameters: &[&[usize]]) -> Result<()> {
        square("learned matrix precision", shape, parameters)
    }

    fn evaluate(&self, at: &EnergyInputs<'_, T>, slopes: Slopes<'_, T>) -> Result<f64> {
        let factor = at.parameter(0).to_vec();
        let n = factor.len().isqrt();
        if let Some(k) = (0..n).find(|k| factor[k * n + k] == 0.0) {
            let why = format!("the factor of its precision has a zero on its diagonal, at {k}");
            return Err(Error::graph(why));
        }
        let normaliser: f64 = (0..n).map(|k| factor[k * n + k].abs().ln()).sum();
        let mut energy = 0.0;
        let mut mapped = vec![0.0; n];
        let Slopes { on_prediction, on_value } = slopes;
        T::by_rows(&[at.error()], &mut [on_prediction, on_value], &mut |rows, slopes| {
            project(&factor, rows[0], &mut mapped);
            energy += 0.5 * mapped.iter().map(|z| z * z).sum::<f64>() - normaliser;
            for k in 0..n {
                let weighed: f64 = (0..=k).map(|j| factor[k * n + j] * mapped[j]).sum();
                slopes[0][k] = weighed;
                slopes[1][k] = -weighed;
            }
        });
        Ok(energy)
    }

    fn learn(&self, at: &EnergyInputs<'_, T>, gradients: &mut Pulled<'_, T>) -> Result<()> {
        let factor = at.parameter(0).to_vec();
        let n = factor.len().isqrt();
        let mut slopes = vec![0.0; factor.len()];
        let mut mapped = vec![0.0; n];
        T::by_rows(&[at.error()], &mut [], &mut |rows, _| {
            project(&factor, rows[0], &mut mapped);
            for k in 0..n {
                for j in 0..=k {
                    slopes[k * n + j] += rows[0][k] * mapped[j];
                }
                slopes[k * n + k] -= 1.0 / factor[k * n + k];
            }
        });
        add(at.parameter(0), &slopes, gradients);
        Ok(())
    }
}

/// `z = L^T e`.
fn project(factor: &[f64], e: &[f64], z: &mut [f64]) {
    let n = e.len();
    for (j, z) in z.iter_mut().enumerate() {
        *z = (j..n).map(|k| factor[k * n + j] * e[k]).sum();
    }
}

/// Adds the slopes, by element of the one parameter, to its gradient.
fn add<T: Tensor>(parameter: &T, slopes: &[f64], gradients: &mut Pulled<'_, T>) {
    let scale = gradients.scale();
    if let Some(gradient) = gradients.gradient(0) {
        let mut own = parameter.clone();
        own.assign(slopes);
        gradient.axpy(scale, &own);
    }
}
