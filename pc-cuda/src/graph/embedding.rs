//! Embeddings on a device.

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
    params::Embed,
    tensor::{DeviceTensor, int},
};

/// As [`host::Embedding`]. Its indices are read once a prediction, for an error that names the
/// first that is none; nothing else leaves the device.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Embedding {
    host: host::Embedding,
}

/// The rows and columns of a weight.
fn table(weight: &DeviceTensor) -> (usize, usize) {
    match weight.dims() {
        &[vocabulary, width] => (vocabulary, width),
        _ => (0, 0),
    }
}

/// Refuses numbers that are no rows of a weight.
fn known(x: &DeviceTensor, vocabulary: usize) -> Result<()> {
    let per_sample = (x.count() / x.batch().max(1)).max(1);
    // A NaN fails here too.
    let is_row = |x: &f32| x.fract() == 0.0 && *x >= 0.0 && (*x as usize) < vocabulary;
    match x.numbers()?.iter().enumerate().find(|(_, x)| !is_row(x)) {
        None => Ok(()),
        Some((position, x)) => Err(Error::new(
            ErrorKind::Clamp,
            format!(
                "sample {} has the index {x} at place {}, which is no whole number from 0 to {}",
                position / per_sample,
                position % per_sample,
                vocabulary.saturating_sub(1)
            ),
        )),
    }
}

impl Vertex<DeviceTensor> for Embedding {
    as_the_host!();

    fn predict(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        _cache: &mut Cache<DeviceTensor>,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        at.agree()?;
        let (x, weight) = (at.value(0), at.parameter(0));
        let (vocabulary, width) = table(weight);
        known(x, vocabulary)?;
        let params = Embed {
            index: place(x)?,
            input: place(weight)?,
            out: place(output)?,
            x: 1.0,
            places: int(x.count()),
            vocabulary: int(vocabulary),
            width: int(width),
        };
        moves::each(x.device(), Family::Layers, "pc_layer_embed", x.count() * width, &params)
    }

    fn change(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        predicted: &DeviceTensor,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        if at.displacement(0).is_none() && !at.plastic() {
            output.fill(0.0);
            return Ok(());
        }
        // The prediction is the old row itself: the difference of two rows is exact to rounding.
        self.predict(at, cache, output)?;
        output.axpy(-1.0, predicted);
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        _cache: &mut Cache<DeviceTensor>,
        cotangent: &DeviceTensor,
        pulled: &mut Pulled<'_, DeviceTensor>,
    ) -> Result<()> {
        if let Some(force) = pulled.force(0) {
            force.fill(0.0);
        }
        let scale = pulled.scale();
        if let Some(gradient) = pulled.gradient(0) {
            let (vocabulary, width) = table(gradient);
            let params = Embed {
                index: place(at.value(0))?,
                input: place(cotangent)?,
                out: place(gradient)?,
                x: scale as f32,
                places: int(at.value(0).count()),
                vocabulary: int(vocabulary),
                width: int(width),
            };
            let (device, count) = (gradient.device(), vocabulary * width);
            moves::each(device, Family::Layers, "pc_layer_unembed", count, &params)?;
        }
        Ok(())
    }
}
