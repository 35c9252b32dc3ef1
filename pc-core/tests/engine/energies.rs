//! Energies of predictions, against finite differences and closed forms.

use pc_core::{
    Activation, Bernoulli, Categorical, Clamps, DiagonalPrecision, EnergyInputs, Error, ErrorKind,
    Event, Graph, GraphBuilder, Laplace, LearnedDiagonalPrecision, LearnedMatrixPrecision,
    MatrixPrecision, ParamId, PredictionEnergy, Prior, Reduction, Relaxation, Result, Schedule,
    Slopes, SquaredError, Tensor, VertexId,
    host::{Adam, HostLayers, HostTensor, Init},
};

use crate::common::{Numbers, close, tensor};

type T = HostTensor<f64>;
const WIDTH: usize = 3;

/// A user's own energy: `sum theta log cosh(v - mu)`.
#[derive(Debug)]
struct LogCosh;

impl<T: Tensor> PredictionEnergy<T> for LogCosh {
    fn kind(&self) -> &str {
        "log cosh"
    }
    fn parameters(&self) -> usize {
        1
    }
    fn evaluate(&self, at: &EnergyInputs<'_, T>, slopes: Slopes<'_, T>) -> Result<f64> {
        let weight = at.parameter(0).to_vec()[0];
        let mut energy = 0.0;
        let Slopes { on_prediction, on_value } = slopes;
        T::by_rows(&[at.error()], &mut [on_prediction, on_value], &mut |rows, slopes| {
            for (k, e) in rows[0].iter().enumerate() {
                energy += weight * e.cosh().ln();
                slopes[0][k] = weight * e.tanh();
                slopes[1][k] = -weight * e.tanh();
            }
        });
        Ok(energy)
    }
    fn learn(
        &self,
        at: &EnergyInputs<'_, T>,
        gradients: &mut pc_core::backend::Pulled<'_, T>,
    ) -> Result<()> {
        let sum: f64 = at.error().to_vec().iter().map(|e| e.cosh().ln()).sum();
        let scale = gradients.scale();
        if let Some(gradient) = gradients.gradient(0) {
            let mut own = at.parameter(0).clone();
            own.fill(sum);
            gradient.axpy(scale, &own);
        }
        Ok(())
    }
}

const KINDS: [&str; 10] = [
    "gaussian",
    "laplace",
    "bernoulli",
    "logits",
    "probabilities",
    "diagonal",
    "matrix",
    "learned diagonal",
    "learned matrix",
    "log cosh",
];

/// A square matrix with a large diagonal.
fn dominated(numbers: &mut Numbers) -> T {
    let mut matrix = numbers.tensor::<f64>(&[WIDTH, WIDTH], 0.4);
    for k in 0..WIDTH {
        matrix.data_mut()[k * WIDTH + k] += 1.2;
    }
    matrix
}

/// Sets the energy of a vertex's first prediction.
fn set(b: &mut GraphBuilder<T>, of: VertexId, kind: &str) -> Result<()> {
    let mut numbers = Numbers::new(9);
    let of = b.prediction_of(of)?;
    let name = format!("energy.{}", of.index());
    match kind {
        "gaussian" => Ok(()),
        "laplace" => b.energy(of, Laplace::new(0.7)?, &[]),
        "bernoulli" => b.energy(of, Bernoulli, &[]),
        "logits" => b.energy(of, Categorical::Logits, &[]),
        "probabilities" => b.energy(of, Categorical::Probabilities, &[]),
        "diagonal" => {
            let pi = b.buffer(&name, tensor(&[WIDTH], &[0.5, 0.0, 2.0]))?;
            b.energy(of, DiagonalPrecision, &[pi])
        }
        "matrix" => {
            // Dominated by its diagonal, so that it is positive; not symmetric.
            let pi = b.buffer(&name, dominated(&mut numbers))?;
            b.energy(of, MatrixPrecision, &[pi])
        }
        "learned diagonal" => {
            let logs = b.parameter(&name, numbers.tensor(&[WIDTH], 1.0))?;
            b.energy(of, LearnedDiagonalPrecision, &[logs])
        }
        "learned matrix" => {
            let factor = b.parameter(&name, dominated(&mut numbers))?;
            b.energy(of, LearnedMatrixPrecision, &[factor])
        }
        "log cosh" => {
            let weight = b.parameter(&name, tensor(&[1], &[0.8]))?;
            b.energy(of, LogCosh, &[weight])
        }
        other => Err(Error::new(ErrorKind::Misuse, other)),
    }
}

