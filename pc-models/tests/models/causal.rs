//! Causal models beside the closed forms of linear-Gaussian ones, on generated diagrams.

use pc_core::{
    Activation, Clamps, Schedule, Tensor,
    host::{HostTensor, Init},
    rule::Anderson,
};
use pc_models::{Backend, Causal, Host, StructureSearch, Variable, acyclicity};

type T = HostTensor<f64>;

/// Numbers that a seed gives.
struct Draws(Init);

impl Draws {
    fn many(&mut self, count: usize) -> Vec<f64> {
        let drawn: T = self.0.uniform(&[count], 1.0).unwrap();
        drawn.data().to_vec()
    }

    fn one(&mut self) -> f64 {
        self.many(1)[0]
    }

    fn below(&mut self, n: usize) -> usize {
        (((self.one() + 1.0) / 2.0 * n as f64) as usize).min(n - 1)
    }
}

/// A diagram of `names.len()` variables, and the same as one system over all their numbers:
/// `x = w x + b + n`, with the variance of each `n`.
struct Linear {
    names: Vec<String>,
    /// By variable, where its numbers begin; and the end.
    starts: Vec<usize>,
    parents: Vec<Vec<usize>>,
    precisions: Vec<f64>,
    w: Vec<Vec<f64>>,
    b: Vec<f64>,
}

impl Linear {
    fn new(draws: &mut Draws) -> Self {
        let count = 3 + draws.below(4);
        let mut own = Self {
            names: (0..count).map(|k| format!("v{k}")).collect(),
            starts: vec![0],
            parents: Vec::new(),
            precisions: Vec::new(),
            w: Vec::new(),
            b: Vec::new(),
        };
        for k in 0..count {
            own.starts.push(own.starts[k] + 1 + draws.below(2));
            own.parents.push((0..k).filter(|_| draws.one() > -0.2).collect());
            own.precisions.push(1.0 + 0.6 * draws.one());
        }
        let n = own.starts[count];
        own.w = vec![vec![0.0; n]; n];
        own.b = draws.many(n);
        for k in 0..count {
            for parent in own.parents[k].clone() {
                for row in own.starts[k]..own.starts[k + 1] {
                    for column in own.starts[parent]..own.starts[parent + 1] {
                        own.w[row][column] = 0.9 * draws.one();
                    }
                }
            }
        }
        own
    }

    fn model<B: Backend>(&self, backend: &B) -> Causal<B> {
        let parents: Vec<Vec<&str>> = self
            .parents
            .iter()
            .map(|own| own.iter().map(|k| self.names[*k].as_str()).collect())
            .collect();
        let diagram: Vec<Variable<'_>> = (0..self.names.len())
            .map(|k| {
                let width = self.starts[k + 1] - self.starts[k];
                Variable::new(&self.names[k], width, &parents[k]).precision(self.precisions[k])
            })
            .collect();
        let schedule = Schedule::standard(0.05, 200_000).unwrap().until(1e-13).unwrap();
        let schedule = schedule.ruled_by(Anderson::new(6).unwrap());
        let f = Activation::Identity;
        let mut model = Causal::new(backend, &diagram, f, schedule, &mut Init::new(0)).unwrap();
        let mut set = |name: &str, shape: &[usize], numbers: &[f64]| {
            let id = model.graph().parameter(name).unwrap();
            let numbers = backend.tensor(shape, numbers).unwrap();
            model.graph_mut().set_parameter(id, numbers).unwrap();
        };
        for (k, name) in self.names.iter().enumerate() {
            let own = self.starts[k]..self.starts[k + 1];
            set(&format!("{name}.bias"), &[own.len()], &self.b[own.clone()]);
            for (slot, parent) in self.parents[k].iter().enumerate() {
                let from = self.starts[*parent]..self.starts[parent + 1];
                let several =
                    if self.parents[k].len() > 1 { format!(".{slot}") } else { String::new() };
                let numbers: Vec<f64> =
                    own.clone().flat_map(|row| self.w[row][from.clone()].to_vec()).collect();
                set(&format!("{name}.weight{several}"), &[own.len(), from.len()], &numbers);
            }
        }
        model
    }

