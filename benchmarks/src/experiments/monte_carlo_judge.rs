//! A classifier that says how good pictures are which a model has made up.

use pc_core::{
    Activation, Clamps, Graph, Predictor, Relaxation, Schedule, VertexId,
    host::{Adam, CrossEntropy, HostLayers, HostTensor, Init},
};

use super::{
    Context, Findings,
    symmetric::{Matrix, eigen},
};
use crate::{
    data::{Batches, Images},
    error::CommandError,
};

/// The hidden features whose moments are compared.
const FEATURES: usize = 32;
/// How many pictures are looked at together.
const BATCH: usize = 250;

/// A classifier of true digits, trained by backprop.
pub(super) struct Judge {
    graph: Graph<HostTensor<f32>>,
    pixels: VertexId,
    hidden: VertexId,
    logits: VertexId,
}

/// What a judge makes of some pictures.
struct Seen {
    /// By picture.
    features: Vec<Vec<f64>>,
    probabilities: Vec<Vec<f64>>,
}

impl Judge {
    pub(super) fn new(context: &Context<'_>, train: &Images) -> Result<Self, CommandError> {
        let mut init = Init::new(context.seed().wrapping_add(1));
        let mut b = Graph::<HostTensor<f32>>::builder();
        let pixels = b.input("pixels", &[train.features()])?;
        let wide = b.dense("wide", pixels, 128, Activation::Relu, &mut init)?;
        let hidden = b.dense("hidden", wide, FEATURES, Activation::Tanh, &mut init)?;
        let logits = b.dense("logits", hidden, train.classes, Activation::Identity, &mut init)?;
        let mut graph = b.build()?;
        let mut backprop = Relaxation::new(&graph, Schedule::backprop())?;
        let mut adam = Adam::new(1e-3)?;
        let count = train.len().min(context.by_size(20_000, train.len()));
        // About as many steps whatever the size of the set.
        let batch = if count > 5000 { 128 } else { 32 };
        let epochs = context.by_size(if count > 5000 { 3 } else { 25 }, 8);
        for epoch in 0..epochs {
            for indices in Batches::new(count, batch, context.seed(), epoch)? {
                let (mut numbers, mut labels) = (Vec::new(), Vec::new());
                train.gather(&indices, &mut numbers, &mut labels)?;
                let numbers = HostTensor::new(&[labels.len(), train.features()], numbers)?;
                let loss = CrossEntropy::labels(&labels, train.classes)?;
                let clamps = Clamps::new().hold(pixels, numbers).drive(logits, loss);
                backprop.train(&mut graph, &clamps, |graph, gradients| {
                    adam.step(graph.parameters_mut(), gradients)
                })?;
            }
        }
        Ok(Self { graph, pixels, hidden, logits })
    }

    /// Puts what it makes of these pictures into a row of the table.
    pub(super) fn judge(
        mut self,
        findings: &mut Findings,
        row: &str,
        test: &Images,
        pictures: &[f64],
    ) -> Result<(), CommandError> {
        let truth: Vec<f64> = test.pixels.iter().map(|x| f64::from(*x)).collect();
        let is = self.see(test.features(), &truth)?;
        let right = is.probabilities.iter().zip(&test.labels).filter(|(p, l)| best(p) == **l);
        let right = right.count() as f64 / test.len().max(1) as f64;
        findings.cell("true digits", "classifier's accuracy, %", 100.0 * right);
        let drawn = self.see(test.features(), pictures)?;
        let (count, classes) = (drawn.probabilities.len().max(1) as f64, test.classes);
        let sure: f64 = drawn.probabilities.iter().map(|p| p[best(p)]).sum();
        let mut kinds = vec![0.0; classes];
        drawn.probabilities.iter().for_each(|p| kinds[best(p)] += 1.0 / count);
        let entropy: f64 = kinds.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
        findings.cell(row, "sure, %", 100.0 * sure / count);
        findings.cell(row, "kinds of 10", entropy.exp());
        findings.cell(row, "moments' distance", frechet(&is.features, &drawn.features));
        Ok(())
    }

