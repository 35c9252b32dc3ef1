//! Monte Carlo predictive coding beside the posteriors of linear-Gaussian models.

use pc_core::{
    Activation, Clamps, Tensor, VertexId,
    host::{HostTensor, Init, Sgd},
};
use pc_models::{Backend, Host, Langevin, MonteCarloPc};

type T = HostTensor<f64>;

/// Chains beside one another, all of the same data. They are independent, so that the spread of
/// what each comes to is the standard error, however much samples along a chain depend on one
/// another.
const CHAINS: usize = 128;

/// `[2, 3, 4]`, linear: `F = 1/2 |h0 - mu|^2 + 1/2 |h1 - A h0 - a|^2 + 1/2v |x - B h1 - b|^2`.
struct Linear {
    model: MonteCarloPc<Host<f64>>,
    p: Vec<Vec<f64>>,
    variance: f64,
}

fn linear(seed: u64, langevin: Langevin) -> Linear {
    let variance = 0.5;
    let mut init = Init::new(seed);
    let (host, f) = (Host::<f64>::new(), Activation::Identity);
    let mut model = MonteCarloPc::new(&host, &[2, 3, 4], f, variance, langevin, &mut init).unwrap();
    for parameter in model.graph_mut().parameters_mut() {
        *parameter = init.uniform(parameter.dims(), 0.9).unwrap();
    }
    let p = model.graph().parameters().iter().map(Tensor::to_vec).collect();
    Linear { model, p, variance }
}

impl Linear {
    /// The Hessian of `F` in `(h0, h1)` and minus its slope at 0, where `x` is held.
    fn system(&self, x: &[f64]) -> (Vec<Vec<f64>>, Vec<f64>) {
        let (mean, a, a_bias) = (&self.p[0], &self.p[1], &self.p[2]);
        let (b, b_bias) = (&self.p[3], &self.p[4]);
        let (mut hessian, mut right) = (vec![vec![0.0; 5]; 5], vec![0.0; 5]);
        // Each prediction is a row of coefficients, a constant, and a precision.
        let mut add = |row: [f64; 5], constant: f64, precision: f64| {
            for i in 0..5 {
                right[i] += precision * row[i] * constant;
                for j in 0..5 {
                    hessian[i][j] += precision * row[i] * row[j];
                }
            }
        };
        for k in 0..2 {
            let mut row = [0.0; 5];
            row[k] = 1.0;
            add(row, mean[k], 1.0);
        }
        for k in 0..3 {
            let mut row = [-a[2 * k], -a[2 * k + 1], 0.0, 0.0, 0.0];
            row[2 + k] = 1.0;
            add(row, a_bias[k], 1.0);
        }
        for k in 0..4 {
            let row = [0.0, 0.0, b[3 * k], b[3 * k + 1], b[3 * k + 2]];
            add(row, x[k] - b_bias[k], 1.0 / self.variance);
        }
        (hessian, right)
    }
}

/// The inverse of a symmetric, positive matrix.
fn inverse(a: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let n = a.len();
    let mut rows: Vec<Vec<f64>> = (0..n)
        .map(|i| [a[i].clone(), (0..n).map(|j| f64::from(u8::from(i == j))).collect()].concat())
        .collect();
    for k in 0..n {
        let head: Vec<f64> = rows[k].iter().map(|x| x / rows[k][k]).collect();
        for (i, row) in rows.iter_mut().enumerate() {
            let factor = row[k];
            if i == k {
                row.clone_from(&head);
            } else {
                row.iter_mut().zip(&head).for_each(|(x, h)| *x -= factor * h);
            }
        }
    }
    rows.into_iter().map(|row| row[n..].to_vec()).collect()
}

fn product(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let row = |a: &Vec<f64>| {
        (0..b[0].len()).map(|j| a.iter().zip(b).map(|(a, b)| a * b[j]).sum()).collect()
    };
    a.iter().map(row).collect()
}