    fn numbers(&self) -> usize {
        self.b.len()
    }

    fn variance(&self, number: usize) -> f64 {
        let k = self.starts.iter().rposition(|start| *start <= number).unwrap();
        1.0 / self.precisions[k]
    }

    /// With what is set: the mean, and `(I - w)^-1`, where rows of what is set are cut.
    fn mutilated(&self, set: &[Option<f64>]) -> (Vec<f64>, Vec<Vec<f64>>) {
        let n = self.numbers();
        let system: Vec<Vec<f64>> = (0..n)
            .map(|row| {
                let w = |column: usize| if set[row].is_some() { 0.0 } else { self.w[row][column] };
                (0..n).map(|c| f64::from(u8::from(row == c)) - w(c)).collect()
            })
            .collect();
        let columns: Vec<Vec<f64>> = (0..n)
            .map(|k| {
                solve(&system, &(0..n).map(|r| f64::from(u8::from(r == k))).collect::<Vec<_>>())
            })
            .collect();
        let inverse: Vec<Vec<f64>> =
            (0..n).map(|row| columns.iter().map(|column| column[row]).collect()).collect();
        let right: Vec<f64> = (0..n).map(|row| set[row].unwrap_or(self.b[row])).collect();
        (times(&inverse, &right), inverse)
    }

    /// The mean of all noise given what is seen where some is set.
    fn noise(&self, seen: &[Option<f64>], set: &[Option<f64>]) -> Vec<f64> {
        let n = self.numbers();
        let (mean, a) = self.mutilated(set);
        let variance: Vec<f64> =
            (0..n).map(|k| if set[k].is_some() { 0.0 } else { self.variance(k) }).collect();
        let rows: Vec<usize> = (0..n).filter(|k| seen[*k].is_some()).collect();
        // E[n | x_O] = D A_O^T (A_O D A_O^T)^-1 (x_O - mean_O).
        let s: Vec<Vec<f64>> = rows
            .iter()
            .map(|i| {
                let with =
                    |j: &usize| (0..n).map(|k| a[*i][k] * variance[k] * a[*j][k]).sum::<f64>();
                rows.iter().map(with).collect()
            })
            .collect();
        let off: Vec<f64> = rows.iter().map(|k| seen[*k].unwrap() - mean[*k]).collect();
        let weights = if rows.is_empty() { Vec::new() } else { solve(&s, &off) };
        (0..n)
            .map(|k| {
                variance[k] * rows.iter().zip(&weights).map(|(i, w)| a[*i][k] * w).sum::<f64>()
            })
            .collect()
    }

    /// All values of this noise where some is set.
    fn values(&self, noise: &[f64], set: &[Option<f64>]) -> Vec<f64> {
        let (mean, a) = self.mutilated(set);
        let cut: Vec<f64> =
            noise.iter().zip(set).map(|(n, set)| if set.is_some() { 0.0 } else { *n }).collect();
        mean.iter().zip(times(&a, &cut)).map(|(m, n)| m + n).collect()
    }

    /// Clamps of a batch: of each sample what is seen, and what is set. Which numbers are is the
    /// same in all samples of a variable that is not clamped in parts.
    fn clamps<B: Backend>(
        &self,
        backend: &B,
        model: &Causal<B>,
        seen: &[Vec<Option<f64>>],
        set: &[Vec<Option<f64>>],
    ) -> Clamps<B::Tensor> {
        let mut clamps = Clamps::new().of_batch(seen.len());
        for (k, name) in self.names.iter().enumerate() {
            let vertex = model.graph().vertex(name).unwrap();
            let own = self.starts[k]..self.starts[k + 1];
            let rows = |of: &[Vec<Option<f64>>]| -> Vec<Option<f64>> {
                of.iter().flat_map(|row| row[own.clone()].to_vec()).collect()
            };
            let (seen, set) = (rows(seen), rows(set));
            let tensor = |numbers: &[f64]| {
                backend.tensor(&[numbers.len() / own.len(), own.len()], numbers).unwrap()
            };
            let both: Vec<f64> =
                seen.iter().zip(&set).map(|(a, b)| a.or(*b).unwrap_or(0.0)).collect();
            let mask = |of: &[Option<f64>]| {
                tensor(&of.iter().map(|x| f64::from(u8::from(x.is_some()))).collect::<Vec<_>>())
            };
            clamps = match () {
                () if seen.iter().all(Option::is_some) => clamps.hold(vertex, tensor(&both)),
                () if set.iter().all(Option::is_some) => clamps.intervene(vertex, tensor(&both)),
                () if set.iter().any(Option::is_some) => {
                    clamps.intervene_part(vertex, tensor(&both), mask(&seen), mask(&set))
                }
                () if seen.iter().any(Option::is_some) => {
                    clamps.mask(vertex, tensor(&both), mask(&seen))
                }
                () => clamps,
            };
        }
        clamps
    }

