//! Transposed convolutions on a device: what they predict is what a convolution pulls back, and
//! what they pull back is a convolution.

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

/// As [`host::ConvTranspose2d`].
#[derive(Clone, Copy, Debug)]
pub(super) struct ConvTranspose2d {
    pub(super) host: host::ConvTranspose2d,
    pub(super) rounds: Rounds,
}

impl ConvTranspose2d {
    /// Those of the convolution that this is the transpose of: its images are what is predicted,
    /// its results lie in the parent.
    fn sizes(
        &self,
        images: &DeviceTensor,
        weight: &DeviceTensor,
        parent: &DeviceTensor,
    ) -> Result<Sizes> {
        // Predictions go back, and are of `f32`.
        Sizes::of([images, weight, parent], (self.host.stride, self.host.padding), false)
    }
}

impl Vertex<DeviceTensor> for ConvTranspose2d {
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
        let sizes = self.sizes(output, weight, x)?;
        let room = sizes.room(cache, x);
        sizes.products(Way::Back, [weight, x, output], (false, Precision::F32), &room)?;
        room.back_to(cache);
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
        let (weight, reference) = (at.parameter(0), at.reference(0));
        let sizes = self.sizes(output, weight, reference)?;
        let room = sizes.room(cache, reference);
        let mut add = false;
        if at.plastic() {
            // (W - W_old)^T * v_ref + (b - b_old), without large numbers.
            let moved = moving::moved(at, 0, cache)?;
            let how = (false, Precision::F32);
            sizes.products(Way::Back, [&moved, reference, output], how, &room)?;
            moving::done(0, moved, cache);
            if self.host.bias {
                let moved = moving::moved(at, 1, cache)?;
                moves::tile(output, &moved, moves::plane(output), 1.0)?;
                moving::done(1, moved, cache);
            }
            add = true;
        }
        match at.displacement(0) {
            Some(d) => {
                let how = (add, self.rounds.forward());
                sizes.products(Way::Back, [weight, d, output], how, &room)?;
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
        let sizes = self.sizes(cotangent, weight, x)?;
        let room = sizes.room(cache, x);
        if let Some(force) = pulled.force(0) {
            let how = (false, self.rounds.back(at.live()));
            sizes.products(Way::Forward, [weight, cotangent, force], how, &room)?;
        }
        let scale = pulled.scale();
        if let Some((gradient, fresh)) = pulled.gradient_or_fresh(0) {
            // What is convolved are the larger images, and the parent is what would come of it.
            sizes.gradient([cotangent, x, gradient], (!fresh, scale), &room)?;
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
