//! A multilayer perceptron.

use burn::{
    module::Module,
    nn::{
        Linear, LinearConfig,
        loss::{MseLoss, Reduction},
    },
    tensor::{Device, Tensor, activation},
};
use pc_burn::{LossReduction, vertex};

use crate::check;

#[derive(Module, Debug)]
pub(crate) struct Mlp {
    first: Linear,
    second: Linear,
    output: Linear,
}

impl Mlp {
    pub(crate) fn new(device: &Device) -> Self {
        check::fixed(Self {
            first: LinearConfig::new(6, 12).init(device),
            second: LinearConfig::new(12, 8).init(device),
            output: LinearConfig::new(8, 2).init(device),
        })
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = vertex(activation::relu(self.first.forward(x)));
        let x = vertex(activation::relu(self.second.forward(x)));
        vertex(self.output.forward(x))
    }

    pub(crate) fn loss(&self, (x, y): &(Tensor<2>, Tensor<2>)) -> Tensor<1> {
        MseLoss::new().forward(self.forward(x.clone()), y.clone(), Reduction::Mean)
    }
}

pub(crate) fn batches(device: &Device) -> Vec<(Tensor<2>, Tensor<2>)> {
    let batch = |count: usize| {
        let x: Vec<f32> = (0..count * 6).map(|k| (k as f32 * 1.3).sin()).collect();
        let x = Tensor::<1>::from_floats(x.as_slice(), device).reshape([count, 6]);
        let y = x.clone().narrow(1, 0, 2) * x.clone().narrow(1, 2, 2);
        (x, y)
    };
    vec![batch(24), batch(16)]
}

/// The mean of Burn's mean-squared error is over all outputs.
#[test]
fn an_mlp_learns() {
    let device = check::device();
    let (model, batches) = (Mlp::new(&device), batches(&device));
    check::exact(&model, &batches, LossReduction::MeanOver(48), Mlp::loss);
    let one = &batches[..1];
    check::trains(
        &model,
        one,
        LossReduction::MeanOver(48),
        (0.01, 300),
        check::standard(),
        0.2,
        Mlp::loss,
    );
}
