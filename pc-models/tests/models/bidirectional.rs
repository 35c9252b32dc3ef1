//! Bidirectional PC beside a plain program: states, gradients, and every kind of question.

use crate::dense_plain::{Numbers, affine, back, close, parameter, tensor};
use pc_core::{
    ErrorKind, Schedule, Tensor,
    host::{HostTensor, Init},
};
use pc_models::{Backend, Bidirectional, BidirectionalSettings, Host, Known};

type Net = Bidirectional<Host<f64>>;

/// The net written as plainly as can be: tanh, and one sample at a time.
struct Plain {
    widths: Vec<usize>,
    /// By layer from below: weights and biases.
    up: Vec<(Vec<f64>, Vec<f64>)>,
    down: Vec<(Vec<f64>, Vec<f64>)>,
    alpha: (f64, f64),
}

/// The states of one sample, and what moves of each.
struct States {
    values: Vec<Vec<f64>>,
    free: Vec<Vec<f64>>,
}

/// Gradients in the order of the graph's parameters.
type Gradients = Vec<Vec<f64>>;

impl Plain {
    fn of(net: &Net, widths: &[usize], alpha: (f64, f64)) -> Self {
        let vertices = net.vertices();
        let name = |k: usize| net.graph().topology().name(vertices[k]).unwrap();
        let both = |name: String| {
            let of = |what: &str| parameter(net.graph(), &format!("{name}.{what}"));
            (of("weight"), of("bias"))
        };
        Self {
            widths: widths.to_vec(),
            up: (1..widths.len()).map(|k| both(name(k).to_owned())).collect(),
            down: (1..widths.len()).map(|k| both(format!("down.{}", name(k - 1)))).collect(),
            alpha,
        }
    }

    fn hidden(&self, k: usize) -> bool {
        k > 0 && k + 1 < self.widths.len()
    }

    fn f(&self, k: usize, v: &[f64]) -> Vec<f64> {
        v.iter().map(|v| if self.hidden(k) { v.tanh() } else { *v }).collect()
    }

    fn slope(&self, k: usize, v: f64) -> f64 {
        if self.hidden(k) { 1.0 - v.tanh() * v.tanh() } else { 1.0 }
    }

    fn above(&self, k: usize, v: &[f64]) -> Vec<f64> {
        affine(&self.up[k].0, &self.up[k].1, &self.f(k, v))
    }

    fn below(&self, k: usize, v: &[f64]) -> Vec<f64> {
        affine(&self.down[k - 1].0, &self.down[k - 1].1, &self.f(k, v))
    }

    /// Where one sample starts: a sweep up from what is seen of the picture, or down from the
    /// label.
    fn start(
        &self,
        picture: Option<&[f64]>,
        mask: Option<&[f64]>,
        label: Option<&[f64]>,
    ) -> States {
        let top = self.widths.len() - 1;
        let mut values: Vec<Vec<f64>> = self.widths.iter().map(|w| vec![0.0; *w]).collect();
        let mut free: Vec<Vec<f64>> = self.widths.iter().map(|w| vec![1.0; *w]).collect();
        if let Some(picture) = picture {
            let ones = vec![1.0; picture.len()];
            let mask = mask.unwrap_or(&ones);
            values[0] = picture.iter().zip(mask).map(|(x, m)| x * m).collect();
            free[0] = mask.iter().map(|m| 1.0 - m).collect();
            for k in 0..top {
                values[k + 1] = self.above(k, &values[k]);
            }
        }
        if let Some(label) = label {
            values[top] = label.to_vec();
            free[top].fill(0.0);
            if picture.is_none() {
                for k in (0..top).rev() {
                    values[k] = self.below(k + 1, &values[k + 1]);
                }
            }
        }
        if let (Some(_), Some(mask)) = (picture, mask) {
            let rest = self.below(1, &values[1]);
            for (j, m) in mask.iter().enumerate() {
                if *m == 0.0 {
                    values[0][j] = rest[j];
                }
            }
        }
        States { values, free }
    }

