//! Generative PC: where all is linear, what is inferred is the posterior mean in closed form.

use crate::dense_plain::{
    Matrix, Numbers, affine, close, matrix, parameter, product, solve, tensor, transposed,
};
use pc_core::{
    Activation, Gradients, Graph, Schedule, Tensor,
    host::{HostTensor, Init},
};
use pc_models::{Backend, Generative, GenerativeSettings, Host, Known};

type Net = Generative<Host<f64>>;

fn linear(widths: &[usize], prior: f64, asking: Schedule, seed: u64) -> Net {
    let settings = GenerativeSettings {
        activation: Activation::Identity,
        prior,
        learning: asking.clone(),
        asking,
        ..GenerativeSettings::new(widths).unwrap()
    };
    Generative::new(&Host::new(), &settings, &mut Init::new(seed)).unwrap()
}

/// The joint Gaussian of all vertices, from the label down: its mean and its covariance.
struct Joint {
    /// Where each vertex begins, from the picture up, and the whole length.
    offsets: Vec<usize>,
    mean: Vec<f64>,
    covariance: Matrix,
}

impl Joint {
    /// Of a linear net. `precisions` are those of the vertices, from the picture up.
    fn of(net: &Net, widths: &[usize], precisions: &[f64]) -> Self {
        let top = widths.len() - 1;
        let mut offsets = vec![0];
        widths.iter().for_each(|w| offsets.push(offsets[offsets.len() - 1] + w));
        let whole = offsets[top + 1];
        let (mut mean, mut covariance) = (vec![0.0; whole], vec![vec![0.0; whole]; whole]);
        let own = |k: usize| offsets[k]..offsets[k + 1];
        mean[own(top)].copy_from_slice(&parameter(net.graph(), "label.mean"));
        own(top).for_each(|i| covariance[i][i] = 1.0 / precisions[top]);
        for k in (0..top).rev() {
            let name = net.graph().topology().name(net.vertices()[k]).unwrap();
            let weight = parameter(net.graph(), &format!("{name}.weight"));
            let bias = parameter(net.graph(), &format!("{name}.bias"));
            let mu = affine(&weight, &bias, &mean[own(k + 1)]);
            mean[own(k)].copy_from_slice(&mu);
            let weight = matrix(widths[k], widths[k + 1], &weight);
            // With everything above it: W C; with itself: W C W^T + 1/pi.
            let above: Matrix =
                own(k + 1).map(|i| covariance[i][offsets[k + 1]..].to_vec()).collect();
            let cross = product(&weight, &above);
            for (i, row) in own(k).zip(&cross) {
                for (j, c) in (offsets[k + 1]..whole).zip(row) {
                    (covariance[i][j], covariance[j][i]) = (*c, *c);
                }
            }
            let near: Matrix = cross.iter().map(|row| row[..widths[k + 1]].to_vec()).collect();
            let variance = product(&near, &transposed(&weight));
            for (i, row) in own(k).zip(&variance) {
                covariance[i][own(k)].copy_from_slice(row);
                covariance[i][i] += 1.0 / precisions[k];
            }
        }
        Self { offsets, mean, covariance }
    }

    /// The mean of everything, given the numbers that are known.
    fn given(&self, known: &[Option<f64>]) -> Vec<f64> {
        let seen: Vec<usize> = (0..known.len()).filter(|i| known[*i].is_some()).collect();
        let surprise: Vec<f64> = seen.iter().map(|i| known[*i].unwrap() - self.mean[*i]).collect();
        let block: Matrix =
            seen.iter().map(|i| seen.iter().map(|j| self.covariance[*i][*j]).collect()).collect();
        let weights = solve(&block, &surprise);
        let shift = |i: usize| -> f64 {
            seen.iter().zip(&weights).map(|(j, w)| self.covariance[i][*j] * w).sum()
        };
        (0..known.len()).map(|i| known[i].unwrap_or(self.mean[i] + shift(i))).collect()
    }
}

const SHAPES: [&[usize]; 4] = [&[3, 2], &[5, 4, 2], &[4, 6, 3], &[6, 4, 3, 2]];

/// Pictures, their masks, labels.
const KNOWN: [[bool; 3]; 5] = [
    [true, false, false],
    [true, true, false],
    [false, false, true],
    [true, true, true],
    [true, false, true],
];

