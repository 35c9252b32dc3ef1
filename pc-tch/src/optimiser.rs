//! `opt.backward_step(&loss)`, by predictive coding.

use pc_core::Result;
use tch::{Tensor, nn::Optimizer};

use crate::{BackwardOutcome, Pc};

/// What [`tch::nn::Optimizer`] has for backprop, by predictive coding.
///
/// # Example
/// ```
/// use pc_tch::{Pc, PcOptimizer};
/// use tch::{Device, Kind, Tensor, nn::{self, Module, OptimizerConfig}};
/// let vs = nn::VarStore::new(Device::Cpu);
/// let net = nn::linear(vs.root(), 3, 1, Default::default());
/// let mut opt = nn::Sgd::default().build(&vs, 0.1).expect("an optimiser");
/// let pc = Pc::exact();
/// let x = Tensor::ones([2, 3], (Kind::Float, Device::Cpu));
/// let loss = net.forward(&x).square().mean(Kind::Float);
/// opt.pc_step(&loss, &pc)?; // instead of opt.backward_step(&loss)
/// # Ok::<(), pc_core::Error>(())
/// ```
pub trait PcOptimizer {
    /// Zeroes the gradients, finds new ones from `loss`, and takes a step. Where the relaxation
    /// diverged no step is taken.
    ///
    /// # Errors
    /// As [`Pc::backward`]; no step has been taken then.
    fn pc_step(&mut self, loss: &Tensor, pc: &Pc) -> Result<BackwardOutcome>;

    /// As [`PcOptimizer::pc_step`], with every element of a gradient clipped to `[-max, max]`
    /// first.
    ///
    /// # Errors
    /// As [`Pc::backward`].
    fn pc_step_clip(&mut self, loss: &Tensor, pc: &Pc, max: f64) -> Result<BackwardOutcome>;

    /// As [`PcOptimizer::pc_step`], with the norm of all gradients together clipped to `max` first.
    ///
    /// # Errors
    /// As [`Pc::backward`].
    fn pc_step_clip_norm(&mut self, loss: &Tensor, pc: &Pc, max: f64) -> Result<BackwardOutcome>;
}

impl PcOptimizer for Optimizer {
    fn pc_step(&mut self, loss: &Tensor, pc: &Pc) -> Result<BackwardOutcome> {
        step(self, loss, pc, |_| ())
    }

    fn pc_step_clip(&mut self, loss: &Tensor, pc: &Pc, max: f64) -> Result<BackwardOutcome> {
        step(self, loss, pc, |optimiser| optimiser.clip_grad_value(max))
    }

    fn pc_step_clip_norm(&mut self, loss: &Tensor, pc: &Pc, max: f64) -> Result<BackwardOutcome> {
        step(self, loss, pc, |optimiser| optimiser.clip_grad_norm(max))
    }
}

fn step(
    optimiser: &mut Optimizer,
    loss: &Tensor,
    pc: &Pc,
    clip: impl FnOnce(&mut Optimizer),
) -> Result<BackwardOutcome> {
    optimiser.zero_grad();
    let outcome = pc.backward(loss)?;
    if outcome.status != pc_core::Status::Diverged {
        clip(optimiser);
        optimiser.step();
    }
    Ok(outcome)
}
