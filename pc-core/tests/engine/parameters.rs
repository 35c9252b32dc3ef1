//! Constraints, buffers, frozen parameters, cuts and priors.

use pc_core::{
    Activation, Clamps, Error, ErrorKind, Graph, Mask, ParamId, Prior, Reduction, Relaxation,
    Schedule, Start, Tensor, VertexId, ZeroDiagonal,
    host::{Adam, Dense, HostLayers, HostTensor, Init, Linear, Sgd},
};

use crate::common::{Numbers, close, tensor};

type T = HostTensor<f64>;

/// What moves parameters by a gradient each.
type Step = Box<dyn FnMut(&mut [T], &pc_core::Gradients<T>)>;

fn optimisers() -> [Step; 3] {
    let mut sgd = Sgd::new(0.05).unwrap();
    let mut momentum = Sgd::new(0.05).unwrap().with_momentum(0.9).unwrap();
    let mut adam = Adam::new(0.01).unwrap();
    [
        Box::new(move |p, g| sgd.step(p, g).unwrap()),
        Box::new(move |p, g| momentum.step(p, g).unwrap()),
        Box::new(move |p, g| adam.step(p, g).unwrap()),
    ]
}

/// A Hopfield-like cycle: `v` predicts itself by `W` with a mask, and `y` by `D`.
#[test]
fn a_masked_cyclic_graph_step_for_step() {
    const N: usize = 4;
    let mut numbers = Numbers::new(7);
    let mask: Vec<f64> = (0..N * N).map(|k| f64::from(k % 3 != 0 && k % (N + 1) != 0)).collect();
    let (w0, d0) = (numbers.many(N * N, 0.5), numbers.many(2 * N, 0.5));
    let (data, start) = (numbers.many(2 * 2, 1.0), numbers.many(2 * N, 1.0));
    for mut optimiser in optimisers() {
        let mut b = Graph::<T>::builder();
        let v = b.input("v", &[N]).unwrap();
        let w = b.parameter("W", tensor(&[N, N], &w0)).unwrap();
        b.predict(v, Box::new(Linear::without_bias()), &[v], &[w], 1.0).unwrap();
        let d = b.parameter("D", tensor(&[2, N], &d0)).unwrap();
        let y = b.vertex("y", Box::new(Linear::without_bias()), &[v], &[d]).unwrap();
        b.constrain(w, Mask::new::<T>(&tensor(&[N, N], &mask)).unwrap()).unwrap();
        let mut graph = b.build().unwrap();
        let clamps = Clamps::new().free(v, tensor(&[2, N], &start)).hold(y, tensor(&[2, 2], &data));
        let (rate, steps) = (0.1, 7);
        let schedule = Schedule::standard(rate, steps).unwrap();
        let mut relaxation = Relaxation::new(&graph, schedule).unwrap();

        // The same by hand, with the mask in the product and not in the gradient.
        let mut plain: Vec<T> = vec![tensor(&[N, N], &w0), tensor(&[2, N], &d0)];
        plain[0].multiply(&tensor(&[N, N], &mask));
        for _ in 0..5 {
            relaxation.run(&mut graph, &clamps).unwrap();
            let (w, d) = (plain[0].to_vec(), plain[1].to_vec());
            let mut v = start.clone();
            let errors = |v: &[f64]| {
                let mut own = vec![0.0; 2 * N];
                let mut seen = vec![0.0; 4];
                for n in 0..2 {
                    for i in 0..N {
                        let mu: f64 = (0..N).map(|j| w[i * N + j] * v[n * N + j]).sum();
                        own[n * N + i] = v[n * N + i] - mu;
                    }
                    for i in 0..2 {
                        let mu: f64 = (0..N).map(|j| d[i * N + j] * v[n * N + j]).sum();
                        seen[n * 2 + i] = data[n * 2 + i] - mu;
                    }
                }
                (own, seen)
            };
            for _ in 0..steps {
                let (own, seen) = errors(&v);
                for n in 0..2 {
                    for j in 0..N {
                        let back: f64 = (0..N).map(|i| w[i * N + j] * own[n * N + i]).sum();
                        let down: f64 = (0..2).map(|i| d[i * N + j] * seen[n * 2 + i]).sum();
                        v[n * N + j] += rate * (back + down - own[n * N + j]);
                    }
                }
            }
            let (own, seen) = errors(&v);
            let (mut dw, mut dd) = (vec![0.0; N * N], vec![0.0; 2 * N]);
            for n in 0..2 {
                for j in 0..N {
                    for i in 0..N {
                        dw[i * N + j] -= own[n * N + i] * v[n * N + j] * mask[i * N + j];
                    }
                    for i in 0..2 {
                        dd[i * N + j] -= seen[n * 2 + i] * v[n * N + j];
                    }
                }
            }
            let found = relaxation.gradients();
            close("W", &found.get(w_id()).unwrap().to_vec(), &dw, 1e-12);
            close("D", &found.get(d_id()).unwrap().to_vec(), &dd, 1e-12);
            optimiser(graph.parameters_mut(), relaxation.gradients());
            // The plain program's weights are moved to where the graph's are.
            plain = graph.parameters().to_vec();
            let masked = plain[0].data().iter().zip(&mask).filter(|(_, m)| **m == 0.0);
            assert!(masked.into_iter().all(|(w, _)| *w == 0.0));
        }
    }
}

