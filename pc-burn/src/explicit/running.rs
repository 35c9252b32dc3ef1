//! The running statistics of batch normalisation, which the user's module shares.

use burn::{nn::BatchNorm as Module, tensor::Tensor as BurnTensorOf};
use pc_core::{Result, Tensor};

use super::parts::shape;
use crate::BurnTensor;

/// Moves them towards those of a batch, once.
pub(super) fn track(module: &Module, mean: BurnTensor, variance: BurnTensor) -> Result<()> {
    let momentum = module.momentum;
    let moved = |running: BurnTensorOf<1>, new: BurnTensor| -> Result<BurnTensorOf<1>> {
        let device = running.device();
        let channels = new.shape().into_iter().product();
        let new: BurnTensorOf<1> = new.shaped(&[channels]).into_tensor()?;
        let old: BurnTensorOf<1> = BurnTensor::new(running)?.into_tensor()?;
        let mixed = old.mul_scalar(1.0 - momentum).add(new.mul_scalar(momentum));
        Ok(if device.is_autodiff() { BurnTensorOf::from_inner(mixed) } else { mixed })
    };
    module.running_mean.update(moved(module.running_mean.value_sync(), mean)?);
    module.running_var.update(moved(module.running_var.value_sync(), variance)?);
    Ok(())
}

/// The running mean and variance, by name.
pub(super) fn statistics(module: &Module) -> Vec<(String, BurnTensor)> {
    let running = [
        ("running_mean", module.running_mean.value_sync()),
        ("running_var", module.running_var.value_sync()),
    ];
    // They are floats, so nothing is left out.
    let known = running.into_iter();
    known
        .filter_map(|(name, value)| Some((name.to_owned(), BurnTensor::new(value).ok()?)))
        .collect()
}

/// Sets them.
pub(super) fn set_statistics(module: &Module, statistics: Vec<BurnTensor>) -> Result<()> {
    let Ok([mean, variance]) = <[BurnTensor; 2]>::try_from(statistics) else {
        return Err(shape("batch norm takes a running mean and a running variance"));
    };
    // What other updates have left is settled before, and these are after.
    let device = module.running_mean.value_sync().device();
    module.running_var.value_sync();
    let placed = |new: BurnTensor| -> Result<BurnTensorOf<1>> {
        let new: BurnTensorOf<1> = new.into_tensor()?;
        Ok(if device.is_autodiff() { BurnTensorOf::from_inner(new) } else { new })
    };
    let (mean, variance) = (placed(mean)?, placed(variance)?);
    module.running_mean.update(mean);
    module.running_var.update(variance);
    module.running_mean.value_sync();
    module.running_var.value_sync();
    Ok(())
}
