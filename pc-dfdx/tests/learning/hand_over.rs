//! Weights that are handed to what was read of a model, and stored in the model.

use dfdx::{nn::builders::*, prelude::*};
use pc_core::{Clamps, ErrorKind, HandOver, Relaxation, Schedule};
use pc_dfdx::{Outputs, Value, Vertices, read};

use crate::common::numbers;

type Mlp = (Linear<4, 7>, Tanh, Residual<(Linear<7, 7>, Sigmoid)>, Linear<7, 3>);
type Normed = (LayerNorm1D<4>, Linear<4, 3>, Sigmoid);
type InBatches = (Linear<4, 4>, BatchNorm1D<4>, Linear<4, 3>);

type Pictures = Tensor<Rank2<5, 4>, f64, Cpu>;

/// Trained on the graph and handed to that of another model, the numbers are in the other model
/// after `store`: what is read of it has them, and it gives what the trained graph predicts.
/// Tensors that the graph does not know stay.
fn goes_back<B>(words: &str)
where
    B: BuildOnDevice<Cpu, f64>,
    B::Built: TensorCollection<f64, Cpu>
        + Vertices<Value<(Const<5>, Const<4>), f64>, f64>
        + Module<Pictures, Output = Tensor<Rank2<5, 3>, f64, Cpu>>,
    <B::Built as Vertices<Value<(Const<5>, Const<4>), f64>, f64>>::Output: Outputs<f64>,
{
    let device = Cpu::seed_from_u64(3);
    let (model, mut other) = (device.build_module::<B, f64>(), device.build_module::<B, f64>());
    let x: Pictures = device.sample_normal();
    let target: Tensor<Rank2<5, 3>, f64, Cpu> = device.sample_normal();
    let mut trained = read(&model, x.clone(), Default::default()).unwrap();
    let target = pc_core::host::HostTensor::new(&[5, 3], target.as_vec()).unwrap();
    let clamps = trained.clamps().hold(trained.outputs[0], target);
    let mut rule = Relaxation::new(&trained.graph, Schedule::standard(0.1, 4).unwrap()).unwrap();
    let mut sgd = pc_core::host::Sgd::new(0.05).unwrap();
    for _ in 0..3 {
        rule.train(&mut trained.graph, &clamps, |graph, by| sgd.step(graph.parameters_mut(), by))
            .unwrap();
    }
    let mut reading = read(&other, x.clone(), Default::default()).unwrap();
    assert_ne!(reading.graph.parameters(), trained.graph.parameters(), "{words}");
    reading.graph.copy_parameters_from(&trained.graph).unwrap();
    reading.store(&mut other).unwrap();
    let again = read(&other, x.clone(), Default::default()).unwrap();
    assert_eq!(again.graph.parameters(), trained.graph.parameters(), "{words}");
    // Also into the model that it was trained from, once more.
    let mut model = model;
    trained.store(&mut model).unwrap();
    assert_eq!(numbers(&model), numbers(&other), "{words}");
    let mut rule = Relaxation::new(&trained.graph, Schedule::standard(0.1, 1).unwrap()).unwrap();
    let held: Clamps<_> = trained.clamps();
    rule.infer(&mut trained.graph, &held).unwrap();
    let wanted = rule.value(&trained.graph, trained.outputs[0]).unwrap();
    if !words.contains("batch") {
        for (found, wanted) in other.forward(x).as_vec().iter().zip(wanted.data()) {
            assert!((found - wanted).abs() <= 1e-12, "{words}: {found}, not {wanted}");
        }
    }
}

#[test]
fn what_was_handed_over_is_stored_in_the_model() {
    goes_back::<Mlp>("a net with a residual part");
    goes_back::<Normed>("layer norm");
    goes_back::<InBatches>("batch norm");
}

/// All of it, or none.
#[test]
fn what_does_not_fit_is_refused() {
    let device = Cpu::seed_from_u64(4);
    let model = device.build_module::<Mlp, f64>();
    let x: Pictures = device.sample_normal();
    let mut reading = read(&model, x, Default::default()).unwrap();
    let mut other = device.build_module::<Mlp, f64>();
    let before = numbers(&other);
    let last = reading.graph.parameters().len() - 1;
    let name = reading.graph.topology().parameter_names()[last].clone();
    reading.graph.parameters_mut()[last].data_mut()[1] = f64::NAN;
    let error = reading.store(&mut other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFinite);
    assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
    assert_eq!(numbers(&other), before);
    reading.graph.parameters_mut()[last].data_mut()[1] = 0.5;
    reading.store(&mut other).unwrap();
    assert_ne!(numbers(&other), before);

    let mut wider = device.build_module::<(Linear<4, 8>, Tanh, Linear<8, 3>), f64>();
    let before = numbers(&wider);
    let error = reading.store(&mut wider).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert!(error.to_string().contains("[7, 4], the model's [8, 4]"), "{error}");
    let mut shorter = device.build_module::<(Linear<4, 7>, Tanh), f64>();
    let error = reading.store(&mut shorter).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Graph);
    assert!(error.to_string().contains("2 tensors"), "{error}");
    assert_eq!(numbers(&wider), before);
}
