//! Burn: its modules with marked vertices, on Flex, its CPU backend.
//!
//! The models are Burn modules as anyone would write them, with [`pc_burn::vertex`] marks where the
//! host's graphs have vertices, and the host's weights. Backprop is Burn's own `loss.backward()`.

mod check;
mod explicit;
mod layers;
mod models;
mod optimiser;
mod speed;
mod train;

use burn::{module::Module, optim::GradientsParams, tensor::Device};
use pc_burn::{
    BurnTensor, LossReduction, PredictiveCoding,
    explicit::{Activate, BurnVertex, Linear},
};
use pc_core::{
    Outcome, Result, Schedule, Status,
    host::{Activation, Element},
};

use self::models::{BurnNet, Task as Batch};
use super::{
    Adapter, Checked, Support, Task, Timed, Trainee,
    chain::{self, Parts},
};
use crate::{
    commands::{
        check::Subject,
        gradients::{Findings, LayerChain, Number, Ways},
        speed::{Measured, Target},
        train::{Precision, ScheduleKind},
    },
    error::CommandError,
    models::ModelKind,
};

/// Burn on the CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Burn;

impl Adapter for Burn {
    fn support() -> Support {
        Support {
            models: &ModelKind::ALL,
            rules: ScheduleKind::ALL,
            precisions: Precision::ALL,
            checkpoints: true,
        }
    }

    fn trainee<F: Element>(task: &Task<'_>) -> Result<Box<dyn Trainee<F>>, CommandError> {
        Ok(Box::new(train::Burn::new(task)?))
    }

    fn checked<F: Element>(subject: &Subject<F>) -> Result<Box<dyn Checked<F>>, CommandError> {
        Ok(Box::new(check::Burn::new(subject)?))
    }

    fn gradients<F: Number>(net: LayerChain<F>, ways: &Ways) -> Result<Findings<F>, CommandError> {
        // Marked programs keep their relaxed values to themselves, and this command writes them
        // out: an explicit graph has them.
        chain::compute(net, ways, &Parts { layer, tensor: layers::burn_tensor })
    }

    fn timed<F: Element>(
        kind: ModelKind,
        batch: usize,
        rules: &[ScheduleKind],
    ) -> Result<Box<dyn Timed>, CommandError> {
        Ok(Box::new(speed::Burn::new::<F>(kind, batch, rules)?))
    }

    fn targets(measured: &[Measured]) -> Vec<Target> {
        speed::targets(measured)
    }
}

fn layer(activation: Activation) -> Result<BurnVertex> {
    let linear: BurnVertex = Box::new(Linear::new().transposed());
    if activation == Activation::Identity {
        return Ok(linear);
    }
    Ok(Box::new(pc_core::Chain::<BurnTensor>::new(vec![linear, Box::new(Activate(activation))])?))
}

/// Where tensors without gradients live, and where those with them do.
fn devices() -> (Device, Device) {
    (Device::flex(), Device::flex().autodiff())
}

/// Backprop, as any Burn program does it: the gradients, and the loss.
fn backward(net: &BurnNet, batch: &Batch) -> (GradientsParams, burn::tensor::Tensor<1>) {
    let loss = net.loss(batch);
    (GradientsParams::from_grads(loss.backward(), net), loss)
}

/// The gradients of one batch by a schedule, their mean over the samples, summed over the learning
/// events; no weight moves.
fn gradients(
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
fn number(tensor: burn::tensor::Tensor<1>) -> f64 {
    layers::numbers(tensor.inner()).first().copied().unwrap_or(f64::NAN)
}

/// A copy that does not compute gradients.
fn without_autodiff(net: &BurnNet) -> BurnNet {
    net.valid()
}
