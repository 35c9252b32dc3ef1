//! The models as dfdx types.

use ::dfdx::{
    nn::{
        DeviceBuildExt, Module,
        builders::*,
        modules,
        tensor_collection::{ModuleVisitor, TensorCollection, TensorOptions},
    },
    prelude::Device,
    shapes::{Const, Dim, Dtype, HasShape, Rank2},
    tensor::{Cpu, CpuError, PutTape, SplitTape, Tape, Tensor, ZerosTensor},
    tensor_ops::{BroadcastTo, TryAdd},
};
use pc_core::{Error, ErrorKind, Result, Schedule, host};
use pc_dfdx::{
    Causal, LossReduction, PredictiveCoding, Reader, Scalar, Value, Vertices,
    builders::{AvgPool2d, Conv2d, FlattenTo, Lstm, MaxPool2d, Rnn},
};

use super::net::{Net, Typed};
use crate::models::{InputShape, ModelKind, Size};

type Mlp<const I: usize, const H: usize, const C: usize> =
    (Linear<I, H>, ReLU, Linear<H, H>, ReLU, Linear<H, C>);

/// A convolution with its bias.
type Conv<const I: usize, const O: usize, const K: usize, const P: usize> =
    (Conv2d<I, O, K, 1, P>, Bias2D<O>);

/// The last two layers of a convolutional net before its head.
type Dense<const I: usize, const H: usize, const G: usize> =
    (FlattenTo<I>, (Linear<I, H>, ReLU), (Linear<H, G>, ReLU));

/// Of pictures of 8x8.
type Cnn<const O: usize, const U: usize, const I: usize, const H: usize, const G: usize> =
    ((Conv<1, O, 3, 1>, ReLU), (Conv<O, U, 3, 1>, ReLU, MaxPool2d<2, 2>), Dense<I, H, G>);

/// Of pictures of 28x28.
type LeNet = (
    (Conv<1, 6, 5, 2>, ReLU, MaxPool2d<2, 2>),
    (Conv<6, 16, 5, 0>, ReLU, MaxPool2d<2, 2>),
    Dense<400, 120, 84>,
    Linear<84, 10>,
);

/// Of pictures of 8x8.
type Skips<const W: usize, const I: usize, const C: usize> =
    ((Conv<1, W, 3, 1>, ReLU), Block<W>, Block<W>, AvgPool2d<2, 2>, FlattenTo<I>, Linear<I, C>);

type Block<const W: usize> = (Residual<(Conv<W, W, 3, 1>, ReLU, Conv<W, W, 3, 1>)>, ReLU);

/// A number for every place of a sequence, added to it: a vertex of its own.
#[derive(Clone, Debug)]
struct Positions<const S: usize, const M: usize, E: Dtype>(Tensor<Rank2<S, M>, E, Cpu>);

impl<const S: usize, const M: usize, E: Scalar> TensorCollection<E, Cpu> for Positions<S, M, E>
where
    Cpu: Device<E>,
{
    // Built by hand, and never converted.
    type To<E2: Dtype, D2: Device<E2>> = ();

    fn iter_tensors<V: ModuleVisitor<Self, E, Cpu>>(visitor: &mut V) -> Result<Option<()>, V::Err> {
        visitor.visit_fields(
            Self::tensor("0", |s| &s.0, |s| &mut s.0, TensorOptions::reset_to_zeros()),
            |_| (),
        )
    }
}

type Sequence<B, const S: usize, const M: usize, E, T> = Tensor<(B, Const<S>, Const<M>), E, Cpu, T>;

impl<B: Dim, const S: usize, const M: usize, E: Scalar, T: Tape<E, Cpu>>
    Module<Sequence<B, S, M, E, T>> for Positions<S, M, E>
where
    Cpu: Device<E>,
{
    type Output = Sequence<B, S, M, E, T>;
    type Error = CpuError;

    fn try_forward(&self, x: Sequence<B, S, M, E, T>) -> Result<Self::Output, CpuError> {
        let shape = *x.shape();
        x.try_add(self.0.retaped::<T>().try_broadcast_like(&shape)?)
    }
}

impl<B: Dim, const S: usize, const M: usize, E: Scalar>
    Vertices<Value<(B, Const<S>, Const<M>), E>, E> for Positions<S, M, E>
where
    Cpu: Device<E>,
{
    type Output = Value<(B, Const<S>, Const<M>), E>;

    fn read(
        &self,
        input: Value<(B, Const<S>, Const<M>), E>,
        reader: &mut Reader<'_, E>,
    ) -> Result<Self::Output> {
        let (shape, own) = (*input.shape(), reader.parameter("0", &self.0)?);
        let parent = reader.close(input)?;
        let placed = reader.add("sum", Box::new(host::AddParameter), &[parent], &[own])?;
        reader.value(placed, shape)
    }
}

