//! The one loop: evaluate, watch, learn where it is due, step.

use crate::{
    Result,
    method::{self, Leap, Method},
    network::Network,
    outcome::Status,
    relaxation::{
        Phase, Relaxation,
        watch::{Verdict, Watch},
    },
    schedule::Learning,
};

/// Where the loop has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// There are gradients to learn from.
    Learn,
    /// A point has been evaluated, and is shown before anything else is made of it.
    Seen,
    /// Nothing is left to do.
    End,
}

impl<N: Network> Relaxation<N> {
    /// Runs to the next learning event, or to the end.
    pub(super) fn go(&mut self, network: &mut N) -> Result<Stop> {
        loop {
            network.step_ends()?;
            let mut leap = Leap::None;
            let mut shown = None;
            match self.phase {
                Phase::Move => {
                    if method::learning_step(&mut self.frame, network)? {
                        self.frame.step += 1;
                        method::touch_all(&mut self.frame, network);
                        return self.teach(network, Phase::Move);
                    }
                    self.method.step(&mut self.frame, network)?;
                    self.frame.step += 1;
                    self.method.evaluate(&mut self.frame, network)?;
                }
                Phase::Start => leap = self.set_out(network)?,
                Phase::Again => self.method.evaluate(&mut self.frame, network)?,
                Phase::Shown(verdict) => shown = Some(verdict),
                Phase::Done | Phase::Idle => return Ok(Stop::End),
            }
            let verdict = match shown {
                Some(verdict) => verdict,
                None => self.look(network),
            };
            if self.frame.schedule.observed && shown.is_none() {
                self.phase = Phase::Shown(verdict);
                return Ok(Stop::Seen);
            }
            match verdict {
                Verdict::Fine => {}
                Verdict::Diverged => return Ok(self.diverge(network)),
                Verdict::Rejected(change) => {
                    self.method.take_back(&mut self.frame, change);
                    self.frame.step += 1;
                    self.phase = Phase::Again;
                    continue;
                }
            }
            let stop = match self.frame.schedule.learning() {
                Learning::AtLevel => self.read_level(network)?,
                _ => self.go_on(network, leap)?,
            };
            if let Some(stop) = stop {
                return Ok(stop);
            }
        }
    }

    /// Before the first step: notes the energy there, where it is wanted, and takes all steps at
    /// once, where that can be had.
    fn set_out(&mut self, network: &mut N) -> Result<Leap> {
        if self.frame.by_errors {
            self.method.evaluate(&mut self.frame, network)?;
            return Ok(Leap::None);
        }
        if self.look(network) == Verdict::Diverged {
            return Ok(Leap::None);
        }
        let leap = self.method.leap(&mut self.frame, network)?;
        if leap != Leap::None {
            self.method.evaluate(&mut self.frame, network)?;
        }
        Ok(leap)
    }

    /// Measures the energy where it is wanted, and judges the point where it is known.
    fn look(&mut self, network: &N) -> Verdict {
        if self.method.reads_levels() || Watch::wants(&self.frame) {
            self.measure(network);
        }
        let known = self.watch.knows(&self.frame);
        if known { self.watch.judge(&mut self.frame) } else { Verdict::Fine }
    }

    fn measure(&mut self, network: &N) {
        if !self.watch.knows(&self.frame) {
            let energy = self.method.measure(&self.frame, network);
            self.watch.note(&self.frame, energy);
        }
    }

    /// Finds forces, the residual, and the gradients if they are due. Returns `None` if a step is
    /// next.
    fn go_on(&mut self, network: &mut N, leap: Leap) -> Result<Option<Stop>> {
        let last = self.frame.is_last();
        let tolerance = self.frame.schedule.tolerance;
        let infers = self.frame.infers;
        let learning = self.frame.schedule.learning();
        let teaches = !infers && learning.is_due(self.frame.step, self.frame.steps);
        if leap != Leap::Learned && (!last || teaches || tolerance.is_some()) {
            self.method.pull(&mut self.frame, network, teaches)?;
        }
        let converged = tolerance.is_some_and(|tolerance| {
            let residual = self.frame.point.gap(network, &self.frame.at, self.frame.rate);
            self.watch.converges(residual, tolerance, self.frame.point.drive)
        });
        if converged && self.frame.measures() {
            self.measure(network);
            if !self.watch.energy.total().is_finite() {
                return Ok(Some(self.diverge(network)));
            }
        }
        if !(last || converged) {
            self.method.head_for(&mut self.frame, network)?;
            self.phase = Phase::Move;
            return if teaches { self.teach(network, Phase::Move).map(Some) } else { Ok(None) };
        }
        let at_end = !(learning.moves_weights() || infers);
        if at_end && leap != Leap::Learned {
            self.frame.learn(network)?;
        }
        // While weights are still those that the errors were found with.
        self.frame.find_forces(network)?;
        if !at_end {
            if teaches && learning != Learning::EveryStep {
                return self.teach(network, Phase::Done).map(Some);
            }
            self.phase = Phase::Done;
            return Ok(Some(Stop::End));
        }
        self.teach(network, Phase::Done).map(Some)
    }

    /// The weights of one level, and the forces on the next.
    fn read_level(&mut self, network: &mut N) -> Result<Option<Stop>> {
        let Method::Levels(levels) = &mut self.method else { return Ok(Some(Stop::End)) };
        if !levels.pull(&mut self.frame, network)? {
            return Ok(Some(self.diverge(network)));
        }
        let last = self.frame.is_last();
        self.phase = if last { Phase::Done } else { Phase::Move };
        self.frame.forces.set_ready(last);
        let due = (!self.merge || last) && !self.frame.infers;
        if due && levels.hand_out(&mut self.frame, self.merge) {
            network.constrain(&mut self.frame.gradients);
            return Ok(Some(Stop::Learn));
        }
        Ok(last.then_some(Stop::End))
    }

    /// Hands out gradients, unless some number in them is not finite.
    fn teach(&mut self, network: &N, next: Phase) -> Result<Stop> {
        network.constrain(&mut self.frame.gradients);
        if self.frame.measures() && !self.frame.gradients.is_finite() {
            network.failure()?;
            return Ok(self.diverge(network));
        }
        self.phase = next;
        Ok(Stop::Learn)
    }

    /// Ends without gradients, the energy being what it is.
    fn diverge(&mut self, network: &N) -> Stop {
        self.measure(network);
        self.watch.status = Status::Diverged;
        self.phase = Phase::Done;
        self.frame.gradients.clear();
        self.frame.forces.set_ready(false);
        Stop::End
    }
}
