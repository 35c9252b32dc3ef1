//! Temporal PC beside closed forms and plain programs, and what the filter has to do with Kalman's.

use pc_core::{
    Activation, ErrorKind, Result, Schedule, Tensor,
    host::{HostTensor, Init, Sgd},
};
use pc_models::{Backend, Host, Kalman, Temporal, TemporalPc, to_signs};

type Matrix = Vec<Vec<f64>>;

fn drawn(init: &mut Init, shape: &[usize], bound: f64) -> HostTensor<f64> {
    init.uniform(shape, bound).unwrap()
}

fn rows(tensor: &HostTensor<f64>) -> Matrix {
    tensor.data().chunks(tensor.dims()[1]).map(<[f64]>::to_vec).collect()
}

fn times(a: &Matrix, x: &[f64]) -> Vec<f64> {
    a.iter().map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum()).collect()
}

fn transposed(a: &Matrix) -> Matrix {
    (0..a[0].len()).map(|k| a.iter().map(|row| row[k]).collect()).collect()
}

/// `x` with `a x = y`, by Gauss and Jordan.
fn solve(mut a: Matrix, mut y: Vec<f64>) -> Vec<f64> {
    let n = y.len();
    for k in 0..n {
        let pivot = (k..n).max_by(|i, j| a[*i][k].abs().total_cmp(&a[*j][k].abs())).unwrap();
        a.swap(k, pivot);
        y.swap(k, pivot);
        for i in (0..n).filter(|i| *i != k) {
            let factor = a[i][k] / a[k][k];
            let own = a[k].clone();
            a[i].iter_mut().zip(own).for_each(|(x, y)| *x -= factor * y);
            y[i] -= factor * y[k];
        }
    }
    (0..n).map(|k| y[k] / a[k][k]).collect()
}

/// `(I + C^T C)^-1 (C^T x + p)`.
fn settled(c: &Matrix, x: &[f64], p: &[f64]) -> Vec<f64> {
    let n = c[0].len();
    let gram = (0..n).map(|i| {
        (0..n).map(move |j| c.iter().map(|row| row[i] * row[j]).sum::<f64>() + f64::from(i == j))
    });
    let gram = gram.map(Iterator::collect).collect();
    let driven = times(&transposed(c), x);
    solve(gram, driven.iter().zip(p).map(|(a, b)| a + b).collect())
}

fn near(found: &[f64], wanted: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (a, b) in found.iter().zip(wanted) {
        assert!((a - b).abs() <= tolerance, "{what}: {a} and {b}");
    }
}

struct Filter {
    model: TemporalPc<Host<f64>>,
    a: Matrix,
    b: Matrix,
    c: Matrix,
}

/// A filter with drawn matrices.
fn filter(observed: usize, latent: usize, control: usize, seed: u64) -> Filter {
    let schedule = Schedule::standard(0.2, 10_000).unwrap().until(1e-12).unwrap();
    let own = Temporal::two_layers(observed, latent, schedule).controlled(control);
    let mut model = TemporalPc::new(&Host::new(), &own, &mut Init::new(seed)).unwrap();
    let mut init = Init::new(seed + 100);
    let a = drawn(&mut init, &[latent, latent], 0.5);
    let b = drawn(&mut init, &[latent, control], 1.0);
    let c = drawn(&mut init, &[observed, latent], 1.0);
    let matrices = (rows(&a), rows(&b), rows(&c));
    let graph = model.graph_mut();
    for (name, value) in [("latent.weight.0", a), ("latent.weight.1", b), ("observed.weight", c)] {
        graph.set_parameter(graph.parameter(name).unwrap(), value).unwrap();
    }
    let (a, b, c) = matrices;
    Filter { model, a, b, c }
}

impl Filter {
    fn predicted(&self, z: &[f64], u: &[f64]) -> Vec<f64> {
        times(&self.a, z).iter().zip(times(&self.b, u)).map(|(z, u)| z + u).collect()
    }
}