    fn read<T: Tensor>(&self, world: &pc_models::World<T>) -> Vec<Vec<f64>> {
        let first = world.iter().next().unwrap().1;
        (0..first.batch())
            .map(|sample| {
                world
                    .iter()
                    .flat_map(|(_, value)| {
                        let width = value.shape()[1];
                        value.to_vec()[sample * width..(sample + 1) * width].to_vec()
                    })
                    .collect()
            })
            .collect()
    }
}

fn times(a: &[Vec<f64>], x: &[f64]) -> Vec<f64> {
    a.iter().map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum()).collect()
}

/// Gaussian elimination with pivots.
fn solve(a: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let n = right.len();
    let mut rows: Vec<Vec<f64>> =
        a.iter().zip(right).map(|(row, x)| [row.clone(), vec![*x]].concat()).collect();
    for k in 0..n {
        let pivot = (k..n).max_by(|i, j| rows[*i][k].abs().total_cmp(&rows[*j][k].abs())).unwrap();
        rows.swap(k, pivot);
        let head = rows[k].clone();
        for (i, row) in rows.iter_mut().enumerate().filter(|(i, _)| *i != k) {
            let factor = row[k] / head[k];
            assert!(factor.is_finite(), "row {i}");
            row.iter_mut().zip(&head).for_each(|(x, h)| *x -= factor * h);
        }
    }
    (0..n).map(|k| rows[k][n] / rows[k][k]).collect()
}

/// Which numbers of a sample are seen (1), set (2) or neither, by number.
fn pattern(draws: &mut Draws, n: usize) -> Vec<usize> {
    (0..n).map(|_| draws.below(4).min(2)).collect()
}

fn chosen(pattern: &[usize], which: usize, values: &[f64]) -> Vec<Option<f64>> {
    pattern.iter().zip(values).map(|(p, x)| (*p == which).then_some(*x)).collect()
}

fn largest(found: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let mut worst: f64 = 0.0;
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).is_finite());
            worst = worst.max((a - b).abs());
        }
    }
    worst
}

/// Conditionals, interventions and counterfactuals of generated diagrams: how far each is off.
fn differences<B: Backend>(backend: &B, seeds: std::ops::Range<u64>) -> [f64; 4] {
    let mut worst = [0.0_f64; 4];
    for seed in seeds {
        let mut draws = Draws(Init::new(seed));
        let linear = Linear::new(&mut draws);
        let n = linear.numbers();
        let mut model = linear.model(backend);
        // Twice, with a batch of another size and others that are clamped.
        for batch in [3, 2] {
            let none = vec![vec![None; n]; batch];
            let (first, second) = (pattern(&mut draws, n), pattern(&mut draws, n));
            let values: Vec<Vec<f64>> = (0..batch).map(|_| draws.many(n)).collect();
            let of = |pattern: &[usize], which: usize| -> Vec<Vec<Option<f64>>> {
                values.iter().map(|values| chosen(pattern, which, values)).collect()
            };
            let (seen, set, action) = (of(&first, 1), of(&first, 2), of(&second, 2));
            let each = |seen: &[Vec<Option<f64>>], set: &[Vec<Option<f64>>]| -> Vec<Vec<f64>> {
                let pairs = seen.iter().zip(set);
                pairs.map(|(s, d)| linear.values(&linear.noise(s, d), d)).collect()
            };
            for (k, (seen, set)) in
                [(&seen, &none), (&none, &set), (&seen, &set)].iter().enumerate()
            {
                let clamps = linear.clamps(backend, &model, seen, set);
                let found = linear.read(&model.query(&clamps).unwrap());
                worst[k] = worst[k].max(largest(&found, &each(seen, set)));
            }
            let evidence = linear.clamps(backend, &model, &seen, &set);
            let act = linear.clamps(backend, &model, &none, &action);
            let found = linear.read(&model.counterfactual(&evidence, &act).unwrap());
            let expected: Vec<Vec<f64>> = (0..batch)
                .map(|k| linear.values(&linear.noise(&seen[k], &set[k]), &action[k]))
                .collect();
            worst[3] = worst[3].max(largest(&found, &expected));
        }
    }
    worst
}

