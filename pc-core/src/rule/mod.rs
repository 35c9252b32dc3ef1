//! State rules: how the free coordinates of a relaxation step.
//!
//! A rule is one `impl` of [`StateRule`], in this crate or outside it, and is chosen by
//! [`crate::Schedule::ruled_by`]. It sees all free coordinates at once, as [`FreeCoordinates`]: the
//! direction down the energy, numbered memory slots as large as the coordinates, and a few
//! operations on them. It never sees a tensor, so it runs on every backend, on states and on errors
//! (error-based PC) alike.
//!
//! | rule | passes a step | memory | for |
//! |---|---|---|---|
//! | [`Plain`] | 1 | 0 | gradient flow by Euler's steps |
//! | [`Momentum`] | 1 | 1 | |
//! | [`Adaptive`] | 1 | 1 | a rate that cannot diverge |
//! | [`Nesterov`] | 1 | 1 | |
//! | [`Adam`] | 1 | 3 | coordinates of very different scale |
//! | [`Heun`] | 2 | 1 | gradient flow of second order |
//! | [`Anderson`] | 1 | 2 + 2 columns | equilibria |
//!
//! # Example
//! A rule of one's own: steps of one length, whatever the gradient.
//! ```
//! use pc_core::{
//!     Clamps, Graph, Relaxation, Schedule,
//!     host::{Activation, HostLayers, HostTensor, Init},
//!     rule::{FreeCoordinates, Slot, StateRule, Taken},
//! };
//!
//! #[derive(Debug)]
//! struct Normalised;
//!
//! impl StateRule for Normalised {
//!     fn name(&self) -> &str {
//!         "normalised"
//!     }
//!
//!     fn slots(&self) -> usize {
//!         0
//!     }
//!
//!     fn step(&self, at: &mut dyn FreeCoordinates) -> Taken {
//!         let norm = at.dot(Slot::Down, Slot::Down).sqrt();
//!         if norm > 0.0 {
//!             at.travel(at.rate() / norm, Slot::Down);
//!         }
//!         Taken::Step
//!     }
//! }
//! # let mut init = Init::new(7);
//! # let mut b = Graph::<HostTensor<f64>>::builder();
//! # let x = b.input("x", &[2])?;
//! # let h = b.dense("h", x, 8, Activation::Tanh, &mut init)?;
//! # let y = b.dense("y", h, 1, Activation::Identity, &mut init)?;
//! # let mut graph = b.build()?;
//! # let clamps = Clamps::new()
//! #     .hold(x, HostTensor::new(&[1, 2], vec![0.5, -1.0])?)
//! #     .hold(y, HostTensor::new(&[1, 1], vec![1.0])?);
//! for schedule in [Schedule::standard(0.01, 8)?, Schedule::epc(0.01, 8)?] {
//!     let mut relaxation = Relaxation::new(&graph, schedule.ruled_by(Normalised).traced())?;
//!     let outcome = relaxation.run(&mut graph, &clamps)?;
//!     assert!(outcome.trace.is_sorted_by(|before, after| before > after));
//! }
//! # Ok::<(), pc_core::Error>(())
//! ```

mod adam;
mod adaptive;
mod anderson;
mod heun;
mod momentum;
mod nesterov;
mod plain;
mod rates;
mod ruled;
mod view;

use std::fmt;

pub use adam::Adam;
pub use adaptive::Adaptive;
pub use anderson::Anderson;
pub use heun::Heun;
pub use momentum::Momentum;
pub use nesterov::Nesterov;
pub use plain::Plain;
pub use rates::Pace;
pub(crate) use rates::Rates;
pub(crate) use ruled::Ruled;
pub(crate) use view::{Memory, View};

use crate::tensor::RowJob;

/// How the free coordinates of a relaxation step.
///
/// A rule keeps nothing itself: its memory belongs to the relaxation, which makes it once, and sets
/// it to zero before each batch. Two rules of one name and one `Debug` text are the same rule.
pub trait StateRule: fmt::Debug + Send + Sync {
    /// What errors and reports call it.
    fn name(&self) -> &str;

