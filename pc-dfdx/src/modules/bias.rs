//! The bias of each channel.

use dfdx::{
    nn::modules::Bias2D,
    prelude::Device,
    shapes::{Const, Dim},
    tensor::Cpu,
};
use pc_core::{
    Error, ErrorKind, Result, Tensor as _,
    backend::{Cache, Inputs, Pulled, Vertex},
    host::HostTensor,
};

use crate::{Reader, Scalar, Value, Vertices};

/// `mu[c, ...] = v[c, ...] + b[c]`.
#[derive(Clone, Copy, Debug)]
struct ChannelBias;

/// The slot of the bias at the reference, where it moves.
const OLD: usize = 0;

/// Calls `work` with each channel of each sample of `x`, and that channel's number.
fn by_channel<E: Scalar>(x: &mut HostTensor<E>, mut work: impl FnMut(usize, &mut [E])) {
    let channels = x.dims().get(1).copied().unwrap_or(1).max(1);
    let length: usize = x.dims().iter().skip(2).product();
    for (index, channel) in x.data_mut().chunks_exact_mut(length.max(1)).enumerate() {
        work(index % channels, channel);
    }
}

impl<E: Scalar> Vertex<HostTensor<E>> for ChannelBias {
    fn kind(&self) -> &str {
        "bias"
    }

    fn shape(&self, parents: &[&[usize]], parameters: &[&[usize]]) -> Result<Vec<usize>> {
        match (parents, parameters) {
            ([parent], [[channels]]) if parent.first() == Some(channels) => Ok(parent.to_vec()),
            _ => Err(Error::new(
                ErrorKind::Shape,
                format!("a bias {parameters:?} for the channels of {parents:?}"),
            )),
        }
    }

    fn parameters(&self) -> usize {
        1
    }

    fn reads_values(&self) -> bool {
        false
    }

    fn predict(
        &self,
        at: &Inputs<'_, HostTensor<E>>,
        cache: &mut Cache<HostTensor<E>>,
        output: &mut HostTensor<E>,
    ) -> Result<()> {
        let bias = at.parameter(0);
        if at.plastic() {
            cache.slot(OLD, bias.dims(), bias).copy_from(bias);
        }
        output.copy_from(at.value(0));
        by_channel(output, |c, channel| channel.iter_mut().for_each(|y| *y += bias.data()[c]));
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, HostTensor<E>>,
        cache: &mut Cache<HostTensor<E>>,
        _: &HostTensor<E>,
        output: &mut HostTensor<E>,
    ) -> Result<()> {
        match at.displacement(0) {
            Some(displacement) => output.copy_from(displacement),
            None => output.fill(0.0),
        }
        if at.plastic() {
            let (bias, old) = (at.parameter(0), cache.get(OLD)?);
            by_channel(output, |c, channel| {
                channel.iter_mut().for_each(|y| *y += bias.data()[c] - old.data()[c]);
            });
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
            force.copy_from(cotangent);
        }
        let scale = E::of(pulled.scale());
        if let Some(gradient) = pulled.gradient(0) {
            let channels = gradient.data().len().max(1);
            let length: usize = cotangent.dims().iter().skip(2).product();
            let all = cotangent.data().chunks_exact(length.max(1)).enumerate();
            for (index, channel) in all {
                let sum = channel.iter().fold(E::zero(), |sum, u| sum + *u);
                gradient.data_mut()[index % channels] += scale * sum;
            }
        }
        Ok(())
    }
}

/// It belongs to the vertex that it follows, where that one may still grow.
impl<B: Dim, const C: usize, H: Dim, W: Dim, E: Scalar> Vertices<Value<(B, Const<C>, H, W), E>, E>
    for Bias2D<C, E, Cpu>
where
    Cpu: Device<E>,
{
    type Output = Value<(B, Const<C>, H, W), E>;

    fn read(
        &self,
        input: Value<(B, Const<C>, H, W), E>,
        reader: &mut Reader<'_, E>,
    ) -> Result<Self::Output> {
        let bias = reader.parameter("bias", &self.bias)?;
        let shape = input.shape;
        reader.join(input, Box::new(ChannelBias), &[bias], shape)
    }
}
