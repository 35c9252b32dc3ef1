//! The schedules that are timed, and how they are timed.

use std::time::Instant;

use pc_core::{
    Clamps, Evaluation, Event, Graph, Relaxation, Result, Schedule, Status,
    host::{Element, HostTensor, matrix_product},
};

use super::net::{Arithmetic, Net, Watch};
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
    pub role: Role,
}

/// What a contender is timed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
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

/// Backprop first, then the chosen rules, each followed by the twin that shows where its time goes; standard PC is timed at T = 0 too.
///
/// # Errors
/// None, if the figures above are sensible.
pub fn contenders(rules: &[ScheduleKind]) -> Result<Vec<Contender>> {
    let mut all = Vec::new();
    let mut add = |rule, name, steps, schedule, role| all.push(Contender { rule, name, schedule, steps, role });
    add(ScheduleKind::Backprop, "backprop", 0, Schedule::backprop(), Role::Shown);
    for &rule in rules {
        match rule {
            ScheduleKind::Backprop => {}
            ScheduleKind::FixedPrediction => {
                let simulated = |steps| Ok(Schedule::fixed_prediction(RATE, steps)?.evaluated_by(Evaluation::Simulate));
                add(rule, "fixed-prediction", STEPS, Schedule::fixed_prediction(RATE, STEPS)?, Role::Shown);
                add(rule, "fixed-prediction, simulated", STEPS, simulated(STEPS)?, Role::Shown);
                add(rule, "fixed-prediction, simulated", STEPS / 2, simulated(STEPS / 2)?, Role::Half);
            }
            ScheduleKind::Zil => add(rule, "zil", 0, Schedule::zil(), Role::Shown),
            ScheduleKind::Standard => {
                let schedule = Schedule::standard(RATE, STEPS)?;
                add(rule, "standard", STEPS, schedule.clone(), Role::Shown);
                add(rule, "standard", STEPS, schedule.clone(), Role::Watched);
                add(rule, "standard T=0", 0, schedule.unrelaxed(), Role::Shown);
            }
            ScheduleKind::Ipc => add(rule, "ipc", STEPS, Schedule::ipc(RATE, STEPS)?, Role::Shown),
            ScheduleKind::Epc => {
                let schedule = Schedule::epc(RATE, STEPS)?;
                add(rule, "epc", STEPS, schedule.clone(), Role::Shown);
                add(rule, "epc", STEPS, schedule, Role::Watched);
            }
        }
    }
    Ok(all)
}

/// The seconds of one step: gradients of one batch, without an optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seconds {
    /// Setting up and the pass forward.
    pub forward: f64,
    /// Until the net was last evaluated, where that is watched.
    pub relaxed: Option<f64>,
    /// All of it.
    pub total: f64,
}

/// A contender at its net.
#[derive(Debug)]
pub struct Runner<F: Element> {
    relaxation: Relaxation<Graph<HostTensor<F>>>,
    clamps: Clamps<HostTensor<F>>,
    watch: Option<Watch>,
}

impl<F: Element> Runner<F> {
    /// Prepares it.
    ///
    /// # Errors
    /// A schedule that the net does not suit.
    pub fn new(net: &Net<F>, contender: &Contender) -> Result<Self> {
        let watched = contender.role == Role::Watched;
        Ok(Self {
            relaxation: Relaxation::new(&net.graph, contender.schedule.clone())?,
            clamps: if watched { net.watched.clone() } else { net.clamps.clone() },
            watch: watched.then(|| net.watch.clone()),
        })
    }

    /// Runs and times one step. Schedules whose weights learn while states move find every gradient too, but no weight is moved.
    ///
    /// # Errors
    /// A relaxation that diverges; what the graph reports.
    pub fn step(&mut self, net: &mut Net<F>) -> Result<Seconds> {
        let start = Instant::now();
        self.relaxation.begin(&mut net.graph, &self.clamps)?;
        let forward = start.elapsed().as_secs_f64();
        let outcome = loop {
            if let Event::Finished(outcome) = self.relaxation.advance(&mut net.graph)? {
                break outcome;
            }
        };
        let total = start.elapsed().as_secs_f64();
        if outcome.status == Status::Diverged {
            let what = format!("{} diverged, so its time means nothing", self.relaxation.schedule());
            return Err(pc_core::Error::new(pc_core::ErrorKind::NotFinite, what));
        }
        let relaxed = self.watch.as_ref().and_then(Watch::last).map(|last| last.duration_since(start).as_secs_f64());
        Ok(Seconds { forward, relaxed, total })
    }
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
    pub fn new() -> Self {
        let mut numbers = pc_core::host::Init::new(3);
        let mut matrix = || numbers.uniform::<F>(&[GEMM_SIDE, GEMM_SIDE], 1.0).data().to_vec();
        Self { a: matrix(), b: matrix(), c: matrix() }
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

impl<F: Element> Default for Gemm<F> {
    fn default() -> Self {
        Self::new()
    }
}
