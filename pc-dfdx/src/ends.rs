//! Where a model begins and ends: what it is handed, and what a loss is handed.

use dfdx::{
    prelude::Device,
    shapes::{HasShape, Shape},
    tensor::{Cpu, Gradients, Tensor, Trace},
    tensor_ops::ReshapeTo,
};
use pc_core::{Error, ErrorKind, Result, Tensor as _, VertexId, host::HostTensor};

use crate::{
    Indices, Reader, Scalar, Value,
    parameters::{listed, reported},
    taped::{Traced, tensor},
    value::dimensions,
};

/// What a model can be handed: a tensor of numbers, one of indices, or a tuple of such.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be handed to a model in `{E}`",
    note = "a model takes tensors without a tape, on the CPU, batch first: of its own precision, \
            or of `usize` for an embedding"
)]
pub trait Input<E: Scalar> {
    /// What the first module sees.
    type Value;

    /// The device of the (first) tensor, whose random numbers are drawn.
    fn device(&self) -> Cpu;

    /// Makes it held vertices.
    ///
    /// # Errors
    /// An empty batch; a number that is not finite.
    fn enter(self, reader: &mut Reader<'_, E>) -> Result<Self::Value>;
}

fn empty(shape: &[usize]) -> Result<()> {
    if shape.contains(&0) || shape.is_empty() {
        return Err(Error::new(
            ErrorKind::Shape,
            format!("a model takes a batch of at least one sample, not an input shaped {shape:?}"),
        ));
    }
    Ok(())
}

impl<S: Shape, E: Scalar> Input<E> for Tensor<S, E, Cpu>
where
    Cpu: Device<E>,
{
    type Value = Value<S, E>;

    fn device(&self) -> Cpu {
        Tensor::device(self).clone()
    }

    fn enter(self, reader: &mut Reader<'_, E>) -> Result<Self::Value> {
        let shape = *HasShape::shape(&self);
        let dims = dimensions(&shape);
        empty(&dims)?;
        let mut held = HostTensor::zeroed(&dims)?;
        self.try_contiguous().map_err(reported)?.copy_into(held.data_mut());
        if !held.is_finite() {
            let message = "a number of the input is not finite";
            return Err(Error::new(ErrorKind::NotFinite, message));
        }
        Ok(reader.root(shape, held))
    }
}

impl<S: Shape, E: Scalar> Input<E> for Tensor<S, usize, Cpu>
where
    Cpu: Device<E>,
{
    type Value = Indices<S>;

    fn device(&self) -> Cpu {
        Tensor::device(self).clone()
    }

    fn enter(self, reader: &mut Reader<'_, E>) -> Result<Self::Value> {
        let shape = *HasShape::shape(&self);
        let dims = dimensions(&shape);
        empty(&dims)?;
        let numbers = self.as_vec().into_iter().map(|index| E::of(index as f64)).collect();
        let vertex = reader.hold("x", HostTensor::new(&dims, numbers)?)?;
        Ok(Indices { shape, vertex })
    }
}

/// What a model's end can be: a value, a tuple of them, or a list.
#[diagnostic::on_unimplemented(
    message = "no loss can be given for an output `{Self}` of a model in `{E}`",
    note = "a model ends in a value, a tuple of values, or a list of them"
)]
pub trait Outputs<E: Scalar> {
    /// What the loss is handed: tensors with tapes, as dfdx's own forward pass gives them.
    type Traced;
    /// The shapes.
    #[doc(hidden)]
    type Form: Clone + 'static;
    /// The tensors without their tapes.
    #[doc(hidden)]
    type Leaves;

