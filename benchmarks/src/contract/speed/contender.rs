//! What is timed, and what by.

use pc_core::{Schedule, Status};

use super::arithmetic::Arithmetic;
use crate::{contract::choices::ScheduleKind, error::CommandError};

/// Gamma of all schedules that take one.
pub const RATE: f64 = 0.1;
/// The side of the matrices whose product gives the machine's rate.
pub const GEMM_SIDE: usize = 512;
/// The floating-point operations of that product.
pub const GEMM_FLOP: f64 = 2.0 * (GEMM_SIDE * GEMM_SIDE * GEMM_SIDE) as f64;

/// One schedule to be timed.
#[derive(Clone, Debug)]
pub struct Contender {
    /// Which rule it is.
    pub rule: ScheduleKind,
    /// What it is called, such as `standard`, or `standard T=0`.
    pub name: &'static str,
    /// The schedule.
    pub schedule: Schedule,
    /// Its steps.
    pub steps: usize,
    /// Whether the time it takes is shown for itself, or shows where that of another one goes.
    pub role: ContenderRole,
}

impl Contender {
    /// Fails where its relaxation diverged: then its time means nothing.
    ///
    /// # Errors
    /// A message that names it.
    pub fn must_hold(&self, status: Status) -> Result<(), CommandError> {
        if status == Status::Diverged {
            return Err(CommandError::input(format!(
                "{} diverged, so its time means nothing",
                self.name
            )));
        }
        Ok(())
    }
}

/// What a contender is timed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContenderRole {
    /// For itself.
    Shown,
    /// It takes half the steps of the one before it.
    Half,
    /// It is the one before it with a loss that notes when the net is evaluated.
    Watched,
}

impl Contender {
    /// The arithmetic of one step of training, where it is counted.
    pub fn arithmetic(&self, net: &Arithmetic) -> Option<f64> {
        match self.name {
            "backprop" | "fixed-prediction" => Some(net.backprop()),
            "fixed-prediction, simulated" => Some(net.simulated(self.steps)),
            "standard" => Some(net.standard(self.steps)),
            _ => None,
        }
    }
}

/// The seconds of one step: gradients of one batch, without an optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seconds {
    /// Setting up and the pass forward, where that can be told apart.
    pub forward: Option<f64>,
    /// Until the net was last evaluated, where that is watched.
    pub relaxed: Option<f64>,
    /// All of it.
    pub total: f64,
}
