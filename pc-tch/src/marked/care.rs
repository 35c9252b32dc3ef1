//! What a forward pass moves beside its values, and must move once in a step of training: random
//! number generators and running statistics.

use pc_core::Result;
use tch::{Cuda, Device, Kind, Tensor};

use crate::{
    sys::marks::{self, Watch},
    tensor::reported,
};

/// A generator, by a tensor on its device, and its states before and after a pass.
#[derive(Debug)]
struct Generator {
    like: Tensor,
    before: Tensor,
    after: Option<Tensor>,
}

/// The generators and buffers of a program.
#[derive(Debug, Default)]
pub(super) struct Care {
    /// Empty where the program draws nothing.
    generators: Vec<Generator>,
    /// Tensors that a pass writes in place, as they are after the first.
    kept: Vec<(Tensor, Tensor)>,
}

impl Care {
    /// Runs the first pass, which moves everything as a plain forward pass would, and sees what it
    /// moves.
    ///
    /// # Errors
    /// What the pass or libtorch reports.
    pub(super) fn first<T>(pass: impl FnOnce() -> Result<T>) -> Result<(Self, T)> {
        let mut generators = Vec::new();
        for device in devices() {
            let like = Tensor::f_empty([0], (Kind::Float, device)).map_err(reported)?;
            let before = marks::generator(&like)?;
            generators.push(Generator { like, before, after: None });
        }
        let watch = Watch::new()?;
        let ran = pass()?;
        let (draws, written) = watch.read();
        if draws {
            for generator in &mut generators {
                generator.after = Some(marks::generator(&generator.like)?);
            }
        } else {
            generators.clear();
        }
        let kept = written
            .into_iter()
            .map(|tensor| {
                let copy = tensor
                    .f_detach()
                    .and_then(|own| {
                        let mut copy = own.f_empty_like()?;
                        copy.f_copy_(&own)?;
                        Ok(copy)
                    })
                    .map_err(reported)?;
                Ok((tensor, copy))
            })
            .collect::<Result<_>>()?;
        Ok((Self { generators, kept }, ran))
    }

    /// Sets the generators back to where the first pass began. What the pass to come moves is put
    /// back when the turn ends.
    ///
    /// # Errors
    /// What libtorch reports.
    pub(super) fn rewind(&self) -> Result<Rewound<'_>> {
        let turn = Rewound(self);
        for generator in &self.generators {
            marks::set_generator(&generator.like, &generator.before)?;
        }
        Ok(turn)
    }

    /// Whether the generators are where the first pass left them: then the same numbers came.
    ///
    /// # Errors
    /// What libtorch reports.
    pub(super) fn is_undisturbed(&self) -> Result<bool> {
        for generator in &self.generators {
            let now = marks::generator(&generator.like)?;
            if let Some(after) = &generator.after
                && !now.f_equal(after).map_err(reported)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The turn of a pass after the first.
pub(super) struct Rewound<'a>(&'a Care);

impl Drop for Rewound<'_> {
    fn drop(&mut self) {
        // Nothing can be reported here, and nothing of this fails that has not failed before.
        for (tensor, kept) in &self.0.kept {
            drop(marks::restore(tensor, kept));
        }
        for Generator { like, after, .. } in &self.0.generators {
            if let Some(after) = after {
                drop(marks::set_generator(like, after));
            }
        }
    }
}

/// The devices whose generators a program may draw from.
fn devices() -> impl Iterator<Item = Device> {
    let cuda = usize::try_from(Cuda::device_count()).unwrap_or(0);
    std::iter::once(Device::Cpu).chain((0..cuda).map(Device::Cuda))
}