/// A recurrent net whose states all have a head, one for all.
#[derive(Clone, Debug)]
struct AtEachStep<R, L>(R, L);

impl<R, L, E: Scalar> TensorCollection<E, Cpu> for AtEachStep<R, L>
where
    Cpu: Device<E>,
    R: TensorCollection<E, Cpu>,
    L: TensorCollection<E, Cpu>,
{
    type To<E2: Dtype, D2: Device<E2>> = AtEachStep<R::To<E2, D2>, L::To<E2, D2>>;

    fn iter_tensors<V: ModuleVisitor<Self, E, Cpu>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (Self::module("0", |s| &s.0, |s| &mut s.0), Self::module("1", |s| &s.1, |s| &mut s.1)),
            |(cell, head)| AtEachStep(cell, head),
        )
    }
}

/// Running and reading, which are the same for both cells.
macro_rules! at_each_step {
    ($($cell:ident)+) => {
        $(
            impl<S: Dim, const I: usize, const H: usize, const C: usize, E: Scalar, T>
                Module<Tensor<(usize, S, Const<I>), E, Cpu, T>>
                for AtEachStep<pc_dfdx::$cell<I, H, E, Cpu>, modules::Linear<H, C, E, Cpu>>
            where
                T: Tape<E, Cpu>,
                Cpu: Device<E>,
            {
                type Output = Vec<Tensor<(usize, Const<C>), E, Cpu, T>>;
                type Error = CpuError;

                fn try_forward(
                    &self,
                    x: Tensor<(usize, S, Const<I>), E, Cpu, T>,
                ) -> Result<Self::Output, CpuError> {
                    let (states, mut tape) = self.0.try_states(x)?;
                    let mut all = Vec::with_capacity(states.len());
                    for state in states {
                        let logits = self.1.try_forward(state.put_tape(tape))?;
                        let (logits, after) = logits.split_tape();
                        tape = after;
                        all.push(logits.put_tape(T::default()));
                    }
                    // The operations of all are on the tape of the last.
                    if let Some(last) = all.pop() {
                        all.push(last.split_tape().0.put_tape(tape));
                    }
                    Ok(all)
                }
            }

            impl<S: Dim, const I: usize, const H: usize, const C: usize, E: Scalar>
                Vertices<Value<(usize, S, Const<I>), E>, E>
                for AtEachStep<pc_dfdx::$cell<I, H, E, Cpu>, modules::Linear<H, C, E, Cpu>>
            where
                Cpu: Device<E>,
            {
                type Output = Vec<Value<(usize, Const<C>), E>>;

                fn read(
                    &self,
                    input: Value<(usize, S, Const<I>), E>,
                    reader: &mut Reader<'_, E>,
                ) -> Result<Self::Output> {
                    let states = reader.within("0", |r| self.0.read_states(input, r))?;
                    let head = |state| reader.within("1", |r| self.1.read(state, r));
                    states.into_iter().map(head).collect()
                }
            }
        )+
    };
}

at_each_step!(Rnn Lstm);

/// A precision that there are models in: dfdx builds its layers in known ones.
pub(super) trait Built: Scalar {
    /// The model, at weights of its own.
    ///
    /// # Errors
    /// No such model is a type here.
    fn net(
        kind: ModelKind,
        shape: InputShape,
        classes: usize,
        size: Size,
        per_step: bool,
    ) -> Result<Box<dyn Net<Self>>>;

    /// Predictive coding on a loss that is a mean over samples.
    fn learning(schedule: Schedule) -> PredictiveCoding<Self>;
}

/// The input of each kind of model.
type Flat<const I: usize> = (usize, Const<I>);
type Picture<const S: usize> = (usize, Const<1>, Const<S>, Const<S>);
type Steps<const S: usize, const I: usize> = (usize, Const<S>, Const<I>);