struct Net {
    graph: Graph<T>,
    vertices: [VertexId; 4],
    /// Inputs, states and targets that every energy is defined at.
    values: [T; 4],
}

/// x -> h -> k -> y, with this energy at h and at y.
fn net(kind: &str) -> Net {
    let mut init = Init::new(4);
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[2]).unwrap();
    let h = b.dense("h", x, WIDTH, Activation::Tanh, &mut init).unwrap();
    let k = b.dense("k", h, 4, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", k, WIDTH, Activation::Identity, &mut init).unwrap();
    b.precision(y, 1.5).unwrap();
    for vertex in [h, y] {
        set(&mut b, vertex, kind).unwrap();
    }
    let mut numbers = Numbers::new(3);
    let distributions = |numbers: &mut Numbers| {
        let mut values = Vec::new();
        for _ in 0..2 {
            let own: Vec<f64> = (0..WIDTH).map(|_| 1.2 + numbers.next()).collect();
            let sum: f64 = own.iter().sum();
            values.extend(own.iter().map(|x| x / sum));
        }
        tensor(&[2, WIDTH], &values)
    };
    let values = [
        numbers.tensor(&[2, 2], 1.0),
        distributions(&mut numbers),
        numbers.tensor(&[2, 4], 1.0),
        distributions(&mut numbers),
    ];
    Net { graph: b.build().unwrap(), vertices: [x, h, k, y], values }
}

impl Net {
    fn clamps(&self) -> Clamps<T> {
        let [x, h, k, y] = self.vertices;
        let [of_x, of_h, of_k, of_y] = self.values.clone();
        Clamps::new().hold(x, of_x).free(h, of_h).free(k, of_k).hold(y, of_y)
    }

    /// The energy at these states.
    fn energy(&mut self) -> f64 {
        let schedule = Schedule::standard(0.1, 1).unwrap().unrelaxed();
        let mut relaxation = Relaxation::new(&self.graph, schedule).unwrap();
        let clamps = self.clamps();
        relaxation.run(&mut self.graph, &clamps).unwrap().energy.total()
    }
}

/// Central differences of `f` as number after number is moved.
fn slopes(count: usize, mut f: impl FnMut(usize, f64) -> f64) -> Vec<f64> {
    (0..count).map(|k| (f(k, 1e-5) - f(k, -1e-5)) / 2e-5).collect()
}

#[test]
fn states_move_down_every_energy() {
    for kind in KINDS {
        let mut net = net(kind);
        let rate = 1e-3;
        let mut relaxation =
            Relaxation::new(&net.graph, Schedule::standard(rate, 1).unwrap()).unwrap();
        let clamps = net.clamps();
        relaxation.run(&mut net.graph, &clamps).unwrap();
        for vertex in [1, 2] {
            let after = relaxation.value(&net.graph, net.vertices[vertex]).unwrap().to_vec();
            let before = net.values[vertex].to_vec();
            let step: Vec<f64> = after.iter().zip(&before).map(|(a, b)| (b - a) / rate).collect();
            let expected = slopes(before.len(), |k, by| {
                net.values[vertex].data_mut()[k] += by;
                let energy = net.energy();
                net.values[vertex].data_mut()[k] -= by;
                energy
            });
            close(kind, &step, &expected, 1e-7);
        }
    }
}