#[test]
fn the_filter_settles_at_its_closed_form_step_after_step() {
    for (case, (observed, latent, control, batch)) in
        [(3, 3, 1, 1), (2, 5, 3, 4), (6, 2, 1, 2), (1, 1, 2, 3)].into_iter().enumerate()
    {
        let mut own = filter(observed, latent, control, case as u64);
        let mut init = Init::new(7 + case as u64);
        let mut z = vec![vec![0.0; latent]; batch];
        for step in 0..6 {
            if step == 4 {
                // Other matrices and another state, in the middle of a sequence.
                let graph = own.model.graph_mut();
                let c = drawn(&mut init, &[observed, latent], 1.0);
                own.c = rows(&c);
                graph.set_parameter(graph.parameter("observed.weight").unwrap(), c).unwrap();
                let state = drawn(&mut init, &[batch, latent], 1.0);
                z = rows(&state);
                own.model.begin_from(state).unwrap();
            }
            let x = drawn(&mut init, &[batch, observed], 2.0);
            let u = drawn(&mut init, &[batch, control], 1.0);
            own.model.observe(&x, Some(&u)).unwrap();
            for ((z, x), u) in z.iter_mut().zip(rows(&x)).zip(rows(&u)) {
                *z = settled(&own.c, &x, &own.predicted(z, &u));
            }
            near(own.model.state().unwrap().data(), &z.concat(), 1e-9, "the filter");
            let expected = own.model.expected(Some(&u)).unwrap();
            let wanted: Vec<f64> = z
                .iter()
                .zip(rows(&u))
                .flat_map(|(z, u)| times(&own.c, &own.predicted(z, &u)))
                .collect();
            near(expected.data(), &wanted, 1e-9, "what is expected");
        }
    }
}

fn identity(n: usize) -> Matrix {
    (0..n).map(|i| (0..n).map(|j| f64::from(i == j)).collect()).collect()
}

fn kalman(own: &Filter, a: Matrix) -> Kalman {
    let (n, m) = (own.a.len(), own.c.len());
    let (b, c) = (own.b.clone(), own.c.clone());
    let nothing = vec![vec![0.0; n]; n];
    Kalman::new(a, b, c, identity(n), identity(m), vec![0.0; n], nothing).unwrap()
}

/// Where the last state is known, the filter is Kalman's: at the first step, and at every step if
/// states do not depend on those before. Otherwise Kalman's is better, for it knows how far it may
/// trust its own past.
#[test]
fn the_filter_is_kalmans_where_the_past_is_known_and_worse_where_not() {
    for (case, (observed, latent)) in [(3, 3), (2, 4), (5, 2)].into_iter().enumerate() {
        let mut own = filter(observed, latent, 1, 20 + case as u64);
        let mut exact = kalman(&own, own.a.clone());
        let (x, u) = (vec![0.7; observed], vec![-0.4]);
        let tensor = |x: &[f64]| HostTensor::new(&[1, x.len()], x.to_vec()).unwrap();
        own.model.observe(&tensor(&x), Some(&tensor(&u))).unwrap();
        near(own.model.state().unwrap().data(), exact.step(&x, &u).unwrap(), 1e-9, "one step");
        own.model.observe(&tensor(&x), Some(&tensor(&u))).unwrap();
        let second = exact.step(&x, &u).unwrap();
        let apart = own.model.state().unwrap().data().iter().zip(second);
        assert!(apart.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) > 1e-4);

        own.a = vec![vec![0.0; latent]; latent];
        let none = HostTensor::zeroed(&[latent, latent]).unwrap();
        let graph = own.model.graph_mut();
        graph.set_parameter(graph.parameter("latent.weight.0").unwrap(), none).unwrap();
        own.model.begin();
        let mut exact = kalman(&own, own.a.clone());
        let mut init = Init::new(case as u64);
        for _ in 0..5 {
            let (x, u) = (drawn(&mut init, &[1, observed], 2.0), drawn(&mut init, &[1, 1], 1.0));
            own.model.observe(&x, Some(&u)).unwrap();
            let wanted = exact.step(x.data(), u.data()).unwrap();
            near(own.model.state().unwrap().data(), wanted, 1e-9, "without a past");
        }
    }

    // A process with noise, tracked by both.
    let mut own = filter(3, 3, 1, 40);
    let mut exact = kalman(&own, own.a.clone());
    let mut z = vec![0.0; 3];
    let mut missed = [0.0, 0.0];
    for step in 0..600_u64 {
        let mut noise = HostTensor::<f64>::zeroed(&[1, 6]).unwrap();
        noise.add_normal(1.0, step);
        let (process, seen) = noise.data().split_at(3);
        let u = [(0.1 * step as f64).sin()];
        z = own.predicted(&z, &u).iter().zip(process).map(|(z, n)| z + n).collect();
        let x: Vec<f64> = times(&own.c, &z).iter().zip(seen).map(|(x, n)| x + n).collect();
        let frame = HostTensor::new(&[1, 3], x.clone()).unwrap();
        let driven = HostTensor::new(&[1, 1], u.to_vec()).unwrap();
        own.model.observe(&frame, Some(&driven)).unwrap();
        let both = [own.model.state().unwrap().data(), exact.step(&x, &u).unwrap()];
        for (missed, found) in missed.iter_mut().zip(both) {
            *missed += found.iter().zip(&z).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / 600.0;
        }
    }
    assert!(missed[1] < missed[0] && missed[0] < 1.5 * missed[1], "{missed:?}");
}

