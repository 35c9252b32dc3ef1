//! Below rate 1, and with few steps, the numbers are those of the host backend's simulation of the
//! same graph.

use pc_tch::{
    Pc,
    pc_core::{
        Clamps, Evaluation, Graph, Relaxation, Schedule, SquaredError, Tensor as _,
        host::{Activate, Activation, HostTensor, Linear, Product, Sum},
    },
};
use tch::{Kind, Tensor};

use crate::common::{double, seeded, tensor};

fn host(tensor: &Tensor) -> HostTensor<f64> {
    let shape: Vec<usize> = tensor.size().iter().map(|size| *size as usize).collect();
    HostTensor::new(&shape, Vec::try_from(tensor.reshape([-1])).unwrap()).unwrap()
}

/// Weights, and the operations between the input and the output that use them, for both frameworks.
struct Case {
    name: &'static str,
    weights: Vec<Tensor>,
    x: Tensor,
    y: Tensor,
    output: fn(&Tensor, &[Tensor]) -> Tensor,
    host: fn(&[Tensor]) -> Host,
}

struct Host {
    graph: Graph<HostTensor<f64>>,
    x: pc_tch::pc_core::VertexId,
    y: pc_tch::pc_core::VertexId,
}

fn weights(shapes: &[[i64; 2]]) -> Vec<Tensor> {
    shapes
        .iter()
        .flat_map(|shape| {
            [Tensor::randn(shape, double()) * 0.6, Tensor::randn([shape[0]], double()) * 0.3]
        })
        .map(|weight| weight.set_requires_grad(true))
        .collect()
}

/// Linear, tanh, linear, tanh, linear.
fn chain() -> Case {
    let output = |x: &Tensor, w: &[Tensor]| {
        let h = x.linear(&w[0], Some(&w[1])).tanh();
        // Nodes that only pass values on are no vertices: the host's graph has none.
        let h = h.view([-1, 1, 5]).transpose(1, 2).squeeze_dim(2).contiguous();
        h.linear(&w[2], Some(&w[3])).tanh().linear(&w[4], Some(&w[5]))
    };
    let host = |w: &[Tensor]| {
        let mut b = Graph::<HostTensor<f64>>::builder();
        let p: Vec<_> = w
            .iter()
            .enumerate()
            .map(|(k, w)| b.parameter(&format!("w{k}"), host(w)).unwrap())
            .collect();
        let x = b.input("x", &[4]).unwrap();
        let mut h = x;
        for layer in 0..3 {
            h = b
                .vertex(
                    &format!("a{layer}"),
                    Box::new(Linear::new()),
                    &[h],
                    &p[2 * layer..2 * layer + 2],
                )
                .unwrap();
            if layer < 2 {
                h = b
                    .vertex(&format!("h{layer}"), Box::new(Activate(Activation::Tanh)), &[h], &[])
                    .unwrap();
            }
        }
        Host { graph: b.build().unwrap(), x, y: h }
    };
    Case {
        name: "chain",
        weights: weights(&[[5, 4], [5, 5], [3, 5]]),
        x: Tensor::randn([6, 4], double()),
        y: Tensor::randn([6, 3], double()),
        output,
        host,
    }
}

/// Skips over one and over several operations, a product, and a vertex used three times.
fn unlevelled() -> Case {
    let output = |x: &Tensor, w: &[Tensor]| {
        let a = x.linear(&w[0], Some(&w[1])).tanh();
        let b = a.linear(&w[2], Some(&w[3])).tanh();
        let c = &a * &b;
        let d = &c + &a;
        d.linear(&w[4], Some(&w[5]))
    };
    let host = |w: &[Tensor]| {
        let mut g = Graph::<HostTensor<f64>>::builder();
        let p: Vec<_> = w
            .iter()
            .enumerate()
            .map(|(k, w)| g.parameter(&format!("w{k}"), host(w)).unwrap())
            .collect();
        let x = g.input("x", &[4]).unwrap();
        let tanh = || Box::new(Activate(Activation::Tanh));
        let a = g.vertex("a0", Box::new(Linear::new()), &[x], &p[0..2]).unwrap();
        let a = g.vertex("a", tanh(), &[a], &[]).unwrap();
        let b = g.vertex("b0", Box::new(Linear::new()), &[a], &p[2..4]).unwrap();
        let b = g.vertex("b", tanh(), &[b], &[]).unwrap();
        let c = g.vertex("c", Box::new(Product), &[a, b], &[]).unwrap();
        let d = g.vertex("d", Box::new(Sum::new()), &[c, a], &[]).unwrap();
        let y = g.vertex("y", Box::new(Linear::new()), &[d], &p[4..6]).unwrap();
        Host { graph: g.build().unwrap(), x, y }
    };
    Case {
        name: "unlevelled",
        weights: weights(&[[5, 4], [5, 5], [3, 5]]),
        x: Tensor::randn([6, 4], double()),
        y: Tensor::randn([6, 3], double()),
        output,
        host,
    }
}

