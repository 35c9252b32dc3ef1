//! Recurrent nets: dfdx 0.13 has none. They run on dfdx's tape, and are read step by step, with the
//! same parameters at each.

use dfdx::{
    nn::tensor_collection::{ModuleVisitor, TensorCollection, TensorOptions},
    prelude::{BuildModule, BuildOnDevice, Device, Module, NonMutableModule},
    shapes::{Const, Dim, Dtype, HasShape, Rank1, Rank2},
    tensor::{
        Cpu, CpuError, PutTape, SplitTape, Storage, Tape, Tensor, TensorFromVec, WithEmptyTape,
        ZerosTensor,
    },
    tensor_ops::{BroadcastTo, PermuteTo, SelectTo, TryAdd, TryMatMul, TryMul},
};
use pc_core::{
    Result, Tensor as _, VertexId,
    host::{GateParameters, HostLayers, HostTensor, LstmParameters},
};

use crate::{Reader, Scalar, Value, Vertices, conv::draw_uniform};

/// A sequence, batch first.
type Sequence<B, S, const I: usize, E, T> = Tensor<(B, S, Const<I>), E, Cpu, T>;

/// One row for each sample.
type Rows<B, const N: usize, E, T> = Tensor<(B, Const<N>), E, Cpu, T>;

/// `W_x x + W_h h + b`: a gate of an LSTM, or a plain recurrent cell before its activation.
#[derive(Clone, Debug)]
pub struct Gate<const I: usize, const H: usize, E: Dtype, D: Storage<E>> {
    /// `W_x`.
    pub input: Tensor<Rank2<H, I>, E, D>,
    /// `W_h`.
    pub hidden: Tensor<Rank2<H, H>, E, D>,
    /// `b`.
    pub bias: Tensor<Rank1<H>, E, D>,
}

impl<const I: usize, const H: usize, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for Gate<I, H, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Gate<I, H, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::tensor(
                    "input",
                    |s| &s.input,
                    |s| &mut s.input,
                    TensorOptions::reset_with(|weight| {
                        draw_uniform(weight, I + H);
                        Ok(())
                    }),
                ),
                Self::tensor(
                    "hidden",
                    |s| &s.hidden,
                    |s| &mut s.hidden,
                    TensorOptions::reset_with(|weight| {
                        draw_uniform(weight, I + H);
                        Ok(())
                    }),
                ),
                Self::tensor("bias", |s| &s.bias, |s| &mut s.bias, TensorOptions::reset_to_zeros()),
            ),
            |(input, hidden, bias)| Gate { input, hidden, bias },
        )
    }
}

impl<const I: usize, const H: usize, E: Scalar> Gate<I, H, E, Cpu>
where
    Cpu: Device<E>,
{
    fn forward<B: Dim, T: Tape<E, Cpu>>(
        &self,
        x: Rows<B, I, E, T>,
        h: Rows<B, H, E, T>,
    ) -> Result<Rows<B, H, E, T>, CpuError> {
        let shape = *HasShape::shape(&h);
        let by_input: Tensor<Rank2<I, H>, E, Cpu, T> = self.input.retaped::<T>().try_permute()?;
        let by_hidden: Tensor<Rank2<H, H>, E, Cpu, T> = self.hidden.retaped::<T>().try_permute()?;
        let (input, hidden) = (x.try_matmul(by_input)?, h.try_matmul(by_hidden)?);
        let bias = self.bias.retaped::<T>().try_broadcast_like(&shape)?;
        input.try_add(hidden)?.try_add(bias)
    }

    fn parameters(&self, name: &str, reader: &mut Reader<'_, E>) -> Result<GateParameters> {
        reader.within(name, |reader| {
            Ok(GateParameters {
                input: reader.parameter("input", &self.input)?,
                hidden: reader.parameter("hidden", &self.hidden)?,
                bias: reader.parameter("bias", &self.bias)?,
            })
        })
    }
}

