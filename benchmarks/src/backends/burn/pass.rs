//! One pass of a net over one batch.

use burn::{module::Module, optim::GradientsParams, tensor::Device};
use pc_burn::{LossReduction, PredictiveCoding};
use pc_core::{Outcome, Result, Schedule, Status};

use super::{
    layers,
    models::{BurnNet, Task as Batch},
};

/// Where tensors without gradients live, and where those with them do.
pub(super) fn devices() -> (Device, Device) {
    (Device::flex(), Device::flex().autodiff())
}

/// Backprop, as any Burn program does it: the gradients, and the loss.
pub(super) fn backward(net: &BurnNet, batch: &Batch) -> (GradientsParams, burn::tensor::Tensor<1>) {
    let loss = net.loss(batch);
    (GradientsParams::from_grads(loss.backward(), net), loss)
}

/// The gradients of one batch by a schedule, their mean over the samples, summed over the learning
/// events; no weight moves.
pub(super) fn gradients(
    net: &BurnNet,
    batch: &Batch,
    schedule: Schedule,
) -> Result<(Vec<Vec<f64>>, Option<Outcome>)> {
    if schedule.name() == Schedule::backprop().name() {
        return Ok((layers::gradients(net, &backward(net, batch).0), None));
    }
    let mut sums: Vec<Vec<f64>> = Vec::new();
    let mut own = net.clone();
    let mut pc = PredictiveCoding::new(schedule, LossReduction::MeanOver(batch.samples()));
    let learned = pc.train(
        &mut own,
        |net: &BurnNet| net.loss(batch),
        |net, gradients| {
            let found = layers::gradients(&net, &gradients);
            if sums.is_empty() {
                sums = found;
            } else {
                for (sum, found) in sums.iter_mut().flatten().zip(found.iter().flatten()) {
                    *sum += found;
                }
            }
            net
        },
    )?;
    if learned.outcome.status == Status::Diverged || sums.is_empty() {
        let nan = |(_, values): (Vec<usize>, Vec<f64>)| vec![f64::NAN; values.len()];
        sums = layers::gather(net, None).into_iter().map(nan).collect();
    }
    Ok((sums, Some(learned.outcome)))
}

/// The number in a tensor of one.
pub(super) fn number(tensor: burn::tensor::Tensor<1>) -> f64 {
    layers::numbers(tensor.inner()).first().copied().unwrap_or(f64::NAN)
}

/// A copy that does not compute gradients.
pub(super) fn without_autodiff(net: &BurnNet) -> BurnNet {
    net.valid()
}
