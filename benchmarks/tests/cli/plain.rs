//! Predictive coding of a chain written out plainly, sample by sample in f64: shares no code with
//! the program.

/// One net and its batch.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    pub(crate) activation: &'static str,
    /// Widths, input first.
    pub(crate) widths: Vec<usize>,
    /// `[out][in]` by layer.
    pub(crate) weights: Vec<Vec<Vec<f64>>>,
    pub(crate) biases: Vec<Vec<f64>>,
    pub(crate) x: Vec<Vec<f64>>,
    pub(crate) y: Vec<Vec<f64>>,
}

/// What relaxation and learning come to, summed over the batch but for the values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub(crate) weights: Vec<Vec<f64>>,
    pub(crate) biases: Vec<Vec<f64>>,
    pub(crate) energy: Vec<f64>,
    pub(crate) values: Vec<Vec<f64>>,
}

type Vectors = Vec<Vec<f64>>;

fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / (2 * n + 1) as f64;
        sum += term;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

fn function(name: &str, u: f64) -> (f64, f64) {
    match name {
        "identity" => (u, 1.0),
        "tanh" => (u.tanh(), 1.0 - u.tanh().powi(2)),
        "sigmoid" => {
            let s = 1.0 / (1.0 + (-u).exp());
            (s, s * (1.0 - s))
        }
        "relu" => (u.max(0.0), if u > 0.0 { 1.0 } else { 0.0 }),
        "gelu" => {
            let cdf = 0.5 * (1.0 + erf(u / 2f64.sqrt()));
            (u * cdf, cdf + u * (-u * u / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt())
        }
        other => panic!("no function {other}"),
    }
}

/// `J^T e`, with `e * slope` through a weight.
fn pull(weight: &[Vec<f64>], slope: &[f64], e: &[f64]) -> Vec<f64> {
    (0..weight[0].len())
        .map(|j| (0..e.len()).map(|i| e[i] * slope[i] * weight[i][j]).sum())
        .collect()
}

impl Plain {
    /// Numbers from sines, none of them special.
    pub(crate) fn new(activation: &'static str, widths: &[usize], batch: usize) -> Self {
        let mut count = 0.0;
        let mut next = |scale: f64| {
            count += 1.0;
            scale * (1.3 * count + 0.7 * f64::sin(count)).sin()
        };
        let mut many = |n: usize, scale: f64| (0..n).map(|_| next(scale)).collect::<Vec<f64>>();
        let weights =
            widths.windows(2).map(|w| (0..w[1]).map(|_| many(w[0], 0.6)).collect()).collect();
        let biases = widths[1..].iter().map(|w| many(*w, 0.3)).collect();
        let x = (0..batch).map(|_| many(widths[0], 1.0)).collect();
        let y = (0..batch).map(|_| many(widths[widths.len() - 1], 1.0)).collect();
        Self { activation, widths: widths.to_vec(), weights, biases, x, y }
    }

    fn layers(&self) -> usize {
        self.weights.len()
    }

    /// The prediction of layer `l` and its slope.
    fn predict(&self, l: usize, z: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let name = if l + 1 == self.layers() { "identity" } else { self.activation };
        let rows = self.weights[l].iter().zip(&self.biases[l]);
        rows.map(|(row, b)| function(name, b + row.iter().zip(z).map(|(w, z)| w * z).sum::<f64>()))
            .unzip()
    }

    /// Predictions of all layers from their inputs.
    fn predictions(&self, z: &[Vec<f64>]) -> (Vectors, Vectors) {
        (0..self.layers()).map(|l| self.predict(l, &z[l])).unzip()
    }

    /// Input and all layers' outputs of a pass forward, with offsets added to all but the last.
    fn forward(&self, x: &[f64], offsets: &[Vec<f64>]) -> Vectors {
        let mut z = vec![x.to_vec()];
        for l in 0..self.layers() {
            let mut next = self.predict(l, &z[l]).0;
            if let Some(offset) = offsets.get(l) {
                next.iter_mut().zip(offset).for_each(|(n, o)| *n += o);
            }
            z.push(next);
        }
        z
    }

    fn learn(&self, found: &mut Found, l: usize, e: &[f64], slope: &[f64], input: &[f64]) {
        for (i, (e, slope)) in e.iter().zip(slope).enumerate() {
            found.biases[l][i] -= e * slope;
            for (j, z) in input.iter().enumerate() {
                found.weights[l][i * input.len() + j] -= e * slope * z;
            }
        }
    }

    fn empty(&self, steps: usize) -> Found {
        Found {
            weights: self.widths.windows(2).map(|w| vec![0.0; w[0] * w[1]]).collect(),
            biases: self.widths[1..].iter().map(|w| vec![0.0; *w]).collect(),
            energy: vec![0.0; steps + 1],
            values: vec![Vec::new(); self.layers()],
        }
    }

    fn keep_values(found: &mut Found, z: &[Vec<f64>]) {
        found.values.iter_mut().zip(&z[1..]).for_each(|(all, one)| all.extend(one));
    }

    /// Fixed prediction (`frozen`), standard PC, and Z-IL (`at_level`).
    pub(crate) fn states(&self, rate: f64, steps: usize, frozen: bool, at_level: bool) -> Found {
        let (layers, mut found) = (self.layers(), self.empty(steps));
        for (x, y) in self.x.iter().zip(&self.y) {
            let start = self.forward(x, &[]);
            let mut z = start.clone();
            z[layers].clone_from(y);
            for step in 0..=steps {
                let inputs = if frozen { &start } else { &z };
                let (mu, slopes) = self.predictions(inputs);
                let e: Vectors = (0..layers)
                    .map(|l| z[l + 1].iter().zip(&mu[l]).map(|(z, mu)| z - mu).collect())
                    .collect();
                found.energy[step] += 0.5 * e.iter().flatten().map(|e| e * e).sum::<f64>();
                for l in 0..layers {
                    if if at_level { layers - 1 - l == step } else { step == steps } {
                        self.learn(&mut found, l, &e[l], &slopes[l], &inputs[l]);
                    }
                }
                if step < steps {
                    for l in 1..layers {
                        let force = pull(&self.weights[l], &slopes[l], &e[l]);
                        z[l].iter_mut()
                            .zip(e[l - 1].iter().zip(force))
                            .for_each(|(z, (e, f))| *z += rate * (f - e));
                    }
                }
            }
            Self::keep_values(&mut found, &z);
        }
        found
    }

    /// Error-based PC.
    pub(crate) fn errors(&self, rate: f64, steps: usize) -> Found {
        let (layers, mut found) = (self.layers(), self.empty(steps));
        for (x, y) in self.x.iter().zip(&self.y) {
            let mut e: Vectors = self.widths[1..layers].iter().map(|w| vec![0.0; *w]).collect();
            for step in 0..=steps {
                let z = self.forward(x, &e);
                let (_, slopes) = self.predictions(&z);
                let out: Vec<f64> = y.iter().zip(&z[layers]).map(|(y, mu)| y - mu).collect();
                found.energy[step] +=
                    0.5 * e.iter().flatten().chain(&out).map(|e| e * e).sum::<f64>();
                if step == steps {
                    for l in 0..layers {
                        self.learn(&mut found, l, e.get(l).unwrap_or(&out), &slopes[l], &z[l]);
                    }
                    let mut z = z;
                    z[layers].clone_from(y);
                    Self::keep_values(&mut found, &z);
                    break;
                }
                let mut delta = out;
                for l in (0..layers - 1).rev() {
                    delta = pull(&self.weights[l + 1], &slopes[l + 1], &delta);
                    e[l].iter_mut().zip(&delta).for_each(|(e, d)| *e += rate * (d - *e));
                }
            }
        }
        found
    }
}
