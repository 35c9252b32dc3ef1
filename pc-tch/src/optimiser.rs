//! `opt.backward_step(&loss)`, by predictive coding.

use pc_core::{Result, Status};
use tch::{TchError, Tensor};

use crate::{
    BackwardOutcome, Pc, SteppingOptimizer,
    backward::{learned, stop},
    tensor::reported,
};

/// What [`tch::nn::Optimizer`] has for backprop, by predictive coding: on it and on every other
/// [`SteppingOptimizer`].
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

impl<O: SteppingOptimizer> PcOptimizer for O {
    fn f_pc_step(&mut self, loss: &Tensor, pc: &Pc) -> Result<BackwardOutcome> {
        step(self, loss, pc, |_| Ok(()))
    }

    fn f_pc_step_clip(&mut self, loss: &Tensor, pc: &Pc, max: f64) -> Result<BackwardOutcome> {
        step(self, loss, pc, |gradients| {
            for gradient in gradients {
                let _ = gradient.f_clamp_(-max, max)?;
            }
            Ok(())
        })
    }

    fn f_pc_step_clip_norm(&mut self, loss: &Tensor, pc: &Pc, max: f64) -> Result<BackwardOutcome> {
        step(self, loss, pc, |gradients| {
            let norms = gradients.iter().map(Tensor::f_norm).collect::<Answer<Vec<_>>>()?;
            if norms.is_empty() {
                return Ok(());
            }
            // As tch's own, to the last bit.
            let total = Tensor::f_stack(&norms, 0)?.f_norm()?.f_double_value(&[])?;
            let scale = max / (total + 1e-6);
            if scale < 1.0 {
                for gradient in gradients {
                    let _ = gradient.f_mul_scalar_(scale)?;
                }
            }
            Ok(())
        })
    }
}

type Answer<T> = std::result::Result<T, TchError>;

fn step(
    optimiser: &mut impl SteppingOptimizer,
    loss: &Tensor,
    pc: &Pc,
    clip: impl FnOnce(&mut [Tensor]) -> Answer<()>,
) -> Result<BackwardOutcome> {
    // tch's optimisers turn gradients off and on again themselves, but for where they panic.
    let _restore = tch::no_grad_guard();
    optimiser.clear()?;
    let outcome = pc.f_backward(loss)?;
    if outcome.status != Status::Diverged {
        let mut gradients: Vec<Tensor> =
            optimiser.moves().iter().map(Tensor::grad).filter(Tensor::defined).collect();
        clip(&mut gradients).map_err(reported)?;
        optimiser.move_once()?;
    }
    Ok(outcome)
}
