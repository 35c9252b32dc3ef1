//! Predictive entropy maximisation beside a plain program, number by number.

use pc_core::{
    Clamps, ErrorKind, Pace, Relaxation, Result, Schedule, Tensor,
    host::{HostTensor, Init, Sgd},
};
use pc_models::{Backend, Domain, EntropyMaximisation, EntropySurrogate, Host, Unmixing};

const DOMAINS: [Domain; 6] = [
    Domain::Antisparse,
    Domain::NonNegativeAntisparse,
    Domain::Sparse,
    Domain::NonNegativeSparse,
    Domain::Simplex,
    Domain::SoftThreshold(0.8),
];

/// The amount that leaves a sum of 1 when it is taken from these numbers, but not below 0: by
/// bisection.
fn shift(sizes: &[f64]) -> f64 {
    let sum = |shift: f64| sizes.iter().map(|v| (v - shift).max(0.0)).sum::<f64>();
    let (mut low, mut high) = (-1e3, 1e3);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if sum(middle) > 1.0 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

fn project(domain: Domain, y: &mut [f64], rate: f64) {
    match domain {
        Domain::Antisparse => y.iter_mut().for_each(|v| *v = v.clamp(-1.0, 1.0)),
        Domain::NonNegativeAntisparse => y.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0)),
        Domain::Sparse | Domain::NonNegativeSparse => {
            if domain == Domain::NonNegativeSparse {
                y.iter_mut().for_each(|v| *v = v.max(0.0));
            }
            let sizes: Vec<f64> = y.iter().map(|v| v.abs()).collect();
            if sizes.iter().sum::<f64>() > 1.0 {
                let by = shift(&sizes);
                y.iter_mut().for_each(|v| *v = v.signum() * (v.abs() - by).max(0.0));
            }
        }
        Domain::Simplex => {
            let by = shift(y);
            y.iter_mut().for_each(|v| *v = (*v - by).max(0.0));
        }
        Domain::SoftThreshold(strength) => {
            let by = rate * strength;
            y.iter_mut().for_each(|v| *v = v.signum() * (v.abs() - by).max(0.0));
        }
    }
}

/// The equations as the paper has them.
struct Plain {
    w: Vec<Vec<f64>>,
    mean: Vec<f64>,
    c: Vec<Vec<f64>>,
    precision: f64,
    kept: f64,
    exact: bool,
    domain: Domain,
    rate: f64,
    steps: usize,
}

impl Plain {
    fn predicted(&self, x: &[f64]) -> Vec<f64> {
        self.w.iter().map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
    }

    fn slope(&self, x: &[f64], y: &[f64]) -> Vec<f64> {
        let (n, predicted) = (y.len(), self.predicted(x));
        let e: Vec<f64> = y.iter().zip(&self.mean).map(|(y, mean)| y - mean).collect();
        let d = |k: usize| self.c[k][k];
        let o = |k: usize, j: usize| if k == j { 0.0 } else { self.c[k][j] };
        (0..n)
            .map(|k| {
                let across: f64 = (0..n).map(|j| o(k, j) * e[j] / d(j)).sum();
                let mut g = self.precision * (y[k] - predicted[k]) + (across - e[k]) / d(k);
                if self.exact {
                    g -=
                        e[k] * (0..n).map(|j| o(k, j).powi(2) / (d(k).powi(2) * d(j))).sum::<f64>();
                }
                g
            })
            .collect()
    }

    fn separate(&self, x: &[f64]) -> Vec<f64> {
        let mut y = self.predicted(x);
        project(self.domain, &mut y, 0.0);
        for step in 0..self.steps {
            let rate = self.rate / (1.0 + step as f64);
            let slope = self.slope(x, &y);
            y.iter_mut().zip(slope).for_each(|(y, g)| *y -= rate * g);
            project(self.domain, &mut y, rate);
        }
        y
    }

    fn learn(&mut self, x: &[f64], lr: f64) -> Vec<f64> {
        let y = self.separate(x);
        let predicted = self.predicted(x);
        for (k, row) in self.w.iter_mut().enumerate() {
            row.iter_mut().zip(x).for_each(|(w, x)| *w += lr * (y[k] - predicted[k]) * x);
        }
        let kept = self.kept;
        self.mean.iter_mut().zip(&y).for_each(|(m, y)| *m = kept * *m + (1.0 - kept) * y);
        let e: Vec<f64> = y.iter().zip(&self.mean).map(|(y, mean)| y - mean).collect();
        for (k, row) in self.c.iter_mut().enumerate() {
            row.iter_mut().zip(&e).for_each(|(c, b)| *c = kept * *c + (1.0 - kept) * e[k] * b);
        }
        y
    }
}

