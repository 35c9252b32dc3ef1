//! Convolutions and transposed ones on a device: what either predicts is what the other pulls back.

use pc_core::{
    Result, Tensor,
    backend::{Cache, Inputs, Pulled, Structure, Vertex},
    host::{self, HostTensor},
};

use crate::{
    graph::{
        Rounds, as_the_host,
        moves::{self, after, place},
        moving,
        patches::{Sizes, Way},
    },
    precision::Precision,
    tensor::DeviceTensor,
};

/// As [`host::Conv2d`] or [`host::ConvTranspose2d`], whichever `host` is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv<H> {
    host: H,
    /// The way of its predictions.
    way: Way,
    stride: usize,
    padding: usize,
    bias: bool,
    rounds: Rounds,
}

impl Conv<host::Conv2d> {
    pub(super) fn new(host: host::Conv2d, rounds: Rounds) -> Self {
        let host::Conv2d { stride, padding, bias } = host;
        Self { host, way: Way::Forward, stride, padding, bias, rounds }
    }
}

impl Conv<host::ConvTranspose2d> {
    pub(super) fn transposed(host: host::ConvTranspose2d, rounds: Rounds) -> Self {
        let host::ConvTranspose2d { stride, padding, bias, .. } = host;
        Self { host, way: Way::Back, stride, padding, bias, rounds }
    }
}

impl<H> Conv<H> {
    /// A parent and what is predicted of it, or the other way round: the images of the convolution
    /// and its results. Those of a transposed one's convolution are what is predicted.
    fn ends<'a>(&self, ends: [&'a DeviceTensor; 2]) -> [&'a DeviceTensor; 2] {
        let [parent, predicted] = ends;
        match self.way {
            Way::Forward => [parent, predicted],
            Way::Back => [predicted, parent],
        }
    }

    fn sizes(
        &self,
        parent: &DeviceTensor,
        weight: &DeviceTensor,
        predicted: &DeviceTensor,
    ) -> Result<Sizes> {
        let [images, results] = self.ends([parent, predicted]);
        // Predictions are of `f32`, and those of a transposed one go back.
        let halves = self.way == Way::Forward && self.rounds.pulls_halves();
        let results = results.dims().get(1..).unwrap_or_default();
        Sizes::of([images, weight], results, (self.stride, self.padding), halves)
    }
}

impl<H: Vertex<HostTensor<f32>>> Vertex<DeviceTensor> for Conv<H> {
    as_the_host!();

    fn predict(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        at.agree()?;
        let (weight, x) = (at.parameter(0), at.value(0));
        moving::keep(at, cache);
        let sizes = self.sizes(x, weight, output)?;
        let room = sizes.room(cache, x);
        sizes.products(self.way, [weight, x, output], (false, Precision::F32), &room)?;
        room.back_to(cache);
        if self.bias {
            moves::tile(output, at.parameter(1), moves::plane(output), 1.0)?;
        }
        Ok(())
    }

    fn change(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        _predicted: &DeviceTensor,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        let (weight, reference) = (at.parameter(0), at.reference(0));
        let sizes = self.sizes(reference, weight, output)?;
        let room = sizes.room(cache, reference);
        let mut add = false;
        if at.plastic() {
            // (W - W_old) * v_ref + (b - b_old), without large numbers.
            let moved = moving::moved(at, 0, cache)?;
            let how = (false, Precision::F32);
            sizes.products(self.way, [&moved, reference, output], how, &room)?;
            moving::done(0, moved, cache);
            if self.bias {
                let moved = moving::moved(at, 1, cache)?;
                moves::tile(output, &moved, moves::plane(output), 1.0)?;
                moving::done(1, moved, cache);
            }
            add = true;
        }
        match at.displacement(0) {
            Some(d) => {
                let how = (add, self.rounds.forward());
                sizes.products(self.way, [weight, d, output], how, &room)?;
            }
            None if !add => output.fill(0.0),
            None => {}
        }
        room.back_to(cache);
        Ok(())
    }

    fn pull(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        cotangent: &DeviceTensor,
        pulled: &mut Pulled<'_, DeviceTensor>,
    ) -> Result<()> {
        let (weight, x) = (at.parameter(0), at.value(0));
        let sizes = self.sizes(x, weight, cotangent)?;
        let room = sizes.room(cache, x);
        if let Some(force) = pulled.force(0) {
            let how = (false, self.rounds.back(at.live()));
            sizes.products(self.way.other(), [weight, cotangent, force], how, &room)?;
        }
        let scale = pulled.scale();
        if let Some((gradient, fresh)) = pulled.gradient_or_fresh(0) {
            let [images, results] = self.ends([x, cotangent]);
            let ([out, rows, columns], [_, result]) = (sizes.out(), sizes.samples());
            sizes.gradient([images, gradient], (!fresh, scale), &room, |first, samples| {
                let from = after(place(results)?, first * result);
                let turned = [1, samples, out, rows * columns];
                moves::swap(x.device(), [from, place(&room.places)?], turned)
            })?;
        }
        room.back_to(cache);
        if self.bias
            && let Some(gradient) = pulled.gradient(1)
        {
            moves::sums(gradient, cotangent, None, moves::plane(cotangent), scale)?;
        }
        Ok(())
    }
}