/// What [`build_module`](dfdx::nn::DeviceBuildExt) builds the cells from.
pub(crate) mod builders {
    /// Builds a [`super::Rnn`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Rnn<const I: usize, const H: usize>;

    /// Builds a [`super::Lstm`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Lstm<const I: usize, const H: usize>;
}

/// A plain recurrent net, `h_t = tanh(W_x x_t + W_h h_(t-1) + b)` from `h_0 = 0`: of a sequence
/// `(B, S, Const<I>)`, to the last state `(B, Const<H>)`. Every step is a vertex.
#[derive(Clone, Debug)]
pub struct Rnn<const I: usize, const H: usize, E: Dtype, D: Storage<E>> {
    /// Of the cell.
    pub cell: Gate<I, H, E, D>,
}

/// An LSTM (Hochreiter and Schmidhuber 1997; Gers and others 2000) from a state of zeros: of a
/// sequence `(B, S, Const<I>)`, to the last hidden state `(B, Const<H>)`. Every gate of every step
/// is a vertex, and so are the cell and the hidden state: see
/// [`LstmCell`](pc_core::composites::LstmCell).
#[derive(Clone, Debug)]
pub struct Lstm<const I: usize, const H: usize, E: Dtype, D: Storage<E>> {
    /// The input gate.
    pub input: Gate<I, H, E, D>,
    /// The forget gate.
    pub forget: Gate<I, H, E, D>,
    /// The candidate, the cell's input.
    pub candidate: Gate<I, H, E, D>,
    /// The output gate.
    pub output: Gate<I, H, E, D>,
}

impl<const I: usize, const H: usize, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for Rnn<I, H, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Rnn<I, H, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor
            .visit_fields(Self::module("cell", |s| &s.cell, |s| &mut s.cell), |cell| Rnn { cell })
    }
}

impl<const I: usize, const H: usize, E: Dtype, D: Device<E>> TensorCollection<E, D>
    for Lstm<I, H, E, D>
{
    type To<E2: Dtype, D2: Device<E2>> = Lstm<I, H, E2, D2>;

    fn iter_tensors<V: ModuleVisitor<Self, E, D>>(
        visitor: &mut V,
    ) -> Result<Option<Self::To<V::E2, V::D2>>, V::Err> {
        visitor.visit_fields(
            (
                Self::module("input", |s| &s.input, |s| &mut s.input),
                Self::module("forget", |s| &s.forget, |s| &mut s.forget),
                Self::module("candidate", |s| &s.candidate, |s| &mut s.candidate),
                Self::module("output", |s| &s.output, |s| &mut s.output),
            ),
            |(input, forget, candidate, output)| Lstm { input, forget, candidate, output },
        )
    }
}

/// A step of a cell on the tape: from its state to the next.
trait Cell<const I: usize, const H: usize, E: Scalar> {
    /// The hidden state and what is carried beside it.
    fn step<B: Dim, T: Tape<E, Cpu>>(
        &self,
        x: Rows<B, I, E, T>,
        hidden: &Rows<B, H, E, dfdx::tensor::NoneTape>,
        carried: &mut Rows<B, H, E, dfdx::tensor::NoneTape>,
    ) -> Result<Rows<B, H, E, T>, CpuError>
    where
        Cpu: Device<E>;

    /// The hidden state at every step.
    fn unroll<B: Dim, S: Dim, T: Tape<E, Cpu>>(
        &self,
        x: Sequence<B, S, I, E, T>,
    ) -> Result<(Vec<Rows<B, H, E, dfdx::tensor::NoneTape>>, T), CpuError>
    where
        Cpu: Device<E>,
    {
        let (batch, steps, _) = *HasShape::shape(&x);
        let device = x.device().clone();
        let mut hidden: Rows<B, H, E, _> = device.try_zeros_like(&(batch, Const))?;
        let mut carried = hidden.clone();
        let (x, mut tape) = x.split_tape();
        let mut all = Vec::with_capacity(steps.size());
        for step in 0..steps.size() {
            let index: Tensor<(B,), usize, Cpu> =
                device.try_tensor_from_vec(vec![step; batch.size()], (batch,))?;
            let now: Rows<B, I, E, T> = x.clone().put_tape(tape).try_select(index)?;
            let (next, after) = self.step(now, &hidden, &mut carried)?.split_tape();
            hidden = next;
            tape = after;
            all.push(hidden.clone());
        }
        Ok((all, tape))
    }
}