#[test]
fn linear_models_are_their_closed_forms() {
    let worst = differences(&Host::<f64>::new(), 0..40);
    println!(
        "off by at most: seen {:e}, set {:e}, both {:e}, counterfactual {:e}",
        worst[0], worst[1], worst[2], worst[3]
    );
    for (what, worst) in ["seen", "set", "both", "counterfactual"].iter().zip(worst) {
        assert!(worst <= 1e-9, "{what}: {worst:e}");
    }
}

#[cfg(feature = "burn")]
#[test]
fn burn() {
    use burn::tensor::{DType, Device};
    let burn = pc_models::Burn::new(&Device::default(), DType::F64);
    let worst = differences(&burn, 0..3);
    assert!(worst.iter().all(|off| *off <= 1e-9), "{worst:?}");
}

#[cfg(feature = "tch")]
#[test]
fn libtorch() {
    let tch = pc_models::Tch::new(tch::Kind::Double, tch::Device::Cpu);
    let worst = differences(&tch, 0..3);
    assert!(worst.iter().all(|off| *off <= 1e-9), "{worst:?}");
}

/// Of mechanisms that are not linear, a counterfactual of what is seen whole is exact, too.
#[test]
fn a_counterfactual_of_a_world_that_is_seen_whole_is_exact() {
    let host = Host::<f64>::new();
    let diagram = [
        Variable::new("a", 1, &[]),
        Variable::new("b", 2, &["a"]),
        Variable::new("c", 1, &["a", "b"]),
    ];
    for seed in 0..5 {
        let mut init = Init::new(seed);
        let schedule = Schedule::standard(0.1, 50).unwrap();
        let mut model =
            Causal::new(&host, &diagram, Activation::Tanh, schedule, &mut init).unwrap();
        let x: Vec<f64> = init.uniform::<f64>(&[5], 1.0).unwrap().data().to_vec();
        let p: Vec<Vec<f64>> = model.graph().parameters().iter().map(Tensor::to_vec).collect();
        let names: Vec<String> =
            model.graph().named_parameters().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(names, ["a.bias", "b.weight", "b.bias", "c.weight.0", "c.weight.1", "c.bias"]);
        let b = |a: f64, n: [f64; 2]| [0, 1].map(|k| p[1][k] * a.tanh() + p[2][k] + n[k]);
        let c = |a: f64, b: [f64; 2], n: f64| {
            p[3][0] * a.tanh() + p[4][0] * b[0].tanh() + p[4][1] * b[1].tanh() + p[5][0] + n
        };
        let zero = b(x[0], [0.0; 2]);
        let noise_b = [x[1] - zero[0], x[2] - zero[1]];
        let noise_c = x[3] - c(x[0], [x[1], x[2]], 0.0);
        let expected = {
            let own = b(x[4], noise_b);
            // The first number of `b` is set as well.
            let own = [0.25, own[1]];
            [x[4], own[0], own[1], c(x[4], own, noise_c)]
        };
        let of = |name: &str| model.graph().vertex(name).unwrap();
        let row = |numbers: &[f64]| host.tensor(&[1, numbers.len()], numbers).unwrap();
        let evidence = Clamps::new()
            .hold(of("a"), row(&x[..1]))
            .hold(of("b"), row(&x[1..3]))
            .hold(of("c"), row(&x[3..4]));
        let action = Clamps::new().intervene(of("a"), row(&x[4..])).intervene_part(
            of("b"),
            row(&[0.25, 9.0]),
            row(&[0.0, 0.0]),
            row(&[1.0, 0.0]),
        );
        let world = model.counterfactual(&evidence, &action).unwrap();
        let found: Vec<f64> = world.iter().flat_map(|(_, value)| value.to_vec()).collect();
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{found:?}, not {expected:?}");
        }
        assert_eq!(found.len(), 4);
    }
}

