//! Hybrid PC: the amortised net's gradients are those of a plain program, and where all is linear
//! it learns to guess what relaxation would find.

use crate::dense_plain::{Numbers, affine, close, parameter, tensor};
use pc_core::{
    Activation, Gradients, Graph, Reduction, Result, Schedule, Tensor,
    host::{HostTensor, Init, Sgd},
};
use pc_models::{Backend, GenerativeSettings, Host, Hybrid, HybridSettings, Known};

type Net = Hybrid<Host<f64>>;
type Model = Graph<HostTensor<f64>>;
type Found = Gradients<HostTensor<f64>>;

fn net(widths: &[usize], activation: Activation, schedule: Schedule, seed: u64) -> Net {
    let generative = GenerativeSettings {
        activation,
        learning: schedule.clone(),
        asking: schedule,
        ..GenerativeSettings::new(widths).unwrap()
    };
    let settings = HybridSettings { generative, activation };
    Hybrid::new(&Host::new(), &settings, &mut Init::new(seed)).unwrap()
}

/// Moves the parameters against their gradients.
fn descend(rate: f64) -> impl FnMut(&mut Model, &Found) -> Result<()> {
    move |graph, gradients| {
        for (id, gradient) in gradients.iter() {
            if let Some(gradient) = gradient {
                graph.parameters_mut()[id.index()].axpy(-rate, gradient);
            }
        }
        Ok(())
    }
}

/// The gradient of `sum_l 1/2 |v_l - V_l f(v_{l-1}) - c_l|^2` by loops, in the order of the
/// amortised net's parameters.
fn plain(net: &Net, widths: &[usize], states: &[Vec<f64>], f: fn(f64) -> f64) -> Vec<Vec<f64>> {
    let mut gradients = Vec::new();
    for k in 1..widths.len() {
        let name =
            net.generative().graph().topology().name(net.generative().vertices()[k]).unwrap();
        let of = |what: &str| parameter(net.amortiser(), &format!("{name}.{what}"));
        let (weight, bias) = (of("weight"), of("bias"));
        let mut own = vec![vec![0.0; weight.len()], vec![0.0; bias.len()]];
        for (x, v) in states[k - 1].chunks(widths[k - 1]).zip(states[k].chunks(widths[k])) {
            let x: Vec<f64> = x.iter().map(|x| if k == 1 { *x } else { f(*x) }).collect();
            for (i, (v, mu)) in v.iter().zip(affine(&weight, &bias, &x)).enumerate() {
                own[1][i] -= v - mu;
                let row = &mut own[0][i * x.len()..(i + 1) * x.len()];
                row.iter_mut().zip(&x).for_each(|(g, x)| *g -= (v - mu) * x);
            }
        }
        gradients.extend(own);
    }
    gradients
}

const SHAPES: [&[usize]; 4] = [&[3, 2], &[5, 4, 2], &[4, 6, 3], &[6, 4, 3, 2]];

#[test]
fn the_amortised_net_learns_by_the_gradients_of_a_plain_program() {
    let mut worst = 0.0_f64;
    for (case, widths) in SHAPES.iter().enumerate() {
        for activation in [Activation::Identity, Activation::Tanh] {
            let f: fn(f64) -> f64 = if activation == Activation::Tanh { f64::tanh } else { |x| x };
            let schedule = Schedule::standard(0.1, 6).unwrap();
            let mut net = net(widths, activation, schedule, 7 + case as u64);
            let mut numbers = Numbers::new(31 + case as u64);
            for turn in 0..6 {
                let (count, top) = (1 + turn % 3, widths.len() - 1);
                let picture = tensor(count, &numbers.many(count * widths[0]));
                let label = tensor(count, &numbers.many(count * widths[top]));
                let mask = tensor(count, &numbers.mask(count * widths[0]));
                let known = match turn % 3 {
                    0 => Known::picture(picture).and_label(label),
                    1 => Known::picture(picture),
                    _ => Known::part(picture, mask),
                };
                // Nothing is learned by the generative net here, so asking it finds the same
                // states.
                net.ask(&known).unwrap();
                let states: Vec<Vec<f64>> = (net.generative().vertices().iter())
                    .map(|v| net.generative().asked().value(net.generative().graph(), *v))
                    .map(|state| state.unwrap().to_vec())
                    .collect();
                let wanted = plain(&net, widths, &states, f);
                let mut seen = 0;
                net.train(
                    &known,
                    |_, _| Ok(()),
                    |graph, gradients| {
                        for ((_, found), wanted) in gradients.iter().zip(&wanted) {
                            let found = found.unwrap().to_vec();
                            worst = worst.max(close("gradient", &found, wanted, 1e-12));
                            seen += 1;
                        }
                        descend(0.05)(graph, gradients)
                    },
                )
                .unwrap();
                assert_eq!(seen, 2 * top);
                // Another generative net next time.
                net.generative_mut().train(&known, descend(0.02)).unwrap();
            }
        }
    }
    println!("at most {worst:e} apart");
}