/// Where paths of many lengths meet, the closed form is no single pass, says so, and pulls no
/// operation oftener than the simulations do.
#[test]
fn the_closed_form_costs_no_more_than_a_simulation() {
    let _turn = seeded();
    for make in crate::models::MODELS {
        let model = make(Kind::Double);
        for (gamma, steps) in [(0.1, 60), (0.5, 7), (1.0, 2)] {
            let run = |evaluation| {
                let pc = Pc::fixed_prediction(gamma, steps).unwrap().evaluated_by(evaluation);
                tch::manual_seed(7);
                let outcome = pc.even_shallow().f_backward(&model.loss()).unwrap();
                (outcome, crate::common::take_gradients(&model.store))
            };
            let (closed, ours) = run(Evaluation::ClosedForm);
            for evaluation in [Evaluation::Front, Evaluation::Simulate] {
                let (simulated, theirs) = run(evaluation);
                println!("{:<28} gamma {gamma}, T {steps}: {closed}; {simulated}", model.name);
                assert!(
                    closed.pulls <= simulated.pulls && closed.other_pulls <= simulated.other_pulls,
                    "{closed}; {simulated}"
                );
                // Beside the largest of all: a bias before batch norm has nothing but rounding.
                let norm = |x: &Tensor| x.norm().double_value(&[]);
                let largest = theirs
                    .iter()
                    .filter_map(|(_, gradient)| gradient.as_ref().map(norm))
                    .fold(0.0, f64::max);
                for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
                    match (ours, theirs) {
                        (None, None) => {}
                        (Some(ours), Some(theirs)) => {
                            let off = norm(&(ours - theirs)) / largest;
                            assert!(off <= 1e-12, "{}: {name} is off by {off:e}", model.name);
                        }
                        _ => {
                            panic!("{}: {name} has a gradient by one evaluation alone", model.name)
                        }
                    }
                }
            }
            match closed.evaluation {
                "closed form in one sweep" => assert!(closed.pulls <= closed.vertices, "{closed}"),
                words => assert_eq!(words, "closed form by path lengths"),
            }
        }
    }
}

#[test]
fn equals_the_host_simulation() {
    let _turn = seeded();
    for case in [chain(), unlevelled()] {
        for (gamma, steps) in [(0.5, 7), (0.1, 100), (1.0, 3)] {
            let plain = Schedule::fixed_prediction(gamma, steps)
                .unwrap()
                .evaluated_by(Evaluation::Simulate);
            let Host { mut graph, x, y } = (case.host)(&case.weights);
            let clamps =
                Clamps::new().hold(x, host(&case.x)).drive(y, SquaredError::new(host(&case.y)));
            let mut relaxation = Relaxation::new(&graph, plain.clone()).unwrap();
            relaxation.run(&mut graph, &clamps).unwrap();
            for evaluation in [Evaluation::Simulate, Evaluation::Front, Evaluation::Auto] {
                let weights: Vec<Tensor> = case
                    .weights
                    .iter()
                    .map(|weight| weight.detach().set_requires_grad(true))
                    .collect();
                let output = (case.output)(&case.x, &weights);
                let loss = (&output - &case.y).square().sum(Kind::Double) * 0.5;
                let outcome = Pc::new(plain.clone().evaluated_by(evaluation))
                    .even_shallow()
                    .f_backward_from(&loss, &[&output])
                    .unwrap();
                let mut worst = 0.0_f64;
                for ((_, theirs), ours) in relaxation.gradients().iter().zip(&weights) {
                    let ours = ours.grad();
                    let theirs = theirs
                        .map(|theirs| theirs.to_vec())
                        .filter(|theirs| theirs.iter().any(|x| *x != 0.0));
                    assert_eq!(
                        ours.defined(),
                        theirs.is_some(),
                        "what no error has reached is undefined"
                    );
                    let Some(theirs) = theirs else { continue };
                    let theirs = tensor(&theirs).reshape(ours.size());
                    let off = crate::common::relative(Some(&ours), Some(&theirs));
                    worst = if off > worst || off.is_nan() { off } else { worst };
                }
                println!(
                    "{:<10} gamma {gamma}, T {steps}, {evaluation:?}: off by {worst:.1e}; \
                     {outcome}",
                    case.name
                );
                assert!(
                    worst <= 1e-12,
                    "{}, gamma {gamma}, T {steps}, {evaluation:?}: off by {worst:e}",
                    case.name
                );
                assert_eq!(outcome.vertices, if case.name == "chain" { 5 } else { 7 });
                assert_eq!(outcome.shallow, steps < outcome.depth);
                if evaluation == Evaluation::Auto {
                    let single = case.name == "chain";
                    assert_eq!(
                        outcome.evaluation,
                        if single {
                            "closed form in one sweep"
                        } else {
                            "closed form by path lengths"
                        }
                    );
                }
                if case.name == "chain" && evaluation == Evaluation::Auto {
                    let reached = outcome.vertices.min(steps + 1);
                    assert_eq!(
                        outcome.pulls, reached,
                        "where path lengths are unique the closed form is one pass, as far as \
                         errors come"
                    );
                }
            }
        }
    }
}