#[test]
fn where_all_is_linear_the_posterior_mean_is_found() {
    let mut worst = 0.0_f64;
    for (case, widths) in SHAPES.iter().enumerate() {
        for prior in [1.0, 0.5, 3.0] {
            let schedule = Schedule::standard(0.1, 20_000).unwrap().until(1e-13).unwrap();
            let mut net = linear(widths, prior, schedule, 11 + case as u64);
            let mut numbers = Numbers::new(29 + case as u64);
            let mut precisions = vec![1.0; widths.len()];
            precisions[widths.len() - 1] = prior;
            for (turn, what) in KNOWN.iter().chain(&KNOWN).enumerate() {
                // Between calls weights, the prior's mean and precisions change.
                for parameter in net.graph_mut().parameters_mut() {
                    let moves = numbers.many(parameter.data().len());
                    parameter.data_mut().iter_mut().zip(moves).for_each(|(p, m)| *p += 0.1 * m);
                }
                precisions[0] = 1.0 + 0.5 * numbers.next();
                let (graph, picture) = (net.graph(), net.vertices()[0]);
                let own = graph.topology().predictions_of(picture).unwrap()[0];
                net.graph_mut().set_precision(own, precisions[0]).unwrap();

                let joint = Joint::of(&net, widths, &precisions);
                let (count, top) = (1 + turn % 3, widths.len() - 1);
                let picture = numbers.many(count * widths[0]);
                let ones = vec![1.0; picture.len()];
                let mask = if what[1] { numbers.mask(picture.len()) } else { ones };
                let label = numbers.many(count * widths[top]);
                let mut known = match what {
                    [true, false, _] => Known::picture(tensor(count, &picture)),
                    [true, true, _] => Known::part(tensor(count, &picture), tensor(count, &mask)),
                    _ => Known::label(tensor(count, &label)),
                };
                if what[2] {
                    known = known.and_label(tensor(count, &label));
                }
                net.ask(&known).unwrap();
                for sample in 0..count {
                    let row = |numbers: &[f64], width: usize| {
                        numbers[sample * width..(sample + 1) * width].to_vec()
                    };
                    let mut known = vec![None; joint.mean.len()];
                    if what[0] {
                        let (picture, mask) = (row(&picture, widths[0]), row(&mask, widths[0]));
                        for (slot, (x, m)) in known.iter_mut().zip(picture.iter().zip(&mask)) {
                            *slot = (*m == 1.0).then_some(*x);
                        }
                    }
                    if what[2] {
                        let label = row(&label, widths[top]);
                        known[joint.offsets[top]..]
                            .iter_mut()
                            .zip(label)
                            .for_each(|(slot, y)| *slot = Some(y));
                    }
                    let wanted = joint.given(&known);
                    for (k, vertex) in net.vertices().iter().enumerate() {
                        let found = net.asked().value(net.graph(), *vertex).unwrap();
                        let own = &wanted[joint.offsets[k]..joint.offsets[k + 1]];
                        let found = row(found.data(), widths[k]);
                        worst = worst.max(close("posterior mean", &found, own, 1e-9));
                    }
                }
            }
        }
    }
    println!("at most {worst:e} apart");
}

fn step(graph: &mut Graph<HostTensor<f64>>, by: &Gradients<HostTensor<f64>>) {
    for (id, gradient) in by.iter() {
        if let Some(gradient) = gradient {
            graph.parameters_mut()[id.index()].axpy(-0.02, gradient);
        }
    }
}