/// Mechanisms learn from experiments: of what is set, nothing.
#[test]
fn gradients_are_those_of_mechanisms_that_were_left_alone() {
    let host = Host::<f64>::new();
    let diagram = [Variable::new("a", 1, &[]), Variable::new("b", 1, &["a"]).precision(2.0)];
    let schedule = Schedule::standard(0.1, 5).unwrap();
    let mut model =
        Causal::new(&host, &diagram, Activation::Identity, schedule, &mut Init::new(1)).unwrap();
    let (a, b) = (model.graph().vertex("a").unwrap(), model.graph().vertex("b").unwrap());
    let w = model.graph().parameters()[1].to_vec()[0];
    let batch = |x: &[f64]| host.tensor(&[x.len(), 1], x).unwrap();
    let clamps = Clamps::new().intervene(a, batch(&[1.0, -2.0])).hold(b, batch(&[0.5, 3.0]));
    let mut learned = Vec::new();
    model
        .learn(&clamps, |_, gradients| {
            learned = gradients.iter().map(|(_, g)| g.map(Tensor::to_vec)).collect();
            Ok(())
        })
        .unwrap();
    // Of `a.bias`, `b.weight`, `b.bias`.
    assert!(learned[0].as_ref().is_none_or(|g| g == &[0.0]));
    let e = [0.5 - w, 3.0 + 2.0 * w];
    let close = |x: &Option<Vec<f64>>, y: f64| (x.as_ref().unwrap()[0] - y).abs() < 1e-12;
    assert!(close(&learned[1], -2.0 * (e[0] - 2.0 * e[1])));
    assert!(close(&learned[2], -2.0 * (e[0] + e[1])));
}

