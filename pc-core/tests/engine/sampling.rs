//! What noise samples of a linear-Gaussian model, and what weights learn from it.

use pc_core::{
    Clamps, Event, Graph, ParamId, Relaxation, Schedule, Tensor, VertexId,
    host::{Activation, HostLayers, HostTensor, Init},
    rule::{Adam, Anderson, Heun, Nesterov},
};

use crate::common::{Numbers, close, tensor};

type T = HostTensor<f64>;

/// Chains beside one another, all of the same data: their spread tells the standard error,
/// whatever the autocorrelation along each.
const CHAINS: usize = 64;
const TEMPERATURE: f64 = 0.5;
/// The precisions of the hidden vertex's prediction and of the output's.
const PI: [f64; 2] = [1.0, 2.0];

/// `x -> h -> y`, linear, widths 2, 2, 3; `x` and `y` held.
struct Model {
    graph: Graph<T>,
    h: VertexId,
    clamps: Clamps<T>,
    x: Vec<f64>,
    /// `W h + b` is predicted of `y`, which is held at this.
    y: Vec<f64>,
    /// What the forward pass predicts of `h`.
    prior: Vec<f64>,
    weight: Vec<f64>,
    bias: Vec<f64>,
}

/// The posterior of `h`: mean, and covariance row by row.
struct Posterior {
    mean: [f64; 2],
    covariance: [[f64; 2]; 2],
}

impl Model {
    fn new() -> Self {
        let mut init = Init::new(41);
        let mut b = Graph::builder();
        let x = b.input("x", &[2]).unwrap();
        let h = b.dense("h", x, 2, Activation::Identity, &mut init).unwrap();
        let y = b.dense("y", h, 3, Activation::Identity, &mut init).unwrap();
        b.precision(h, PI[0]).unwrap();
        b.precision(y, PI[1]).unwrap();
        let mut graph = b.build().unwrap();
        let mut numbers = Numbers::new(42);
        let mut set = |graph: &mut Graph<T>, name: &str, shape: &[usize]| {
            let values = numbers.many(shape.iter().product(), 0.8);
            let id = graph.parameter(name).unwrap();
            graph.set_parameter(id, tensor(shape, &values)).unwrap();
            values
        };
        let first = set(&mut graph, "h.weight", &[2, 2]);
        let shift = set(&mut graph, "h.bias", &[2]);
        let weight = set(&mut graph, "y.weight", &[3, 2]);
        let bias = set(&mut graph, "y.bias", &[3]);
        let (at_x, at_y) = (numbers.many(2, 1.0), numbers.many(3, 1.0));
        let clamps = Clamps::new()
            .hold(x, tensor(&[CHAINS, 2], &at_x.repeat(CHAINS)))
            .hold(y, tensor(&[CHAINS, 3], &at_y.repeat(CHAINS)));
        let prior = (0..2)
            .map(|i| shift[i] + first[2 * i] * at_x[0] + first[2 * i + 1] * at_x[1])
            .collect();
        Self { graph, h, clamps, x: at_x, y: at_y, prior, weight, bias }
    }

    /// `covariance = T (pi_h I + pi_y W^T W)^-1`, and the mean where the energy is least.
    fn posterior(&self) -> Posterior {
        let w = |k: usize, i: usize| self.weight[2 * k + i];
        let product = |i, j| (0..3).map(|k| PI[1] * w(k, i) * w(k, j)).sum::<f64>();
        let (a, b, d) = (PI[0] + product(0, 0), product(0, 1), PI[0] + product(1, 1));
        let determinant = a * d - b * b;
        let inverse = [[d / determinant, -b / determinant], [-b / determinant, a / determinant]];
        let right: Vec<f64> = (0..2)
            .map(|i| {
                let data = (0..3).map(|k| PI[1] * w(k, i) * (self.y[k] - self.bias[k]));
                PI[0] * self.prior[i] + data.sum::<f64>()
            })
            .collect();
        let mean = inverse.map(|row| row[0] * right[0] + row[1] * right[1]);
        Posterior { mean, covariance: inverse.map(|row| row.map(|x| TEMPERATURE * x)) }
    }
}

