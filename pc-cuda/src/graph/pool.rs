//! Pooling over windows of images, on a device.

use pc_core::{
    Error, ErrorKind, Result, Tensor,
    backend::{Cache, Inputs, Pulled, Structure, Vertex},
    host::{self, HostTensor},
};

use crate::{
    device::Family,
    graph::{
        as_the_host,
        moves::{self, place},
    },
    params::Pool,
    tensor::{DeviceTensor, int},
};

/// The windows of one pooling.
fn windows(
    image: &DeviceTensor,
    result: &DeviceTensor,
    (size, stride): (usize, usize),
) -> Result<Pool> {
    let (&[batch, channels, height, width], &[_, _, out_h, out_w]) = (image.dims(), result.dims())
    else {
        return Err(Error::new(ErrorKind::Shape, "pooling takes images"));
    };
    Ok(Pool {
        planes: int(batch * channels),
        height: int(height),
        width: int(width),
        out_h: int(out_h),
        out_w: int(out_w),
        size: int(size),
        stride: int(stride),
        ..Pool::default()
    })
}

/// What every element of the parent gets of the windows that it lies in: its share of them all, or,
/// where `windows` say which was the largest of each, all of those.
fn unpool(cotangent: &DeviceTensor, force: &DeviceTensor, windows: Pool) -> Result<()> {
    let params = Pool { a: place(cotangent)?, out: place(force)?, ..windows };
    moves::each(force.device(), Family::Layers, "pc_layer_unpool", force.count(), &params)
}

/// As [`host::MaxPool2d`].
#[derive(Clone, Copy, Debug)]
pub(super) struct MaxPool2d {
    pub(super) host: host::MaxPool2d,
}

// Slots of the cache: where in its window each largest element is, now and at the reference.
const CURRENT: usize = 0;
const REFERENCE: usize = 1;

impl MaxPool2d {
    fn windows(&self, image: &DeviceTensor, result: &DeviceTensor) -> Result<Pool> {
        if self.host.size > 1 << 12 {
            // Places in a window are numbers of f32.
            let why =
                format!("windows on a device have sides of up to 4096, not {}", self.host.size);
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        windows(image, result, (self.host.size, self.host.stride))
    }
}

impl Vertex<DeviceTensor> for MaxPool2d {
    as_the_host!();

    fn predict(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        let x = at.value(0);
        let index = cache.take_like(CURRENT, output);
        let params = Pool {
            a: place(x)?,
            out: place(output)?,
            index: place(&index)?,
            ..self.windows(x, output)?
        };
        let device = output.device();
        moves::each(device, Family::Layers, "pc_layer_max_pool", output.count(), &params)?;
        let mut reference = cache.take_like(REFERENCE, output);
        reference.copy_from(&index);
        cache.put(CURRENT, index);
        cache.put(REFERENCE, reference);
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        _predicted: &DeviceTensor,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        let a = at.reference(0);
        let mut index = cache.take_out(CURRENT)?;
        let reference = cache.get(REFERENCE)?;
        match at.displacement(0) {
            Some(d) => {
                let params = Pool {
                    a: place(a)?,
                    d: place(d)?,
                    old: place(reference)?,
                    out: place(output)?,
                    index: place(&index)?,
                    ..self.windows(a, output)?
                };
                let device = output.device();
                moves::each(device, Family::Layers, "pc_layer_max_pool", output.count(), &params)?;
            }
            None => {
                index.copy_from(reference);
                output.fill(0.0);
            }
        }
        cache.put(CURRENT, index);
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
        let old = place(cache.get(CURRENT)?)?;
        unpool(cotangent, force, Pool { old, ..self.windows(force, cotangent)? })
    }
}

/// As [`host::AvgPool2d`].
#[derive(Clone, Copy, Debug)]
pub(super) struct AvgPool2d {
    pub(super) host: host::AvgPool2d,
}

impl AvgPool2d {
    fn average(&self, x: &DeviceTensor, output: &DeviceTensor) -> Result<()> {
        let params = Pool {
            a: place(x)?,
            out: place(output)?,
            ..windows(x, output, (self.host.size, self.host.stride))?
        };
        let device = output.device();
        moves::each(device, Family::Layers, "pc_layer_avg_pool", output.count(), &params)
    }
}

impl Vertex<DeviceTensor> for AvgPool2d {
    as_the_host!();

    fn predict(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        _cache: &mut Cache<DeviceTensor>,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        self.average(at.value(0), output)
    }

    fn change(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        _cache: &mut Cache<DeviceTensor>,
        _predicted: &DeviceTensor,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        match at.displacement(0) {
            Some(d) => self.average(d, output),
            None => {
                output.fill(0.0);
                Ok(())
            }
        }
    }

    fn pull(
        &self,
        _at: &Inputs<'_, DeviceTensor>,
        _cache: &mut Cache<DeviceTensor>,
        cotangent: &DeviceTensor,
        pulled: &mut Pulled<'_, DeviceTensor>,
    ) -> Result<()> {
        let Some(force) = pulled.force(0) else { return Ok(()) };
        unpool(cotangent, force, windows(force, cotangent, (self.host.size, self.host.stride))?)
    }
}
