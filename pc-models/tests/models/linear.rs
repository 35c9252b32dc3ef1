//! Small matrices by loops, and the conditional means of Gaussians.

use pc_core::host::Init;

/// Rows of a matrix.
pub(crate) type Rows = Vec<Vec<f64>>;

pub(crate) fn numbers(init: &mut Init, count: usize) -> Vec<f64> {
    init.uniform::<f64>(&[count], 1.0).unwrap().data().to_vec()
}

pub(crate) fn product(a: &Rows, b: &Rows) -> Rows {
    let columns = b[0].len();
    let entry = |row: &Vec<f64>, j: usize| row.iter().zip(b).map(|(x, b)| x * b[j]).sum();
    a.iter().map(|row| (0..columns).map(|j| entry(row, j)).collect()).collect()
}

pub(crate) fn transposed(a: &Rows) -> Rows {
    (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

pub(crate) fn unit(n: usize) -> Rows {
    (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect()
}

/// `a^-1 b`, by elimination with pivots.
pub(crate) fn solved(a: &Rows, b: &Rows) -> Rows {
    let n = a.len();
    let mut all: Rows = a.iter().zip(b).map(|(a, b)| [a.as_slice(), b].concat()).collect();
    for k in 0..n {
        let best = (k..n).max_by(|i, j| all[*i][k].abs().total_cmp(&all[*j][k].abs())).unwrap();
        all.swap(k, best);
        let pivot = all[k].clone();
        for (i, row) in all.iter_mut().enumerate() {
            let factor = row[k] / pivot[k];
            if i == k {
                row.iter_mut().for_each(|x| *x /= pivot[k]);
            } else {
                row.iter_mut().zip(&pivot).for_each(|(x, p)| *x -= factor * p);
            }
        }
    }
    all.into_iter().map(|row| row[n..].to_vec()).collect()
}

/// `E[x | known]` of a Gaussian of this mean and precision: `x_u = m_u - Pi_uu^-1 Pi_uk (x_k -
/// m_k)`.
pub(crate) fn conditional(mean: &[f64], precision: &Rows, x: &[f64], known: &[f64]) -> Vec<f64> {
    let missing: Vec<usize> = (0..x.len()).filter(|k| known[*k] == 0.0).collect();
    let given: Vec<usize> = (0..x.len()).filter(|k| known[*k] == 1.0).collect();
    let mut found = x.to_vec();
    if missing.is_empty() {
        return found;
    }
    let own: Rows =
        missing.iter().map(|i| missing.iter().map(|j| precision[*i][*j]).collect()).collect();
    let pull = |i: &usize| given.iter().map(|j| precision[*i][*j] * (x[*j] - mean[*j])).sum();
    let right: Rows = missing.iter().map(|i| vec![pull(i)]).collect();
    for (i, step) in missing.iter().zip(solved(&own, &right)) {
        found[*i] = mean[*i] - step[0];
    }
    found
}

pub(crate) fn close(found: &[f64], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len());
    for (a, b) in found.iter().zip(wanted) {
        assert!((a - b).abs() <= tolerance, "{a} and {b}");
    }
}
