//! Softmax on a device, a warp for each row.

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
    params::Softmax as Params,
    tensor::{DeviceTensor, int},
};

/// As [`host::Softmax`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Softmax {
    host: host::Softmax,
    causal: bool,
}

/// The slot of the softmax at the current point.
const CURRENT: usize = 0;

impl Softmax {
    pub(super) fn new(causal: bool) -> Self {
        let host = if causal { host::Softmax::causal() } else { host::Softmax::new() };
        Self { host, causal }
    }

    /// The rows of a tensor.
    fn rows(&self, dims: &[usize]) -> Params {
        let length = dims.last().copied().unwrap_or(1).max(1);
        // A causal softmax has queries before the last axis.
        let period = if dims.len() > 2 { dims.iter().rev().nth(1).copied() } else { None };
        Params {
            rows: int(dims.iter().product::<usize>() / length),
            length: int(length),
            period: int(period.unwrap_or(1).max(1)),
            causal: i32::from(self.causal),
            ..Params::default()
        }
    }
}

impl Vertex<DeviceTensor> for Softmax {
    as_the_host!();

    fn predict(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        let (x, rows) = (at.value(0), self.rows(output.dims()));
        let count = rows.rows as usize;
        let current = cache.take_like(CURRENT, output);
        let params =
            Params { a: place(x)?, out: place(output)?, current: place(&current)?, ..rows };
        moves::warps(x.device(), (Family::Functions, "pc_function_softmax"), count, &params)?;
        cache.put(CURRENT, current);
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        predicted: &DeviceTensor,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        let mut current = cache.take_out(CURRENT)?;
        match at.displacement(0) {
            Some(d) => {
                let (a, rows) = (at.reference(0), self.rows(output.dims()));
                let params = Params {
                    a: place(a)?,
                    d: place(d)?,
                    s: place(predicted)?,
                    out: place(output)?,
                    current: place(&current)?,
                    ..rows
                };
                let count = rows.rows as usize;
                moves::warps(
                    a.device(),
                    (Family::Functions, "pc_function_softmax_change"),
                    count,
                    &params,
                )?;
            }
            None => {
                current.copy_from(predicted);
                output.fill(0.0);
            }
        }
        cache.put(CURRENT, current);
        Ok(())
    }

    fn pull(
        &self,
        _at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        cotangent: &DeviceTensor,
        pulled: &mut Pulled<'_, DeviceTensor>,
    ) -> Result<()> {
        let Some(force) = pulled.force(0) else { return Ok(()) };
        let rows = self.rows(cotangent.dims());
        let params = Params {
            a: place(cotangent)?,
            s: place(cache.get(CURRENT)?)?,
            out: place(force)?,
            ..rows
        };
        moves::warps(
            force.device(),
            (Family::Functions, "pc_function_softmax_pull"),
            rows.rows as usize,
            &params,
        )
    }
}