#[test]
fn where_all_is_linear_the_guess_comes_to_what_relaxation_finds() {
    for (case, widths) in SHAPES.iter().enumerate() {
        let schedule = Schedule::standard(0.2, 20_000).unwrap().until(1e-10).unwrap();
        let schedule = schedule.reduced_by(Reduction::Mean);
        let mut net = net(widths, Activation::Identity, schedule, 3 + case as u64);
        let mut numbers = Numbers::new(41 + case as u64);
        let many = |numbers: &mut Numbers, count: usize| {
            let drawn = numbers.many(count * widths[0]).iter().map(|x| 3.0 * x).collect::<Vec<_>>();
            tensor(count, &drawn)
        };
        let pictures = many(&mut numbers, 12);
        // Pictures that are not learned from.
        let others = many(&mut numbers, 5);
        let mut sgd = Sgd::new(0.1).unwrap().with_momentum(0.9).unwrap();
        let apart = |net: &mut Net| {
            let guess = net.guess(&others).unwrap().states;
            net.generative_mut().ask(&Known::picture(others.clone())).unwrap();
            let generative = net.generative();
            let mut worst = 0.0_f64;
            for (guess, vertex) in guess.iter().zip(&generative.vertices()[1..]) {
                let refined = generative.asked().value(generative.graph(), *vertex).unwrap();
                worst = worst.max(close("refined", guess.data(), refined.data(), f64::INFINITY));
            }
            worst
        };
        let steps = |net: &mut Net| {
            let guessed = net.ask(&Known::picture(others.clone())).unwrap().outcome.steps;
            let known = Known::picture(others.clone());
            (guessed, net.generative_mut().ask(&known).unwrap().outcome.steps)
        };
        let (before, far) = (apart(&mut net), steps(&mut net));
        let mut turns = 0;
        while apart(&mut net) > 1e-7 {
            for _ in 0..200 {
                let known = Known::picture(pictures.clone());
                let learn = |graph: &mut Model, by: &Found| sgd.step(graph.parameters_mut(), by);
                net.train(&known, |_, _| Ok(()), learn).unwrap();
            }
            turns += 200;
            assert!(turns < 6_000, "{widths:?}: still {} apart", apart(&mut net));
        }
        let near = steps(&mut net);
        println!("{widths:?}: {before:e} apart, then 1e-7; steps {far:?}, then {near:?} ({turns})");
        assert!(before > 1e-3);
        assert!(near.0 < near.1 && near.0 < far.0, "{near:?} {far:?}");
    }
}

#[test]
fn without_a_picture_there_is_nothing_to_guess_from() {
    let mut net = net(&[5, 4, 2], Activation::Tanh, Schedule::standard(0.1, 9).unwrap(), 1);
    let known = Known::label(tensor(2, &[1.0, 0.0, 0.0, 1.0]));
    let found = net.ask(&known).unwrap().picture;
    assert_eq!(found, net.generative_mut().ask(&known).unwrap().picture);
}

#[test]
fn what_has_diverged_teaches_neither_net() {
    let schedule = Schedule::standard(1e4, 60).unwrap();
    let mut net = net(&[5, 4, 2], Activation::Tanh, schedule, 1);
    let known = Known::picture(tensor(2, &[0.5; 10]));
    let learn = |_: &mut Model, _: &Found| -> Result<()> { panic!("it learns") };
    let error = net.train(&known, learn, learn).unwrap_err().to_string();
    assert!(error.contains("learning diverged"), "{error}");
}