macro_rules! built {
    ($($scalar:ty)+) => {
        $(
            impl Built for $scalar {
                fn learning(schedule: Schedule) -> PredictiveCoding<Self> {
                    PredictiveCoding::new(schedule, LossReduction::Mean)
                }

                fn net(
                    kind: ModelKind,
                    shape: InputShape,
                    classes: usize,
                    size: Size,
                    per_step: bool,
                ) -> Result<Box<dyn Net<Self>>> {
                    let device = Cpu::default();
                    macro_rules! net {
                        ($model:ty, $input:ty) => {{
                            let model = device.build_module::<$model, $scalar>();
                            Box::new(Typed::<_, $input, $scalar>::new(model))
                        }};
                    }
                    // A transformer block over sequences of 8.
                    macro_rules! block {
                        ($width:literal, $wide:literal, $attention:ty, $tail:ty) => {{
                            let first = device.build_module::<Linear<8, $width>, $scalar>();
                            let places = Positions::<8, $width, $scalar>(device.zeros());
                            let attention = device.build_module::<Residual<$attention>, $scalar>();
                            let rest = device.build_module::<(
                                LayerNorm1D<$width>,
                                Residual<(Linear<$width, $wide>, ReLU, Linear<$wide, $width>)>,
                                LayerNorm1D<$width>,
                                $tail,
                            ), $scalar>();
                            let model = (first, places, attention, rest);
                            Box::new(Typed::<_, Steps<8, 8>, $scalar>::new(model))
                        }};
                    }
                    macro_rules! each {
                        ($cell:ty, $head:ty) => {{
                            let cell = device.build_module::<$cell, $scalar>();
                            let head = device.build_module::<$head, $scalar>();
                            let model = AtEachStep(cell, head);
                            Box::new(Typed::<_, Steps<8, 8>, $scalar>::new(model))
                        }};
                    }
                    let side = match shape {
                        InputShape::Image([1, 8, 8]) => 8,
                        InputShape::Image([1, 28, 28]) => 28,
                        _ => 0,
                    };
                    let net: Box<dyn Net<Self>> = match (size, kind, side, classes, per_step) {
                        (Size::Small, ModelKind::Mlp, 8, 4, false) => {
                            net!(Mlp<64, 12, 4>, Flat<64>)
                        }
                        (Size::Small, ModelKind::Cnn, 8, 4, false) => {
                            net!((Cnn<2, 3, 48, 10, 8>, Linear<8, 4>), Picture<8>)
                        }
                        (Size::Small, ModelKind::Residual, 8, 4, false) => {
                            net!(Skips<3, 48, 4>, Picture<8>)
                        }
                        (Size::Small, ModelKind::Rnn, 8, 4, false) => {
                            net!((Rnn<8, 5>, Linear<5, 4>), Steps<8, 8>)
                        }
                        (Size::Small, ModelKind::Rnn, 8, 4, true) => each!(Rnn<8, 5>, Linear<5, 4>),
                        (Size::Small, ModelKind::Lstm, 8, 4, false) => {
                            net!((Lstm<8, 5>, Linear<5, 4>), Steps<8, 8>)
                        }
                        (Size::Small, ModelKind::Lstm, 8, 4, true) => {
                            each!(Lstm<8, 5>, Linear<5, 4>)
                        }
                        (Size::Small, ModelKind::Attention, 8, 4, false) => block!(
                            4, 8, MultiHeadAttention<4, 2>, (FlattenTo<32>, Linear<32, 4>)
                        ),
                        (Size::Small, ModelKind::Attention, 8, 4, true) => {
                            block!(4, 8, Causal<MultiHeadAttention<4, 2>>, Linear<4, 4>)
                        }
                        (Size::Standard, ModelKind::Mlp, 8, 10, false) => {
                            net!(Mlp<64, 64, 10>, Flat<64>)
                        }
                        (Size::Standard, ModelKind::Mlp, 28, 10, false) => {
                            net!(Mlp<784, 512, 10>, Flat<784>)
                        }
                        (Size::Standard, ModelKind::Cnn, 8, 10, false) => {
                            net!((Cnn<16, 32, 512, 120, 84>, Linear<84, 10>), Picture<8>)
                        }
                        (Size::Standard, ModelKind::Cnn, 28, 10, false) => net!(LeNet, Picture<28>),
                        (Size::Standard, ModelKind::Residual, 8, 10, false) => {
                            net!(Skips<16, 256, 10>, Picture<8>)
                        }
                        (Size::Standard, ModelKind::Rnn, 8, 10, false) => {
                            net!((Rnn<8, 64>, Linear<64, 10>), Steps<8, 8>)
                        }
                        (Size::Standard, ModelKind::Lstm, 8, 10, false) => {
                            net!((Lstm<8, 64>, Linear<64, 10>), Steps<8, 8>)
                        }
                        (Size::Standard, ModelKind::Attention, 8, 10, false) => block!(
                            32, 64, MultiHeadAttention<32, 2>, (FlattenTo<256>, Linear<256, 10>)
                        ),
                        _ => {
                            return Err(Error::new(
                                ErrorKind::Unsupported,
                                format!(
                                    "the sizes of dfdx's models are types, and there is none of a \
                                     {kind} for inputs {shape} and {classes} classes: all models \
                                     take the digits, mlp and cnn pictures of 1x28x28 too"
                                ),
                            ));
                        }
                    };
                    Ok(net)
                }
            }
        )+
    };
}

built!(f32 f64);
