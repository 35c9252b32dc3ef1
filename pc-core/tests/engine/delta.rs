//! The displacement form: live relaxation in f32 keeps the digits that subtracting predictions from
//! values would lose.

use pc_core::{
    Agreement, Clamps, Graph, Relaxation, Schedule, Tensor,
    host::{Activation, Element, HostLayers, HostTensor, Init},
};

use crate::common::Numbers;

/// `depth` tanh layers as wide as `width`, biases around plus or minus `saturation`, twenty steps,
/// from the same numbers in either precision; one gradient a weight.
fn gradients<F: Element>(
    depth: usize,
    width: usize,
    saturation: f64,
    seed: u64,
) -> Vec<(String, Vec<f64>)> {
    let mut numbers = Numbers::new(seed);
    // Rounded to f32 once, so that both precisions work on the same net.
    let mut draw = |shape: &[usize], scale: f64| {
        let drawn = numbers.tensor::<f32>(shape, scale);
        let values: Vec<F> = drawn.data().iter().map(|x| F::of(f64::from(*x))).collect();
        HostTensor::new(shape, values).unwrap()
    };
    let mut b = Graph::<HostTensor<F>>::builder();
    let mut init = Init::new(0);
    let x = b.input("x", &[width]).unwrap();
    let mut last = x;
    for l in 0..depth {
        let f = if l + 1 == depth { Activation::Identity } else { Activation::Tanh };
        last = b.dense(&format!("l{l}"), last, width, f, &mut init).unwrap();
    }
    let mut graph = b.build().unwrap();
    for l in 0..depth {
        let id = graph.parameter(&format!("l{l}.weight")).unwrap();
        graph.set_parameter(id, draw(&[width, width], 1.7 / (width as f64).sqrt())).unwrap();
        if l + 1 < depth {
            let id = graph.parameter(&format!("l{l}.bias")).unwrap();
            let mut bias = draw(&[width], 1.0);
            bias.data_mut().iter_mut().for_each(|b| *b = (*b + b.signum()) * F::of(saturation));
            graph.set_parameter(id, bias).unwrap();
        }
    }
    let batch = 4;
    let clamps =
        Clamps::new().hold(x, draw(&[batch, width], 1.0)).hold(last, draw(&[batch, width], 1.0));
    let mut relaxation = Relaxation::new(&graph, Schedule::standard(0.1, 20).unwrap()).unwrap();
    let outcome = relaxation.run(&mut graph, &clamps).unwrap();
    assert_eq!(outcome.status, pc_core::Status::Spent, "{outcome:?}");
    let names = graph.named_parameters().map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    let gradients = relaxation.gradients();
    names
        .into_iter()
        .zip(gradients.iter().map(|(_, g)| g.unwrap().to_vec()))
        .filter(|(name, _)| name.ends_with("weight"))
        .collect()
}

fn worst(depth: usize, width: usize, saturation: f64) -> f64 {
    let (single, double) = (
        gradients::<f32>(depth, width, saturation, 5),
        gradients::<f64>(depth, width, saturation, 5),
    );
    let errors = single.iter().zip(&double).map(|((name, a), (_, b))| {
        let norm: f64 = b.iter().map(|x| x * x).sum();
        assert!(norm > 0.0, "{name} has no gradient in f64, so there is nothing to compare");
        Agreement::of_slices(a, b).relative_norm
    });
    crate::common::largest(errors)
}

#[test]
fn ten_layers_of_256_in_f32() {
    let error = worst(10, 256, 0.0);
    assert!(error <= 1e-5, "worst layer's weight gradient is off by {error:e}");
}

#[test]
fn a_saturated_net_in_f32() {
    // Pre-activations of four to eight: 1 - tanh^2 has few digits or none in f32, and neither has
    // tanh(a + d) - tanh(a).
    let error = worst(6, 64, 4.0);
    assert!(error <= 1e-5, "worst layer's weight gradient is off by {error:e}");
}
