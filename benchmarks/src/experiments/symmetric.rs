//! Symmetric matrices: their eigenvalues and eigenvectors.

/// Rows of numbers.
pub(super) type Matrix = Vec<Vec<f64>>;

/// Eigenvalues and, in columns, eigenvectors of a symmetric matrix, by Jacobi's rotations.
pub(super) fn eigen(mut a: Matrix) -> (Vec<f64>, Matrix) {
    let n = a.len();
    let mut vectors: Matrix = (0..n).map(|i| (0..n).map(|j| f64::from(i == j)).collect()).collect();
    for _ in 0..100 {
        let off: f64 =
            (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| a[i][j].powi(2)).sum();
        if !(off > 1e-30) {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if a[p][q] == 0.0 {
                    continue;
                }
                let theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for row in &mut a {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
                let (above, below) = a.split_at_mut(q);
                for (x, y) in above[p].iter_mut().zip(&mut below[0]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
                for row in &mut vectors {
                    (row[p], row[q]) = (c * row[p] - s * row[q], s * row[p] + c * row[q]);
                }
            }
        }
    }
    ((0..n).map(|k| a[k][k]).collect(), vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symmetric_matrix_is_its_vectors_and_values() {
        let a: Matrix = vec![vec![2.0, -1.0, 0.3], vec![-1.0, 1.5, 0.7], vec![0.3, 0.7, -0.4]];
        let (values, vectors) = eigen(a.clone());
        for i in 0..3 {
            for j in 0..3 {
                let back: f64 = (0..3).map(|k| vectors[i][k] * values[k] * vectors[j][k]).sum();
                let unit: f64 = (0..3).map(|k| vectors[k][i] * vectors[k][j]).sum();
                assert!((back - a[i][j]).abs() < 1e-12);
                assert!((unit - f64::from(i == j)).abs() < 1e-12);
            }
        }
    }
}