fn w_id() -> ParamId {
    ParamId::new(0)
}

fn d_id() -> ParamId {
    ParamId::new(1)
}

/// Implicit covariance learning by dendritic errors: `v_i` is predicted from all the others, and no
/// error goes back along that prediction. Recall is the conditional mean of a Gaussian.
#[test]
fn a_dendritic_memory_recalls_the_conditional_mean() {
    const N: usize = 4;
    let mut numbers = Numbers::new(21);
    let mut mixing = numbers.many(N * N, 0.4);
    (0..N).for_each(|k| mixing[k * N + k] += 1.0);
    let count = 200;
    let data: Vec<f64> = (0..count)
        .flat_map(|_| {
            let z = numbers.many(N, 1.0);
            let row = |i: usize| (0..N).map(|j| mixing[i * N + j] * z[j]).sum::<f64>();
            (0..N).map(row).collect::<Vec<_>>()
        })
        .collect();
    let mut b = Graph::<T>::builder();
    let v = b.input("v", &[N]).unwrap();
    let w = b.parameter("W", tensor(&[N, N], &[0.0; N * N])).unwrap();
    let bias = b.parameter("b", tensor(&[N], &[0.0; N])).unwrap();
    b.predict(v, Box::new(Linear::new()), &[v], &[w, bias], 1.0).unwrap();
    let own = b.prediction_of(v).unwrap();
    b.cut(own, &[v]).unwrap();
    b.constrain(w, ZeroDiagonal).unwrap();
    let mut graph = b.build().unwrap();

    // Each row of W is a regression, so that the held data's gradients lead to the least squares.
    let held = Clamps::new().hold(v, tensor(&[count, N], &data));
    let schedule = Schedule::standard(0.1, 1).unwrap().unrelaxed().starting(Start::Zero);
    let mut relaxation = Relaxation::new(&graph, schedule.reduced_by(Reduction::Mean)).unwrap();
    for rate in [0.05, 0.01, 0.001, 0.0001, 0.00001] {
        let mut adam = Adam::new(rate).unwrap();
        for _ in 0..4000 {
            relaxation.run(&mut graph, &held).unwrap();
            adam.step(graph.parameters_mut(), relaxation.gradients()).unwrap();
        }
    }
    // Half of a pattern is held, the other half relaxes.
    let known = [1.0, 1.0, 0.0, 0.0];
    let cue = [0.7, -0.4, 0.0, 0.0];
    let recall = Schedule::standard(0.2, 100_000).unwrap().starting(Start::Zero);
    let mut relaxation = Relaxation::new(&graph, recall.until(1e-12).unwrap()).unwrap();
    let clamps = Clamps::new().mask(v, tensor(&[1, N], &cue), tensor(&[1, N], &known));
    relaxation.run(&mut graph, &clamps).unwrap();
    let recalled = relaxation.value(&graph, v).unwrap().to_vec();

    let mean: Vec<f64> =
        (0..N).map(|i| data.iter().skip(i).step_by(N).sum::<f64>() / count as f64).collect();
    let covariance = |i: usize, j: usize| {
        let products = data.chunks(N).map(|x| (x[i] - mean[i]) * (x[j] - mean[j]));
        products.sum::<f64>() / count as f64
    };
    // mean_u + C_uk C_kk^-1 (cue - mean_k), with two known and two unknown elements.
    let (a, c, d) = (covariance(0, 0), covariance(0, 1), covariance(1, 1));
    let (r0, r1) = (cue[0] - mean[0], cue[1] - mean[1]);
    let determinant = a * d - c * c;
    let solved = [(d * r0 - c * r1) / determinant, (a * r1 - c * r0) / determinant];
    let expected: Vec<f64> = (2..N)
        .map(|u| mean[u] + covariance(u, 0) * solved[0] + covariance(u, 1) * solved[1])
        .collect();
    close("conditional mean", &recalled[2..], &expected, 1e-6);
    assert_eq!(&recalled[..2], &cue[..2]);
}

