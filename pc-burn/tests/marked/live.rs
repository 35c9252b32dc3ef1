//! Live schedules on a marked program against the same graph on the host backend, in f64.

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::SgdConfig,
    tensor::{Device, Tensor, activation},
};
use pc_burn::{LossReduction, PredictiveCoding, named_vertex};
use pc_core::{
    Agreement, Clamps, Graph, Reduction, Relaxation, Schedule, Start,
    host::{Activation, CrossEntropy, HostLayers, HostTensor, Init, Sgd},
};

use crate::{measure::read, models::*};

/// The numbers of all parameters, in order.
fn weights<M: Module>(model: &M) -> Vec<Vec<f64>> {
    struct Weights(Vec<Vec<f64>>);
    impl ModuleVisitor for Weights {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.val().into_data().iter::<f64>().collect());
        }
    }
    let mut weights = Weights(Vec::new());
    model.visit(&mut weights);
    weights.0
}

fn numbers<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    tensor.clone().into_data().iter::<f64>().collect()
}

struct Host {
    graph: Graph<HostTensor<f64>>,
    clamps: Clamps<HostTensor<f64>>,
}

/// The MLP with the same weights, the same batch held and driven.
fn host(model: &Mlp, x: &Tensor<2>) -> Host {
    let mut init = Init::new(1);
    let mut b = Graph::<HostTensor<f64>>::builder();
    let input = b.input("x", &[20]).unwrap();
    let first = b.dense("first", input, 32, Activation::Tanh, &mut init).unwrap();
    let second = b.dense("second", first, 24, Activation::Tanh, &mut init).unwrap();
    let third = b.dense("third", second, 5, Activation::Identity, &mut init).unwrap();
    let mut graph = b.build().unwrap();
    let theirs = weights(model);
    for (own, theirs) in graph.parameters_mut().iter_mut().zip(theirs) {
        // Burn holds a layer's weights as [inputs, outputs]; the host may hold them the other way.
        let shape = pc_core::Tensor::shape(own);
        *own = HostTensor::new(&shape, if shape.len() == 2 { layout(&shape, &theirs) } else { theirs }).unwrap();
    }
    let batch = x.dims()[0];
    let labels: Vec<usize> = (0..batch).map(|i| i % 5).collect();
    let clamps = Clamps::new()
        .hold(input, HostTensor::new(&[batch, 20], numbers(x)).unwrap())
        .drive(third, CrossEntropy::new(&labels, 5).unwrap());
    Host { graph, clamps }
}

fn layout(shape: &[usize], burn: &[f64]) -> Vec<f64> {
    burn_to_host(shape, burn)
}