    /// Errors from below (of layers 1 and up) and from above (of all but the last).
    fn errors(&self, values: &[Vec<f64>]) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let minus = |v: &[f64], mu: Vec<f64>| v.iter().zip(mu).map(|(v, mu)| v - mu).collect();
        let top = self.widths.len() - 1;
        let up = (0..top).map(|k| minus(&values[k + 1], self.above(k, &values[k]))).collect();
        let down = (0..top).map(|k| minus(&values[k], self.below(k + 1, &values[k + 1]))).collect();
        (up, down)
    }

    fn relax(&self, states: &mut States, rate: f64, steps: usize) {
        let (forward, backward) = self.alpha;
        for _ in 0..steps {
            let (up, down) = self.errors(&states.values);
            for k in 0..self.widths.len() {
                let width = self.widths[k];
                let (mut own, mut children) = (vec![0.0; width], vec![0.0; width]);
                if k > 0 {
                    own.iter_mut().zip(&up[k - 1]).for_each(|(o, e)| *o += forward * e);
                    let pulled = back(&self.down[k - 1].0, &down[k - 1], width);
                    children.iter_mut().zip(pulled).for_each(|(c, p)| *c += backward * p);
                }
                if k + 1 < self.widths.len() {
                    own.iter_mut().zip(&down[k]).for_each(|(o, e)| *o += backward * e);
                    let pulled = back(&self.up[k].0, &up[k], width);
                    children.iter_mut().zip(pulled).for_each(|(c, p)| *c += forward * p);
                }
                for j in 0..width {
                    let force = self.slope(k, states.values[k][j]) * children[j] - own[j];
                    states.values[k][j] += rate * states.free[k][j] * force;
                }
            }
        }
    }

    fn learn(&self, states: &States, gradients: &mut Gradients) {
        let (up, down) = self.errors(&states.values);
        let top = self.widths.len() - 1;
        for k in 0..top {
            let from_below = (self.f(k, &states.values[k]), &up[k], self.alpha.0, 2 * k);
            let from_above =
                (self.f(k + 1, &states.values[k + 1]), &down[k], self.alpha.1, 2 * (top + k));
            for (x, e, alpha, at) in [from_below, from_above] {
                let row = x.len();
                for (i, e) in e.iter().enumerate() {
                    for (j, x) in x.iter().enumerate() {
                        gradients[at][i * row + j] -= alpha * e * x;
                    }
                    gradients[at + 1][i] -= alpha * e;
                }
            }
        }
    }
}

/// One batch: what is known of it, sample by sample.
struct Batch {
    count: usize,
    picture: Option<Vec<f64>>,
    mask: Option<Vec<f64>>,
    label: Option<Vec<f64>>,
}

impl Batch {
    fn drawn(numbers: &mut Numbers, widths: &[usize], count: usize, what: [bool; 3]) -> Self {
        let (bottom, top) = (widths[0], widths[widths.len() - 1]);
        Self {
            count,
            picture: what[0].then(|| numbers.many(count * bottom)),
            mask: what[1].then(|| numbers.mask(count * bottom)),
            label: what[2].then(|| numbers.many(count * top)),
        }
    }

    fn known(&self) -> Known<HostTensor<f64>> {
        let of = |numbers: &Vec<f64>| tensor(self.count, numbers);
        match (&self.picture, &self.mask, &self.label) {
            (Some(picture), None, None) => Known::picture(of(picture)),
            (Some(picture), None, Some(label)) => Known::picture(of(picture)).and_label(of(label)),
            (Some(picture), Some(mask), None) => Known::part(of(picture), of(mask)),
            (Some(picture), Some(mask), Some(label)) => {
                Known::part(of(picture), of(mask)).and_label(of(label))
            }
            (None, _, label) => Known::label(of(label.as_ref().unwrap())),
        }
    }

    fn start(&self, plain: &Plain, sample: usize) -> States {
        let of = |numbers: &Option<Vec<f64>>| {
            let width = numbers.as_ref()?.len() / self.count;
            Some(numbers.as_ref()?[sample * width..(sample + 1) * width].to_vec())
        };
        let (picture, mask, label) = (of(&self.picture), of(&self.mask), of(&self.label));
        plain.start(picture.as_deref(), mask.as_deref(), label.as_deref())
    }
}

const SHAPES: [&[usize]; 4] = [&[3, 2], &[4, 5, 3], &[5, 4, 6, 2], &[2, 3, 3, 4, 3]];

/// All that can be known, but nothing.
const KNOWN: [[bool; 3]; 5] = [
    [true, false, true],
    [true, false, false],
    [false, false, true],
    [true, true, false],
    [true, true, true],
];

fn net(widths: &[usize], alpha: (f64, f64), rate: f64, steps: usize, seed: u64) -> Net {
    let schedule = Schedule::standard(rate, steps).unwrap();
    let settings = BidirectionalSettings {
        forward: alpha.0,
        backward: alpha.1,
        learning: schedule.clone(),
        asking: schedule,
        ..BidirectionalSettings::new(widths).unwrap()
    };
    Bidirectional::new(&Host::new(), &settings, &mut Init::new(seed)).unwrap()
}

