//! Burn's example `lstm-network`: cells with layer norm, two of them on top of one another, and the
//! last hidden state to a dense layer; and Burn's own `Lstm`, marked from outside.

use burn::{
    module::Module,
    nn::{
        LayerNorm, LayerNormConfig, Linear, LinearConfig, Lstm, LstmConfig,
        loss::{MseLoss, Reduction},
    },
    tensor::{Device, Tensor, activation},
};
use pc_burn::{LossReduction, vertex};
use pc_core::Schedule;

use crate::check;

#[derive(Module, Debug)]
struct LstmCell {
    weight_ih: Linear,
    weight_hh: Linear,
    norm_x: LayerNorm,
    norm_c: LayerNorm,
}

impl LstmCell {
    fn new(inputs: usize, hidden: usize, device: &Device) -> Self {
        Self {
            weight_ih: LinearConfig::new(inputs, 4 * hidden).init(device),
            weight_hh: LinearConfig::new(hidden, 4 * hidden).init(device),
            norm_x: LayerNormConfig::new(4 * hidden).init(device),
            norm_c: LayerNormConfig::new(hidden).init(device),
        }
    }

    fn forward(&self, x: Tensor<2>, h: Tensor<2>, c: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        let gates = self.weight_ih.forward(x) + self.weight_hh.forward(h);
        let gates = vertex(self.norm_x.forward(gates));
        let parts = gates.chunk(4, 1);
        let i = activation::sigmoid(parts[0].clone());
        let f = activation::sigmoid(parts[1].clone());
        let g = activation::tanh(parts[2].clone());
        let o = activation::sigmoid(parts[3].clone());
        let c = vertex(f * c + i * g);
        let h = vertex(o * activation::tanh(self.norm_c.forward(c.clone())));
        (h, c)
    }
}

#[derive(Module, Debug)]
struct LstmNetwork {
    layers: Vec<LstmCell>,
    output: Linear,
}

const HIDDEN: usize = 6;

/// Sequences `[batch, length, 1]`, and the next number of each.
type Batch = (Tensor<3>, Tensor<2>);

impl LstmNetwork {
    fn new(device: &Device) -> Self {
        check::fixed(Self {
            layers: vec![LstmCell::new(1, HIDDEN, device), LstmCell::new(HIDDEN, HIDDEN, device)],
            output: LinearConfig::new(HIDDEN, 1).init(device),
        })
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let [batch, length, width] = x.dims();
        let zeros = || Tensor::<2>::zeros([batch, HIDDEN], &x.device());
        let mut states: Vec<_> = self.layers.iter().map(|_| (zeros(), zeros())).collect();
        for step in 0..length {
            let mut below = x.clone().narrow(1, step, 1).reshape([batch, width]);
            for (cell, state) in self.layers.iter().zip(&mut states) {
                *state = cell.forward(below, state.0.clone(), state.1.clone());
                below = state.0.clone();
            }
        }
        let last = states[states.len() - 1].0.clone();
        vertex(self.output.forward(last))
    }

    fn loss(&self, (x, y): &Batch) -> Tensor<1> {
        MseLoss::new().forward(self.forward(x.clone()), y.clone(), Reduction::Mean)
    }
}

fn batch(count: usize, length: usize, device: &Device) -> Batch {
    let value = |k: usize, step: usize| ((k * 7) as f32 * 0.3 + step as f32 * 0.8).sin();
    let mut x = Vec::new();
    for k in 0..count {
        x.extend((0..length).map(|step| value(k, step)));
    }
    let y: Vec<f32> = (0..count).map(|k| value(k, length)).collect();
    (
        Tensor::<1>::from_floats(x.as_slice(), device).reshape([count, length, 1]),
        Tensor::<1>::from_floats(y.as_slice(), device).reshape([count, 1]),
    )
}

#[test]
fn an_lstm_network_learns() {
    let device = check::device();
    let model = LstmNetwork::new(&device);
    // Of other sizes and lengths.
    let batches = [batch(8, 3, &device), batch(6, 4, &device)];
    check::exact(&model, &batches, LossReduction::Mean, LstmNetwork::loss);
    // From the last step's output to the first step's gates there are 18 vertices and more: 20
    // steps at rate 0.1 bring nothing there.
    let standard = Schedule::standard(0.1, 100).unwrap();
    let rate = (0.02, 30);
    check::trains(&model, &batches, LossReduction::Mean, rate, standard, 0.5, LstmNetwork::loss);
}

/// Burn's `Lstm` runs a whole sequence in one call: outside of it there is one vertex for all its
/// steps, whose weights learn by backprop through them.
#[derive(Module, Debug)]
struct Sequences {
    lstm: Lstm,
    dense: Linear,
    output: Linear,
}

impl Sequences {
    fn new(device: &Device) -> Self {
        check::fixed(Self {
            lstm: LstmConfig::new(1, HIDDEN, true).init(device),
            dense: LinearConfig::new(HIDDEN, 5).init(device),
            output: LinearConfig::new(5, 1).init(device),
        })
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let (_, state) = self.lstm.forward(x, None);
        let x = vertex(state.hidden);
        let x = vertex(activation::tanh(self.dense.forward(x)));
        vertex(self.output.forward(x))
    }

    fn loss(&self, (x, y): &Batch) -> Tensor<1> {
        MseLoss::new().forward(self.forward(x.clone()), y.clone(), Reduction::Mean)
    }
}

#[test]
fn burns_own_lstm_is_one_vertex() {
    let device = check::device();
    let model = Sequences::new(&device);
    let batches = [batch(8, 4, &device), batch(6, 5, &device)];
    check::exact(&model, &batches, LossReduction::Mean, Sequences::loss);
    check::trains(
        &model,
        &batches,
        LossReduction::Mean,
        (0.02, 80),
        check::standard(),
        0.2,
        Sequences::loss,
    );
}
