//! Activations on a device.

use pc_core::{
    Activation, ErrorKind, Result, Tensor,
    backend::{Cache, GraphTensor, Inputs, Pulled, Structure, Vertex},
    host::{self, HostTensor},
};

use crate::{
    device::Family,
    graph::{as_the_host, moves},
    params::Activate as Params,
    tensor::{DeviceTensor, int},
};

/// How the kernels number an activation, and its slope below 0 where it has one.
///
/// # Errors
/// One that they do not know.
pub(super) fn numbered(f: Activation) -> Result<(i32, f32)> {
    Ok(match f {
        Activation::Identity => (0, 0.0),
        Activation::Relu => (1, 0.0),
        Activation::Tanh => (2, 0.0),
        Activation::LeakyRelu(slope) => (3, slope as f32),
        Activation::HardTanh => (4, 0.0),
        Activation::Sigmoid => (5, 0.0),
        Activation::Gelu => (6, 0.0),
        Activation::Silu => (7, 0.0),
        Activation::Softplus => (8, 0.0),
        other => {
            let why = format!("the kernels do not know the activation {other:?}");
            return Err(pc_core::Error::new(ErrorKind::Unsupported, why));
        }
    })
}

/// `output <- f(a)`, or `f(a + d) - f(a)`, and the slope there.
pub(super) fn activate(
    f: Activation,
    a: &DeviceTensor,
    d: Option<&DeviceTensor>,
    derivative: &mut DeviceTensor,
    output: &mut DeviceTensor,
) -> Result<()> {
    for other in [Some(a), d, Some(&*derivative)].into_iter().flatten() {
        output.check_like(other)?;
    }
    let (act, leak) = numbered(f)?;
    let params = Params {
        a: moves::place(a)?,
        d: d.map_or(Ok(0), moves::place)?,
        out: moves::place(output)?,
        slope: moves::place(derivative)?,
        leak,
        act,
        count: int(output.count()),
        unused: 0,
    };
    let device = output.device();
    moves::each(device, Family::Functions, "pc_function_activate", output.count(), &params)
}

/// `mu = f(v)`, element by element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Activate {
    host: host::Activate,
}

impl Activate {
    pub(super) fn new(f: Activation) -> Result<Self> {
        numbered(f).map(|_| Self { host: host::Activate(f) })
    }
}

/// The slot of the derivative at the current point.
const DERIVATIVE: usize = 0;

impl Vertex<DeviceTensor> for Activate {
    as_the_host!();

    fn predict(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        let x = at.value(0);
        activate(self.host.0, x, None, cache.slot(DERIVATIVE, x.dims(), x), output)
    }

    fn change(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        _predicted: &DeviceTensor,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        let a = at.reference(0);
        match at.displacement(0) {
            Some(d) => {
                activate(self.host.0, a, Some(d), cache.slot(DERIVATIVE, a.dims(), a), output)
            }
            None => {
                output.fill(0.0);
                Ok(())
            }
        }
    }

    fn pull(
        &self,
        _at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        cotangent: &DeviceTensor,
        pulled: &mut Pulled<'_, DeviceTensor>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            force.set_product(cotangent, cache.get(DERIVATIVE)?);
        }
        Ok(())
    }
}