#[test]
fn the_prior_learns_how_frequent_labels_are() {
    let mut net = linear(&[4, 3, 2], 1.0, Schedule::standard(0.1, 20).unwrap(), 3);
    let mut numbers = Numbers::new(5);
    let pictures = tensor(4, &numbers.many(16));
    let labels = tensor(4, &[1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    for _ in 0..600 {
        let known = Known::picture(pictures.clone()).and_label(labels.clone());
        net.train(&known, |graph, by| {
            step(graph, by);
            Ok(())
        })
        .unwrap();
    }
    close("frequencies", &parameter(net.graph(), "label.mean"), &[0.75, 0.25], 1e-9);
}

#[test]
fn a_label_on_the_simplex_stays_a_distribution() {
    let settings =
        GenerativeSettings { simplex: true, ..GenerativeSettings::new(&[4, 6, 3]).unwrap() };
    let mut net = Generative::new(&Host::<f64>::new(), &settings, &mut Init::new(2)).unwrap();
    let pictures: Vec<f64> = Numbers::new(4).many(20).iter().map(|x| 3.0 * x).collect();
    let answer = net.ask(&Known::picture(tensor(5, &pictures))).unwrap();
    for row in answer.label.data().chunks(3) {
        assert!(row.iter().all(|p| *p >= 0.0), "{row:?}");
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{row:?}");
    }
    let free = GenerativeSettings { simplex: false, ..settings };
    let mut net = Generative::new(&Host::<f64>::new(), &free, &mut Init::new(2)).unwrap();
    let other = net.ask(&Known::picture(tensor(5, &pictures))).unwrap();
    assert!(other.label.data().iter().any(|p| *p < 0.0));
}

#[test]
fn what_does_not_fit_is_named() {
    let said = |error: pc_core::Error, what: &str| {
        let text = error.to_string();
        assert!(text.contains(what), "{text}");
    };
    said(GenerativeSettings::new(&[]).unwrap_err(), "two at least");
    let host = Host::<f64>::new();
    let made = |change: fn(&mut GenerativeSettings)| {
        let mut settings = GenerativeSettings::new(&[4, 5, 3]).unwrap();
        change(&mut settings);
        Generative::new(&host, &settings, &mut Init::new(0)).map(|_| ()).unwrap_err()
    };
    said(made(|s| s.widths.truncate(1)), "two at least");
    said(made(|s| s.widths[0] = 0), "picture");
    said(made(|s| s.widths[2] = 0), "label");
    said(made(|s| s.prior = -1.0), "precision");

    let mut net = linear(&[4, 5, 3], 1.0, Schedule::standard(0.1, 5).unwrap(), 1);
    let some = |shape: &[usize]| host.tensor(shape, &vec![0.5; shape.iter().product()]).unwrap();
    let wrong = |net: &mut Net, known: Known<HostTensor<f64>>| net.ask(&known).unwrap_err();
    said(wrong(&mut net, Known::picture(some(&[2, 3]))), "picture");
    said(wrong(&mut net, Known::label(some(&[2, 4]))), "label");
    said(wrong(&mut net, Known::picture(some(&[2, 4])).and_label(some(&[3, 3]))), "batch of");
    said(wrong(&mut net, Known::part(some(&[2, 4]), some(&[1, 4]))), "mask");
    said(wrong(&mut net, Known::part(some(&[2, 4]), some(&[2, 4]))), "mask must be 1");
    let bad = host.tensor(&[1, 4], &[0.0, f64::INFINITY, 0.0, 0.0]).unwrap();
    said(wrong(&mut net, Known::picture(bad)), "not finite");
    net.ask_by(Schedule::standard(1e6, 50).unwrap()).unwrap();
    said(wrong(&mut net, Known::picture(some(&[2, 4]))), "diverged");

    // A projection of what moves needs live states.
    let settings = GenerativeSettings {
        simplex: true,
        asking: Schedule::backprop(),
        ..GenerativeSettings::new(&[4, 5, 3]).unwrap()
    };
    let mut net = Generative::new(&host, &settings, &mut Init::new(0)).unwrap();
    said(wrong(&mut net, Known::picture(some(&[2, 4]))), "only live states can");
}

/// The same questions, learned from once, on another backend.
#[cfg(any(feature = "burn", feature = "tch"))]
fn agrees<B: Backend>(backend: &B, tolerance: f64) {
    fn found<B: Backend>(backend: &B) -> pc_core::Result<Vec<f64>> {
        let settings = GenerativeSettings {
            picture: Activation::Sigmoid,
            simplex: true,
            asking: Schedule::standard(0.1, 30)?,
            ..GenerativeSettings::new(&[4, 5, 3])?
        };
        let mut net = Generative::new(backend, &settings, &mut Init::new(1))?;
        let mut numbers = Numbers::new(8);
        let (picture, mask) = (numbers.many(8), numbers.mask(8));
        let label = backend.tensor(&[2, 3], &numbers.many(6))?;
        let of = |numbers: &[f64]| backend.tensor(&[2, 4], numbers);
        let mut all = Vec::new();
        net.train(&Known::picture(of(&picture)?).and_label(label.clone()), |graph, gradients| {
            for (id, gradient) in gradients.iter() {
                if let Some(gradient) = gradient {
                    all.extend(gradient.to_vec());
                    graph.parameters_mut()[id.index()].axpy(-0.1, gradient);
                }
            }
            Ok(())
        })?;
        let part = Known::part(of(&picture)?, of(&mask)?);
        for known in [Known::picture(of(&picture)?), Known::label(label), part] {
            let answer = net.ask(&known)?;
            all.extend(answer.picture.to_vec());
            all.extend(answer.label.to_vec());
        }
        Ok(all)
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
