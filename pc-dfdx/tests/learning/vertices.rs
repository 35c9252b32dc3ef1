//! Every module as a vertex, beside finite differences of dfdx's own forward pass in f64.

use dfdx::{nn::builders::*, prelude::*};
use pc_core::Schedule;
use pc_dfdx::{
    Granularity, LossReduction, PredictiveCoding,
    builders::{AvgPool2d, Conv2d, FlattenTo, Lstm, MaxPool2d, Rnn},
};

use crate::common::{close, gradients};

/// Adds to one number of one tensor that optimisers move.
struct Nudge {
    tensor: usize,
    number: usize,
    by: f64,
    seen: usize,
    /// Whether there is such a number.
    found: Option<bool>,
}

impl TensorVisitor<f64, Cpu> for Nudge {
    type Viewer = ViewTensorMut;
    type Err = CpuError;
    type E2 = f64;
    type D2 = Cpu;

    fn visit<S: Shape>(
        &mut self,
        options: TensorOptions<S, f64, Cpu>,
        tensor: &mut Tensor<S, f64, Cpu>,
    ) -> Result<Option<Tensor<S, f64, Cpu>>, CpuError> {
        if options.do_gradient_update {
            if self.seen == self.tensor {
                let mut numbers = tensor.as_vec();
                self.found = Some(self.number < numbers.len());
                if let Some(number) = numbers.get_mut(self.number) {
                    *number += self.by;
                }
                tensor.copy_from(&numbers);
            }
            self.seen += 1;
        }
        Ok(None)
    }
}

fn nudge<M: TensorCollection<f64, Cpu>>(
    model: &mut M,
    tensor: usize,
    number: usize,
    by: f64,
) -> Option<bool> {
    let mut nudge = Nudge { tensor, number, by, seen: 0, found: None };
    M::iter_tensors(&mut RecursiveWalker { m: model, f: &mut nudge }).unwrap();
    nudge.found
}

/// Central differences of fourth order of `loss` in every number that optimisers move.
pub(crate) fn differences<M: TensorCollection<f64, Cpu>>(
    model: &mut M,
    mut loss: impl FnMut(&mut M) -> f64,
) -> Vec<Vec<f64>> {
    const STEP: f64 = 1e-3;
    let mut all = Vec::new();
    while nudge(model, all.len(), 0, 0.0).is_some() {
        let tensor = all.len();
        let mut slopes = Vec::new();
        while nudge(model, tensor, slopes.len(), 0.0) == Some(true) {
            let number = slopes.len();
            let mut at = |by: f64| {
                nudge(model, tensor, number, by);
                let loss = loss(model);
                nudge(model, tensor, number, -by);
                loss
            };
            let near = at(STEP) - at(-STEP);
            let far = at(2.0 * STEP) - at(-2.0 * STEP);
            slopes.push((8.0 * near - far) / (12.0 * STEP));
        }
        all.push(slopes);
    }
    all
}

/// The gradients that backprop over the graph gives beside differences of the tape's forward pass,
/// with layers and with modules as vertices; and the loss beside dfdx's.
macro_rules! beside_differences {
    ($name:literal, $model:ty, $x:ty, $y:ty) => {{
        let device = Cpu::seed_from_u64(11);
        let mut model = device.build_module::<$model, f64>();
        let x: Tensor<$x, f64, Cpu> = device.sample_normal();
        let weights: Tensor<$y, f64, Cpu> = device.sample_normal();
        let loss = |weights: &Tensor<$y, f64, Cpu>| {
            let weights = weights.clone();
            move |found: Tensor<$y, f64, Cpu, OwnedTape<f64, Cpu>>| {
                (found.square() * weights.clone()).sum::<Rank0, _>()
            }
        };
        let by_tape = |model: &mut dfdx_built!($model)| -> f64 {
            let found = model.clone().forward_mut(x.leaky_trace());
            loss(&weights)(to_shape(found)).array()
        };
        let wanted = differences(&mut model, by_tape);
        for granularity in [Granularity::Layers, Granularity::Modules] {
            let mut pc = PredictiveCoding::new(Schedule::backprop(), LossReduction::Sum)
                .of_vertices(granularity);
            let of_pc = loss(&weights);
            let value = by_tape(&mut model);
            let learned =
                pc.learn(&mut model, x.clone(), move |found| of_pc(to_shape(found))).unwrap();
            let found = gradients(&model, &learned.gradients);
            let what = format!("{}, {granularity:?}", $name);
            close(&found, &wanted, 1e-7, &what);
            let off = (learned.loss - value).abs();
            assert!(off <= 1e-12 * value.abs().max(1.0), "{what}: the loss is off by {off}");
        }
    }};
}