    fn see(&mut self, features: usize, pictures: &[f64]) -> Result<Seen, CommandError> {
        let mut predictor = Predictor::new(&self.graph);
        let mut seen = Seen { features: Vec::new(), probabilities: Vec::new() };
        for rows in pictures.chunks(features * BATCH) {
            // What lies beyond black and white is cut off, as where pictures are shown.
            let numbers = rows.iter().map(|x| x.clamp(0.0, 1.0) as f32).collect();
            let rows = HostTensor::new(&[rows.len() / features, features], numbers)?;
            predictor.run(&mut self.graph, &[(self.pixels, &rows)], &[self.hidden, self.logits])?;
            let hidden = predictor.value(self.hidden)?.data();
            let numbers = |row: &[f32]| row.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
            seen.features.extend(hidden.chunks(FEATURES).map(numbers));
            let logits = predictor.value(self.logits)?;
            let classes = logits.dims()[1];
            seen.probabilities
                .extend(logits.data().chunks(classes).map(|row| softmax(numbers(row))));
        }
        Ok(seen)
    }
}

fn best(p: &[f64]) -> usize {
    (0..p.len()).max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap_or(0)
}

fn softmax(mut logits: Vec<f64>) -> Vec<f64> {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logits.iter_mut().for_each(|x| *x = (*x - top).exp());
    let sum: f64 = logits.iter().sum();
    logits.iter_mut().for_each(|x| *x /= sum);
    logits
}

/// Frechet's distance of two normal laws with the moments of these, squared:
/// `|m - n|^2 + tr (C + D - 2 (C^1/2 D C^1/2)^1/2)`.
fn frechet(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let ((m, c), (n, d)) = (moments(a), moments(b));
    let means: f64 = m.iter().zip(&n).map(|(m, n)| (m - n).powi(2)).sum();
    let root = squared_root(&c);
    let both = squared_root(&product(&product(&root, &d), &root));
    let trace = |m: &Matrix| (0..m.len()).map(|k| m[k][k]).sum::<f64>();
    means + trace(&c) + trace(&d) - 2.0 * trace(&both)
}

fn moments(rows: &[Vec<f64>]) -> (Vec<f64>, Matrix) {
    let (count, width) = (rows.len().max(1) as f64, rows.first().map_or(0, Vec::len));
    let mean: Vec<f64> =
        (0..width).map(|k| rows.iter().map(|row| row[k]).sum::<f64>() / count).collect();
    let mut covariance = vec![vec![0.0; width]; width];
    for row in rows {
        for (i, line) in covariance.iter_mut().enumerate() {
            for (j, x) in line.iter_mut().enumerate() {
                *x += (row[i] - mean[i]) * (row[j] - mean[j]) / count;
            }
        }
    }
    (mean, covariance)
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let cell = |row: &Vec<f64>, j: usize| row.iter().zip(b).map(|(x, b)| x * b[j]).sum();
    a.iter().map(|row| (0..b.len()).map(|j| cell(row, j)).collect()).collect()
}

/// The root of a symmetric matrix without negative eigenvalues.
fn squared_root(matrix: &Matrix) -> Matrix {
    let n = matrix.len();
    let (values, v) = eigen(matrix.clone());
    let root = |i: usize, j: usize| {
        (0..n).map(|k| v[i][k] * values[k].max(0.0).sqrt() * v[j][k]).sum::<f64>()
    };
    (0..n).map(|i| (0..n).map(|j| root(i, j)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_squared_is_the_matrix() {
        let a = vec![vec![4.0, 1.0, 0.5], vec![1.0, 3.0, -0.7], vec![0.5, -0.7, 2.0]];
        let root = squared_root(&a);
        for (row, expected) in product(&root, &root).iter().zip(&a) {
            for (x, y) in row.iter().zip(expected) {
                assert!((x - y).abs() < 1e-12, "{x} and {y}");
            }
        }
    }

    #[test]
    fn laws_of_one_number_are_apart_by_their_means_and_deviations() {
        let a: Vec<Vec<f64>> = [-1.0, 1.0].map(|x| vec![x]).to_vec();
        let b: Vec<Vec<f64>> = [2.0, 8.0].map(|x| vec![x]).to_vec();
        // Means 0 and 5, deviations 1 and 3.
        assert!((frechet(&a, &b) - 29.0).abs() < 1e-12);
        assert!(frechet(&a, &a).abs() < 1e-12);
    }
}