#[test]
fn parameters_learn_down_every_energy() {
    for kind in KINDS {
        let mut net = net(kind);
        let schedule = Schedule::standard(0.1, 1).unwrap().unrelaxed();
        let mut relaxation = Relaxation::new(&net.graph, schedule).unwrap();
        let clamps = net.clamps();
        relaxation.run(&mut net.graph, &clamps).unwrap();
        for index in 0..net.graph.parameters().len() {
            let Some(gradient) = relaxation.gradients().get(ParamId::new(index)) else {
                assert!(net.graph.is_buffer(ParamId::new(index)), "{kind} {index}");
                continue;
            };
            let gradient = gradient.to_vec();
            let expected = slopes(gradient.len(), |k, by| {
                net.graph.parameters_mut()[index].data_mut()[k] += by;
                let energy = net.energy();
                net.graph.parameters_mut()[index].data_mut()[k] -= by;
                energy
            });
            close(kind, &gradient, &expected, 1e-7);
        }
    }
}

/// At a held vertex every rule takes every energy. Backprop's gradient is the derivative of the
/// energy after a forward pass, and so is that of each exact rule.
#[test]
fn every_rule_takes_an_energy_of_what_is_held() {
    for kind in KINDS {
        let mut init = Init::new(4);
        let mut b = Graph::<T>::builder();
        let x = b.input("x", &[2]).unwrap();
        let h = b.dense("h", x, 4, Activation::Tanh, &mut init).unwrap();
        let y = b.dense("y", h, WIDTH, Activation::Identity, &mut init).unwrap();
        set(&mut b, y, kind).unwrap();
        let mut graph = b.build().unwrap();
        let values = net("gaussian").values;
        let clamps = Clamps::new().hold(x, values[0].clone()).hold(y, values[3].clone());
        let gradients = |graph: &mut Graph<T>, schedule: Schedule| {
            let mut relaxation = Relaxation::new(graph, schedule).unwrap();
            let outcome = relaxation.run(graph, &clamps).unwrap();
            let all: Vec<f64> = relaxation
                .gradients()
                .iter()
                .filter_map(|(_, g)| Some(g?.to_vec()))
                .flatten()
                .collect();
            (all, outcome.energy.total())
        };
        let (exact, _) = gradients(&mut graph, Schedule::backprop());
        let unrelaxed = Schedule::standard(0.1, 1).unwrap().unrelaxed();
        let mut expected = Vec::new();
        for index in 0..graph.parameters().len() {
            if graph.is_buffer(ParamId::new(index)) {
                continue;
            }
            let count = graph.parameters()[index].data().len();
            expected.extend(slopes(count, |k, by| {
                graph.parameters_mut()[index].data_mut()[k] += by;
                let energy = gradients(&mut graph, unrelaxed.clone()).1;
                graph.parameters_mut()[index].data_mut()[k] -= by;
                energy
            }));
        }
        close(kind, &exact, &expected, 1e-7);
        use pc_core::Evaluation::{ClosedForm, Front, Simulate};
        let fixed =
            |evaluation| Schedule::fixed_prediction(1.0, 2).unwrap().evaluated_by(evaluation);
        for schedule in [fixed(ClosedForm), fixed(Front), fixed(Simulate), Schedule::zil()] {
            close(kind, &gradients(&mut graph, schedule).0, &exact, 1e-13);
        }
        let slow =
            |evaluation| Schedule::fixed_prediction(0.3, 4).unwrap().evaluated_by(evaluation);
        let (plain, _) = gradients(&mut graph, slow(Simulate));
        close(kind, &gradients(&mut graph, slow(ClosedForm)).0, &plain, 1e-13);
        close(kind, &gradients(&mut graph, slow(Front)).0, &plain, 1e-13);
        // Errors and states come to the same equilibrium.
        let states = Schedule::standard(0.05, 20_000).unwrap();
        let errors = Schedule::epc(0.05, 20_000).unwrap();
        if kind != "laplace" {
            let states = gradients(&mut graph, states.until(1e-10).unwrap());
            let errors = gradients(&mut graph, errors.until(1e-10).unwrap());
            close(kind, &states.0, &errors.0, 1e-7);
        }
    }
}