fn near(found: &[f64], wanted: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (a, b) in found.iter().zip(wanted) {
        assert!((a - b).abs() <= tolerance, "{what}: {a} and {b}");
    }
}

fn settings(domain: Domain, exact: bool, mixtures: usize, sources: usize) -> Unmixing {
    let schedule = Schedule::standard(0.05, 30).unwrap().paced(Pace::Inverse(1.0)).unwrap();
    let entropy = if exact { EntropySurrogate::exact() } else { EntropySurrogate::truncated() };
    Unmixing::new(mixtures, sources, domain)
        .unwrap()
        .precision(20.0)
        .memory(0.9)
        .entropy(entropy)
        .schedule(schedule.unbounded())
}

fn named<B: Backend>(network: &EntropyMaximisation<B>, name: &str) -> Vec<f64> {
    let id = network.graph().parameter(name).unwrap();
    network.graph().parameters()[id.index()].to_vec()
}

fn square(numbers: &[f64], width: usize) -> Vec<Vec<f64>> {
    numbers.chunks(width).map(<[f64]>::to_vec).collect()
}

#[test]
fn sources_weights_and_statistics_follow_a_plain_program() {
    let mut apart: f64 = 0.0;
    for domain in DOMAINS {
        for exact in [false, true] {
            for (seed, (mixtures, sources)) in [(4, 2), (6, 3), (10, 5)].into_iter().enumerate() {
                let mut init = Init::new(seed as u64);
                let own = settings(domain, exact, mixtures, sources);
                let mut network =
                    EntropyMaximisation::new(&Host::<f64>::new(), &own, &mut init).unwrap();
                let mut plain = Plain {
                    w: square(&named(&network, "y.weight"), mixtures),
                    mean: vec![0.0; sources],
                    c: square(&named(&network, "covariance"), sources),
                    precision: 20.0,
                    kept: 0.9,
                    exact,
                    domain,
                    rate: 0.05,
                    steps: 30,
                };
                for (step, lr) in [0.05; 12].into_iter().chain([0.02; 12]).enumerate() {
                    let x: HostTensor<f64> = init.uniform(&[1, mixtures], 1.5).unwrap();
                    if step == 12 {
                        // Saved numbers, loaded into another network, which goes on.
                        let mut other =
                            EntropyMaximisation::new(&Host::<f64>::new(), &own, &mut Init::new(99))
                                .unwrap();
                        for name in ["y.weight", "mean", "covariance"] {
                            let id = network.graph().parameter(name).unwrap();
                            let value = network.graph().parameters()[id.index()].clone();
                            other.graph_mut().set_parameter(id, value).unwrap();
                        }
                        network = other;
                    }
                    let seen = network.separate(&x).unwrap();
                    let mut sgd = Sgd::new(lr / 20.0).unwrap();
                    let found =
                        network.learn(&x, |graph, g| sgd.step(graph.parameters_mut(), g)).unwrap();
                    assert_eq!(seen, found);
                    let what = format!("{domain:?}, exact: {exact}, sample {step}");
                    near(found.data(), &plain.learn(x.data(), lr), 1e-12, &what);
                    near(&named(&network, "y.weight"), &plain.w.concat(), 1e-12, &what);
                    near(&named(&network, "mean"), &plain.mean, 1e-12, &what);
                    near(&named(&network, "covariance"), &plain.c.concat(), 1e-12, &what);
                }
                plain.exact = !exact;
                let x: HostTensor<f64> = init.uniform(&[1, mixtures], 1.5).unwrap();
                let other = plain.separate(x.data());
                let own = network.separate(&x).unwrap();
                let distances = own.data().iter().zip(&other).map(|(a, b)| (a - b).abs());
                apart = distances.fold(apart, f64::max);
            }
        }
    }
    // The two slopes are not one.
    assert!(apart > 1e-6, "{apart}");
}