/// `dW = sum e f(x_{t-1})^T`, frame by frame, and all transitions at once.
#[test]
fn one_layer_learns_as_a_plain_program() {
    type Shape = fn(f64) -> f64;
    let shapes: [(Activation, Shape); 3] = [
        (Activation::Identity, |x| x),
        (Activation::Tanh, f64::tanh),
        (Activation::Relu, |x| x.max(0.0)),
    ];
    for (case, (f, shape)) in shapes.into_iter().enumerate() {
        for (width, length, batch) in [(3, 5, 1), (7, 4, 3), (2, 9, 2)] {
            let own = Temporal::one_layer(width).activation(f);
            let mut init = Init::new(case as u64);
            let mut model = TemporalPc::new(&Host::<f64>::new(), &own, &mut init).unwrap();
            let frames: Vec<_> =
                (0..length).map(|_| drawn(&mut init, &[batch, width], 1.0)).collect();
            let mut w = rows(&model.graph().parameters()[0]);
            for rate in [0.1, 0.03] {
                let mut sgd = Sgd::new(rate).unwrap();
                let energy = model
                    .learn_sequence(&frames, |graph, g| sgd.step(graph.parameters_mut(), g))
                    .unwrap();
                let mut total = 0.0;
                for pair in frames.windows(2) {
                    let mut change = vec![vec![0.0; width]; width];
                    for (before, x) in rows(&pair[0]).iter().zip(rows(&pair[1])) {
                        let shaped: Vec<f64> = before.iter().map(|x| shape(*x)).collect();
                        for (k, u) in times(&w, &shaped).iter().enumerate() {
                            total += 0.5 * (x[k] - u).powi(2);
                            for (j, shaped) in shaped.iter().enumerate() {
                                change[k][j] += rate * (x[k] - u) * shaped;
                            }
                        }
                    }
                    for (w, change) in w.iter_mut().zip(&change) {
                        w.iter_mut().zip(change).for_each(|(w, change)| *w += change);
                    }
                }
                near(model.graph().parameters()[0].data(), &w.concat(), 1e-12, "weights");
                near(&[energy], &[total], 1e-12 * total.max(1.0), "the energy");
            }
            let recalled = model.recall_online(&frames).unwrap();
            for (found, before) in recalled.iter().zip(&frames) {
                for (found, before) in rows(found).iter().zip(rows(before)) {
                    let shaped: Vec<f64> = before.iter().map(|x| shape(*x)).collect();
                    near(found, &times(&w, &shaped), 1e-12, "what is recalled");
                }
            }
        }
    }
}