impl<const I: usize, const H: usize, E: Scalar> Cell<I, H, E> for Rnn<I, H, E, Cpu> {
    fn step<B: Dim, T: Tape<E, Cpu>>(
        &self,
        x: Rows<B, I, E, T>,
        hidden: &Rows<B, H, E, dfdx::tensor::NoneTape>,
        _: &mut Rows<B, H, E, dfdx::tensor::NoneTape>,
    ) -> Result<Rows<B, H, E, T>, CpuError>
    where
        Cpu: Device<E>,
    {
        self.cell.forward(x, hidden.retaped())?.try_tanh()
    }
}

impl<const I: usize, const H: usize, E: Scalar> Cell<I, H, E> for Lstm<I, H, E, Cpu> {
    fn step<B: Dim, T: Tape<E, Cpu>>(
        &self,
        x: Rows<B, I, E, T>,
        hidden: &Rows<B, H, E, dfdx::tensor::NoneTape>,
        carried: &mut Rows<B, H, E, dfdx::tensor::NoneTape>,
    ) -> Result<Rows<B, H, E, T>, CpuError>
    where
        Cpu: Device<E>,
    {
        let forget = self.forget.forward(x.with_empty_tape(), hidden.retaped())?.try_sigmoid()?;
        let candidate =
            self.candidate.forward(x.with_empty_tape(), hidden.retaped())?.try_tanh()?;
        let output = self.output.forward(x.with_empty_tape(), hidden.retaped())?.try_sigmoid()?;
        let input = self.input.forward(x, hidden.retaped())?.try_sigmoid()?;
        let kept = forget.try_mul(carried.clone())?;
        let (cell, tape) = input.try_mul(candidate)?.try_add(kept)?.split_tape();
        *carried = cell.clone();
        cell.put_tape(tape).try_tanh()?.try_mul(output)
    }
}

impl<const I: usize, const H: usize, E: Scalar> Rnn<I, H, E, Cpu>
where
    Cpu: Device<E>,
{
    /// The state at every step, in a graph.
    ///
    /// # Errors
    /// As [`Reader::steps`].
    pub fn read_states<B: Dim, S: Dim>(
        &self,
        input: Value<(B, S, Const<I>), E>,
        reader: &mut Reader<'_, E>,
    ) -> Result<Vec<Value<(B, Const<H>), E>>> {
        let batch = input.shape.0;
        let cell = self.cell.parameters("cell", reader)?;
        let steps = reader.steps(input)?;
        let mut last = zeros(reader, "h", batch.size(), H)?;
        let mut all = Vec::with_capacity(steps.len());
        for (step, x) in steps.into_iter().enumerate() {
            last = reader.add_all(&format!("h{step}"), &[x, last], |b, name| {
                b.rnn_cell(name, x, last, &cell)
            })?;
            all.push(reader.value(last, (batch, Const))?);
        }
        Ok(all)
    }
}

