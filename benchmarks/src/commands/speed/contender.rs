//! What is timed, and what by.

use std::time::Instant;

use pc_core::{
    Result, Schedule,
    host::{Element, matrix_product},
};

use super::arithmetic::Arithmetic;
use crate::commands::train::ScheduleKind;

/// Gamma of all schedules that take one.
pub const RATE: f64 = 0.1;
/// T of all schedules that take one.
pub const STEPS: usize = 20;
/// The side of the matrices whose product gives the machine's rate.
pub const GEMM_SIDE: usize = 512;

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

/// The product that the machine is measured by.
#[derive(Debug)]
pub struct Gemm<F> {
    a: Vec<F>,
    b: Vec<F>,
    c: Vec<F>,
}

impl<F: Element> Gemm<F> {
    /// Its floating-point operations.
    pub const FLOP: f64 = 2.0 * (GEMM_SIDE * GEMM_SIDE * GEMM_SIDE) as f64;

    /// With random matrices.
    ///
    /// # Errors
    /// Where there is no memory for them.
    pub fn new() -> Result<Self> {
        let mut numbers = pc_core::host::Init::new(3);
        let mut matrix = || -> Result<Vec<F>> {
            Ok(numbers.uniform::<F>(&[GEMM_SIDE, GEMM_SIDE], 1.0)?.data().to_vec())
        };
        Ok(Self { a: matrix()?, b: matrix()?, c: matrix()? })
    }

    /// Seconds of one product.
    ///
    /// # Errors
    /// None, if the matrices fit.
    pub fn time(&mut self) -> Result<f64> {
        let start = Instant::now();
        matrix_product(&self.a, &self.b, &mut self.c, [GEMM_SIDE; 3])?;
        Ok(start.elapsed().as_secs_f64())
    }
}