#[test]
fn acyclicity_is_zero_where_there_is_no_cycle_and_its_slope_is_a_difference() {
    let mut draws = Draws(Init::new(5));
    for d in 1..6 {
        let w = draws.many(d * d);
        let lower: Vec<f64> =
            w.iter().enumerate().map(|(k, w)| if k / d > k % d { *w } else { 0.0 }).collect();
        let (none, flat) = acyclicity(d, &lower).unwrap();
        assert!(none.abs() < 1e-13, "{none}");
        assert!(flat.iter().all(|x| x.is_finite()));
        let (h, slope) = acyclicity(d, &w).unwrap();
        assert!(h > 0.0);
        for k in 0..d * d {
            let moved = |by: f64| {
                let mut w = w.clone();
                w[k] += by;
                acyclicity(d, &w).unwrap().0
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((difference - slope[k]).abs() < 1e-8 * (1.0 + slope[k].abs()), "{d}, {k}");
        }
    }
}

#[test]
fn a_searchs_gradients_are_those_of_all_that_it_minimises() {
    let host = Host::<f64>::new();
    let mut draws = Draws(Init::new(6));
    let data = host.tensor(&[7, 3], &draws.many(21)).unwrap();
    let mut search = StructureSearch::new(
        &host,
        &["a", "b", "c"],
        Activation::Identity,
        0.05,
        &mut Init::new(0),
    )
    .unwrap();
    search.tighten(4.0).unwrap();
    let mut multiplier = 0.0;
    let mut penalty = 4.0;
    for _ in 0..3 {
        let mut learned = Vec::new();
        let step = draws.many(9);
        let before = search.weights();
        search
            .learn(&data, |graph, gradients| {
                learned = gradients.iter().next().unwrap().1.unwrap().to_vec();
                let to: Vec<f64> = (0..9)
                    .map(|k| if k % 4 == 0 { 0.0 } else { before[k] + 0.4 * step[k] })
                    .collect();
                graph.parameters_mut()[0] = HostTensor::new(&[3, 3], to).unwrap();
                Ok(())
            })
            .unwrap();
        let minimised = |w: &[f64]| {
            let (h, _) = acyclicity(3, w).unwrap();
            let error = |row: &[f64]| {
                let e = |i: usize| row[i] - (0..3).map(|j| w[3 * i + j] * row[j]).sum::<f64>();
                (0..3).map(|i| 0.5 * e(i) * e(i)).sum::<f64>()
            };
            data.data().chunks(3).map(error).sum::<f64>() / 7.0
                + 0.05 * w.iter().map(|w| w.abs()).sum::<f64>()
                + multiplier * h
                + 0.5 * penalty * h * h
        };
        for k in (0..9).filter(|k| k % 4 != 0) {
            let moved = |by: f64| {
                let mut w = before.clone();
                w[k] += by;
                minimised(&w)
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((difference - learned[k]).abs() < 1e-7, "{k}: {difference}, {}", learned[k]);
        }
        let (h, _) = acyclicity(3, &search.weights()).unwrap();
        multiplier += penalty * h;
        penalty *= 2.0;
        assert!((search.tighten(2.0).unwrap() - h).abs() < 1e-15);
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let host = Host::<f64>::new();
    let new = |diagram: &[Variable<'_>]| {
        let schedule = Schedule::standard(0.1, 50).unwrap();
        Causal::new(&host, diagram, Activation::Identity, schedule, &mut Init::new(0))
    };
    let says = |error: pc_core::Error, what: &str| {
        assert!(error.to_string().contains(what), "{error}");
    };
    let (a, b) = (Variable::new("a", 1, &[]), Variable::new("b", 1, &["a"]));
    says(new(&[]).unwrap_err(), "no predictions");
    says(new(&[b, a]).unwrap_err(), "its cause `a` does not come before it");
    says(new(&[a, a]).unwrap_err(), "taken");
    says(new(&[a, Variable::new("c", 1, &["a", "a"])]).unwrap_err(), "named twice");
    says(new(&[a.precision(-1.0)]).unwrap_err(), "a");
    says(new(&[Variable::new("a", 0, &[])]).unwrap_err(), "a");
    let mut model = new(&[a, b]).unwrap();
    let vertex = model.graph().vertex("b").unwrap();
    let seen = Clamps::new().hold(vertex, HostTensor::zeroed(&[2, 1]).unwrap());
    says(model.query(&Clamps::new()).unwrap_err(), "no vertex is clamped");
    says(model.counterfactual(&seen, &seen).unwrap_err(), "an action intervenes");
    let other = Clamps::new().intervene(vertex, HostTensor::zeroed(&[3, 1]).unwrap());
    assert!(model.counterfactual(&seen, &other).is_err());
    says(model.query(&seen).unwrap().get("c").unwrap_err(), "there are a, b");
    says(acyclicity(2, &[0.0; 3]).unwrap_err(), "3 weights");
    says(acyclicity(0, &[]).unwrap_err(), "0 rows");
    let search = |names: &[&str], sparsity| {
        StructureSearch::new(&host, names, Activation::Identity, sparsity, &mut Init::new(0))
    };
    says(search(&["a"], 0.1).unwrap_err(), "two variables");
    says(search(&["a", "b"], f64::NAN).unwrap_err(), "sparsity");
    let mut own = search(&["a", "b"], 0.1).unwrap();
    says(own.tighten(0.5).unwrap_err(), "at least 1");
    let wrong = HostTensor::zeroed(&[2, 3]).unwrap();
    says(own.learn(&wrong, |_, _| Ok(())).unwrap_err(), "graph of 2 neurons");
}