#[test]
fn what_moves_needs_live_states_for_its_energy() {
    let mut net = net("laplace");
    let [x, h, _, y] = net.vertices;
    let clamps = Clamps::new().hold(x, net.values[0].clone()).hold(y, net.values[3].clone());
    for schedule in [
        Schedule::backprop(),
        Schedule::fixed_prediction(0.5, 3).unwrap(),
        Schedule::zil(),
        Schedule::epc(0.1, 3).unwrap(),
    ] {
        let mut relaxation = Relaxation::new(&net.graph, schedule).unwrap();
        let error = relaxation.run(&mut net.graph, &clamps).unwrap_err();
        assert_eq!((error.kind(), error.vertex()), (ErrorKind::Clamp, Some("h")), "{error}");
        assert!(error.to_string().contains("laplace"), "{error}");
        // Held, it is fine.
        let held = clamps.clone().intervene(h, net.values[1].clone());
        relaxation.run(&mut net.graph, &held).unwrap();
    }
    let loss = SquaredError::new(net.values[3].clone());
    let driven = Clamps::new().hold(x, net.values[0].clone()).drive(y, loss);
    let mut relaxation = Relaxation::new(&net.graph, Schedule::standard(0.1, 3).unwrap()).unwrap();
    let error = relaxation.run(&mut net.graph, &driven).unwrap_err();
    assert_eq!((error.kind(), error.vertex()), (ErrorKind::Clamp, Some("y")), "{error}");
    // Incremental PC moves states live.
    let mut relaxation = Relaxation::new(&net.graph, Schedule::ipc(0.01, 3).unwrap()).unwrap();
    let mut events = 0;
    relaxation
        .train(&mut net.graph, &clamps, |_, gradients| {
            events += 1;
            assert!(gradients.is_finite());
            Ok(())
        })
        .unwrap();
    assert_eq!(events, 3);
}

#[test]
fn a_builder_checks_energies() {
    let mut b = Graph::<T>::builder();
    let x = b.input("x", &[2]).unwrap();
    let y = b.activate("y", x, Activation::Tanh).unwrap();
    let of = b.prediction_of(y).unwrap();
    let wrong = b.parameter("wrong", tensor(&[3], &[1.0; 3])).unwrap();
    assert!(b.energy(of, DiagonalPrecision, &[]).unwrap_err().to_string().contains("takes 1"));
    let error = b.energy(of, DiagonalPrecision, &[wrong]).unwrap_err();
    assert_eq!((error.kind(), error.vertex()), (ErrorKind::Shape, Some("y")), "{error}");
    assert!(b.energy(of, MatrixPrecision, &[wrong]).is_err());
    assert!(b.prediction_of(x).is_err());
    assert!(Laplace::new(0.0).is_err());
    let negative = b.parameter("negative", tensor(&[2], &[1.0, -1.0])).unwrap();
    b.energy(of, DiagonalPrecision, &[negative]).unwrap();
    let mut graph = b.build().unwrap();
    let clamps = Clamps::new().hold(x, tensor(&[1, 2], &[1.0, 2.0]));
    let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 2).unwrap()).unwrap();
    let error = relaxation.run(&mut graph, &clamps).unwrap_err();
    assert_eq!(error.vertex(), Some("y"), "{error}");
}

