//! Normalisation.

use dfdx::{
    nn::{
        ModuleMut,
        modules::{BatchNorm1D, BatchNorm2D, LayerNorm1D},
    },
    prelude::Device,
    shapes::{Const, Dim},
    tensor::Cpu,
};
use pc_core::{Error, ErrorKind, Result, host};

use crate::{Reader, Scalar, Value, Vertices, taped::Traced};

macro_rules! layer_norm {
    ($($axis:ident),+) => {
        impl<$($axis: Dim,)+ const M: usize, E: Scalar> Vertices<Value<($($axis,)+ Const<M>), E>, E>
            for LayerNorm1D<M, E, Cpu>
        where
            Cpu: Device<E>,
        {
            type Output = Value<($($axis,)+ Const<M>), E>;

            fn read(
                &self,
                input: Value<($($axis,)+ Const<M>), E>,
                reader: &mut Reader<'_, E>,
            ) -> Result<Self::Output> {
                let gain = reader.parameter("gamma", &self.gamma)?;
                let bias = reader.parameter("beta", &self.beta)?;
                let shape = input.shape;
                let norm = Box::new(host::LayerNorm { epsilon: self.epsilon });
                reader.layer(input, norm, &[gain, bias], shape)
            }
        }
    };
}

layer_norm!(B);
layer_norm!(B, S);

/// With the statistics of the batch, through dfdx's tape; running statistics move once in a step.
macro_rules! batch_norm {
    ($module:ident, $($after:ident),*) => {
        impl<B: Dim, const C: usize, $($after: Dim,)* E: Scalar>
            Vertices<Value<(B, Const<C>, $($after),*), E>, E> for $module<C, E, Cpu>
        where
            Cpu: Device<E>,
        {
            type Output = Value<(B, Const<C>, $($after),*), E>;

            fn read(
                &self,
                input: Value<(B, Const<C>, $($after),*), E>,
                reader: &mut Reader<'_, E>,
            ) -> Result<Self::Output> {
                let shape = input.shape;
                if dfdx::shapes::Shape::num_elements(&shape) <= C {
                    return Err(Error::new(
                        ErrorKind::Shape,
                        "the statistics of a batch norm need more than one number of each channel",
                    )
                    .at(&reader.name_of("")));
                }
                let run = |norm: &mut Self, x: Traced<(B, Const<C>, $($after),*), E>| {
                    norm.try_forward_mut(x).map_err(|error| format!("{error:?}"))
                };
                reader.taped_by("batch_norm", self, input, shape, run, 0)
            }
        }
    };
}

batch_norm!(BatchNorm1D,);
batch_norm!(BatchNorm1D, L);
batch_norm!(BatchNorm2D, H, W);
