//! Pooling over whole pictures.

use dfdx::{
    nn::{
        Module,
        modules::{AvgPoolGlobal, MaxPoolGlobal, MinPoolGlobal},
    },
    prelude::Device,
    shapes::Dim,
    tensor::Cpu,
};
use pc_core::Result;

use crate::{Reader, Scalar, Value, Vertices};

macro_rules! pool {
    ($($module:ident)+) => {
        $(
            impl<B: Dim, C: Dim, H: Dim, W: Dim, E: Scalar> Vertices<Value<(B, C, H, W), E>, E>
                for $module
            where
                Cpu: Device<E>,
            {
                type Output = Value<(B, C), E>;

                fn read(
                    &self,
                    input: Value<(B, C, H, W), E>,
                    reader: &mut Reader<'_, E>,
                ) -> Result<Self::Output> {
                    let (batch, channels, ..) = input.shape;
                    let run = |pool: &mut Self, x| {
                        pool.try_forward(x).map_err(|error| format!("{error:?}"))
                    };
                    reader.taped_by("pool", self, input, (batch, channels), run, 0)
                }
            }
        )+
    };
}

pool!(AvgPoolGlobal MaxPoolGlobal MinPoolGlobal);