#[test]
fn a_learned_precision_reaches_the_closed_form() {
    // y = A z + noise, held; a mean predicts it.
    let mut numbers = Numbers::new(8);
    let count = 60;
    let data: Vec<f64> = (0..count)
        .flat_map(|_| {
            let (a, b) = (numbers.next(), numbers.next());
            [0.5 + a, 2.0 * b + 0.8 * a - 1.0]
        })
        .collect();
    let mean = [0, 1].map(|k| data.iter().skip(k).step_by(2).sum::<f64>() / count as f64);
    let covariance = |i: usize, j: usize| {
        let rows = data.chunks(2);
        rows.map(|y| (y[i] - mean[i]) * (y[j] - mean[j])).sum::<f64>() / count as f64
    };
    for whole in [false, true] {
        let mut b = Graph::<T>::builder();
        let y = b.input("y", &[2]).unwrap();
        let center = b.parameter("mean", tensor(&[2], &[0.0, 0.0])).unwrap();
        b.predict(y, Box::new(Prior), &[], &[center], 1.0).unwrap();
        let of = b.prediction_of(y).unwrap();
        let start: &[f64] = if whole { &[1.0, 0.0, 0.0, 1.0] } else { &[0.0, 0.0] };
        let shape: &[usize] = if whole { &[2, 2] } else { &[2] };
        let precision = b.parameter("precision", tensor(shape, start)).unwrap();
        if whole {
            b.energy(of, LearnedMatrixPrecision, &[precision]).unwrap();
        } else {
            b.energy(of, LearnedDiagonalPrecision, &[precision]).unwrap();
        }
        let mut graph = b.build().unwrap();
        let clamps = Clamps::new().hold(y, tensor(&[count, 2], &data));
        let schedule = Schedule::standard(0.1, 1).unwrap().reduced_by(Reduction::Mean);
        let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
        for rate in [0.05, 0.005, 0.0005] {
            let mut adam = Adam::new(rate).unwrap();
            for _ in 0..1500 {
                relaxation.run(&mut graph, &clamps).unwrap();
                adam.step(graph.parameters_mut(), relaxation.gradients()).unwrap();
            }
        }
        let found = |id: ParamId| graph.parameters()[id.index()].to_vec();
        close("mean", &found(center), &mean, 1e-4);
        let p = found(precision);
        if whole {
            // The inverse of L L^T.
            let (a, c, d) = (p[0], p[2], p[3]);
            let (p00, p01, p11) = (a * a, a * c, c * c + d * d);
            let determinant = p00 * p11 - p01 * p01;
            let inverse = [p11 / determinant, -p01 / determinant, p00 / determinant];
            let expected = [covariance(0, 0), covariance(0, 1), covariance(1, 1)];
            close("covariance", &inverse, &expected, 1e-3);
        } else {
            let variances: Vec<f64> = p.iter().map(|s| (-s).exp()).collect();
            close("variances", &variances, &[covariance(0, 0), covariance(1, 1)], 1e-3);
        }
    }
}

#[test]
fn a_precision_that_is_set_anew_counts_from_the_next_batch() {
    let mut first = net("gaussian");
    let [x, h, k, y] = first.vertices;
    let clamps = Clamps::new().hold(x, first.values[0].clone()).hold(y, first.values[3].clone());
    let of = |net: &Net, v: VertexId| net.graph.topology().predictions_of(v).unwrap()[0];
    for schedule in [
        Schedule::backprop(),
        Schedule::fixed_prediction(0.4, 3).unwrap(),
        Schedule::fixed_prediction(0.4, 3).unwrap().evaluated_by(pc_core::Evaluation::Front),
        Schedule::zil(),
        Schedule::standard(0.1, 5).unwrap(),
        Schedule::epc(0.1, 5).unwrap(),
    ] {
        let mut kept = Relaxation::new(&first.graph, schedule.clone()).unwrap();
        for precisions in [[1.0, 1.0, 1.0], [0.5, 0.5, 2.0], [0.5, 0.7, 2.0], [1.0, 1.0, 1.0]] {
            for (vertex, precision) in [h, k, y].into_iter().zip(precisions) {
                let prediction = of(&first, vertex);
                first.graph.set_precision(prediction, precision).unwrap();
            }
            let run = |relaxation: &mut Relaxation<Graph<T>>, graph: &mut Graph<T>| {
                relaxation.begin(graph, &clamps).unwrap();
                let mut gradients = Vec::new();
                loop {
                    match relaxation.advance(graph).unwrap() {
                        Event::Finished(outcome) => return (gradients, outcome.energy),
                        _ => gradients.extend(
                            relaxation.gradients().iter().filter_map(|(_, g)| Some(g?.to_vec())),
                        ),
                    }
                }
            };
            let mut anew = Relaxation::new(&first.graph, schedule.clone()).unwrap();
            let expected = run(&mut anew, &mut first.graph);
            assert_eq!(run(&mut kept, &mut first.graph), expected, "{schedule:?} {precisions:?}");
        }
        assert!(first.graph.set_precision(of(&first, h), 0.0).is_err());
    }
}
