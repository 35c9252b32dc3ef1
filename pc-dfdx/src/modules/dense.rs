//! Linear layers, and what else has parameters of its own.

use dfdx::{
    nn::modules::{Linear, UnbiasedLinear, prelu::PReLU},
    prelude::{Device, Module},
    shapes::{Const, ConstShape, Dim},
    tensor::Cpu,
};
use pc_core::{Result, host};

use crate::{Reader, Scalar, Value, Vertices, taped::Traced};

/// Vertices `W v + b` over the last axis, which both shapes of input have in common.
macro_rules! linear {
    ($($axis:ident),*) => {
        impl<$($axis: Dim,)* const I: usize, const O: usize, E: Scalar>
            Vertices<Value<($($axis,)* Const<I>), E>, E> for Linear<I, O, E, Cpu>
        where
            Cpu: Device<E>,
        {
            type Output = Value<($($axis,)* Const<O>), E>;

            #[allow(non_snake_case)]
            fn read(
                &self,
                input: Value<($($axis,)* Const<I>), E>,
                reader: &mut Reader<'_, E>,
            ) -> Result<Self::Output> {
                let weight = reader.parameter("weight", &self.weight)?;
                let bias = reader.parameter("bias", &self.bias)?;
                let ($($axis,)* _) = input.shape;
                let linear = Box::new(host::Linear::new());
                reader.layer(input, linear, &[weight, bias], ($($axis,)* Const))
            }
        }

        impl<$($axis: Dim,)* const I: usize, const O: usize, E: Scalar>
            Vertices<Value<($($axis,)* Const<I>), E>, E> for UnbiasedLinear<I, O, E, Cpu>
        where
            Cpu: Device<E>,
        {
            type Output = Value<($($axis,)* Const<O>), E>;

            #[allow(non_snake_case)]
            fn read(
                &self,
                input: Value<($($axis,)* Const<I>), E>,
                reader: &mut Reader<'_, E>,
            ) -> Result<Self::Output> {
                let weight = reader.parameter("weight", &self.weight)?;
                let ($($axis,)* _) = input.shape;
                let linear = Box::new(host::Linear::without_bias());
                reader.layer(input, linear, &[weight], ($($axis,)* Const))
            }
        }
    };
}

linear!(B);
linear!(B, S);

/// With a slope below zero that learns, through dfdx's tape.
impl<S: ConstShape, E: Scalar> Vertices<Value<S, E>, E> for PReLU<E, Cpu>
where
    Cpu: Device<E>,
    PReLU<E, Cpu>: Module<Traced<S, E>, Output = Traced<S, E>>,
{
    type Output = Value<S, E>;

    fn read(&self, input: Value<S, E>, reader: &mut Reader<'_, E>) -> Result<Self::Output> {
        let shape = input.shape;
        let run =
            |module: &mut Self, x| module.try_forward(x).map_err(|error| format!("{error:?}"));
        reader.taped_by("prelu", self, input, shape, run, 0)
    }
}