/// The slope of the entropy at a sample, less what log det C asks for: at the covariance
/// `[0.3, off; off, 0.5]`, the largest difference.
fn missed(exact: bool, off: f64) -> f64 {
    let own = settings(Domain::Antisparse, exact, 3, 2);
    let mut network =
        EntropyMaximisation::new(&Host::<f64>::new(), &own, &mut Init::new(3)).unwrap();
    let graph = network.graph_mut();
    let c = [0.3, off, off, 0.5];
    let id = graph.parameter("covariance").unwrap();
    graph.set_parameter(id, HostTensor::new(&[2, 2], c.to_vec()).unwrap()).unwrap();
    let (x, y) = (graph.vertex("x").unwrap(), graph.vertex("y").unwrap());
    let e = [0.4, -0.7];
    let clamps = Clamps::new()
        .hold(x, HostTensor::zeroed(&[1, 3]).unwrap())
        .hold(y, HostTensor::new(&[1, 2], e.to_vec()).unwrap());
    let mut relaxation = Relaxation::new(graph, Schedule::standard(0.1, 1).unwrap()).unwrap();
    relaxation.ask_forces(graph, &[y]).unwrap();
    relaxation.infer(graph, &clamps).unwrap();
    let force = relaxation.force(y).unwrap().to_vec();
    // 1/2 log det (C + t e e^T) has the slope t C^-1 e in e, as t goes to 0.
    let determinant = c[0] * c[3] - c[1] * c[2];
    let slope =
        [(c[3] * e[0] - c[1] * e[1]) / determinant, (c[0] * e[1] - c[2] * e[0]) / determinant];
    // The weights see nothing, so the other force on `y` is `-20 y`.
    (0..2).map(|k| (force[k] + 20.0 * e[k] - slope[k]).abs()).fold(0.0, f64::max)
}

/// The slope is that of `1/2 log det C`: the exact one to second order in what lies off the
/// diagonal, the truncated one to first order.
#[test]
fn the_slope_is_that_of_the_log_determinant() {
    let falls = |exact| missed(exact, 0.01) / missed(exact, 0.001);
    let (exact, truncated) = (falls(true), falls(false));
    assert!(missed(true, 0.01) < 1e-4 && (800.0..1200.0).contains(&exact), "{exact}");
    assert!(missed(false, 0.01) < 1e-1 && (80.0..120.0).contains(&truncated), "{truncated}");
}

/// Sources, and what was found of them.
type Pair = (Vec<f64>, Vec<f64>);

/// Two sparse sources (Laplace draws, moved into the l1 ball) come apart.
#[test]
fn mixed_sources_are_found() {
    let schedule = Schedule::standard(0.05, 50).unwrap().paced(Pace::Inverse(1.0)).unwrap();
    let own = Unmixing::new(3, 2, Domain::Sparse).unwrap().schedule(schedule.unbounded());
    let mut network =
        EntropyMaximisation::new(&Host::<f64>::new(), &own, &mut Init::new(1)).unwrap();
    let start = HostTensor::new(&[2, 3], vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0]).unwrap();
    let graph = network.graph_mut();
    graph.set_parameter(graph.parameter("y.weight").unwrap(), start).unwrap();
    let mut init = Init::new(2);
    let mut sgd = Sgd::new(0.05 / 150.0).unwrap();
    let mut pairs: Vec<Pair> = Vec::new();
    for sample in 0..2000 {
        let drawn: HostTensor<f64> = init.uniform(&[2], 1.0).unwrap();
        let laplace = drawn.data().iter().map(|u| -u.signum() * (1.0 - u.abs()).ln());
        let mut s: Vec<f64> = laplace.collect();
        project(Domain::Sparse, &mut s, 0.0);
        let x = vec![s[0] + 0.5 * s[1], 0.8 * s[1] - 0.3 * s[0], 0.6 * s[0] + 0.4 * s[1]];
        let x = HostTensor::new(&[1, 3], x).unwrap();
        let y = network.learn(&x, |graph, g| sgd.step(graph.parameters_mut(), g)).unwrap();
        if sample >= 1500 {
            pairs.push((s, y.data().to_vec()));
        }
    }
    let alike = |i: usize, j: usize| {
        let sum = |of: &dyn Fn(&Pair) -> f64| pairs.iter().map(of).sum::<f64>();
        let (ss, yy) = (sum(&|p| p.0[i].powi(2)), sum(&|p| p.1[j].powi(2)));
        sum(&|p| p.0[i] * p.1[j]).abs() / (ss * yy).sqrt()
    };
    let straight = alike(0, 0).min(alike(1, 1));
    let crossed = alike(0, 1).min(alike(1, 0));
    assert!(straight.max(crossed) > 0.99, "{straight} {crossed}");
}