#[test]
fn a_cut_stops_the_gradient_for_every_rule() {
    // h -> k -> y, and h -> y cut: as if h's values were a constant of that prediction.
    let build = |cut: bool, skip: bool| {
        let mut init = Init::new(5);
        let mut b = Graph::<T>::builder();
        let x = b.input("x", &[3]).unwrap();
        let h = b.dense("h", x, 4, Activation::Tanh, &mut init).unwrap();
        let k = b.dense("k", h, 4, Activation::Tanh, &mut init).unwrap();
        let s = if skip { b.input("s", &[4]).unwrap() } else { h };
        let y = b.layer("y", &[k, s], &Dense::new(2), &mut init).unwrap();
        if cut {
            b.cut(b.prediction_of(y).unwrap(), &[h]).unwrap();
        }
        (b.build().unwrap(), [x, h, y, s])
    };
    let mut numbers = Numbers::new(3);
    let (image, label) = (numbers.tensor::<f64>(&[2, 3], 1.0), numbers.tensor::<f64>(&[2, 2], 1.0));
    let run = |graph: &mut Graph<T>, clamps: &Clamps<T>, schedule: &Schedule| {
        let mut relaxation = Relaxation::new(graph, schedule.clone()).unwrap();
        relaxation.run(graph, clamps).unwrap();
        let all = relaxation.gradients().iter();
        all.filter_map(|(_, g)| Some(g?.to_vec())).flatten().collect::<Vec<f64>>()
    };
    let (mut graph, [x, h, y, _]) = build(true, false);
    let clamps = Clamps::new().hold(x, image.clone()).hold(y, label.clone());
    let mut forward =
        Relaxation::new(&graph, Schedule::standard(0.1, 1).unwrap().unrelaxed()).unwrap();
    forward.run(&mut graph, &clamps).unwrap();
    let constant = forward.value(&graph, h).unwrap();
    let (mut other, [x, _, y, s]) = build(false, true);
    let others = Clamps::new().hold(x, image).hold(y, label).hold(s, constant);
    let (mut whole, _) = build(false, false);
    let fixed = |rate, steps| Schedule::fixed_prediction(rate, steps).unwrap();
    use pc_core::Evaluation::{ClosedForm, Front, Simulate};
    for schedule in [
        Schedule::backprop(),
        Schedule::zil(),
        fixed(1.0, 3),
        fixed(0.3, 5).evaluated_by(Simulate),
        fixed(0.3, 5).evaluated_by(Front),
        fixed(0.3, 5).evaluated_by(ClosedForm),
    ] {
        let found = run(&mut graph, &clamps, &schedule);
        let expected = run(&mut other, &others, &schedule);
        assert_eq!(found.len(), expected.len(), "{schedule:?}");
        close(schedule.name(), &found, &expected, 1e-14);
        if schedule != Schedule::zil() {
            let uncut = run(&mut whole, &clamps, &schedule);
            assert!(found.iter().zip(&uncut).any(|(a, b)| (a - b).abs() > 1e-3));
        }
    }
    // Where every way is cut, no weight above learns, however it is computed.
    let mut b = Graph::<T>::builder();
    let (x, mut init) = (b.input("x", &[3]).unwrap(), Init::new(5));
    let h = b.dense("h", x, 4, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", h, 2, Activation::Identity, &mut init).unwrap();
    b.cut(b.prediction_of(y).unwrap(), &[h]).unwrap();
    let mut short = b.build().unwrap();
    let held =
        Clamps::new().hold(x, numbers.tensor(&[2, 3], 1.0)).hold(y, numbers.tensor(&[2, 2], 1.0));
    for schedule in [
        Schedule::backprop(),
        Schedule::zil(),
        fixed(0.3, 5).evaluated_by(Simulate),
        fixed(0.3, 5).evaluated_by(Front),
        fixed(0.3, 5).evaluated_by(ClosedForm),
        Schedule::standard(0.1, 5).unwrap(),
        Schedule::epc(0.1, 5).unwrap(),
    ] {
        let found = run(&mut short, &held, &schedule);
        assert_eq!(found.len(), 2 * 4 + 2, "{schedule:?}");
    }
    // Live, and with errors as coordinates, the cut way gives values and takes no force.
    let states =
        run(&mut graph, &clamps, &Schedule::standard(0.1, 50_000).unwrap().until(1e-12).unwrap());
    assert!(states.iter().all(|g| g.is_finite()));
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[2]).unwrap();
    let y = b.activate("y", x, Activation::Tanh).unwrap();
    let error: Error = b.cut(b.prediction_of(y).unwrap(), &[y]).unwrap_err();
    assert_eq!((error.kind(), error.vertex()), (ErrorKind::Graph, Some("y")), "{error}");
    let marked = b.all_or_nothing(|b| {
        b.cut(b.prediction_of(y)?, &[x])?;
        b.input("x", &[1])
    });
    assert!(marked.is_err());
    assert!(b.build().unwrap().topology().predictions()[0].sends(0));
}