impl<const I: usize, const H: usize, E: Scalar> Lstm<I, H, E, Cpu>
where
    Cpu: Device<E>,
{
    /// The hidden state at every step, in a graph.
    ///
    /// # Errors
    /// As [`Reader::steps`].
    pub fn read_states<B: Dim, S: Dim>(
        &self,
        input: Value<(B, S, Const<I>), E>,
        reader: &mut Reader<'_, E>,
    ) -> Result<Vec<Value<(B, Const<H>), E>>> {
        let batch = input.shape.0;
        let parameters = LstmParameters {
            input: self.input.parameters("input", reader)?,
            forget: self.forget.parameters("forget", reader)?,
            candidate: self.candidate.parameters("candidate", reader)?,
            output: self.output.parameters("output", reader)?,
        };
        let steps = reader.steps(input)?;
        let (mut h, mut c) =
            (zeros(reader, "h", batch.size(), H)?, zeros(reader, "c", batch.size(), H)?);
        let mut all = Vec::with_capacity(steps.len());
        for (step, x) in steps.into_iter().enumerate() {
            let cell = reader.add_all(&format!("t{step}"), &[x, h, c], |b, name| {
                b.lstm_cell(name, x, h, c, &parameters)
            })?;
            reader.used(cell.cell);
            (h, c) = (cell.hidden, cell.cell);
            all.push(reader.value(h, (batch, Const))?);
        }
        Ok(all)
    }
}

/// Held zeros: the state before the first step.
fn zeros<E: Scalar>(
    reader: &mut Reader<'_, E>,
    name: &str,
    batch: usize,
    width: usize,
) -> Result<VertexId> {
    reader.hold(name, HostTensor::<E>::default().zeros(&[batch, width]))
}

/// Building, running and reading, which are the same for both.
macro_rules! cells {
    ($($name:ident)+) => {
        $(
            impl<const I: usize, const H: usize, E: Dtype, D: Device<E>> BuildOnDevice<D, E>
                for builders::$name<I, H>
            {
                type Built = $name<I, H, E, D>;

                fn try_build_on_device(device: &D) -> Result<Self::Built, D::Err> {
                    Self::Built::try_build(device)
                }
            }

            impl<const I: usize, const H: usize, E: Dtype, D: Storage<E>> NonMutableModule
                for $name<I, H, E, D>
            {
            }

            impl<B: Dim, S: Dim, const I: usize, const H: usize, E: Scalar, T: Tape<E, Cpu>>
                Module<Sequence<B, S, I, E, T>> for $name<I, H, E, Cpu>
            where
                Cpu: Device<E>,
            {
                type Output = Rows<B, H, E, T>;
                type Error = CpuError;

                fn try_forward(
                    &self,
                    x: Sequence<B, S, I, E, T>,
                ) -> Result<Self::Output, CpuError> {
                    let (mut all, tape) = self.unroll(x)?;
                    let last = all.pop().ok_or(CpuError::WrongNumElements)?;
                    Ok(last.put_tape(tape))
                }
            }

            impl<const I: usize, const H: usize, E: Scalar> $name<I, H, E, Cpu>
            where
                Cpu: Device<E>,
            {
                /// The hidden state at every step, on dfdx's tape, which comes after them.
                ///
                /// # Errors
                /// What dfdx reports.
                pub fn try_states<B: Dim, S: Dim, T: Tape<E, Cpu>>(
                    &self,
                    x: Sequence<B, S, I, E, T>,
                ) -> Result<(Vec<Rows<B, H, E, dfdx::tensor::NoneTape>>, T), CpuError> {
                    self.unroll(x)
                }
            }

            impl<B: Dim, S: Dim, const I: usize, const H: usize, E: Scalar>
                Vertices<Value<(B, S, Const<I>), E>, E> for $name<I, H, E, Cpu>
            where
                Cpu: Device<E>,
            {
                type Output = Value<(B, Const<H>), E>;

                fn read(
                    &self,
                    input: Value<(B, S, Const<I>), E>,
                    reader: &mut Reader<'_, E>,
                ) -> Result<Self::Output> {
                    let last = self.read_states(input, reader)?.pop();
                    last.ok_or_else(|| {
                        pc_core::Error::new(pc_core::ErrorKind::Shape, "a sequence of no steps")
                            .at(&reader.name_of(""))
                    })
                }
            }
        )+
    };
}

cells!(Rnn Lstm);
