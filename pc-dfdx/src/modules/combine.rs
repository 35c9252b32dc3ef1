//! What modules are combined by.

use dfdx::{
    nn::modules::{AddInto, GeneralizedResidual, Repeated, Residual, SplitInto},
    prelude::Reshape,
    shapes::{ConstShape, Shape},
};
use pc_core::{Result, VertexId, host::Sum};

use crate::{Reader, Scalar, Value, Vertices};

impl<Input, E: Scalar> Vertices<Input, E> for () {
    type Output = Input;

    fn read(&self, input: Input, _: &mut Reader<'_, E>) -> Result<Input> {
        Ok(input)
    }
}

/// Tuples, one after the other: each takes what the one before makes.
macro_rules! sequence {
    ([$first:ident $zero:tt] $last:ident $([$name:ident $index:tt by $before:ident])*) => {
        impl<Input, E, $first, $($name),*> Vertices<Input, E> for ($first, $($name,)*)
        where
            E: Scalar,
            $first: Vertices<Input, E>,
            $($name: Vertices<$before::Output, E>,)*
        {
            type Output = $last::Output;

            fn read(&self, input: Input, reader: &mut Reader<'_, E>) -> Result<Self::Output> {
                let value = reader.within(stringify!($zero), |r| self.$zero.read(input, r))?;
                $(let value = reader.within(stringify!($index), |r| self.$index.read(value, r))?;)*
                Ok(value)
            }
        }
    };
}

sequence!([A 0] A);
sequence!([A 0] B [B 1 by A]);
sequence!([A 0] C [B 1 by A] [C 2 by B]);
sequence!([A 0] D [B 1 by A] [C 2 by B] [D 3 by C]);
sequence!([A 0] F [B 1 by A] [C 2 by B] [D 3 by C] [F 4 by D]);
sequence!([A 0] G [B 1 by A] [C 2 by B] [D 3 by C] [F 4 by D] [G 5 by F]);

/// The sum of values, a vertex of its own.
fn sum<S: Shape, E: Scalar>(
    reader: &mut Reader<'_, E>,
    parents: &[VertexId],
    shape: S,
) -> Result<Value<S, E>> {
    let vertex = reader.add("sum", Box::new(Sum::new()), parents, &[])?;
    reader.value(vertex, shape)
}

impl<S: Shape, F, E> Vertices<Value<S, E>, E> for Residual<F>
where
    E: Scalar,
    F: Vertices<Value<S, E>, E, Output = Value<S, E>>,
{
    type Output = Value<S, E>;

    fn read(&self, input: Value<S, E>, reader: &mut Reader<'_, E>) -> Result<Self::Output> {
        let shape = input.shape;
        let parent = reader.close(input)?;
        let through = reader.value(parent, shape)?;
        let through = reader.within("0", |r| self.0.read(through, r).and_then(|v| r.close(v)))?;
        sum(reader, &[parent, through], shape)
    }
}

impl<S: Shape, T: Shape, F, R, E> Vertices<Value<S, E>, E> for GeneralizedResidual<F, R>
where
    E: Scalar,
    F: Vertices<Value<S, E>, E, Output = Value<T, E>>,
    R: Vertices<Value<S, E>, E, Output = Value<T, E>>,
{
    type Output = Value<T, E>;

    fn read(&self, input: Value<S, E>, reader: &mut Reader<'_, E>) -> Result<Self::Output> {
        let from = input.shape;
        let parent = reader.close(input)?;
        let (one, two) = (reader.value(parent, from)?, reader.value(parent, from)?);
        let f = reader.within("f", |r| self.f.read(one, r))?;
        let shape = f.shape;
        let f = reader.close(f)?;
        let r = reader.within("r", |r| self.r.read(two, r).and_then(|v| r.close(v)))?;
        sum(reader, &[f, r], shape)
    }
}

/// One input for several heads. Each head's end is a vertex.
macro_rules! split {
    ($([$name:ident $index:tt])+) => {
        impl<S: Shape, E: Scalar, $($name),+> Vertices<Value<S, E>, E> for SplitInto<($($name,)+)>
        where
            $($name: Vertices<Value<S, E>, E>,)+
        {
            type Output = ($($name::Output,)+);

            fn read(&self, input: Value<S, E>, reader: &mut Reader<'_, E>) -> Result<Self::Output> {
                let shape = input.shape;
                let parent = reader.close(input)?;
                Ok(($({
                    let value = reader.value(parent, shape)?;
                    reader.within(stringify!($index), |r| self.0.$index.read(value, r))?
                },)+))
            }
        }
    };
}

split!([A 0] [B 1]);
split!([A 0] [B 1] [C 2]);
split!([A 0] [B 1] [C 2] [D 3]);
split!([A 0] [B 1] [C 2] [D 3] [F 4]);
split!([A 0] [B 1] [C 2] [D 3] [F 4] [G 5]);

/// As many inputs as modules, whose results are added.
macro_rules! add {
    ($([$name:ident $input:ident $index:tt])+) => {
        impl<T: Shape, E: Scalar, $($name, $input),+> Vertices<($($input,)+), E>
            for AddInto<($($name,)+)>
        where
            $($name: Vertices<$input, E, Output = Value<T, E>>,)+
        {
            type Output = Value<T, E>;

            fn read(
                &self,
                input: ($($input,)+),
                reader: &mut Reader<'_, E>,
            ) -> Result<Self::Output> {
                let mut all = Vec::new();
                let mut shape = None;
                $(
                    let value = reader
                        .within(stringify!($index), |r| self.0.$index.read(input.$index, r))?;
                    shape = shape.or(Some(value.shape));
                    all.push(reader.close(value)?);
                )+
                match shape {
                    Some(shape) => sum(reader, &all, shape),
                    None => Err(pc_core::Error::new(pc_core::ErrorKind::Graph, "nothing to add")),
                }
            }
        }
    };
}

add!([A I 0] [B J 1]);
add!([A I 0] [B J 1] [C K 2]);
add!([A I 0] [B J 1] [C K 2] [D L 3]);
add!([A I 0] [B J 1] [C K 2] [D L 3] [F M 4]);
add!([A I 0] [B J 1] [C K 2] [D L 3] [F M 4] [G N 5]);

impl<Input, F, E, const N: usize> Vertices<Input, E> for Repeated<F, N>
where
    E: Scalar,
    F: Vertices<Input, E, Output = Input>,
{
    type Output = Input;

    fn read(&self, input: Input, reader: &mut Reader<'_, E>) -> Result<Input> {
        let mut value = input;
        for (index, module) in self.modules.iter().enumerate() {
            value = reader.within(&index.to_string(), |r| module.read(value, r))?;
        }
        Ok(value)
    }
}

impl<S: Shape, T: ConstShape, E: Scalar> Vertices<Value<S, E>, E> for Reshape<T> {
    type Output = Value<T, E>;

    fn read(&self, input: Value<S, E>, reader: &mut Reader<'_, E>) -> Result<Self::Output> {
        reader.reshape(input, T::default())
    }
}