/// Two layers of tanh: steps of inference, carry-over and learning, number by number.
#[test]
fn two_layers_follow_their_equations() {
    let (width, latent, steps, gamma, rate) = (4, 3, 7, 0.15, 0.05);
    let schedule = Schedule::standard(gamma, steps).unwrap();
    let own = Temporal::two_layers(width, latent, schedule).activation(Activation::Tanh);
    for seed in 0..3 {
        let mut init = Init::new(seed);
        let mut model = TemporalPc::new(&Host::<f64>::new(), &own, &mut init).unwrap();
        let frames: Vec<_> = (0..5).map(|_| drawn(&mut init, &[1, width], 1.0)).collect();
        let mut recurrent = rows(&model.graph().parameters()[0]);
        let mut out = rows(&model.graph().parameters()[1]);
        let mut sgd = Sgd::new(rate).unwrap();
        for _ in 0..2 {
            model.learn_sequence(&frames, |graph, g| sgd.step(graph.parameters_mut(), g)).unwrap();
            let mut before = vec![0.0; latent];
            for x in &frames {
                let shaped_before: Vec<f64> = before.iter().copied().map(f64::tanh).collect();
                let prior = times(&recurrent, &shaped_before);
                let mut z = prior.clone();
                let errors = |z: &[f64], out: &Matrix| -> (Vec<f64>, Vec<f64>, Vec<f64>) {
                    let shaped: Vec<f64> = z.iter().map(|z| z.tanh()).collect();
                    let e_z = z.iter().zip(&prior).map(|(z, p)| z - p).collect();
                    let e_x =
                        x.data().iter().zip(times(out, &shaped)).map(|(x, u)| x - u).collect();
                    (e_z, e_x, shaped)
                };
                for _ in 0..steps {
                    let (e_z, e_x, shaped) = errors(&z, &out);
                    let pulled = times(&transposed(&out), &e_x);
                    for k in 0..latent {
                        z[k] += gamma * ((1.0 - shaped[k].powi(2)) * pulled[k] - e_z[k]);
                    }
                }
                let (e_z, e_x, shaped) = errors(&z, &out);
                for k in 0..latent {
                    for j in 0..latent {
                        recurrent[k][j] += rate * e_z[k] * shaped_before[j];
                    }
                }
                for k in 0..width {
                    for j in 0..latent {
                        out[k][j] += rate * e_x[k] * shaped[j];
                    }
                }
                before = z;
            }
            near(model.state().unwrap().data(), &before, 1e-12, "the latent");
            near(model.graph().parameters()[0].data(), &recurrent.concat(), 1e-12, "W_r");
            near(model.graph().parameters()[1].data(), &out.concat(), 1e-12, "W_o");
        }
    }
}

/// What memories recall online of a sequence that they have been through so many times; if it has
/// been often, they recall it offline too.
fn remembers<B: Backend>(backend: &B, times: usize) -> Result<Vec<f64>> {
    let schedule = Schedule::standard(0.2, 30)?;
    let two = Temporal::two_layers(6, 8, schedule).activation(Activation::Tanh);
    let mut all = Vec::new();
    for own in [Temporal::one_layer(6), two] {
        let mut init = Init::new(5);
        let mut memory = TemporalPc::new(backend, &own, &mut init)?;
        let mut frames = Vec::new();
        for _ in 0..4 {
            let mut signs: HostTensor<f64> = init.uniform(&[1, 6], 1.0)?;
            to_signs(&mut signs)?;
            frames.push(backend.tensor(signs.dims(), signs.data())?);
        }
        for _ in 0..times {
            memory.learn_sequence(&frames, |graph, gradients| {
                for (own, (_, gradient)) in graph.parameters_mut().iter_mut().zip(gradients.iter())
                {
                    if let Some(gradient) = gradient {
                        own.axpy(-0.1, gradient);
                    }
                }
                Ok(())
            })?;
        }
        let online = memory.recall_online(&frames)?;
        let offline = memory.recall_offline(&frames[0], 3, to_signs)?;
        let known = offline.iter().zip(&frames[1..]).all(|(a, b)| a.to_vec() == b.to_vec());
        assert!(known || times < 300);
        all.extend(online.iter().flat_map(Tensor::to_vec));
    }
    Ok(all)
}

#[test]
fn a_sequence_is_recalled_online_and_offline() {
    remembers(&Host::<f32>::new(), 300).unwrap();
    let found = remembers(&Host::<f64>::new(), 300).unwrap();
    assert_eq!(found.len(), 2 * 3 * 6);
}

