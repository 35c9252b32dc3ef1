//! Convolutions on a device.

use pc_core::{
    Result, Tensor,
    backend::{Cache, Inputs, Pulled, Structure, Vertex},
    host::{self, HostTensor},
};

use crate::{
    graph::{
        Rounds, as_the_host, moves, moving,
        patches::{Sizes, Way},
    },
    precision::Precision,
    tensor::DeviceTensor,
};

/// As [`host::Conv2d`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv2d {
    pub(super) host: host::Conv2d,
    pub(super) rounds: Rounds,
}

impl Conv2d {
    fn sizes(
        &self,
        parent: &DeviceTensor,
        weight: &DeviceTensor,
        result: &DeviceTensor,
    ) -> Result<Sizes> {
        let halves = [true, false].map(|live| self.rounds.back(live)) == [Precision::Bf16; 2];
        let host::Conv2d { stride, padding, .. } = self.host;
        Sizes::of([parent, weight, result], (stride, padding), halves)
    }

    /// `output <- W * x`, added to what is there or in its place.
    fn convolve(
        &self,
        weight: &DeviceTensor,
        x: &DeviceTensor,
        cache: &mut Cache<DeviceTensor>,
        (output, add, precision): (&DeviceTensor, bool, Precision),
    ) -> Result<()> {
        let sizes = self.sizes(x, weight, output)?;
        let room = sizes.room(cache, x);
        sizes.products(Way::Forward, [weight, x, output], (add, precision), &room)?;
        room.back_to(cache);
        Ok(())
    }
}

impl Vertex<DeviceTensor> for Conv2d {
    as_the_host!();

    fn predict(
        &self,
        at: &Inputs<'_, DeviceTensor>,
        cache: &mut Cache<DeviceTensor>,
        output: &mut DeviceTensor,
    ) -> Result<()> {
        at.agree()?;
        let weight = at.parameter(0);
        moving::keep(at, cache);
        self.convolve(weight, at.value(0), cache, (output, false, Precision::F32))?;
        if self.host.bias {
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
        let weight = at.parameter(0);
        let mut add = false;
        if at.plastic() {
            // (W - W_old) * v_ref + (b - b_old), without large numbers.
            let moved = moving::moved(at, 0, cache)?;
            self.convolve(&moved, at.reference(0), cache, (output, false, Precision::F32))?;
            moving::done(0, moved, cache);
            if self.host.bias {
                let moved = moving::moved(at, 1, cache)?;
                moves::tile(output, &moved, moves::plane(output), 1.0)?;
                moving::done(1, moved, cache);
            }
            add = true;
        }
        match at.displacement(0) {
            Some(d) => self.convolve(weight, d, cache, (output, add, self.rounds.forward()))?,
            None if !add => output.fill(0.0),
            None => {}
        }
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
            sizes.products(Way::Back, [weight, cotangent, force], how, &room)?;
        }
        let scale = pulled.scale();
        if let Some((gradient, fresh)) = pulled.gradient_or_fresh(0) {
            sizes.gradient([x, cotangent, gradient], (!fresh, scale), &room)?;
        }
        room.back_to(cache);
        if self.host.bias
            && let Some(gradient) = pulled.gradient(1)
        {
            moves::sums(gradient, cotangent, None, moves::plane(cotangent), scale)?;
        }
        Ok(())
    }
}
