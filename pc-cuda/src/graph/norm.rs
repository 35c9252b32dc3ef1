//! Layer normalisation on a device, a warp for each row.

use pc_core::{
    Result, Tensor,
    backend::{Cache, Inputs, Pulled, Structure, Vertex},
    host::{self, HostTensor},
};

use crate::{
    device::Family,
    graph::{
        as_the_host,
        moves::{self, place},
    },
    params::Norm,
    tensor::{DeviceTensor, int},
};

/// As [`host::LayerNorm`].
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerNorm {
    pub(super) host: host::LayerNorm,
}

// Slots of the cache: `v - mean` and by row `1 / sigma` at the reference; `n` and `1 / sigma` at
// the current point; for moving parameters the old.
const CENTRED: usize = 0;
const INVERSE_REFERENCE: usize = 1;
const NORMAL: usize = 2;
const INVERSE: usize = 3;
const OLD_GAIN: usize = 4;
const OLD_BIAS: usize = 5;

impl LayerNorm {
    /// What all of its kernels take.
    fn rows(&self, x: &DeviceTensor) -> Norm {
        let length = x.dims().last().copied().unwrap_or(1).max(1);
        Norm {
            epsilon: self.host.epsilon as f32,
            rows: int(x.count() / length),
            length: int(length),
            ..Norm::default()
        }
    }
}

impl Vertex<DeviceTensor> for LayerNorm {
    as_the_host!();

    fn predict(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        at.agree()?;
        let (x, gain, bias) = (at.value(0), at.parameter(0), at.parameter(1));
        let rows = self.rows(x);
        let count = rows.rows as usize;
        if at.plastic() {
            cache.slot(OLD_GAIN, gain.dims(), gain).copy_from(gain);
            cache.slot(OLD_BIAS, bias.dims(), bias).copy_from(bias);
        }
        let params = Norm {
            a: place(x)?,
            gain: place(gain)?,
            bias: place(bias)?,
            out: place(output)?,
            centred: place(cache.slot(CENTRED, x.dims(), x))?,
            normal: place(cache.slot(NORMAL, x.dims(), x))?,
            before: place(cache.slot(INVERSE_REFERENCE, &[count], x))?,
            inverse: place(cache.slot(INVERSE, &[count], x))?,
            ..rows
        };
        moves::warps(x.device(), (Family::Functions, "pc_function_norm"), count, &params)
    }

    fn change(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        _predicted: &DeviceTensor,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        let a = at.reference(0);
        let rows = self.rows(a);
        let old = |slot| if at.plastic() { place(cache.get(slot)?) } else { Ok(0) };
        let params = Norm {
            d: at.displacement(0).map_or(Ok(0), place)?,
            gain: place(at.parameter(0))?,
            bias: place(at.parameter(1))?,
            old_gain: old(OLD_GAIN)?,
            old_bias: old(OLD_BIAS)?,
            out: place(output)?,
            centred: place(cache.get(CENTRED)?)?,
            normal: place(cache.get(NORMAL)?)?,
            before: place(cache.get(INVERSE_REFERENCE)?)?,
            inverse: place(cache.get(INVERSE)?)?,
            ..rows
        };
        moves::warps(
            a.device(),
            (Family::Functions, "pc_function_norm_change"),
            rows.rows as usize,
            &params,
        )
    }

    fn pull(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        cotangent: &DeviceTensor,
        pulled: &mut Pulled<'_, DeviceTensor>,
    ) -> Result<()> {
        let normal = cache.get(NORMAL)?;
        if let Some(force) = pulled.force(0) {
            let rows = self.rows(cotangent);
            let params = Norm {
                a: place(cotangent)?,
                gain: place(at.parameter(0))?,
                out: place(force)?,
                normal: place(normal)?,
                inverse: place(cache.get(INVERSE)?)?,
                ..rows
            };
            let count = rows.rows as usize;
            moves::warps(
                force.device(),
                (Family::Functions, "pc_function_norm_pull"),
                count,
                &params,
            )?;
        }
        let scale = pulled.scale();
        if let Some(gradient) = pulled.gradient(0) {
            moves::sums(gradient, cotangent, Some(normal), 1, scale)?;
        }
        if let Some(gradient) = pulled.gradient(1) {
            moves::sums(gradient, cotangent, None, 1, scale)?;
        }
        Ok(())
    }
}
