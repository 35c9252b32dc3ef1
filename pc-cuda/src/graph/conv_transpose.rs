//! Transposed convolutions on a device: what they predict is what a convolution pulls back, and what
//! they pull back is a convolution.

use pc_core::{
    Result, Tensor,
    backend::{Cache, Inputs, Pulled, Structure, Vertex},
    host::{self, HostTensor},
};

use crate::{
    graph::{
        Rounds, as_the_host,
        conv::{Sizes, Term},
        moves, moving,
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

/// The numbers of a channel.
fn plane(images: &DeviceTensor) -> usize {
    images.dims().iter().skip(2).product()
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
        Sizes::of([images, weight, parent], self.host.stride, self.host.padding)
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
        sizes.convolve_back(&[(weight, x, Precision::F32)], cache, output)?;
        if self.host.bias {
            moves::tile(output, at.parameter(1), plane(output), 1.0)?;
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
        // (W - W_old)^T * v_ref + W^T * d + (b - b_old), without large numbers.
        let moved = if at.plastic() { Some(moving::moved(at, 0, cache)?) } else { None };
        let by_weight = moved.as_ref().map(|moved| (moved, reference, Precision::F32));
        let by_parent = at.displacement(0).map(|d| (weight, d, self.rounds.forward()));
        let terms: Vec<Term<'_>> = by_weight.into_iter().chain(by_parent).collect();
        if terms.is_empty() {
            output.fill(0.0);
        } else {
            sizes.convolve_back(&terms, cache, output)?;
        }
        if let Some(moved) = moved {
            moving::done(0, moved, cache);
            if self.host.bias {
                let moved = moving::moved(at, 1, cache)?;
                moves::tile(output, &moved, plane(output), 1.0)?;
                moving::done(1, moved, cache);
            }
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
        let sizes = self.sizes(cotangent, weight, x)?;
        if let Some(force) = pulled.force(0) {
            let to = (&*force, false, self.rounds.back(at.live()));
            sizes.convolve(weight, cotangent, cache, to)?;
        }
        let scale = pulled.scale();
        if let Some((gradient, fresh)) = pulled.gradient_or_fresh(0) {
            // What is convolved are the larger images, and the parent is what would come of it.
            sizes.weight_gradient([cotangent, x], cache, scale, (gradient, fresh))?;
        }
        if self.host.bias
            && let Some(gradient) = pulled.gradient(1)
        {
            moves::sums(gradient, cotangent, None, plane(cotangent), scale)?;
        }
        Ok(())
    }
}