/// The mean of some numbers, and its standard error where they are independent.
fn mean_of(numbers: &[f64]) -> (f64, f64) {
    let n = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / n;
    let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

fn noisy(rate: f64, steps: usize, momentum: f64) -> Schedule {
    let plain = Schedule::standard(rate, steps).unwrap();
    let noisy = plain.with_noise(TEMPERATURE, 43).unwrap();
    if momentum > 0.0 { noisy.with_momentum(momentum).unwrap() } else { noisy }
}

#[test]
fn samples_are_the_posteriors() {
    let (burn_in, steps) = (1000, 7000);
    // With so short steps the sampled variance is off by less than half a percent of itself.
    for (rate, momentum) in [(0.005, 0.0), (0.005, 0.5)] {
        let mut model = Model::new();
        let Posterior { mean, covariance } = model.posterior();
        let schedule = noisy(rate, steps, momentum).observed();
        let mut relaxation = Relaxation::new(&model.graph, schedule).unwrap();
        relaxation.begin(&mut model.graph, &model.clamps).unwrap();
        // By chain: the sums of h and of the products of its deviations.
        let (mut sums, mut products) = (vec![[0.0; 2]; CHAINS], vec![[0.0; 3]; CHAINS]);
        let mut step = 0;
        loop {
            match relaxation.advance(&mut model.graph).unwrap() {
                Event::Step => {
                    if step > burn_in {
                        let h = relaxation.value(&model.graph, model.h).unwrap().to_vec();
                        for chain in 0..CHAINS {
                            let off = [h[2 * chain] - mean[0], h[2 * chain + 1] - mean[1]];
                            for (i, j, k) in [(0, 0, 0), (0, 1, 1), (1, 1, 2)] {
                                products[chain][k] += off[i] * off[j] / (steps - burn_in) as f64;
                            }
                            for i in 0..2 {
                                sums[chain][i] += h[2 * chain + i] / (steps - burn_in) as f64;
                            }
                        }
                    }
                    step += 1;
                }
                Event::Learn => {}
                Event::Finished(_) => break,
            }
        }
        let check = |what: &str, found: Vec<f64>, expected: f64| {
            let (found, error) = mean_of(&found);
            let off = (found - expected).abs() / error;
            println!("momentum {momentum}, {what}: {found:.4} +- {error:.4}, wanted {expected:.4}");
            assert!(off < 3.0, "momentum {momentum}, {what}: off by {off} standard errors");
            // Errors so large would agree with anything.
            assert!(error < 0.05, "{what}: {error}");
        };
        for i in 0..2 {
            let found = sums.iter().map(|sums| sums[i]).collect();
            check(&format!("mean {i}"), found, mean[i]);
        }
        for (i, j, k) in [(0, 0, 0), (0, 1, 1), (1, 1, 2)] {
            let found = products.iter().map(|products| products[k]).collect();
            check(&format!("covariance {i} {j}"), found, covariance[i][j]);
        }
    }
}

#[test]
fn gradients_of_samples_average_to_the_posteriors() {
    let (burn_in, every, steps) = (1000, 300, 25_000);
    for momentum in [0.0, 0.5] {
        let mut model = Model::new();
        let Posterior { mean, covariance } = model.posterior();
        let schedule = noisy(0.005, steps, momentum).learning_from_samples(burn_in, every).unwrap();
        let mut relaxation = Relaxation::new(&model.graph, schedule).unwrap();
        let mut drawn: Vec<Vec<Vec<f64>>> = vec![Vec::new(); 4];
        relaxation
            .train(&mut model.graph, &model.clamps, |_, gradients| {
                for (id, gradient) in gradients.iter() {
                    drawn[id.index()].push(gradient.unwrap().to_vec());
                }
                Ok(())
            })
            .unwrap();
        assert_eq!(drawn[0].len(), (steps - burn_in) / every);

        // -pi E[e] by what the weight multiplies, summed over the chains.
        let error = |k: usize| {
            let w = &model.weight[2 * k..2 * k + 2];
            model.y[k] - model.bias[k] - w[0] * mean[0] - w[1] * mean[1]
        };
        let hidden = |i: usize| mean[i] - model.prior[i];
        let mut expected = vec![Vec::new(); 4];
        for i in 0..2 {
            expected[0].extend((0..2).map(|j| -PI[0] * hidden(i) * model.x[j]));
            expected[1].push(-PI[0] * hidden(i));
        }
        for k in 0..3 {
            for j in 0..2 {
                let spread: f64 = (0..2).map(|i| model.weight[2 * k + i] * covariance[i][j]).sum();
                expected[2].push(-PI[1] * (error(k) * mean[j] - spread));
            }
            expected[3].push(-PI[1] * error(k));
        }
        for (index, (drawn, expected)) in drawn.iter().zip(&expected).enumerate() {
            let name = &model.graph.topology().parameter_names()[index];
            for (element, expected) in expected.iter().enumerate() {
                let each: Vec<f64> =
                    drawn.iter().map(|gradient| gradient[element] / CHAINS as f64).collect();
                let (found, error) = mean_of(&each);
                let off = (found - expected).abs() / error;
                println!(
                    "momentum {momentum}, {name}[{element}]: {found:.4} +- {error:.4}, \
                     {expected:.4}"
                );
                assert!(off < 3.0, "{name}[{element}]: off by {off} standard errors");
                assert!(error < 0.05, "{name}[{element}]: {error}");
            }
        }
    }
}

#[test]
fn weights_learn_after_the_steps_that_were_chosen() {
    for (burn_in, every, steps) in [(0, 1, 5), (2, 3, 11), (4, 1, 6), (3, 4, 7)] {
        let mut model = Model::new();
        let schedule =
            noisy(0.05, steps, 0.0).learning_from_samples(burn_in, every).unwrap().observed();
        assert!(schedule.learning().moves_weights());
        let mut relaxation = Relaxation::new(&model.graph, schedule).unwrap();
        relaxation.begin(&mut model.graph, &model.clamps).unwrap();
        let (mut seen, mut learned) = (Vec::new(), Vec::new());
        let weight = ParamId::new(2);
        loop {
            match relaxation.advance(&mut model.graph).unwrap() {
                Event::Step => {
                    seen.push(relaxation.value(&model.graph, model.h).unwrap().to_vec());
                }
                Event::Learn => {
                    learned.push(seen.len() - 1);
                    // From the errors that are seen: -pi e h^T with the weights as they are.
                    let h = seen.last().unwrap();
                    let parameters = model.graph.parameters();
                    let (w, b) = (parameters[2].to_vec(), parameters[3].to_vec());
                    let mut expected = vec![0.0; 6];
                    for h in h.chunks(2) {
                        for k in 0..3 {
                            let e = model.y[k] - b[k] - w[2 * k] * h[0] - w[2 * k + 1] * h[1];
                            for j in 0..2 {
                                expected[2 * k + j] -= PI[1] * e * h[j];
                            }
                        }
                    }
                    let found = relaxation.gradients().get(weight).unwrap().to_vec();
                    close("the gradient of this sample", &found, &expected, 1e-10);
                    // The weights move, and the next sample is of another energy.
                    model.graph.parameters_mut()[2].scale(0.9);
                }
                Event::Finished(_) => break,
            }
        }
        let due: Vec<usize> = (burn_in + every..=steps).step_by(every).collect();
        assert_eq!(learned, due);
    }
}

#[test]
fn samples_without_noise_or_time_are_refused() {
    let model = Model::new();
    let standard = || Schedule::standard(0.1, 20).unwrap();
    let sampled = |s: Schedule| s.learning_from_samples(5, 10).unwrap();
    let noisy = |s: Schedule| s.with_noise(1.0, 3).unwrap();
    for (schedule, says) in [
        (sampled(standard()), "without noise"),
        (noisy(standard()).learning_from_samples(15, 6).unwrap(), "before the first sample"),
        (noisy(standard()).learning_from_samples(usize::MAX, 6).unwrap(), "before the first"),
        (noisy(sampled(Schedule::ipc(0.1, 20).unwrap())), "at every step already"),
        (noisy(sampled(Schedule::epc(0.1, 20).unwrap())), "at the end"),
        (noisy(sampled(Schedule::fixed_prediction(0.1, 20).unwrap())), "live predictions"),
        (noisy(sampled(Schedule::zil())), "plain steps"),
        (noisy(sampled(Schedule::backprop())), "no steps"),
        (noisy(sampled(standard().adaptive())), "noise raises the energy"),
    ] {
        let error = Relaxation::new(&model.graph, schedule).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let rules: [fn(Schedule) -> Schedule; 4] = [
        |s| s.ruled_by(Nesterov::new(0.5).unwrap()),
        |s| s.ruled_by(Adam::default()),
        |s| s.ruled_by(Heun),
        |s| s.ruled_by(Anderson::new(3).unwrap()),
    ];
    for rule in rules {
        let error = Relaxation::new(&model.graph, rule(noisy(standard()))).unwrap_err();
        assert!(error.to_string().contains("noise samples"), "{error}");
    }
    assert!(standard().learning_from_samples(5, 0).unwrap_err().to_string().contains("0th"));
    let mut model = Model::new();
    let mut relaxation = Relaxation::new(&model.graph, noisy(sampled(standard()))).unwrap();
    let error = relaxation.run(&mut model.graph, &model.clamps).unwrap_err();
    assert!(error.to_string().contains("use `train`"), "{error}");
}