#[test]
fn a_parameter_is_frozen_and_freed() {
    let mut init = Init::new(5);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[3]).unwrap();
    let h = b.dense("h", x, 4, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", h, 2, Activation::Identity, &mut init).unwrap();
    let mut graph = b.build().unwrap();
    let weight = graph.parameter("h.weight").unwrap();
    let mut numbers = Numbers::new(3);
    let clamps =
        Clamps::new().hold(x, numbers.tensor(&[2, 3], 1.0)).hold(y, numbers.tensor(&[2, 2], 1.0));
    for schedule in [
        Schedule::backprop(),
        Schedule::zil(),
        Schedule::fixed_prediction(0.5, 4).unwrap(),
        Schedule::standard(0.1, 4).unwrap(),
        Schedule::ipc(0.1, 4).unwrap(),
        Schedule::epc(0.1, 4).unwrap(),
    ] {
        let mut relaxation = Relaxation::new(&graph, schedule.clone()).unwrap();
        for frozen in [false, true, true, false] {
            graph.freeze(weight, frozen).unwrap();
            let before = graph.parameters()[weight.index()].clone();
            let (mut own, mut others) = (false, false);
            let mut sgd = Sgd::new(0.01).unwrap();
            relaxation
                .train(&mut graph, &clamps, |graph, gradients| {
                    own |= gradients.get(weight).is_some();
                    others |= gradients.iter().any(|(id, g)| id != weight && g.is_some());
                    sgd.step(graph.parameters_mut(), gradients)
                })
                .unwrap();
            assert_eq!((own, others), (!frozen, true), "{schedule:?}");
            assert_eq!(graph.parameters()[weight.index()] == before, frozen);
        }
    }
    assert!(graph.freeze(ParamId::new(99), true).is_err());
}

