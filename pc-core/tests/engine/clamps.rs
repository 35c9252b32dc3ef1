//! Every clamp, and the limit in which a weak loss becomes backprop.

use pc_core::{
    Agreement, Clamps, Evaluation, Graph, ParamId, Relaxation, Schedule, SquaredError, Start,
    Status, Tensor, VertexId,
    host::{Activation, CrossEntropy, HostLayers, HostTensor, Init},
};

use crate::common::{Numbers, close, tensor};

struct ShallowNet {
    graph: Graph<HostTensor<f64>>,
    x: VertexId,
    h: VertexId,
    y: VertexId,
    input: HostTensor<f64>,
    target: HostTensor<f64>,
}

fn net(seed: u64) -> ShallowNet {
    let mut init = Init::new(seed);
    let mut b = Graph::builder();
    let x = b.input("x", &[4]).unwrap();
    let h = b.dense("h", x, 6, Activation::Tanh, &mut init).unwrap();
    let k = b.dense("k", h, 6, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", k, 3, Activation::Identity, &mut init).unwrap();
    let mut numbers = Numbers::new(seed);
    ShallowNet {
        graph: b.build().unwrap(),
        x,
        h,
        y,
        input: numbers.tensor(&[2, 4], 1.0),
        target: numbers.tensor(&[2, 3], 1.0),
    }
}

fn all(gradients: &pc_core::Gradients<HostTensor<f64>>) -> Vec<f64> {
    gradients.iter().flat_map(|(_, g)| g.expect("a gradient").to_vec()).collect()
}

fn run(
    net: &mut ShallowNet,
    clamps: &Clamps<HostTensor<f64>>,
    schedule: Schedule,
) -> (Vec<f64>, pc_core::Outcome) {
    let mut relaxation = Relaxation::new(&net.graph, schedule).unwrap();
    let outcome = relaxation.run(&mut net.graph, clamps).unwrap();
    (all(relaxation.gradients()), outcome)
}

fn equilibrium() -> Schedule {
    Schedule::standard(0.1, 200_000).unwrap().until(1e-11).unwrap()
}

#[test]
fn a_driven_squared_error_is_what_holding_does() {
    let mut net = net(1);
    let held = Clamps::new().hold(net.x, net.input.clone()).hold(net.y, net.target.clone());
    let driven = Clamps::new()
        .hold(net.x, net.input.clone())
        .drive(net.y, SquaredError::new(net.target.clone()));
    for schedule in [
        Schedule::backprop(),
        Schedule::fixed_prediction(0.3, 7).unwrap(),
        Schedule::zil(),
        Schedule::standard(0.1, 20).unwrap(),
        Schedule::epc(0.1, 20).unwrap(),
    ] {
        let name = schedule.name();
        let (a, first) = run(&mut net, &held, schedule.clone());
        let (b, second) = run(&mut net, &driven, schedule);
        close(name, &a, &b, 1e-14);
        close(name, &[first.energy.total()], &[second.energy.total()], 1e-13);
        assert!(second.energy.loss > 0.0 && first.energy.loss == 0.0, "{name}");
    }
}

#[test]
fn a_weak_loss_tends_to_backprop_in_proportion() {
    let mut net = net(2);
    let labels = [2, 0];
    for cross_entropy in [false, true] {
        let clamps = |net: &ShallowNet, lambda: f64| {
            let clamps = Clamps::new().hold(net.x, net.input.clone());
            if cross_entropy {
                clamps.weak_loss(net.y, CrossEntropy::labels(&labels, 3).unwrap(), lambda)
            } else {
                clamps.weak_loss(net.y, SquaredError::new(net.target.clone()), lambda)
            }
        };
        let (backprop, _) = {
            let clamps = clamps(&net, 1.0);
            run(&mut net, &clamps, Schedule::backprop())
        };
        let mut errors = Vec::new();
        for lambda in [0.1, 0.01, 0.001, 0.0001] {
            let clamps = clamps(&net, lambda);
            let (gradient, outcome) = run(&mut net, &clamps, equilibrium());
            assert_eq!(outcome.status, Status::Converged);
            let scaled: Vec<f64> = gradient.iter().map(|g| g / lambda).collect();
            errors.push(Agreement::of_slices(&scaled, &backprop).relative_norm);
        }
        // O(lambda): each tenth of lambda is a tenth of the error, the better the smaller.
        for pair in errors.windows(2) {
            let slope = (pair[0] / pair[1]).log10();
            assert!((slope - 1.0).abs() < 0.1, "slope {slope} between {pair:?}");
        }
        assert!(errors[3] < 1e-3 && errors[3] > 0.0, "{errors:?}");
    }
}

#[test]
fn cross_entropy_drives_with_its_gradient() {
    let mut net = net(3);
    let clamps = Clamps::new()
        .hold(net.x, net.input.clone())
        .drive(net.y, CrossEntropy::labels(&[1, 2], 3).unwrap());
    let (gradient, outcome) = run(&mut net, &clamps, Schedule::backprop());
    // Central differences of the loss alone, one weight after the other.
    let mut index = 0;
    for p in 0..net.graph.parameters().len() {
        for i in 0..net.graph.parameters()[p].data().len() {
            let step = 1e-5;
            let mut loss = |change: f64| {
                net.graph.parameters_mut()[p].data_mut()[i] += change;
                let (_, outcome) = run(&mut net, &clamps, Schedule::backprop());
                net.graph.parameters_mut()[p].data_mut()[i] -= change;
                // Backprop's energy counts hidden errors too; the loss is a part of its own.
                outcome.energy.loss
            };
            let difference = (loss(step) - loss(-step)) / (2.0 * step);
            assert!(
                (difference - gradient[index]).abs() < 1e-8,
                "parameter {p}, entry {i}: {difference} is not {}",
                gradient[index]
            );
            index += 1;
        }
    }
    assert!(outcome.energy.loss > 0.0);
}

#[test]
fn nudging_holds_part_of_the_way() {
    let mut net = net(4);
    let nudged =
        Clamps::new().hold(net.x, net.input.clone()).nudge(net.y, net.target.clone(), 0.25);
    // The feed-forward output, by holding nothing.
    let mut relaxation = Relaxation::new(&net.graph, Schedule::standard(0.1, 1).unwrap()).unwrap();
    relaxation.run(&mut net.graph, &Clamps::new().hold(net.x, net.input.clone())).unwrap();
    let forward = relaxation.value(&net.graph, net.y).unwrap();
    let place: Vec<f64> =
        forward.data().iter().zip(net.target.data()).map(|(mu, y)| mu + 0.25 * (y - mu)).collect();
    let held = Clamps::new().hold(net.x, net.input.clone()).hold(net.y, tensor(&[2, 3], &place));
    for schedule in [
        Schedule::standard(0.1, 30).unwrap(),
        Schedule::fixed_prediction(0.5, 9).unwrap(),
        Schedule::epc(0.1, 9).unwrap(),
    ] {
        let name = schedule.name();
        let (a, _) = run(&mut net, &nudged, schedule.clone());
        let (b, _) = run(&mut net, &held, schedule);
        close(name, &a, &b, 1e-13);
    }
}

#[test]
fn a_mask_completes_the_free_part() {
    // One linear map, output partly held: the free part settles on its prediction, the held part
    // stays to the bit.
    let mut init = Init::new(5);
    let mut b = Graph::<HostTensor<f64>>::builder();
    let x = b.input("x", &[3]).unwrap();
    let y = b.dense("y", x, 4, Activation::Identity, &mut init).unwrap();
    let mut graph = b.build().unwrap();
    let value = tensor(&[1, 4], &[0.3, 0.0, -0.7, 0.0]);
    let mask = tensor(&[1, 4], &[1.0, 0.0, 1.0, 0.0]);
    let input = tensor(&[1, 3], &[0.2, -0.4, 0.9]);
    for start in [Start::Forward, Start::Zero] {
        let clamps = Clamps::new().hold(x, input.clone()).mask(y, value.clone(), mask.clone());
        let mut relaxation =
            Relaxation::new(&graph, Schedule::standard(0.3, 500).unwrap().starting(start)).unwrap();
        relaxation.run(&mut graph, &clamps).unwrap();
        let found = relaxation.value(&graph, y).unwrap().to_vec();
        let (w, bias) = (graph.parameters()[0].data(), graph.parameters()[1].data());
        let prediction: Vec<f64> = (0..4)
            .map(|i| bias[i] + (0..3).map(|j| w[i * 3 + j] * input.data()[j]).sum::<f64>())
            .collect();
        close("the free part", &[found[1], found[3]], &[prediction[1], prediction[3]], 1e-12);
        close("the held part", &[found[0], found[2]], &[0.3, -0.7], 1e-15);
    }
}

#[test]
fn a_free_input_is_inferred_from_the_output() {
    // A generative model run backwards: a 2 -> 5 linear map, output held, input free: least
    // squares.
    let mut init = Init::new(6);
    let mut b = Graph::<HostTensor<f64>>::builder();
    let x = b.input("x", &[2]).unwrap();
    let y = b.dense("y", x, 5, Activation::Identity, &mut init).unwrap();
    let mut graph = b.build().unwrap();
    let truth = [0.6, -0.3];
    let w = graph.parameters()[0].data().to_vec();
    let output: Vec<f64> = (0..5).map(|i| (0..2).map(|j| w[i * 2 + j] * truth[j]).sum()).collect();
    let clamps =
        Clamps::new().free(x, tensor(&[1, 2], &[0.0, 0.0])).hold(y, tensor(&[1, 5], &output));
    let mut relaxation =
        Relaxation::new(&graph, Schedule::standard(0.1, 100_000).unwrap().until(1e-13).unwrap())
            .unwrap();
    let outcome = relaxation.run(&mut graph, &clamps).unwrap();
    assert_eq!(outcome.status, Status::Converged);
    close("the input", &relaxation.value(&graph, x).unwrap().to_vec(), &truth, 1e-10);
}

#[test]
fn an_intervention_cuts_the_error_but_feeds_the_children() {
    let mut net = net(7);
    let value = Numbers::new(9).tensor::<f64>(&[2, 6], 0.5);
    let held = Clamps::new()
        .hold(net.x, net.input.clone())
        .hold(net.h, value.clone())
        .hold(net.y, net.target.clone());
    let cut = Clamps::new()
        .hold(net.x, net.input.clone())
        .intervene(net.h, value)
        .hold(net.y, net.target.clone());
    for schedule in [
        Schedule::standard(0.1, 15).unwrap(),
        Schedule::fixed_prediction(1.0, 4).unwrap(),
        Schedule::backprop(),
        Schedule::epc(0.1, 15).unwrap(),
    ] {
        let mut gradients = Vec::new();
        for clamps in [&held, &cut] {
            let mut relaxation = Relaxation::new(&net.graph, schedule.clone()).unwrap();
            relaxation.run(&mut net.graph, clamps).unwrap();
            gradients.push(relaxation.gradients().clone());
        }
        let name = schedule.name();
        for p in 0..6 {
            let get = |k: usize| {
                gradients[k].get(ParamId::new(p)).map_or_else(|| vec![0.0; 6], Tensor::to_vec)
            };
            if p < 2 {
                assert!(
                    get(0).iter().any(|g| g.abs() > 1e-3),
                    "{name}: a held vertex teaches the weights into it"
                );
                assert!(get(1).iter().all(|g| *g == 0.0), "{name}: an intervened one does not");
            } else {
                close(name, &get(0), &get(1), 1e-15);
            }
        }
    }
}

#[test]
fn carried_states_go_on_where_they_were() {
    let mut net = net(8);
    let clamps = Clamps::new().hold(net.x, net.input.clone()).hold(net.y, net.target.clone());
    let mut whole = Relaxation::new(&net.graph, Schedule::standard(0.1, 20).unwrap()).unwrap();
    whole.run(&mut net.graph, &clamps).unwrap();
    let mut parts =
        Relaxation::new(&net.graph, Schedule::standard(0.1, 10).unwrap().starting(Start::Carried))
            .unwrap();
    parts.run(&mut net.graph, &clamps).unwrap();
    parts.run(&mut net.graph, &clamps).unwrap();
    close(
        "state",
        &parts.value(&net.graph, net.h).unwrap().to_vec(),
        &whole.value(&net.graph, net.h).unwrap().to_vec(),
        1e-13,
    );
    close("gradients", &all(parts.gradients()), &all(whole.gradients()), 1e-13);
}

/// Precisions that are not all 1 bring buffers of their own, which a plain simulation reads where
/// errors are zero yet.
#[test]
fn a_second_batch_has_nothing_of_the_first() {
    let mut init = Init::new(9);
    let mut b = Graph::<HostTensor<f64>>::builder();
    let x = b.input("x", &[4]).unwrap();
    let h = b.dense("h", x, 6, Activation::Tanh, &mut init).unwrap();
    let k = b.dense("k", h, 6, Activation::Tanh, &mut init).unwrap();
    let y = b.dense("y", k, 3, Activation::Identity, &mut init).unwrap();
    b.precision(h, 0.75).unwrap();
    let mut graph = b.build().unwrap();
    let mut numbers = Numbers::new(9);
    let mut batch = || {
        Clamps::new().hold(x, numbers.tensor(&[2, 4], 1.0)).hold(y, numbers.tensor(&[2, 3], 1.0))
    };
    let (first, second) = (batch(), batch());
    let fixed = Schedule::fixed_prediction(0.1, 8).unwrap();
    let ways = [Evaluation::Simulate, Evaluation::Front].map(|way| fixed.clone().evaluated_by(way));
    for schedule in ways.into_iter().chain([Schedule::standard(0.1, 8).unwrap()]) {
        let mut warm = Relaxation::new(&graph, schedule.clone()).unwrap();
        warm.run(&mut graph, &first).unwrap();
        warm.run(&mut graph, &second).unwrap();
        let mut fresh = Relaxation::new(&graph, schedule).unwrap();
        fresh.run(&mut graph, &second).unwrap();
        assert_eq!(all(warm.gradients()), all(fresh.gradients()));
    }
}

#[test]
fn noise_samples_with_the_right_spread() {
    // One free vertex v with prediction 0 and nothing below: exp(-v^2 / 2 T) has variance T.
    let mut b = Graph::<HostTensor<f64>>::builder();
    let x = b.input("x", &[2000]).unwrap();
    let y = b.activate("y", x, Activation::Identity).unwrap();
    let mut graph = b.build().unwrap();
    let clamps = Clamps::new().hold(x, HostTensor::zeroed(&[1, 2000]).unwrap());
    let (rate, temperature) = (0.05, 0.5);
    let schedule = Schedule::standard(rate, 400).unwrap().with_noise(temperature, 11).unwrap();
    let mut relaxation = Relaxation::new(&graph, schedule.clone()).unwrap();
    relaxation.run(&mut graph, &clamps).unwrap();
    let first = relaxation.value(&graph, y).unwrap().to_vec();
    let variance = first.iter().map(|v| v * v).sum::<f64>() / first.len() as f64;
    // The step's own bias: v' = (1 - r) v + sqrt(2 r T) n has variance T / (1 - r / 2).
    let expected = temperature / (1.0 - rate / 2.0);
    assert!((variance / expected - 1.0).abs() < 0.12, "variance {variance}, expected {expected}");
    let mut again = Relaxation::new(&graph, schedule).unwrap();
    again.run(&mut graph, &clamps).unwrap();
    assert_eq!(
        first,
        again.value(&graph, y).unwrap().to_vec(),
        "the same seed gives the same bits"
    );
    again.run(&mut graph, &clamps).unwrap();
    assert_ne!(first, again.value(&graph, y).unwrap().to_vec(), "the next batch draws afresh");
}
