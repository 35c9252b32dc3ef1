//! Small matrices in `f64`, as lists of rows.

/// Rows.
pub(crate) type Matrix = Vec<Vec<f64>>;

pub(crate) fn transposed(a: &Matrix) -> Matrix {
    let columns = a.first().map_or(0, Vec::len);
    (0..columns).map(|k| a.iter().map(|row| row[k]).collect()).collect()
}

pub(crate) fn times_vector(a: &Matrix, x: &[f64]) -> Vec<f64> {
    a.iter().map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum()).collect()
}

pub(crate) fn times(a: &Matrix, b: &Matrix) -> Matrix {
    let columns = transposed(b);
    a.iter().map(|row| times_vector(&columns, row)).collect()
}

pub(crate) fn sum(a: &Matrix, b: &Matrix, weight: f64) -> Matrix {
    let row = |(a, b): (&Vec<f64>, &Vec<f64>)| {
        a.iter().zip(b).map(|(a, b)| a + weight * b).collect::<Vec<f64>>()
    };
    a.iter().zip(b).map(row).collect()
}

/// `A^-1 B`, by elimination with pivots; none where `A` has no inverse.
pub(crate) fn solve(mut a: Matrix, mut b: Matrix) -> Option<Matrix> {
    let n = a.len();
    for k in 0..n {
        let size = |row: &usize| a[*row][k].abs();
        let pivot = (k..n).max_by(|x, y| size(x).total_cmp(&size(y))).unwrap_or(k);
        if !(a[pivot][k].abs() > 0.0) {
            return None;
        }
        a.swap(k, pivot);
        b.swap(k, pivot);
        for row in (0..n).filter(|row| *row != k) {
            let factor = a[row][k] / a[k][k];
            let (own, own_b) = (a[k].clone(), b[k].clone());
            a[row].iter_mut().zip(own).for_each(|(x, y)| *x -= factor * y);
            b[row].iter_mut().zip(own_b).for_each(|(x, y)| *x -= factor * y);
        }
    }
    for (k, row) in b.iter_mut().enumerate() {
        row.iter_mut().for_each(|x| *x /= a[k][k]);
    }
    Some(b)
}
