//! What is looked at on the way: energies, the bound on them, the tolerance, the adaptive rate.

use crate::{
    network::Network,
    outcome::{Energy, Status},
    relaxation::Frame,
    rule::StepForm,
    schedule::{Bound, Schedule},
};

/// What a point turns out to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// To go on from.
    Fine,
    /// The energy has not fallen, and this much of the last step is to be added to take part of it
    /// back.
    Rejected(f64),
    /// A number is not finite, or the energy has passed its bound.
    Diverged,
}

/// What has been seen of one batch.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) status: Status,
    pub(super) energy: Energy,
    pub(super) residual: Option<f64>,
    pub(super) trace: Vec<f64>,
    /// The energy at the start, where it is compared with.
    first: Option<f64>,
    /// The energy at the last point that an adaptive rule went on from.
    accepted: f64,
    /// The step at which the energy was last measured.
    measured_at: Option<usize>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            status: Status::Spent,
            energy: Energy::default(),
            residual: None,
            trace: Vec::new(),
            first: None,
            accepted: f64::INFINITY,
            measured_at: None,
        }
    }

    pub(super) fn begin(&mut self) {
        let mut trace = std::mem::take(&mut self.trace);
        trace.clear();
        *self = Self { trace, ..Self::new() };
    }

    /// Whether the energy is wanted at this step.
    pub(super) fn wants<N: Network>(frame: &Frame<N>) -> bool {
        let adaptive = matches!(frame.form, Some(StepForm::Adaptive { .. }));
        let every = adaptive || frame.schedule.is_watched();
        let first = frame.step == 0 && usual_bound(frame).is_some();
        every || first || (frame.is_last() && frame.measures())
    }

    /// Notes the energy of this step.
    pub(super) fn note<N: Network>(&mut self, frame: &Frame<N>, energy: Energy) {
        if self.measured_at.replace(frame.step) == Some(frame.step) {
            return;
        }
        self.energy = energy;
        self.first.get_or_insert(energy.total());
        if frame.schedule.trace {
            self.trace.push(energy.total());
        }
    }

    /// Whether the energy of this step is known.
    pub(super) fn knows<N: Network>(&self, frame: &Frame<N>) -> bool {
        self.measured_at == Some(frame.step)
    }

    /// Judges the point from the energy noted, and lets an adaptive rate grow or shrink.
    pub(super) fn judge<N: Network>(&mut self, frame: &mut Frame<N>) -> Verdict {
        let total = self.energy.total();
        if let Some(StepForm::Adaptive { shrink, growth }) = frame.form
            && frame.step > 0
        {
            // Written so that a NaN is no fall.
            if !(total < self.accepted) && !frame.is_last() {
                let shorter = frame.rate * shrink;
                let change = shorter - frame.rate;
                frame.rate = shorter;
                return Verdict::Rejected(change);
            }
            frame.rate *= growth;
        }
        self.accepted = total;
        let bound = match frame.schedule.bound {
            Bound::Beyond(factor) => Some(factor),
            Bound::Usual if frame.is_last() => usual_bound(frame),
            Bound::Usual | Bound::Lifted => None,
        };
        // From an energy of zero anything is infinitely more: weights that decay, say. Learned
        // precisions and terms may start below zero.
        let first = self.first.map(f64::abs).filter(|first| *first > 0.0);
        let beyond = bound.zip(first).is_some_and(|(factor, first)| total > factor * first);
        if beyond || !total.is_finite() { Verdict::Diverged } else { Verdict::Fine }
    }

    /// Notes the residual. Returns true if it is within the tolerance, which is relative to the
    /// norm of the drive unless that is zero.
    pub(super) fn converges(&mut self, residual: f64, tolerance: f64, drive: f64) -> bool {
        self.residual = Some(residual);
        let scale = if drive > 0.0 { drive } else { 1.0 };
        let converged = residual <= tolerance * scale;
        if converged {
            self.status = Status::Converged;
        }
        converged
    }
}

/// The usual bound, where relaxation descends an energy: while predictions are live, and without
/// noise, which raises it.
fn usual_bound<N: Network>(frame: &Frame<N>) -> Option<f64> {
    let descends = frame.descends && frame.schedule.noise.is_none();
    (descends && frame.schedule.bound == Bound::Usual).then_some(Schedule::DIVERGED)
}
