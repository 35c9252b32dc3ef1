//! Dense layers, numbers and linear algebra by plain loops in f64, for tests to compare with.

use pc_core::{Graph, backend::GraphTensor, host::HostTensor};

/// A small generator (xorshift), so that tests repeat to the bit.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Uniform in [-1, 1).
    pub(crate) fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub(crate) fn many(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Ones and zeros.
    pub(crate) fn mask(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| f64::from(self.next() > 0.0)).collect()
    }
}

pub(crate) fn tensor(batch: usize, numbers: &[f64]) -> HostTensor<f64> {
    HostTensor::new(&[batch, numbers.len() / batch], numbers.to_vec()).unwrap()
}

/// The numbers of a parameter.
pub(crate) fn parameter<T: GraphTensor>(graph: &Graph<T>, name: &str) -> Vec<f64> {
    let id = graph.parameter(name).unwrap();
    graph.parameters()[id.index()].to_vec()
}

/// The largest absolute difference; it fails on a NaN, and on lists of different length.
#[track_caller]
pub(crate) fn close(what: &str, found: &[f64], wanted: &[f64], tolerance: f64) -> f64 {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let mut worst = 0.0_f64;
    for (a, b) in found.iter().zip(wanted) {
        assert!((a - b).abs() <= tolerance, "{what}: {a} and {b}");
        worst = worst.max((a - b).abs());
    }
    worst
}

/// `W x + b` of one sample, weights `[outputs, inputs]`.
pub(crate) fn affine(weight: &[f64], bias: &[f64], x: &[f64]) -> Vec<f64> {
    let rows = weight.chunks(x.len()).zip(bias);
    rows.map(|(row, b)| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>() + b).collect()
}

/// `W^T e` of one sample.
pub(crate) fn back(weight: &[f64], e: &[f64], inputs: usize) -> Vec<f64> {
    (0..inputs)
        .map(|j| e.iter().enumerate().map(|(i, e)| weight[i * inputs + j] * e).sum())
        .collect()
}

/// A matrix by rows.
pub(crate) type Matrix = Vec<Vec<f64>>;

pub(crate) fn matrix(rows: usize, columns: usize, numbers: &[f64]) -> Matrix {
    assert_eq!(numbers.len(), rows * columns);
    numbers.chunks(columns).map(<[f64]>::to_vec).collect()
}

pub(crate) fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let columns = b[0].len();
    let entry = |row: &Vec<f64>, j: usize| row.iter().zip(b).map(|(x, b)| x * b[j]).sum();
    a.iter().map(|row| (0..columns).map(|j| entry(row, j)).collect()).collect()
}

pub(crate) fn transposed(a: &Matrix) -> Matrix {
    (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

/// `A^-1 b`, by elimination with pivots.
pub(crate) fn solve(a: &Matrix, b: &[f64]) -> Vec<f64> {
    let n = b.len();
    let mut a: Matrix = a.iter().zip(b).map(|(row, b)| [row.clone(), vec![*b]].concat()).collect();
    for k in 0..n {
        let pivot = (k..n).max_by(|i, j| a[*i][k].abs().total_cmp(&a[*j][k].abs())).unwrap();
        a.swap(k, pivot);
        for i in k + 1..n {
            let factor = a[i][k] / a[k][k];
            let above = a[k].clone();
            a[i].iter_mut().zip(&above).for_each(|(x, p)| *x -= factor * p);
        }
    }
    let mut x = vec![0.0; n];
    for i in (0..n).rev() {
        let rest: f64 = (i + 1..n).map(|j| a[i][j] * x[j]).sum();
        x[i] = (a[i][n] - rest) / a[i][i];
    }
    x
}