    /// How many memory slots it needs, each as large as the free coordinates.
    fn slots(&self) -> usize;

    /// How many single numbers it keeps.
    fn numbers(&self) -> usize {
        0
    }

    /// Takes a step, or a part of one after which it asks for the direction at the new point.
    fn step(&self, at: &mut dyn FreeCoordinates) -> Taken;

    /// Whether it reads [`FreeCoordinates::energy`].
    fn watches(&self) -> bool {
        false
    }

    /// The form of its steps, where it is one that the engine and backends take in one pass. Then
    /// they do, and do not call [`StateRule::step`].
    fn form(&self) -> Option<StepForm> {
        None
    }

    /// Why it does not work with something else that a schedule may choose. By default that is
    /// noise, which samples what it should only with the steps that it was made for.
    fn refuses(&self, setting: Setting) -> Option<&'static str> {
        match setting {
            Setting::Noise => Some("noise samples the energy with plain steps and momentum alone"),
            Setting::MovingWeights | Setting::Errors => None,
        }
    }
}

/// What a rule may not work with.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Noise is added after each step.
    Noise,
    /// Weights move between steps, and the energy with them.
    MovingWeights,
    /// The coordinates are errors (error-based PC).
    Errors,
}

/// Steps that are taken in one pass over each vertex.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepForm {
    /// `v += gamma g`.
    Plain,
    /// `u <- m u + g`, `v += gamma u`.
    Momentum(f64),
    /// Plain, with a rate that adapts. If the energy has not fallen after a step, part of the step
    /// is taken back: step and rate are multiplied by `shrink`. If the energy has fallen, the rate
    /// is multiplied by `growth`.
    Adaptive {
        /// Factor below 1.
        shrink: f64,
        /// Factor of at least 1.
        growth: f64,
    },
}

/// What a call of [`StateRule::step`] has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A whole step.
    Step,
    /// A part: the direction is wanted where it has led, and then the next part.
    Part,
}

/// Numbers as many as the free coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// `g = -dF/dv`, the direction down the energy at the present point; zero where a mask holds.
    Down,
    /// A memory slot. It starts at zero for every batch.
    Memory(usize),
}

/// All free coordinates, as a rule sees them: states, or the errors of error-based PC.
///
/// A slot that the rule has not asked for by [`StateRule::slots`] ends the relaxation with an
/// error.
pub trait FreeCoordinates {
    /// `gamma` at this step.
    fn rate(&self) -> f64;

    /// The steps taken so far.
    fn taken(&self) -> usize;

    /// The parts of this step taken so far.
    fn part(&self) -> usize;

    /// The energy at the present point. It is NaN where the rule does not [`StateRule::watches`].
    fn energy(&self) -> f64;

    /// The single numbers that the rule keeps.
    fn numbers(&mut self) -> &mut [f64];

    /// `to <- from`.
    fn copy(&mut self, to: usize, from: Slot);

    /// `to <- to + a from`.
    fn axpy(&mut self, to: usize, a: f64, from: Slot);

    /// `slot <- a slot`.
    fn scale(&mut self, slot: usize, a: f64);

    /// `to <- to * by`, element by element.
    fn multiply(&mut self, to: usize, by: Slot);

    /// `sum a * b` over everything. Where vertices have rates of their own, each vertex's part is
    /// weighed by the factor of its rate: then `a dot(g, d)` is by how much the energy falls, to
    /// first order, along `travel(a, d)`.
    fn dot(&mut self, a: Slot, b: Slot) -> f64;

    /// Calls `job` with the numbers of each input and each output, row by row: element `i` of all
    /// of them is the same coordinate. Outputs, at most four, are read and overwritten; no slot can
    /// be both.
    fn map(&mut self, inputs: &[Slot], outputs: &[usize], job: &mut RowJob<'_>);

    /// Moves every coordinate by `a` times a slot, and times the factor of its vertex's rate.
    fn travel(&mut self, a: f64, along: Slot);
}