#[cfg(feature = "burn")]
#[test]
fn burn_remembers_the_same() {
    use burn::tensor::{DType, Device};
    let burn = pc_models::Burn::new(&Device::default(), DType::F64);
    remembers(&burn, 300).unwrap();
    let wanted = remembers(&Host::<f64>::new(), 10).unwrap();
    near(&remembers(&burn, 10).unwrap(), &wanted, 1e-11, "Burn");
}

#[cfg(feature = "tch")]
#[test]
fn libtorch_remembers_the_same() {
    let tch = pc_models::Tch::new(tch::Kind::Double, tch::Device::Cpu);
    remembers(&tch, 300).unwrap();
    let wanted = remembers(&Host::<f64>::new(), 10).unwrap();
    near(&remembers(&tch, 10).unwrap(), &wanted, 1e-11, "libtorch");
}

#[test]
fn what_does_not_fit_is_named() {
    let host = Host::<f64>::new();
    let new = |own: &Temporal| TemporalPc::new(&host, own, &mut Init::new(0));
    let schedule = || Schedule::standard(0.1, 5).unwrap();
    let error = new(&Temporal::one_layer(0)).unwrap_err();
    assert!(error.to_string().contains("`observed`"), "{error}");
    let error = new(&Temporal::two_layers(3, 0, schedule())).unwrap_err();
    assert!(error.to_string().contains("`latent`"), "{error}");
    let error =
        new(&Temporal::one_layer(3).activation(Activation::Tanh).controlled(1)).unwrap_err();
    assert!(error.to_string().contains("`control`"), "{error}");

    let frame = |batch, width| HostTensor::<f64>::zeroed(&[batch, width]).unwrap();
    let mut memory = new(&Temporal::two_layers(3, 2, schedule())).unwrap();
    assert_eq!(memory.expected(None).unwrap_err().kind(), ErrorKind::Misuse);
    assert_eq!(memory.observe(&frame(1, 4), None).unwrap_err().kind(), ErrorKind::Shape);
    let control = frame(1, 1);
    let error = memory.observe(&frame(1, 3), Some(&control)).unwrap_err();
    assert!(error.to_string().contains("Temporal::controlled"), "{error}");
    let mut bad = frame(1, 3);
    bad.data_mut()[1] = f64::NAN;
    assert_eq!(memory.observe(&bad, None).unwrap_err().kind(), ErrorKind::NotFinite);
    memory.observe(&frame(1, 3), None).unwrap();
    assert_eq!(memory.observe(&frame(2, 3), None).unwrap_err().kind(), ErrorKind::Shape);
    assert!(memory.begin_from(frame(1, 3)).is_err());
    let error = memory.learn_sequence(&[frame(1, 3)], |_, _| Ok(())).unwrap_err();
    assert!(error.to_string().contains("at least two frames"), "{error}");
    assert!(memory.recall_online(&[]).is_err());

    let mut one = new(&Temporal::one_layer(3).controlled(2)).unwrap();
    let error = one.observe(&frame(1, 3), None).unwrap_err();
    assert!(error.to_string().contains("without its control"), "{error}");
    let mut one = new(&Temporal::one_layer(3)).unwrap();
    assert!(one.observe(&bad, None).is_err() && one.state().is_none());

    // A rate that is too large.
    let schedule = Schedule::standard(50.0, 200).unwrap();
    let mut wild = new(&Temporal::two_layers(3, 2, schedule)).unwrap();
    let ones = HostTensor::new(&[1, 3], vec![1.0; 3]).unwrap();
    let error = wild.observe(&ones, None).unwrap_err();
    assert!(error.to_string().contains("diverged"), "{error}");
    assert!(wild.state().is_none());

    assert!(to_signs(&mut bad).is_err());

    let one = || vec![vec![1.0]];
    let new = |q: Matrix| Kalman::new(one(), one(), one(), q, one(), vec![0.0], one());
    assert!(new(vec![]).is_err() && new(vec![vec![f64::NAN]]).is_err());
    assert!(new(one()).unwrap().step(&[1.0, 2.0], &[0.0]).is_err());
    assert!(new(one()).unwrap().step(&[f64::NAN], &[0.0]).is_err());
}