/// The built form of a model's type.
macro_rules! dfdx_built {
    ($model:ty) => {
        <$model as BuildOnDevice<Cpu, f64>>::Built
    };
}

/// Dimensions that are known at run time, in the type.
fn to_shape<S: Shape, T: ConstShape>(
    found: Tensor<S, f64, Cpu, OwnedTape<f64, Cpu>>,
) -> Tensor<T, f64, Cpu, OwnedTape<f64, Cpu>> {
    found.reshape_like(&T::default())
}

#[test]
fn activations() {
    macro_rules! all {
        ($($module:ident)+) => {
            $(beside_differences!(
                "activation",
                (Linear<3, 4>, $module, Linear<4, 2>),
                Rank2<3, 3>,
                Rank2<3, 2>
            );)+
        };
    }
    all!(ReLU FastGeLU AccurateGeLU Sin Cos Exp Sigmoid Tanh Square Abs Softmax LogSoftmax);
    // These want numbers above zero.
    macro_rules! positive {
        ($($module:ident)+) => {
            $(beside_differences!(
                "activation of positive numbers",
                ((Linear<3, 4>, Exp), $module, Linear<4, 2>),
                Rank2<3, 3>,
                Rank2<3, 2>
            );)+
        };
    }
    positive!(Ln Sqrt);
    beside_differences!(
        "leaky relu",
        (Linear<3, 4>, LeakyReLU<f64>, Linear<4, 2>),
        Rank2<3, 3>,
        Rank2<3, 2>
    );
    beside_differences!("prelu", (Linear<3, 4>, PReLU, Linear<4, 2>), Rank2<3, 3>, Rank2<3, 2>);
}

#[test]
fn layers() {
    beside_differences!("linear", (Linear<3, 4>, Linear<4, 2>), Rank2<3, 3>, Rank2<3, 2>);
    beside_differences!("linear, sequences", (Linear<3, 4>, Tanh), Rank3<2, 4, 3>, Rank3<2, 4, 4>);
    beside_differences!(
        "linear without bias",
        (UnbiasedLinear<3, 4>, Tanh, UnbiasedLinear<4, 2>),
        Rank2<3, 3>,
        Rank2<3, 2>
    );
    beside_differences!(
        "layer norm",
        (Linear<3, 4>, LayerNorm1D<4>, Tanh, Linear<4, 2>),
        Rank2<3, 3>,
        Rank2<3, 2>
    );
    beside_differences!(
        "layer norm of sequences",
        (Linear<3, 4>, LayerNorm1D<4>),
        Rank3<2, 4, 3>,
        Rank3<2, 4, 4>
    );
    beside_differences!(
        "batch norm",
        (Linear<3, 4>, BatchNorm1D<4>, Tanh, Linear<4, 2>),
        Rank2<5, 3>,
        Rank2<5, 2>
    );
    beside_differences!(
        "batch norm of sequences",
        (Linear<3, 4>, BatchNorm1D<5>, Tanh),
        Rank3<3, 5, 3>,
        Rank3<3, 5, 4>
    );
    beside_differences!(
        "reshape",
        (Linear<4, 6>, Reshape<Rank3<3, 2, 3>>, Tanh, Linear<3, 2>),
        Rank2<3, 4>,
        Rank3<3, 2, 2>
    );
}

#[test]
fn pictures() {
    beside_differences!(
        "convolution",
        (
            (Conv2d<2, 3, 3, 2, 1>, Bias2D<3>, Tanh),
            (Conv2d<3, 2, 2>, Bias2D<2>, ReLU, MaxPool2d<2, 1>),
            FlattenTo<2>,
            Linear<2, 2>,
        ),
        Rank4<2, 2, 5, 5>,
        Rank2<2, 2>
    );
    beside_differences!(
        "pools",
        ((Conv2d<1, 2, 2>, Sigmoid, AvgPool2d<2, 2>), (Conv2d<2, 2, 1>, Bias2D<2>), FlattenTo<8>),
        Rank4<2, 1, 5, 5>,
        Rank2<2, 8>
    );
    beside_differences!(
        "batch norm of pictures",
        ((Conv2d<1, 2, 2>, BatchNorm2D<2>, Tanh), AvgPoolGlobal),
        Rank4<3, 1, 4, 4>,
        Rank2<3, 2>
    );
    beside_differences!(
        "global pools",
        ((Conv2d<1, 2, 2>, Tanh, MaxPoolGlobal), Linear<2, 2>),
        Rank4<3, 1, 4, 4>,
        Rank2<3, 2>
    );
    beside_differences!(
        "the least of a picture",
        ((Conv2d<1, 2, 2>, Tanh, MinPoolGlobal), Linear<2, 2>),
        Rank4<3, 1, 4, 4>,
        Rank2<3, 2>
    );
}

