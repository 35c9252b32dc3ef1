//! The Kalman filter, to compare others with.

use pc_core::{Error, ErrorKind, Result};

use crate::matrix::{Matrix, solve, sum, times, times_vector, transposed};

/// A Kalman filter in `f64` (Kalman 1960): the best estimate of `z_t = A z_{t-1} + B u_t + noise`
/// from `x_t = C z_t + noise`, with noise of the covariances `Q` and `R`. Matrices are lists of
/// rows.
///
/// # Example
/// ```
/// use pc_models::Kalman;
/// let one = || vec![vec![1.0]];
/// let mut filter = Kalman::new(one(), one(), one(), one(), one(), vec![0.0], vec![vec![0.0]])?;
/// // The state is predicted to be 0 with variance 1, and seen at 2 with variance 1.
/// assert_eq!(filter.step(&[2.0], &[0.0])?, [1.0]);
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Kalman {
    a: Matrix,
    b: Matrix,
    c: Matrix,
    q: Matrix,
    r: Matrix,
    state: Vec<f64>,
    covariance: Matrix,
}

impl Kalman {
    /// With `A`, `B`, `C`, `Q`, `R`, and the state's mean and covariance before the first step.
    ///
    /// # Errors
    /// Shapes that do not fit together, or are empty; numbers that are not finite; covariances that
    /// are none.
    pub fn new(
        a: Matrix,
        b: Matrix,
        c: Matrix,
        q: Matrix,
        r: Matrix,
        state: Vec<f64>,
        covariance: Matrix,
    ) -> Result<Self> {
        let (n, m) = (state.len(), c.len());
        if n == 0 || m == 0 {
            let why = "Kalman filter: a state and what is observed have one number at least";
            return Err(Error::new(ErrorKind::Shape, why));
        }
        let controls = b.first().map_or(0, Vec::len);
        for (name, matrix, rows, columns) in [
            ("A", &a, n, n),
            ("B", &b, n, controls),
            ("C", &c, m, n),
            ("Q", &q, n, n),
            ("R", &r, m, m),
            ("the covariance", &covariance, n, n),
        ] {
            if matrix.len() != rows || matrix.iter().any(|row| row.len() != columns) {
                let why = format!("Kalman filter: {name} must be {rows} by {columns}");
                return Err(Error::new(ErrorKind::Shape, why));
            }
            finite(name, matrix.iter().flatten())?;
        }
        for (name, matrix) in [("Q", &q), ("R", &r), ("the covariance", &covariance)] {
            for (k, row) in matrix.iter().enumerate() {
                let mirrored = row.iter().zip(matrix).all(|(x, other)| *x == other[k]);
                if row[k] < 0.0 || !mirrored {
                    let why = format!(
                        "Kalman filter: {name} must be a covariance: symmetric, and its variances \
                         not negative"
                    );
                    return Err(Error::new(ErrorKind::Shape, why));
                }
            }
        }
        finite("the state", &state)?;
        Ok(Self { a, b, c, q, r, state, covariance })
    }

    /// Takes one observation and the control that led to it, and returns the new state.
    ///
    /// # Errors
    /// Lists of a wrong length; numbers that are not finite; `C P C^T + R` has no inverse.
    pub fn step(&mut self, observed: &[f64], control: &[f64]) -> Result<&[f64]> {
        let controls = self.b.first().map_or(0, Vec::len);
        if observed.len() != self.c.len() || control.len() != controls {
            let why = format!(
                "Kalman filter: {} observed numbers and {} controls are needed, not {} and {}",
                self.c.len(),
                controls,
                observed.len(),
                control.len()
            );
            return Err(Error::new(ErrorKind::Shape, why));
        }
        finite("what is observed", observed)?;
        finite("the control", control)?;
        let driven = times_vector(&self.b, control);
        let predicted: Vec<f64> =
            times_vector(&self.a, &self.state).iter().zip(driven).map(|(z, u)| z + u).collect();
        let spread = times(&times(&self.a, &self.covariance), &transposed(&self.a));
        let prior = sum(&spread, &self.q, 1.0);
        // The gain K = P C^T S^-1 solves S K^T = C P, S being symmetric.
        let seen = times(&self.c, &prior);
        let innovation = sum(&times(&seen, &transposed(&self.c)), &self.r, 1.0);
        let gain = solve(innovation, seen.clone()).ok_or_else(|| {
            let why = "Kalman filter: the covariance of what is expected has no inverse";
            Error::new(ErrorKind::NotFinite, why)
        })?;
        let gain = transposed(&gain);
        let surprise: Vec<f64> = times_vector(&self.c, &predicted)
            .iter()
            .zip(observed)
            .map(|(expected, x)| x - expected)
            .collect();
        let change = times_vector(&gain, &surprise);
        let state: Vec<f64> = predicted.iter().zip(change).map(|(z, dz)| z + dz).collect();
        let covariance = sum(&prior, &times(&gain, &seen), -1.0);
        finite("the state", &state)?;
        finite("the covariance", covariance.iter().flatten())?;
        (self.state, self.covariance) = (state, covariance);
        Ok(&self.state)
    }

    /// The state's mean after the last step.
    pub fn state(&self) -> &[f64] {
        &self.state
    }
}

fn finite<'a>(name: &str, numbers: impl IntoIterator<Item = &'a f64>) -> Result<()> {
    if numbers.into_iter().all(|x| x.is_finite()) {
        return Ok(());
    }
    let why = format!("Kalman filter: a number of {name} is not finite");
    Err(Error::new(ErrorKind::NotFinite, why))
}
