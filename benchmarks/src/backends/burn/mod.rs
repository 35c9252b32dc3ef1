//! Burn: its modules with marked vertices, on Flex, its CPU backend.
//!
//! The models are Burn modules as anyone would write them, with [`pc_burn::vertex`] marks where the
//! host's graphs have vertices, and the host's weights. Backprop is Burn's own `loss.backward()`.

mod check;
mod explicit;
mod layers;
mod models;
mod optimiser;
mod pass;
mod speed;
mod train;

use pc_burn::{
    BurnTensor,
    explicit::{Activate, BurnVertex, Linear},
};
use pc_core::{
    Result,
    host::{Activation, Element},
};

use super::chain::{self, Parts};
use crate::{
    contract::{
        Adapter, Precision, ScheduleKind, Support,
        check::{Checked, Subject},
        gradients::{Findings, LayerChain, Number, Ways},
        speed::{Case, Measured, Target, Timed, TimedKind},
        train::{Task, Trainee},
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
            timed: TimedKind::MODELS,
            varied: false,
            rules: ScheduleKind::ALL,
            precisions: Precision::ALL,
            checkpoints: true,
            // Neither a marked program nor its relaxation lends its energies.
            energies: false,
            details: false,
        }
    }

    fn trainee<F: Element>(task: &Task) -> Result<Box<dyn Trainee<F>>, CommandError> {
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
        case: &Case,
        rules: &[ScheduleKind],
    ) -> Result<Box<dyn Timed>, CommandError> {
        Ok(Box::new(speed::Burn::new::<F>(case.kind.model()?, case.batch, rules)?))
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