/// The mean of independent numbers and its standard error.
fn mean_of(numbers: &[f64]) -> (f64, f64) {
    let n = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / n;
    let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

fn within(what: &str, each: &[f64], expected: f64, largest: f64) -> f64 {
    let (found, error) = mean_of(each);
    let off = (found - expected).abs() / error;
    assert!(off < 3.0, "{what}: {found} +- {error}, wanted {expected}: {off} standard errors");
    // Errors so large would agree with anything.
    assert!(error < largest, "{what}: the standard error is {error}");
    off
}

/// Samples of `(h0, h1)` of every chain: `[sample][chain][5]`.
fn sampled(model: &mut MonteCarloPc<Host<f64>>, x: &[f64]) -> Vec<Vec<[f64; 5]>> {
    let host = Host::<f64>::new();
    let clamps =
        Clamps::new().hold(model.sensed(), host.tensor(&[CHAINS, 4], &x.repeat(CHAINS)).unwrap());
    let hidden = model.graph().vertex("layer1").unwrap();
    // The same seed and the same count of batches: both are of one chain.
    let mut again = Vec::new();
    let cause = model.cause();
    for of in [cause, hidden] {
        let mut fresh = fresh(model);
        again.push(fresh.posterior(&clamps, of).unwrap());
    }
    (0..again[0].len())
        .map(|n| {
            let (cause, hidden) = (again[0][n].data(), again[1][n].data());
            (0..CHAINS)
                .map(|k| {
                    let (c, h) = (&cause[2 * k..], &hidden[3 * k..]);
                    [c[0], c[1], h[0], h[1], h[2]]
                })
                .collect()
        })
        .collect()
}

/// A model of the same weights that has sampled nothing yet.
fn fresh(of: &MonteCarloPc<Host<f64>>) -> MonteCarloPc<Host<f64>> {
    let mut own = linear(0, of.langevin()).model;
    own.graph_mut().parameters_mut().clone_from_slice(of.graph().parameters());
    own
}

#[test]
fn samples_have_the_mean_and_the_variance_of_the_posterior() {
    for (seed, rate, burn_in, every, samples) in
        [(1, 0.004, 2500, 25, 200), (2, 0.05, 300, 3, 300), (3, 0.05, 300, 3, 300)]
    {
        let langevin = Langevin { rate, burn_in, every, samples, seed };
        let Linear { mut model, p, variance } = linear(seed, langevin);
        let x: Vec<f64> = Init::new(seed).uniform::<f64>(&[4], 1.0).unwrap().data().to_vec();
        let own = Linear { model: fresh(&model), p, variance };
        let (hessian, right) = own.system(&x);
        let posterior = inverse(&hessian);
        let mean = product(&posterior, &right.iter().map(|x| vec![*x]).collect::<Vec<_>>());
        // A chain of steps gamma has the covariance (A (1 - gamma A / 2))^-1, not A^-1. At the
        // small rate the two are closer than the samples can tell.
        let shrunk: Vec<Vec<f64>> = (0..5)
            .map(|i| {
                let of = |j: usize| f64::from(u8::from(i == j)) - rate / 2.0 * hessian[i][j];
                (0..5).map(of).collect()
            })
            .collect();
        let chain = inverse(&product(&hessian, &shrunk));
        let wanted = if rate < 0.01 { &posterior } else { &chain };
        let drawn = sampled(&mut model, &x);
        assert_eq!(drawn.len(), samples);
        for i in 0..5 {
            let over = |f: &dyn Fn(f64) -> f64| -> Vec<f64> {
                (0..CHAINS)
                    .map(|k| drawn.iter().map(|n| f(n[k][i])).sum::<f64>() / samples as f64)
                    .collect()
            };
            let means = over(&|h| h);
            let squares = over(&|h| (h - mean[i][0]).powi(2));
            let off = [
                within(&format!("seed {seed}, mean {i}"), &means, mean[i][0], 0.05),
                within(&format!("seed {seed}, variance {i}"), &squares, wanted[i][i], 0.05),
            ];
            // The independent samples that would have told the mean as well.
            let effective = wanted[i][i] / mean_of(&means).1.powi(2);
            let all = (CHAINS * samples) as f64;
            println!(
                "seed {seed}, {i}: mean {:.4}, variance {:.4}; off by {:.2} and {:.2} standard \
                 errors; {effective:.0} of {all} samples are independent",
                mean[i][0], wanted[i][i], off[0], off[1]
            );
            assert!(effective < 1.5 * all);
        }
    }
}

#[test]
fn what_is_generated_has_the_models_mean_and_covariance() {
    let langevin = Langevin { rate: 0.01, burn_in: 0, every: 1, samples: 1, seed: 4 };
    for seed in 0..3 {
        let Linear { mut model, p, variance } = linear(seed, langevin);
        let count = 40_000;
        let rows = |p: &[f64], width: usize| -> Vec<Vec<f64>> {
            p.chunks(width).map(<[f64]>::to_vec).collect()
        };
        let (a, b) = (rows(&p[1], 2), rows(&p[3], 3));
        let transposed = |m: &[Vec<f64>]| -> Vec<Vec<f64>> {
            (0..m[0].len()).map(|j| m.iter().map(|row| row[j]).collect()).collect()
        };
        let column = |p: &[f64]| -> Vec<Vec<f64>> { p.iter().map(|x| vec![*x]).collect() };
        let plus = |m: Vec<Vec<f64>>, p: &[f64]| -> Vec<Vec<f64>> {
            m.iter().zip(p).map(|(m, p)| vec![m[0] + p]).collect()
        };
        let mean = plus(product(&b, &plus(product(&a, &column(&p[0])), &p[2])), &p[4]);
        let mut hidden = product(&a, &transposed(&a));
        (0..3).for_each(|k| hidden[k][k] += 1.0);
        let clean = product(&product(&b, &hidden), &transposed(&b));
        let (noisy, plain) =
            (model.generate(count, true).unwrap(), model.generate(count, false).unwrap());
        for (drawn, noise) in [(noisy, variance), (plain, 0.0)] {
            let rows: Vec<&[f64]> = drawn.data().chunks(4).collect();
            for i in 0..4 {
                let each: Vec<f64> = rows.iter().map(|row| row[i]).collect();
                within(&format!("mean {i}"), &each, mean[i][0], 0.03);
                for j in 0..=i {
                    let each: Vec<f64> = rows
                        .iter()
                        .map(|row| (row[i] - mean[i][0]) * (row[j] - mean[j][0]))
                        .collect();
                    let wanted = clean[i][j] + if i == j { noise } else { 0.0 };
                    within(&format!("covariance {i} {j}"), &each, wanted, 0.05);
                }
            }
        }
    }
}

/// Probabilistic principal components, whose most likely weights are known: `W W^T` has the largest
/// variance of the data less the noise's.
#[test]
fn learning_from_samples_comes_to_the_most_likely_model() {
    // Steps so small that the sampled variance is off by little more than a percent of itself.
    let langevin = Langevin { rate: 0.003, burn_in: 300, every: 15, samples: 6, seed: 5 };
    let (host, mut init) = (Host::<f64>::new(), Init::new(3));
    let f = Activation::Identity;
    let noise = 0.2;
    let mut model = MonteCarloPc::new(&host, &[1, 2], f, noise, langevin, &mut init).unwrap();
    let mut data = host.tensor(&[400, 2], &[0.0; 800]).unwrap();
    let mut causes = host.tensor(&[400, 1], &[0.0; 400]).unwrap();
    causes.add_normal(1.0, 1);
    data.add_normal(noise.sqrt(), 2);
    for (row, cause) in data.data_mut().chunks_mut(2).zip(causes.data()) {
        row[0] += 1.2 * cause + 0.5;
        row[1] -= 0.8 * cause;
    }
    // The covariance of the data, and its largest variance.
    let of = |k: usize| data.data().iter().skip(k).step_by(2).copied();
    let mean = [0, 1].map(|k| of(k).sum::<f64>() / 400.0);
    let s = |i: usize, j: usize| {
        of(i).zip(of(j)).map(|(a, b)| (a - mean[i]) * (b - mean[j])).sum::<f64>() / 400.0
    };
    let (a, b, d) = (s(0, 0), s(0, 1), s(1, 1));
    let top = (a + d) / 2.0 + (((a - d) / 2.0).powi(2) + b * b).sqrt();
    let direction = [b, top - a];
    let norm = direction[0].hypot(direction[1]);
    let wanted = direction.map(|x| x / norm * (top - noise).sqrt());

    let clamps = Clamps::new().hold(model.sensed(), data.clone());
    let mut sgd = Sgd::new(2e-5).unwrap();
    // The prior and the bias say the same, and the prior stays at 0.
    let prior = model.graph().parameter("prior.mean").unwrap();
    model.graph_mut().freeze(prior, true).unwrap();
    let mut weights = [0.0; 2];
    let (epochs, last) = (300, 100);
    for epoch in 0..epochs {
        model.learn(&clamps, |graph, g| sgd.step(graph.parameters_mut(), g)).unwrap();
        if epoch >= epochs - last {
            let id = model.graph().parameter("layer1.weight").unwrap();
            let now = model.graph().parameters()[id.index()].to_vec();
            (0..2).for_each(|k| weights[k] += now[k] / last as f64);
        }
    }
    let sign = (weights[0] * wanted[0]).signum();
    println!("{weights:?}, most likely {wanted:?}");
    for k in 0..2 {
        assert!((weights[k] - sign * wanted[k]).abs() < 0.03, "{weights:?}, not {wanted:?}");
    }
    let bias = model.graph().parameters().last().unwrap().to_vec();
    assert!((bias[0] - mean[0]).abs() < 0.05 && (bias[1] - mean[1]).abs() < 0.05);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let host = Host::<f64>::new();
    let good = Langevin { rate: 0.01, burn_in: 5, every: 2, samples: 3, seed: 0 };
    let new = |widths: &[usize], variance: f64, langevin: Langevin| {
        let f = Activation::Tanh;
        MonteCarloPc::new(&host, widths, f, variance, langevin, &mut Init::new(0))
    };
    let says = |error: pc_core::Error, what: &str| {
        assert!(error.to_string().contains(what), "{error}");
    };
    says(new(&[], 1.0, good).unwrap_err(), "two widths");
    says(new(&[3], 1.0, good).unwrap_err(), "two widths");
    says(new(&[3, 0], 1.0, good).unwrap_err(), "layer1");
    for variance in [0.0, -1.0, f64::NAN] {
        says(new(&[3, 2], variance, good).unwrap_err(), "variance must be a positive number");
    }
    says(new(&[3, 2], 1.0, Langevin { rate: 0.0, ..good }).unwrap_err(), "rate");
    says(new(&[3, 2], 1.0, Langevin { every: 0, ..good }).unwrap_err(), "0th");
    says(new(&[3, 2], 1.0, Langevin { samples: 0, ..good }).unwrap_err(), "0 samples");
    says(new(&[3, 2], 1.0, Langevin { every: usize::MAX, ..good }).unwrap_err(), "no chain");
    let mut model = new(&[3, 2], 1.0, good).unwrap();
    says(model.posterior(&Clamps::new(), model.cause()).unwrap_err(), "no vertex is clamped");
    let held = Clamps::new().of_batch(2);
    says(model.posterior(&held, VertexId::new(9)).unwrap_err(), "vertex 9");
    assert!(model.generate(0, true).is_err());
    // A rate that is too large for so small a variance.
    let wild = Langevin { rate: 1.0, burn_in: 2000, ..good };
    let f = Activation::Identity;
    let mut wild = MonteCarloPc::new(&host, &[3, 2], f, 1e-2, wild, &mut Init::new(0)).unwrap();
    let data = host.tensor(&[1, 2], &[1.0, 2.0]).unwrap();
    let clamps = Clamps::new().hold(wild.sensed(), data);
    says(wild.posterior(&clamps, wild.cause()).unwrap_err(), "smaller rate");
}

/// Samples, draws and a step of learning, on any backend.
fn found<B: Backend>(backend: &B) -> Vec<f64> {
    let langevin = Langevin { rate: 0.02, burn_in: 4, every: 2, samples: 3, seed: 8 };
    let mut init = Init::new(2);
    let f = Activation::Tanh;
    let mut model = MonteCarloPc::new(backend, &[2, 5, 3], f, 0.5, langevin, &mut init).unwrap();
    let mut all = Vec::new();
    for batch in [2, 3] {
        let data: T = init.uniform(&[batch, 3], 1.0).unwrap();
        let clamps =
            Clamps::new().hold(model.sensed(), backend.tensor(&[batch, 3], data.data()).unwrap());
        model
            .learn(&clamps, |graph, gradients| {
                for (id, gradient) in gradients.iter() {
                    graph.parameters_mut()[id.index()].axpy(-0.05, gradient.unwrap());
                }
                Ok(())
            })
            .unwrap();
        let cause = model.cause();
        for sample in model.posterior(&clamps, cause).unwrap() {
            all.extend(sample.to_vec());
        }
        all.extend(model.generate(batch, true).unwrap().to_vec());
    }
    all.extend(model.graph().parameters().iter().flat_map(Tensor::to_vec));
    all
}

fn agrees<B: Backend>(backend: &B, tolerance: f64) {
    let (found, wanted) = (found(backend), found(&Host::<f64>::new()));
    assert_eq!(found.len(), wanted.len());
    for (a, b) in found.iter().zip(&wanted) {
        assert!((a - b).abs() <= tolerance, "{a} and {b}");
    }
}

#[test]
fn host_in_f32() {
    agrees(&Host::<f32>::new(), 1e-4);
}

#[cfg(feature = "burn")]
#[test]
fn burn() {
    use burn::tensor::{DType, Device};
    agrees(&pc_models::Burn::new(&Device::default(), DType::F64), 1e-11);
}

#[cfg(feature = "tch")]
#[test]
fn libtorch() {
    agrees(&pc_models::Tch::new(tch::Kind::Double, tch::Device::Cpu), 1e-11);
}