/// What a network finds and learns, on a backend.
fn learned<B: Backend>(backend: &B) -> Result<Vec<f64>> {
    let mut all = Vec::new();
    for domain in DOMAINS {
        let own = settings(domain, true, 4, 3);
        let mut init = Init::new(8);
        let mut network = EntropyMaximisation::new(backend, &own, &mut init)?;
        for _ in 0..5 {
            let x: HostTensor<f64> = init.uniform(&[2, 4], 1.0)?;
            let x = backend.tensor(x.dims(), x.data())?;
            let y = network.learn(&x, |graph, gradients| {
                for (own, (_, gradient)) in graph.parameters_mut().iter_mut().zip(gradients.iter())
                {
                    if let Some(gradient) = gradient {
                        own.axpy(-0.002, gradient);
                    }
                }
                Ok(())
            })?;
            all.extend(y.to_vec());
        }
        all.extend(named(&network, "covariance"));
    }
    Ok(all)
}

#[test]
fn host_in_f32() {
    let wanted = learned(&Host::<f64>::new()).unwrap();
    near(&learned(&Host::<f32>::new()).unwrap(), &wanted, 1e-4, "f32");
}

#[cfg(feature = "burn")]
#[test]
fn burn() {
    use burn::tensor::{DType, Device};
    let wanted = learned(&Host::<f64>::new()).unwrap();
    let burn = pc_models::Burn::new(&Device::default(), DType::F64);
    near(&learned(&burn).unwrap(), &wanted, 1e-10, "Burn");
}

#[cfg(feature = "tch")]
#[test]
fn libtorch() {
    let wanted = learned(&Host::<f64>::new()).unwrap();
    let tch = pc_models::Tch::new(tch::Kind::Double, tch::Device::Cpu);
    near(&learned(&tch).unwrap(), &wanted, 1e-10, "libtorch");
}

#[test]
fn what_does_not_fit_is_named() {
    let host = Host::<f64>::new();
    let new = |own: &Unmixing| EntropyMaximisation::new(&host, own, &mut Init::new(0));
    let own = |mixtures, sources| Unmixing::new(mixtures, sources, Domain::Antisparse).unwrap();
    let message = |own: &Unmixing| new(own).unwrap_err().to_string();
    assert!(message(&own(0, 2)).contains("0 mixtures"));
    assert!(message(&own(3, 0)).contains("0 sources"));
    for share in [0.0, 1.0, f64::NAN] {
        assert!(message(&own(3, 2).memory(share)).contains("share"));
    }
    for variance in [0.0, f64::NAN, f64::INFINITY] {
        assert!(message(&own(3, 2).variance(variance)).contains("variance"));
    }
    assert!(message(&own(3, 2).precision(-1.0)).contains("precision"));
    assert!(new(&Unmixing::new(3, 2, Domain::SoftThreshold(0.0)).unwrap()).is_err());
    // What moves has an energy of its own, which frozen predictions do not know.
    let frozen = own(3, 2).schedule(Schedule::fixed_prediction(0.1, 5).unwrap());
    assert!(
        new(&frozen).is_err() || {
            let x = HostTensor::zeroed(&[1, 3]).unwrap();
            new(&frozen).unwrap().separate(&x).is_err()
        }
    );

    let mut network = new(&own(3, 2)).unwrap();
    let nothing = |_: &mut _, _: &_| Ok(());
    let wide = HostTensor::zeroed(&[1, 4]).unwrap();
    assert_eq!(network.learn(&wide, nothing).unwrap_err().kind(), ErrorKind::Shape);
    let bad = HostTensor::new(&[1, 3], vec![0.0, f64::NAN, 0.0]).unwrap();
    assert_eq!(network.learn(&bad, nothing).unwrap_err().kind(), ErrorKind::NotFinite);
    let graph = network.graph_mut();
    let covariance = graph.parameter("covariance").unwrap();
    graph.set_parameter(covariance, HostTensor::zeroed(&[2, 2]).unwrap()).unwrap();
    let x = HostTensor::zeroed(&[1, 3]).unwrap();
    let error = network.separate(&x).unwrap_err().to_string();
    assert!(error.contains("`y`") && error.contains("running variance"), "{error}");

    let free = Unmixing::new(3, 2, Domain::SoftThreshold(0.1)).unwrap();
    let wild = free.schedule(Schedule::standard(1e3, 300).unwrap());
    let ones = HostTensor::new(&[1, 3], vec![1.0; 3]).unwrap();
    let error = new(&wild).unwrap().separate(&ones).unwrap_err().to_string();
    assert!(error.contains("diverged"), "{error}");
}