#[test]
fn what_does_not_fit_is_named() {
    let said = |error: pc_core::Error, what: &str| {
        let text = error.to_string();
        assert!(text.contains(what), "{text}");
    };
    said(HybridSettings::new(&[3]).unwrap_err(), "two at least");
    let mut settings = HybridSettings::new(&[4, 5, 3]).unwrap();
    settings.generative.widths[1] = 0;
    let made = Hybrid::new(&Host::<f64>::new(), &settings, &mut Init::new(0));
    said(made.map(|_| ()).unwrap_err(), "hidden1");

    let mut net = net(&[4, 5, 3], Activation::Tanh, Schedule::standard(0.1, 5).unwrap(), 1);
    let some = |shape: &[usize]| {
        Host::<f64>::new().tensor(shape, &vec![0.5; shape.iter().product()]).unwrap()
    };
    said(net.guess(&some(&[2, 3])).unwrap_err(), "picture");
    said(net.ask(&Known::picture(some(&[2, 3]))).unwrap_err(), "picture");
    said(net.ask(&Known::part(some(&[2, 4]), some(&[4, 2]))).unwrap_err(), "mask");
    said(net.ask(&Known::part(some(&[2, 4]), some(&[2, 4]))).unwrap_err(), "mask must be 1");
    let bad = Host::<f64>::new().tensor(&[1, 4], &[0.0, f64::NAN, 0.0, 0.0]).unwrap();
    said(net.ask(&Known::picture(bad)).unwrap_err(), "not finite");
    let known = Known::picture(some(&[2, 4])).and_label(some(&[3, 3]));
    let refused = net.train(&known, descend(0.1), descend(0.1));
    said(refused.unwrap_err(), "batch of");
}

/// Learned from once, then asked, on another backend.
#[cfg(any(feature = "burn", feature = "tch"))]
fn agrees<B: Backend>(backend: &B, tolerance: f64) {
    fn found<B: Backend>(backend: &B) -> Result<Vec<f64>> {
        fn step<T: pc_core::backend::GraphTensor>(
            all: &mut Vec<f64>,
        ) -> impl FnMut(&mut Graph<T>, &Gradients<T>) -> Result<()> {
            move |graph, gradients| {
                for (id, gradient) in gradients.iter() {
                    if let Some(gradient) = gradient {
                        all.extend(gradient.to_vec());
                        graph.parameters_mut()[id.index()].axpy(-0.1, gradient);
                    }
                }
                Ok(())
            }
        }
        let mut net = Hybrid::new(backend, &HybridSettings::new(&[4, 5, 3])?, &mut Init::new(1))?;
        let mut numbers = Numbers::new(8);
        let picture = backend.tensor(&[2, 4], &numbers.many(8))?;
        let label = backend.tensor(&[2, 3], &numbers.many(6))?;
        let (mut slow, mut fast) = (Vec::new(), Vec::new());
        let known = Known::picture(picture.clone()).and_label(label);
        net.train(&known, step(&mut slow), step(&mut fast))?;
        let answer = net.ask(&Known::picture(picture))?;
        Ok([slow, fast, answer.picture.to_vec(), answer.label.to_vec()].concat())
    }
    let wanted = found(&Host::<f64>::new()).unwrap();
    close("backend", &found(backend).unwrap(), &wanted, tolerance);
}

#[cfg(feature = "burn")]
#[test]
fn burn() {
    use burn::tensor::{DType, Device};
    agrees(&pc_models::Burn::new(&Device::default(), DType::F64), 1e-12);
    agrees(&pc_models::Burn::new(&Device::default(), DType::F32), 1e-5);
}

#[cfg(feature = "tch")]
#[test]
fn libtorch() {
    agrees(&pc_models::Tch::new(tch::Kind::Double, tch::Device::Cpu), 1e-12);
    agrees(&pc_models::Tch::new(tch::Kind::Float, tch::Device::Cpu), 1e-5);
}
