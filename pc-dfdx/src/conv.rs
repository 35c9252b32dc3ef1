//! Convolution and pooling on stable Rust, with dfdx's conventions: dfdx 0.13 has its own on
//! nightly alone, where they no longer compile.
//!
//! What windows meet is gathered, and multiplied by the weight. Sides are known at run time, since
//! stable Rust cannot compute them in types: the results are `(B, Const<C>, usize, usize)`, and
//! [`FlattenTo`] leads back to a width in the type.

use dfdx::{
    nn::tensor_collection::{ModuleVisitor, TensorCollection, TensorOptions},
    prelude::{BuildModule, BuildOnDevice, Device, Module, NonMutableModule, ZeroSizedModule},
    shapes::{Axes3, Axis, Const, Dim, Dtype, HasShape, Rank4, Shape},
    tensor::{
        Cpu, CpuError, PutTape, SplitTape, Storage, Tape, Tensor, TensorFromVec, ZerosTensor,
    },
    tensor_ops::{GatherTo, MaxTo, MeanTo, PermuteTo, ReshapeTo, TryConcatAlong, TryMatMul},
};
use pc_core::{Error, ErrorKind, Result, host};

use crate::{Reader, Scalar, Value, Vertices};

/// Where a window lies on a picture.
#[derive(Clone, Copy, Debug)]
struct Window {
    picture: [usize; 3],
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl Window {
    /// Height and width of the result.
    fn result(&self) -> Result<[usize; 2], CpuError> {
        let [_, height, width] = self.picture;
        let along = |length: usize| {
            let room = (length + 2 * self.padding).checked_sub(self.kernel)?;
            (self.kernel > 0).then_some(room.checked_div(self.stride)? + 1)
        };
        // dfdx has no other error for it.
        match (along(height), along(width)) {
            (Some(height), Some(width)) => Ok([height, width]),
            _ => Err(CpuError::WrongNumElements),
        }
    }

    /// For channel `channel` and place `[i, j]` of a window, the numbers that it meets, window by
    /// window; beyond the picture that after its last.
    fn meets(&self, channel: usize, [i, j]: [usize; 2], result: [usize; 2]) -> Vec<usize> {
        let [channels, height, width] = self.picture;
        let mut all = Vec::with_capacity(result[0] * result[1]);
        for y in 0..result[0] {
            for x in 0..result[1] {
                let row = (y * self.stride + i).checked_sub(self.padding);
                let column = (x * self.stride + j).checked_sub(self.padding);
                all.push(match (row, column) {
                    (Some(row), Some(column)) if row < height && column < width => {
                        (channel * height + row) * width + column
                    }
                    _ => channels * height * width,
                });
            }
        }
        all
    }
}

/// Pictures, batch first.
type Pictures<B, C, H, W, E, T> = Tensor<(B, C, H, W), E, Cpu, T>;

/// Gathers what windows meet: `[rows, columns, batch]`.
fn unfold<B: Dim, C: Dim, H: Dim, W: Dim, E: Scalar, T: Tape<E, Cpu>>(
    x: Pictures<B, C, H, W, E, T>,
    rows: Vec<Vec<usize>>,
) -> Result<Tensor<(usize, usize, usize), E, Cpu, T>, CpuError>
where
    Cpu: Device<E>,
{
    let (batch, channels, height, width) = *HasShape::shape(&x);
    let (batch, numbers) = (batch.size(), channels.size() * height.size() * width.size());
    let device = x.device().clone();
    let sides = (rows.len(), rows.first().map_or(0, Vec::len));
    let rows: Vec<usize> = rows.into_iter().flatten().collect();
    let rows: Tensor<(usize, usize), usize, Cpu> = device.try_tensor_from_vec(rows, sides)?;
    // Gathering goes along the first axis, so the batch comes last; then a row of zeros, for what
    // lies beyond the picture.
    let x = x.try_reshape_like(&(batch, numbers))?;
    let x: Tensor<(usize, usize), E, Cpu, T> = x.try_permute()?;
    let (x, tape) = x.try_contiguous()?.split_tape();
    let zeros: Tensor<(usize, usize), E, Cpu> = device.try_zeros_like(&(1, batch))?;
    let x = (x.put_tape(tape), zeros).try_concat_along(Axis::<0>)?;
    x.try_gather(rows)
}

/// Draws numbers uniformly within `1 / sqrt(fan_in)`, as dfdx's layers start.
pub(crate) fn draw_uniform<S: Shape, E: Dtype, D: Device<E>>(
    weight: &mut Tensor<S, E, D>,
    fan_in: usize,
) {
    let within = 1.0 / (fan_in.max(1) as f64).sqrt();
    let device = weight.device().clone();
    let draw = |_| {
        let from_0_to_1 = (device.random_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        E::from_f64(within * (2.0 * from_0_to_1 - 1.0)).unwrap_or_default()
    };
    let drawn: Vec<E> = (0..HasShape::shape(weight).num_elements()).map(draw).collect();
    weight.copy_from(&drawn);
}

/// What [`build_module`](dfdx::nn::DeviceBuildExt) builds the modules of this crate from.
pub mod builders {
    pub use super::{AvgPool2d, FlattenTo, MaxPool2d};
    pub use crate::cells::builders::{Lstm, Rnn};

    /// Builds a [`super::Conv2d`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Conv2d<
        const IN: usize,
        const OUT: usize,
        const KERNEL: usize,
        const STRIDE: usize = 1,
        const PADDING: usize = 0,
    >;
}

/// A convolution without a bias, as dfdx's `Conv2D` (a `Bias2D` after it belongs to the same
/// vertex): of pictures `(B, Const<IN>, H, W)` with a weight `[OUT, IN, KERNEL, KERNEL]`, to
/// `(B, Const<OUT>, usize, usize)`.
///
/// `mu[o, y, x] = sum over c, i, j of W[o, c, i, j] v[c, y STRIDE + i - PADDING, x STRIDE + j -
/// PADDING]`, with zeros outside the picture. Weights start uniform within `1 / sqrt(IN KERNEL^2)`.
///
/// # Example
/// ```
/// use dfdx::{nn::builders::*, prelude::*};
/// use pc_dfdx::builders::*;
/// type Net = (
///     (Conv2d<1, 4, 3, 1, 1>, Bias2D<4>, ReLU, MaxPool2d<2, 2>),
///     FlattenTo<64>,
///     Linear<64, 10>,
/// );
/// let device = Cpu::default();
/// let net = device.build_module::<Net, f32>();
/// let y: Tensor<Rank2<5, 10>, f32, _> = net.forward(device.sample_normal::<Rank4<5, 1, 8, 8>>());
/// assert!(y.as_vec().iter().all(|y| y.is_finite()));
/// ```
#[derive(Clone, Debug)]
pub struct Conv2d<
    const IN: usize,
    const OUT: usize,
    const KERNEL: usize,
    const STRIDE: usize,
    const PADDING: usize,
    E: Dtype,
    D: Storage<E>,
> {
    /// `W`.
    pub weight: Tensor<Rank4<OUT, IN, KERNEL, KERNEL>, E, D>,
}

impl<const I: usize, const O: usize, const K: usize, const S: usize, const P: usize, E, D>
    BuildOnDevice<D, E> for builders::Conv2d<I, O, K, S, P>
where
    E: Dtype,
    D: Device<E>,
{
    type Built = Conv2d<I, O, K, S, P, E, D>;

    fn try_build_on_device(device: &D) -> Result<Self::Built, D::Err> {
        Self::Built::try_build(device)
    }
}

impl<const I: usize, const O: usize, const K: usize, const S: usize, const P: usize, E, D>
    TensorCollection<E, D> for Conv2d<I, O, K, S, P, E, D>
where
    E: Dtype,
    D: Device<E>,
{
    type To<E2: Dtype, D2: Device<E2>> = Conv2d<I, O, K, S, P, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        let start = TensorOptions::reset_with(|weight: &mut Tensor<Rank4<O, I, K, K>, E, D>| {
            draw_uniform(weight, I * K * K);
            Ok(())
        });
        visitor.visit_fields(
            Self::tensor("weight", |s| &s.weight, |s| &mut s.weight, start),
            |weight| Conv2d { weight },
        )
    }
}

impl<const I: usize, const O: usize, const K: usize, const S: usize, const P: usize, E, D>
    NonMutableModule for Conv2d<I, O, K, S, P, E, D>
where
    E: Dtype,
    D: Storage<E>,
{
}

impl<B, H, W, const I: usize, const O: usize, const K: usize, const S: usize, const P: usize, E, T>
    Module<Pictures<B, Const<I>, H, W, E, T>> for Conv2d<I, O, K, S, P, E, Cpu>
where
    B: Dim,
    H: Dim,
    W: Dim,
    E: Scalar,
    T: Tape<E, Cpu>,
    Cpu: Device<E>,
{
    type Output = Tensor<(B, Const<O>, usize, usize), E, Cpu, T>;
    type Error = CpuError;

    fn try_forward(&self, x: Pictures<B, Const<I>, H, W, E, T>) -> Result<Self::Output, CpuError> {
        let (batch, _, height, width) = *HasShape::shape(&x);
        let picture = [I, height.size(), width.size()];
        let window = Window { picture, kernel: K, stride: S, padding: P };
        let [height, width] = window.result()?;
        let places = (0..I * K * K).map(|r| (r / (K * K), [r / K % K, r % K]));
        let rows = places.map(|(c, place)| window.meets(c, place, [height, width])).collect();
        let (samples, columns) = (batch.size(), height * width);
        let met = unfold(x, rows)?.try_reshape_like(&(I * K * K, columns * samples))?;
        let weight = self.weight.retaped::<T>().try_reshape_like(&(O, I * K * K))?;
        let y = weight.try_matmul(met)?.try_reshape_like(&(O, columns, samples))?;
        let y: Tensor<(usize, usize, usize), E, Cpu, T> = y.try_permute::<_, Axes3<2, 0, 1>>()?;
        y.try_reshape_like(&(batch, Const, height, width))
    }
}

/// The error of a window that does not fit.
fn misfit<E: Scalar>(reader: &Reader<'_, E>, window: Window) -> Error {
    let Window { picture, kernel, stride, padding } = window;
    Error::new(
        ErrorKind::Shape,
        format!(
            "a window of {kernel}x{kernel}, moved by {stride}, has no place on a picture of \
             {picture:?} with {padding} zeros around it"
        ),
    )
    .at(&reader.name_of(""))
}

impl<B, H, W, const I: usize, const O: usize, const K: usize, const S: usize, const P: usize, E>
    Vertices<Value<(B, Const<I>, H, W), E>, E> for Conv2d<I, O, K, S, P, E, Cpu>
where
    B: Dim,
    H: Dim,
    W: Dim,
    E: Scalar,
    Cpu: Device<E>,
{
    type Output = Value<(B, Const<O>, usize, usize), E>;

    fn read(
        &self,
        input: Value<(B, Const<I>, H, W), E>,
        reader: &mut Reader<'_, E>,
    ) -> Result<Self::Output> {
        let (batch, _, height, width) = input.shape;
        let picture = [I, height.size(), width.size()];
        let window = Window { picture, kernel: K, stride: S, padding: P };
        let [height, width] = window.result().map_err(|_| misfit(reader, window))?;
        let weight = reader.parameter("weight", &self.weight)?;
        let conv = Box::new(host::Conv2d { stride: S, padding: P, bias: false });
        reader.layer(input, conv, &[weight], (batch, Const, height, width))
    }
}

/// Pooling: its documentation, its name, the host's vertex, and how dfdx reduces.
macro_rules! pools {
    ($($(#[$doc:meta])* $name:ident by $reduce:ident;)+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub struct $name<const KERNEL: usize, const STRIDE: usize = 1>;

            impl<const K: usize, const S: usize> ZeroSizedModule for $name<K, S> {}
            impl<const K: usize, const S: usize> NonMutableModule for $name<K, S> {}

            impl<B, C, H, W, const K: usize, const S: usize, E, T>
                Module<Pictures<B, C, H, W, E, T>> for $name<K, S>
            where
                B: Dim,
                C: Dim,
                H: Dim,
                W: Dim,
                E: Scalar,
                T: Tape<E, Cpu>,
                Cpu: Device<E>,
            {
                type Output = Tensor<(B, C, usize, usize), E, Cpu, T>;
                type Error = CpuError;

                fn try_forward(
                    &self,
                    x: Pictures<B, C, H, W, E, T>,
                ) -> Result<Self::Output, CpuError> {
                    let (batch, channels, height, width) = *HasShape::shape(&x);
                    let picture = [channels.size(), height.size(), width.size()];
                    let window = Window { picture, kernel: K, stride: S, padding: 0 };
                    let result = window.result()?;
                    let row = |k: usize| {
                        let all = 0..channels.size();
                        all.flat_map(|c| window.meets(c, [k / K, k % K], result)).collect()
                    };
                    let met = unfold(x, (0..K * K).map(row).collect())?;
                    let y = met.$reduce::<(usize, usize), Axis<0>>()?;
                    let y: Tensor<(usize, usize), E, Cpu, T> = y.try_permute()?;
                    y.try_reshape_like(&(batch, channels, result[0], result[1]))
                }
            }

            impl<B, C, H, W, const K: usize, const S: usize, E>
                Vertices<Value<(B, C, H, W), E>, E> for $name<K, S>
            where
                B: Dim,
                C: Dim,
                H: Dim,
                W: Dim,
                E: Scalar,
            {
                type Output = Value<(B, C, usize, usize), E>;

                fn read(
                    &self,
                    input: Value<(B, C, H, W), E>,
                    reader: &mut Reader<'_, E>,
                ) -> Result<Self::Output> {
                    let (batch, channels, height, width) = input.shape;
                    let picture = [channels.size(), height.size(), width.size()];
                    let window = Window { picture, kernel: K, stride: S, padding: 0 };
                    let [height, width] = window.result().map_err(|_| misfit(reader, window))?;
                    let pool = Box::new(host::$name { size: K, stride: S });
                    reader.follow(input, pool, (batch, channels, height, width))
                }
            }
        )+
    };
}

pools! {
    /// The largest number in each window `KERNEL x KERNEL`, moved by `STRIDE`; without padding.
    /// Where several are the largest, dfdx's tape shares the gradient among all of them, and the
    /// vertex gives it to the first.
    MaxPool2d by try_max;
    /// The mean of each window `KERNEL x KERNEL`, moved by `STRIDE`; without padding.
    AvgPool2d by try_mean;
}

/// Pictures `(B, C, H, W)` or sequences `(B, S, M)` as rows of `N` numbers, where dimensions are
/// known at run time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlattenTo<const N: usize>;

impl<const N: usize> ZeroSizedModule for FlattenTo<N> {}
impl<const N: usize> NonMutableModule for FlattenTo<N> {}

/// Of pictures, and of sequences.
macro_rules! flatten {
    ($($axis:ident)+) => {
        impl<B: Dim, $($axis: Dim,)+ const N: usize, E: Scalar, T: Tape<E, Cpu>>
            Module<Tensor<(B, $($axis),+), E, Cpu, T>> for FlattenTo<N>
        where
            Cpu: Device<E>,
        {
            type Output = Tensor<(B, Const<N>), E, Cpu, T>;
            type Error = CpuError;

            #[allow(non_snake_case)]
            fn try_forward(
                &self,
                x: Tensor<(B, $($axis),+), E, Cpu, T>,
            ) -> Result<Self::Output, CpuError> {
                let (batch, $($axis),+) = *HasShape::shape(&x);
                if 1 $(* $axis.size())+ != N {
                    return Err(CpuError::WrongNumElements);
                }
                x.try_reshape_like(&(batch, Const))
            }
        }

        impl<B: Dim, $($axis: Dim,)+ const N: usize, E: Scalar>
            Vertices<Value<(B, $($axis),+), E>, E> for FlattenTo<N>
        {
            type Output = Value<(B, Const<N>), E>;

            #[allow(non_snake_case)]
            fn read(
                &self,
                input: Value<(B, $($axis),+), E>,
                reader: &mut Reader<'_, E>,
            ) -> Result<Self::Output> {
                let (batch, $($axis),+) = input.shape;
                let numbers = 1 $(* $axis.size())+;
                if numbers != N {
                    return Err(Error::new(
                        ErrorKind::Shape,
                        format!("a sample of {numbers} numbers cannot be a row of {N}"),
                    )
                    .at(&reader.name_of("")));
                }
                reader.reshape(input, (batch, Const))
            }
        }
    };
}

flatten!(C H W);
flatten!(S M);
