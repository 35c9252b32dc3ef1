//! Dropout.

use dfdx::{
    nn::modules::{Dropout, DropoutOneIn},
    prelude::Device,
    shapes::Shape,
    tensor::{Cpu, OnesTensor, Tensor},
};
use pc_core::{
    Error, ErrorKind, Result, Tensor as _,
    backend::{Cache, GraphTensor, Inputs, Pulled, Vertex},
    host::HostTensor,
};

use crate::{
    Reader, Scalar, Value, Vertices,
    parameters::{host_numbers, reported},
    value::dimensions,
};

/// `mu = m v`, element by element, with factors that are drawn once in a step of training: 0 or
/// `1 / (1 - p)`.
#[derive(Clone, Debug)]
struct Factors<E>(HostTensor<E>);

impl<E: Scalar> Factors<E> {
    /// Those that dfdx draws, in dfdx's order of drawing.
    fn draw<S: Shape>(device: &Cpu, shape: &S, p: f64, at: &str) -> Result<Self>
    where
        Cpu: Device<E>,
    {
        if !(0.0..1.0).contains(&p) {
            let message = format!("a dropout of {p}: it must be at least 0 and less than 1");
            return Err(Error::new(ErrorKind::Misuse, message).at(at));
        }
        let ones: Tensor<S, E, Cpu> = device.try_ones_like(shape).map_err(reported)?;
        let drawn = ones.try_dropout(p).map_err(reported)?;
        let mut factors = HostTensor::zeroed(&dimensions(shape))?;
        host_numbers(&drawn, factors.data_mut())?;
        Ok(Self(factors))
    }

    fn check(&self, x: &HostTensor<E>) -> Result<()> {
        if x.is_like(&self.0) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Shape,
            format!("it was drawn for {:?} and meets {:?}", self.0.dims(), x.dims()),
        ))
    }
}

impl<E: Scalar> Vertex<HostTensor<E>> for Factors<E> {
    fn kind(&self) -> &str {
        "dropout"
    }

    fn shape(&self, parents: &[&[usize]], _: &[&[usize]]) -> Result<Vec<usize>> {
        match parents {
            [parent] if **parent == self.0.dims()[1..] => Ok(parent.to_vec()),
            _ => Err(Error::new(
                ErrorKind::Shape,
                format!("a dropout of {:?} for parents {parents:?}", self.0.dims()),
            )),
        }
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<E>>,
        _: &mut Cache<HostTensor<E>>,
        output: &mut HostTensor<E>,
    ) -> Result<()> {
        self.check(at.value(0))?;
        output.set_product(at.value(0), &self.0);
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<E>>,
        _: &mut Cache<HostTensor<E>>,
        _: &HostTensor<E>,
        output: &mut HostTensor<E>,
    ) -> Result<()> {
        match at.displacement(0) {
            Some(displacement) => output.set_product(displacement, &self.0),
            None => output.fill(0.0),
        }
        Ok(())
    }

    fn pull(
        &self,
        _: &Inputs<'_, HostTensor<E>>,
        _: &mut Cache<HostTensor<E>>,
        cotangent: &HostTensor<E>,
        pulled: &mut Pulled<'_, HostTensor<E>>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            force.set_product(cotangent, &self.0);
        }
        Ok(())
    }
}

fn read<S: Shape, E: Scalar>(
    p: f64,
    input: Value<S, E>,
    reader: &mut Reader<'_, E>,
) -> Result<Value<S, E>>
where
    Cpu: Device<E>,
{
    let shape = input.shape;
    let factors = Factors::draw(&reader.device, &shape, p, &reader.name_of(""))?;
    reader.follow(input, Box::new(factors), shape)
}

impl<S: Shape, E: Scalar> Vertices<Value<S, E>, E> for Dropout
where
    Cpu: Device<E>,
{
    type Output = Value<S, E>;

    fn read(&self, input: Value<S, E>, reader: &mut Reader<'_, E>) -> Result<Self::Output> {
        read(f64::from(self.p), input, reader)
    }
}

impl<S: Shape, E: Scalar, const N: usize> Vertices<Value<S, E>, E> for DropoutOneIn<N>
where
    Cpu: Device<E>,
{
    type Output = Value<S, E>;

    fn read(&self, input: Value<S, E>, reader: &mut Reader<'_, E>) -> Result<Self::Output> {
        read(1.0 / N as f64, input, reader)
    }
}