#[test]
fn states_and_gradients_are_those_of_a_plain_program() {
    let mut worst = 0.0_f64;
    for (case, widths) in SHAPES.iter().enumerate() {
        for (alpha, rate) in [((1.0, 1e-4), 0.01), ((1.0, 0.7), 0.1), ((0.3, 2.0), 0.05)] {
            let mut numbers = Numbers::new(17 + case as u64);
            let mut net = net(widths, alpha, rate, 13, 5 + case as u64);
            // Again and again, with other weights and other things known each time.
            for (turn, what) in KNOWN.iter().chain(&KNOWN).enumerate() {
                let batch = Batch::drawn(&mut numbers, widths, 1 + turn % 3, *what);
                let plain = Plain::of(&net, widths, alpha);
                let mut wanted: Gradients =
                    net.graph().parameters().iter().map(|p| vec![0.0; p.to_vec().len()]).collect();
                let mut ends = (Vec::new(), Vec::new());
                for sample in 0..batch.count {
                    let mut states = batch.start(&plain, sample);
                    plain.relax(&mut states, rate, 13);
                    plain.learn(&states, &mut wanted);
                    ends.0.extend_from_slice(&states.values[0]);
                    ends.1.extend_from_slice(&states.values[widths.len() - 1]);
                }
                let answer = net.ask(&batch.known()).unwrap();
                worst = worst.max(close("picture", answer.picture.data(), &ends.0, 1e-12));
                worst = worst.max(close("label", answer.label.data(), &ends.1, 1e-12));
                let mut learned = false;
                net.train(&batch.known(), |graph, gradients| {
                    learned = true;
                    for (id, gradient) in gradients.iter() {
                        let found = gradient.map(Tensor::to_vec);
                        let found = found.unwrap_or_else(|| vec![0.0; wanted[id.index()].len()]);
                        worst = worst.max(close("gradient", &found, &wanted[id.index()], 1e-12));
                        let moved = &mut graph.parameters_mut()[id.index()];
                        moved.axpy(-0.05, &HostTensor::new(moved.dims(), found)?);
                    }
                    Ok(())
                })
                .unwrap();
                assert!(learned);
            }
        }
    }
    println!("at most {worst:e} apart");
}

#[test]
fn weighing_errors_anew_is_as_if_they_had_been_weighed_so() {
    let widths = &[4, 5, 3];
    let mut numbers = Numbers::new(3);
    let batch = Batch::drawn(&mut numbers, widths, 4, [true, true, false]).known();
    let (mut one, mut other) =
        (net(widths, (1.0, 1e-4), 0.1, 9, 2), net(widths, (0.2, 0.9), 0.1, 9, 2));
    let before = one.ask(&batch).unwrap().picture;
    one.weigh(0.2, 0.9).unwrap();
    let (found, wanted) = (one.ask(&batch).unwrap(), other.ask(&batch).unwrap());
    assert_eq!(found.picture, wanted.picture);
    assert_ne!(found.picture, before);
    // A refused pair changes nothing.
    assert_eq!(one.weigh(0.5, -1.0).unwrap_err().kind(), ErrorKind::Graph);
    assert!(one.weigh(f64::NAN, 1.0).is_err());
    assert_eq!(one.ask(&batch).unwrap().picture, wanted.picture);
}

#[test]
fn what_does_not_fit_is_named() {
    let said = |error: pc_core::Error, what: &str| {
        let text = error.to_string();
        assert!(text.contains(what), "{text}");
    };
    said(BidirectionalSettings::new(&[4]).unwrap_err(), "two at least");
    let host = Host::<f64>::new();
    let made = |change: fn(&mut BidirectionalSettings)| {
        let mut settings = BidirectionalSettings::new(&[4, 5, 3]).unwrap();
        change(&mut settings);
        Bidirectional::new(&host, &settings, &mut Init::new(0)).map(|_| ()).unwrap_err()
    };
    said(made(|s| s.widths.clear()), "two at least");
    said(made(|s| s.widths[1] = 0), "hidden1");
    said(made(|s| s.forward = 0.0), "precision");
    said(made(|s| s.backward = f64::INFINITY), "precision");
    said(made(|s| s.learning = Schedule::zil()), "Z-IL");

    let mut net = net(&[4, 5, 3], (1.0, 0.1), 0.1, 5, 1);
    let some = |shape: &[usize]| host.tensor(shape, &vec![0.5; shape.iter().product()]).unwrap();
    let wrong = |net: &mut Net, known: Known<HostTensor<f64>>| net.ask(&known).unwrap_err();
    said(wrong(&mut net, Known::picture(some(&[2, 3]))), "picture");
    said(wrong(&mut net, Known::label(some(&[2, 4]))), "label");
    said(wrong(&mut net, Known::picture(some(&[2, 4])).and_label(some(&[3, 3]))), "batch of");
    said(wrong(&mut net, Known::part(some(&[2, 4]), some(&[1, 4]))), "mask");
    said(wrong(&mut net, Known::part(some(&[2, 4]), some(&[2, 4]))), "mask must be 1");
    let bad = host.tensor(&[1, 4], &[0.0, f64::NAN, 0.0, 0.0]).unwrap();
    said(wrong(&mut net, Known::picture(bad.clone())), "not finite");
    said(wrong(&mut net, Known::part(bad, host.tensor(&[1, 4], &[1.0; 4]).unwrap())), "not finite");
    net.ask_by(Schedule::standard(1e6, 50).unwrap()).unwrap();
    said(wrong(&mut net, Known::picture(some(&[2, 4]))), "diverged");
    said(net.ask_by(Schedule::zil()).unwrap_err(), "Z-IL");
}

/// The same question, learned from once, on another backend.
#[cfg(any(feature = "burn", feature = "tch"))]
fn agrees<B: Backend>(backend: &B, tolerance: f64) {
    fn found<B: Backend>(backend: &B) -> pc_core::Result<Vec<f64>> {
        let settings = BidirectionalSettings {
            backward: 0.1,
            learning: Schedule::standard(0.1, 7)?,
            ..BidirectionalSettings::new(&[4, 5, 3])?
        };
        let mut net = Bidirectional::new(backend, &settings, &mut Init::new(1))?;
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
