//! `opt.backward_step(&loss)`, by predictive coding.

use pc_core::{Result, Status};
use tch::{Tensor, nn::Optimizer};

use crate::{
    BackwardOutcome, Pc,
    backward::{learned, stop},
};

/// What [`tch::nn::Optimizer`] has for backprop, by predictive coding.
///
/// As tch has it, a method comes in two: with `f_` it returns its outcome or an error, and without
/// it panics where that is an error, or where the relaxation diverged.
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
/// let loss = || net.forward(&x).square().mean(Kind::Float);
/// opt.pc_step(&loss(), &pc); // instead of opt.backward_step(&loss)
/// let outcome = opt.f_pc_step(&loss(), &pc)?; // the same, with its outcome
/// # assert_eq!(outcome.depth, 2);
/// # Ok::<(), pc_core::Error>(())
/// ```
pub trait PcOptimizer {
    /// Zeroes the gradients, finds new ones from `loss`, and takes a step. Where the relaxation
    /// diverged no step is taken.
    ///
    /// # Errors
    /// As [`Pc::f_backward`]; no step has been taken then.
    fn f_pc_step(&mut self, loss: &Tensor, pc: &Pc) -> Result<BackwardOutcome>;

    /// As [`PcOptimizer::f_pc_step`], with every element of a gradient clipped to `[-max, max]`
    /// first.
    ///
    /// # Errors
    /// As [`Pc::f_backward`].
    fn f_pc_step_clip(&mut self, loss: &Tensor, pc: &Pc, max: f64) -> Result<BackwardOutcome>;

    /// As [`PcOptimizer::f_pc_step`], with the norm of all gradients together clipped to `max`
    /// first. Where no parameter has a gradient there is nothing to clip.
    ///
    /// # Errors
    /// As [`Pc::f_backward`].
    fn f_pc_step_clip_norm(&mut self, loss: &Tensor, pc: &Pc, max: f64) -> Result<BackwardOutcome>;

    /// Instead of `opt.backward_step(&loss)`.
    ///
    /// # Panics
    /// Where [`PcOptimizer::f_pc_step`] has an error, and where the relaxation diverged. No step
    /// has been taken then.
    fn pc_step(&mut self, loss: &Tensor, pc: &Pc) {
        self.f_pc_step(loss, pc).and_then(learned).unwrap_or_else(stop);
    }

    /// Instead of `opt.backward_step_clip(&loss, max)`.
    ///
    /// # Panics
    /// As [`PcOptimizer::pc_step`].
    fn pc_step_clip(&mut self, loss: &Tensor, pc: &Pc, max: f64) {
        self.f_pc_step_clip(loss, pc, max).and_then(learned).unwrap_or_else(stop);
    }

    /// Instead of `opt.backward_step_clip_norm(&loss, max)`.
    ///
    /// # Panics
    /// As [`PcOptimizer::pc_step`].
    fn pc_step_clip_norm(&mut self, loss: &Tensor, pc: &Pc, max: f64) {
        self.f_pc_step_clip_norm(loss, pc, max).and_then(learned).unwrap_or_else(stop);
    }
}

impl PcOptimizer for Optimizer {
    fn f_pc_step(&mut self, loss: &Tensor, pc: &Pc) -> Result<BackwardOutcome> {
        step(self, loss, pc, |_| ())
    }

    fn f_pc_step_clip(&mut self, loss: &Tensor, pc: &Pc, max: f64) -> Result<BackwardOutcome> {
        step(self, loss, pc, |optimiser| optimiser.clip_grad_value(max))
    }

    fn f_pc_step_clip_norm(&mut self, loss: &Tensor, pc: &Pc, max: f64) -> Result<BackwardOutcome> {
        step(self, loss, pc, |optimiser| {
            // tch's own panics where there is none.
            if optimiser.trainable_variables().iter().any(|variable| variable.grad().defined()) {
                optimiser.clip_grad_norm(max);
            }
        })
    }
}

fn step(
    optimiser: &mut Optimizer,
    loss: &Tensor,
    pc: &Pc,
    clip: impl FnOnce(&mut Optimizer),
) -> Result<BackwardOutcome> {
    // tch's optimisers turn gradients off and on again themselves, but for where they panic.
    let _restore = tch::no_grad_guard();
    optimiser.zero_grad();
    let outcome = pc.f_backward(loss)?;
    if outcome.status != Status::Diverged {
        clip(optimiser);
        optimiser.step();
    }
    Ok(outcome)
}