#[test]
fn attention_and_cells() {
    beside_differences!(
        "attention",
        (Linear<3, 4>, MultiHeadAttention<4, 2, 6, 8>),
        Rank3<2, 5, 3>,
        Rank3<2, 5, 4>
    );
    beside_differences!(
        "encoder block",
        (Linear<3, 4>, TransformerEncoderBlock<4, 1, 5>),
        Rank3<2, 3, 3>,
        Rank3<2, 3, 4>
    );
    beside_differences!(
        "causal attention",
        (Linear<3, 4>, pc_dfdx::Causal<MultiHeadAttention<4, 2, 6, 8>>),
        Rank3<2, 5, 3>,
        Rank3<2, 5, 4>
    );
    beside_differences!("rnn", (Rnn<3, 4>, Linear<4, 2>), Rank3<2, 5, 3>, Rank2<2, 2>);
    beside_differences!("lstm", (Lstm<3, 3>, Linear<3, 2>), Rank3<2, 4, 3>, Rank2<2, 2>);
    // The sequence is no data but a vertex's value, which is cut into steps.
    beside_differences!(
        "rnn of a layer",
        (Linear<2, 3>, Rnn<3, 4>, Linear<4, 2>),
        Rank3<2, 4, 2>,
        Rank2<2, 2>
    );
}

#[test]
fn an_embedding() {
    let device = Cpu::seed_from_u64(12);
    let mut model = device.build_module::<(Embedding<6, 3>, Tanh, Linear<3, 2>), f64>();
    let x: Tensor<Rank2<2, 3>, usize, _> = device.tensor([[0, 5, 2], [2, 2, 1]]);
    let by_tape = |model: &mut <(Embedding<6, 3>, Tanh, Linear<3, 2>) as BuildOnDevice<
        Cpu,
        f64,
    >>::Built| { model.forward(x.clone()).square().sum::<Rank0, _>().array() };
    let wanted = differences(&mut model, by_tape);
    let mut pc = PredictiveCoding::new(Schedule::backprop(), LossReduction::Sum);
    let learned =
        pc.learn(&mut model, x.clone(), |found| found.square().sum::<Rank0, _>()).unwrap();
    close(&gradients(&model, &learned.gradients), &wanted, 1e-7, "embedding");
}

#[test]
fn dropout_draws_what_dfdx_draws() {
    type Net = (Linear<3, 8>, DropoutOneIn<3>, Tanh, Linear<8, 8>, Dropout, Linear<8, 2>);
    let mut model = Cpu::seed_from_u64(13).build_module::<Net, f64>();
    model.4.p = 0.25;
    let numbers: Vec<f64> = (0..12).map(|k| f64::from(k).sin()).collect();
    let x =
        |seed| Cpu::seed_from_u64(seed).tensor_from_vec(numbers.clone(), (Const::<4>, Const::<3>));
    let loss = |found: Tensor<Rank2<4, 2>, f64, Cpu, OwnedTape<f64, Cpu>>| found.square().mean();
    let by_tape = loss(model.forward_mut(x(7).leaky_traced())).backward();
    let wanted = gradients(&model, &by_tape);
    let mut pc =
        PredictiveCoding::new(Schedule::fixed_prediction(1.0, 9).unwrap(), LossReduction::Mean);
    let learned = pc.learn(&mut model, x(7), loss).unwrap();
    close(&gradients(&model, &learned.gradients), &wanted, 1e-12, "dropout");
    // Each step draws anew; a simulation of many evaluations draws once.
    let same = x(8);
    let first = pc.learn(&mut model, same.clone(), loss).unwrap();
    let second = pc.learn(&mut model, same, loss).unwrap();
    assert_ne!(first.loss, second.loss);
    let mut live = PredictiveCoding::new(Schedule::standard(0.1, 20).unwrap(), LossReduction::Mean);
    let one = live.learn(&mut model, x(9), loss).unwrap();
    let two = live.learn(&mut model, x(9), loss).unwrap();
    assert_eq!(one.loss, two.loss);
    let of = |learned: &pc_dfdx::Learned<f64>| gradients(&model, &learned.gradients);
    assert_eq!(of(&one), of(&two));
}