/// `C <- l C + (1 - l) v v^T` in a buffer, which is the precision of the next batch.
#[test]
fn a_running_covariance_is_a_buffer() {
    let mut numbers = Numbers::new(4);
    let mut init = Init::new(2);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[3]).unwrap();
    let y = b.dense("y", x, 2, Activation::Identity, &mut init).unwrap();
    let c = b.buffer("C", tensor(&[2, 2], &[1.0, 0.0, 0.0, 1.0])).unwrap();
    b.energy(b.prediction_of(y).unwrap(), pc_core::MatrixPrecision, &[c]).unwrap();
    let mut graph = b.build().unwrap();
    assert_eq!(graph.parameter_count(), 3 * 2 + 2);
    let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 1).unwrap()).unwrap();
    let mut sgd = Sgd::new(0.05).unwrap();
    for _ in 0..5 {
        let clamps = Clamps::new()
            .hold(x, numbers.tensor(&[4, 3], 1.0))
            .hold(y, numbers.tensor(&[4, 2], 1.0));
        let outcome = relaxation.run(&mut graph, &clamps).unwrap();
        let error = relaxation.error(graph.topology().predictions_of(y).unwrap()[0]).unwrap();
        let (e, p) = (error.to_vec(), graph.parameters()[c.index()].to_vec());
        let energy: f64 = e
            .chunks(2)
            .map(|e| 0.5 * (p[0] * e[0] * e[0] + (p[1] + p[2]) * e[0] * e[1] + p[3] * e[1] * e[1]))
            .sum();
        assert!((outcome.energy.total() - energy).abs() < 1e-12);
        assert!(relaxation.gradients().get(c).is_none());
        sgd.step(graph.parameters_mut(), relaxation.gradients()).unwrap();
        assert_eq!(graph.parameters()[c.index()].to_vec(), p);
        let next: Vec<f64> = (0..4)
            .map(|k| {
                let product: f64 = e.chunks(2).map(|e| e[k / 2] * e[k % 2]).sum();
                0.9 * p[k] + 0.1 * product / 4.0
            })
            .collect();
        graph.set_parameter(c, tensor(&[2, 2], &next)).unwrap();
    }
}

/// A generative model whose cause has a prior that learns: samples, and a batch without a clamp.
#[test]
fn a_prior_predicts_without_parents() {
    let build = || {
        let mut b = Graph::<T>::builder();
        let z = b.input("z", &[2]).unwrap();
        let mean = b.parameter("mean", tensor(&[2], &[0.5, -1.0])).unwrap();
        b.predict(z, Box::new(Prior), &[], &[mean], 2.0).unwrap();
        let y = b.dense("y", z, 3, Activation::Tanh, &mut Init::new(3)).unwrap();
        (b.build().unwrap(), z, y, mean)
    };
    let (mut graph, z, y, mean) = build();
    let standard = Schedule::standard(0.1, 200).unwrap();
    let mut relaxation = Relaxation::new(&graph, standard.clone()).unwrap();
    let value = |relaxation: &Relaxation<Graph<T>>, graph: &Graph<T>, v: VertexId| {
        relaxation.value(graph, v).unwrap().to_vec()
    };
    for batch in [3, 1, 2] {
        let outcome = relaxation.run(&mut graph, &Clamps::new().of_batch(batch)).unwrap();
        assert_eq!(outcome.energy.total(), 0.0);
        assert_eq!(value(&relaxation, &graph, z), [0.5, -1.0].repeat(batch));
    }
    let seen = Clamps::new().hold(y, tensor(&[2, 3], &[0.3, 0.1, -0.2, 0.4, 0.0, 0.9]));
    relaxation.run(&mut graph, &seen).unwrap();
    let inferred = value(&relaxation, &graph, z);
    let expected: Vec<f64> = (0..2)
        .map(|k| [0.5, -1.0][k] * 2.0 - inferred[k] - inferred[2 + k])
        .map(|e| 2.0 * e)
        .collect();
    close("prior", &relaxation.gradients().get(mean).unwrap().to_vec(), &expected, 1e-13);
    // Where the prior's parameter moves while states relax, it is the new one that counts.
    let mut ipc = Relaxation::new(&graph, Schedule::ipc(0.1, 5).unwrap()).unwrap();
    let mut sgd = Sgd::new(0.05).unwrap();
    ipc.train(&mut graph, &seen, |graph, g| sgd.step(graph.parameters_mut(), g)).unwrap();
    // The last step learns nothing, so the error is of the weights that are there now.
    let (z_now, m) = (value(&ipc, &graph, z), graph.parameters()[mean.index()].to_vec());
    let error = ipc.error(graph.topology().predictions_of(z).unwrap()[0]).unwrap().to_vec();
    let by_hand: Vec<f64> = (0..4).map(|k| z_now[k] - m[k % 2]).collect();
    close("error after learning", &error, &by_hand, 1e-14);

    let error = relaxation.run(&mut graph, &seen.clone().of_batch(5)).unwrap_err();
    assert_eq!((error.kind(), error.vertex()), (ErrorKind::Shape, Some("y")), "{error}");
    assert!(relaxation.run(&mut graph, &Clamps::new().of_batch(0)).is_err());
    assert!(relaxation.run(&mut graph, &Clamps::new()).is_err());
}