    /// Makes it vertices that a loss can drive.
    ///
    /// # Errors
    /// As [`Reader::close`].
    fn finish(self, reader: &mut Reader<'_, E>, all: &mut Vec<VertexId>) -> Result<Self::Form>;

    #[doc(hidden)]
    fn trace(
        form: &Self::Form,
        device: &Cpu,
        numbers: &mut dyn Iterator<Item = &[E]>,
    ) -> Result<(Self::Traced, Self::Leaves)>;

    #[doc(hidden)]
    fn pulled(
        leaves: &Self::Leaves,
        gradients: &mut Gradients<E, Cpu>,
        all: &mut Vec<Vec<E>>,
    ) -> Result<()>;
}

impl<S: Shape, E: Scalar> Outputs<E> for Value<S, E>
where
    Cpu: Device<E>,
{
    type Traced = Traced<S, E>;
    type Form = S;
    type Leaves = Tensor<S, E, Cpu>;

    fn finish(self, reader: &mut Reader<'_, E>, all: &mut Vec<VertexId>) -> Result<S> {
        let shape = self.shape;
        let vertex = reader.output(self, all)?;
        all.push(vertex);
        Ok(shape)
    }

    fn trace(
        form: &S,
        device: &Cpu,
        numbers: &mut dyn Iterator<Item = &[E]>,
    ) -> Result<(Self::Traced, Self::Leaves)> {
        let numbers = numbers.next().ok_or_else(missing)?;
        let leaf = tensor(device, numbers, *form)?;
        Ok((leaf.leaky_trace(), leaf))
    }

    fn pulled(
        leaf: &Self::Leaves,
        gradients: &mut Gradients<E, Cpu>,
        all: &mut Vec<Vec<E>>,
    ) -> Result<()> {
        all.push(listed::<E>(gradients.get_or_alloc_mut(leaf).map_err(reported)?).to_vec());
        Ok(())
    }
}

fn missing() -> Error {
    Error::new(ErrorKind::Misuse, "an output has no prediction")
}

impl<O: Outputs<E>, E: Scalar> Outputs<E> for Vec<O> {
    type Traced = Vec<O::Traced>;
    type Form = Vec<O::Form>;
    type Leaves = Vec<O::Leaves>;

    fn finish(self, reader: &mut Reader<'_, E>, all: &mut Vec<VertexId>) -> Result<Self::Form> {
        self.into_iter().map(|output| output.finish(reader, all)).collect()
    }

    fn trace(
        form: &Self::Form,
        device: &Cpu,
        numbers: &mut dyn Iterator<Item = &[E]>,
    ) -> Result<(Self::Traced, Self::Leaves)> {
        form.iter().map(|form| O::trace(form, device, numbers)).collect()
    }

    fn pulled(
        leaves: &Self::Leaves,
        gradients: &mut Gradients<E, Cpu>,
        all: &mut Vec<Vec<E>>,
    ) -> Result<()> {
        leaves.iter().try_for_each(|leaves| O::pulled(leaves, gradients, all))
    }
}

macro_rules! tuples {
    ($([$name:ident $index:tt])+) => {
        impl<E: Scalar, $($name: Input<E>),+> Input<E> for ($($name,)+) {
            type Value = ($($name::Value,)+);

            fn device(&self) -> Cpu {
                self.0.device()
            }

            fn enter(self, reader: &mut Reader<'_, E>) -> Result<Self::Value> {
                Ok(($(self.$index.enter(reader)?,)+))
            }
        }

        impl<E: Scalar, $($name: Outputs<E>),+> Outputs<E> for ($($name,)+) {
            type Traced = ($($name::Traced,)+);
            type Form = ($($name::Form,)+);
            type Leaves = ($($name::Leaves,)+);

            fn finish(
                self,
                reader: &mut Reader<'_, E>,
                all: &mut Vec<VertexId>,
            ) -> Result<Self::Form> {
                Ok(($(self.$index.finish(reader, all)?,)+))
            }

            #[allow(non_snake_case)]
            fn trace(
                form: &Self::Form,
                device: &Cpu,
                numbers: &mut dyn Iterator<Item = &[E]>,
            ) -> Result<(Self::Traced, Self::Leaves)> {
                $(let $name = $name::trace(&form.$index, device, numbers)?;)+
                Ok((($($name.0,)+), ($($name.1,)+)))
            }

            fn pulled(
                leaves: &Self::Leaves,
                gradients: &mut Gradients<E, Cpu>,
                all: &mut Vec<Vec<E>>,
            ) -> Result<()> {
                $($name::pulled(&leaves.$index, gradients, all)?;)+
                Ok(())
            }
        }
    };
}

tuples!([A 0] [B 1]);
tuples!([A 0] [B 1] [C 2]);
tuples!([A 0] [B 1] [C 2] [D 3]);
tuples!([A 0] [B 1] [C 2] [D 3] [F 4]);
tuples!([A 0] [B 1] [C 2] [D 3] [F 4] [G 5]);
