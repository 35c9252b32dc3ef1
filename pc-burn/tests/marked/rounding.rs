//! What rounding does to live relaxation in f32. A marked program shows its predictions, not how
//! they change, so that an error is the difference of two rounded predictions and is known to the
//! rounding of those. An explicit graph takes the differences themselves.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor, activation::tanh},
};
use pc_burn::{BurnTensor, LossReduction, PredictiveCoding, explicit::ModuleGraph, vertex};
use pc_core::{
    Agreement, Clamps, Graph, PredictionId, Relaxation, Schedule, SquaredError, Tensor as _,
    host::{Activation, HostLayers, HostTensor, Init},
};

use crate::{live::transposed, measure::read, models::normal, support::parameters};

const DEPTH: usize = 8;
const WIDTH: usize = 16;
const BATCH: usize = 16;

/// Tanh layers, so many that after a few steps the first ones' errors are a small part of their
/// values.
#[derive(Module, Debug)]
struct Deep {
    layers: Vec<Linear>,
}

impl Deep {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.layers.iter().enumerate().fold(x, |x, (index, layer)| {
            let x = layer.forward(x);
            vertex(if index + 1 == DEPTH { x } else { tanh(x) })
        })
    }
}

fn activation(index: usize) -> Activation {
    if index + 1 == DEPTH { Activation::Identity } else { Activation::Tanh }
}

/// The gradients of the weights of every layer, laid out as Burn has them, and of every layer the
/// norms of its value and its error.
fn truth(
    model: &Deep,
    x: &Tensor<2>,
    y: &Tensor<2>,
    schedule: &Schedule,
) -> (Vec<Vec<f64>>, Vec<(f64, f64)>) {
    let mut init = Init::new(1);
    let mut b = Graph::<HostTensor<f64>>::builder();
    let input = b.input("x", &[WIDTH]).unwrap();
    let mut vertices = vec![input];
    for index in 0..DEPTH {
        vertices.push(
            b.dense(&format!("{index}"), vertices[index], WIDTH, activation(index), &mut init)
                .unwrap(),
        );
    }
    let mut graph = b.build().unwrap();
    for (own, theirs) in graph.parameters_mut().iter_mut().zip(parameters(model)) {
        *own = HostTensor::new(&own.shape(), transposed(&own.shape(), &theirs)).unwrap();
    }
    let host = |tensor: &Tensor<2>| {
        HostTensor::new(&tensor.dims(), tensor.clone().into_data().iter::<f64>().collect()).unwrap()
    };
    let clamps =
        Clamps::new().hold(input, host(x)).drive(vertices[DEPTH], SquaredError::new(host(y)));
    let mut relaxation = Relaxation::new(&graph, schedule.clone()).unwrap();
    relaxation.run(&mut graph, &clamps).unwrap();
    let gradients = relaxation.gradients().iter().step_by(2).map(|(_, gradient)| {
        let gradient = gradient.unwrap();
        transposed(&gradient.shape(), &gradient.to_vec())
    });
    let norm = |tensor: &HostTensor<f64>| tensor.norm_squared().sqrt();
    let norms = (0..DEPTH).map(|index| {
        let value = relaxation.value(&graph, vertices[index + 1]).unwrap();
        (norm(&value), norm(relaxation.error(PredictionId::new(index)).unwrap()))
    });
    (gradients.collect(), norms.collect())
}

#[test]
fn an_error_of_a_marked_program_is_known_to_the_rounding_of_its_prediction() {
    let device = Device::flex().autodiff();
    device.seed(4);
    let model = Deep {
        layers: (0..DEPTH).map(|_| LinearConfig::new(WIDTH, WIDTH).init(&device)).collect(),
    };
    let (x, y): (Tensor<2>, Tensor<2>) =
        (normal([BATCH, WIDTH], &device), normal([BATCH, WIDTH], &device));
    let schedule = Schedule::standard(0.1, 20).unwrap();
    let (expected, norms) = truth(&model, &x, &y, &schedule);

    let loss = |model: &Deep| (model.forward(x.clone()) - y.clone()).square().sum().mul_scalar(0.5);
    let marked =
        PredictiveCoding::new(schedule.clone(), LossReduction::Sum).learn(&model, loss).unwrap();
    let marked: Vec<Vec<f64>> =
        read(&model, &marked.gradients).into_iter().step_by(2).map(Option::unwrap).collect();

    let mut b = ModuleGraph::new();
    let input = b.input("x", &[WIDTH]).unwrap();
    let mut last = input;
    for (index, layer) in model.layers.iter().enumerate() {
        last = b.linear(&format!("{index}"), last, layer, activation(index)).unwrap();
    }
    let (mut graph, _) = b.build().unwrap();
    let held = |tensor: &Tensor<2>| BurnTensor::new(tensor.clone()).unwrap();
    let clamps = Clamps::new().hold(input, held(&x)).drive(last, SquaredError::new(held(&y)));
    let mut relaxation = Relaxation::new(&graph, schedule).unwrap();
    relaxation.run(&mut graph, &clamps).unwrap();
    let explicit: Vec<Vec<f64>> = relaxation
        .gradients()
        .iter()
        .step_by(2)
        .map(|(_, gradient)| gradient.unwrap().to_vec())
        .collect();

    let mut lost = 0.0_f64;
    for (index, ((expected, norms), (marked, explicit))) in
        expected.iter().zip(norms).zip(marked.iter().zip(&explicit)).enumerate()
    {
        let off = |found: &[f64]| Agreement::of_slices(found, expected).relative_norm;
        let (value, error) = norms;
        // A few roundings of f32, of numbers as large as the layer's values, seen beside its error.
        let rounding = f64::from(f32::EPSILON) * value / error;
        println!(
            "layer {index}: |value| / |error| {:.0e}; marked off by {:.1e}, {:.1} roundings; \
             explicit by {:.1e}",
            value / error,
            off(marked),
            off(marked) / rounding,
            off(explicit)
        );
        assert!(off(marked) <= 4.0 * rounding + 1e-6, "layer {index}");
        assert!(off(explicit) <= 5e-6, "layer {index}");
        lost = lost.max(off(marked));
    }
    // In the first layers there is something to lose, so that the bounds above say something.
    assert!(lost > 1e-4, "{lost:e}");
}
