//! The ways to relax, behind one set of questions.

mod errors;
mod forces;
mod frame;
mod frozen;
mod fuse;
mod leap;
mod levels;
mod live;

use crate::{
    Result,
    network::Network,
    outcome::Energy,
    plan::{Plan, Rules, Way},
    rule::Taken,
    tensor::Tensor,
};

use frozen::Frozen;
use levels::Levels;

pub(crate) use forces::Forces;
pub(crate) use frame::{Frame, Which};
pub(crate) use fuse::learning_step;
pub(crate) use live::touch_all;

/// Many steps at once, where nobody looks at each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leap {
    /// None were taken.
    None,
    /// All were, and the errors are those at the end.
    Taken,
    /// All were, and the gradients have been found with them.
    Learned,
}

/// A way to relax, with what it keeps for itself.
#[derive(Debug)]
pub(crate) enum Method<T> {
    /// States move, and predictions follow them.
    Live,
    /// The same level by level.
    Levels(Levels<T>),
    /// Errors move, and everything follows them. By prediction, room for which of them drive.
    Errors(Vec<bool>),
    /// Errors move, and predictions stay.
    Frozen(Frozen<T>),
}

impl<T: Tensor> Method<T> {
    pub(crate) fn new<N: Network<Tensor = T>>(plan: Plan, network: &N) -> Self {
        let predictions = network.topology().predictions().len();
        match plan {
            Plan::Live => Self::Live,
            Plan::Levels { whole, unlevelled } => {
                Self::Levels(Levels::new(whole, unlevelled, network))
            }
            Plan::Errors => Self::Errors(vec![false; predictions]),
            Plan::Frozen(way) => Self::Frozen(Frozen::new(way, predictions)),
        }
    }

    /// How it is computed, in words.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Live => "live simulation",
            Self::Levels(levels) if levels.whole => "live simulation",
            Self::Levels(_) => "live, level by level",
            Self::Errors(_) => "forward and reverse traversals",
            Self::Frozen(frozen) => frozen.describe(),
        }
    }

    /// What it asks of clamps.
    pub(crate) fn rules(&self) -> Rules {
        match self {
            Self::Live => Rules::States,
            Self::Levels(levels) if levels.unlevelled => Rules::States,
            Self::Levels(_) => Rules::Levels,
            Self::Errors(_) => Rules::Errors,
            Self::Frozen(frozen) if frozen.way == Way::Backprop => Rules::Once,
            Self::Frozen(_) => Rules::Frozen,
        }
    }

    /// Whether each level's energy is read at its step.
    pub(crate) fn reads_levels(&self) -> bool {
        matches!(self, Self::Levels(_))
    }

    pub(crate) fn begin(&mut self) {
        if let Self::Levels(levels) = self {
            levels.begin();
        }
    }

    /// All steps at once, where there is a way and nothing watches them.
    pub(crate) fn leap<N: Network<Tensor = T>>(
        &mut self,
        frame: &mut Frame<N>,
        network: &mut N,
    ) -> Result<Leap> {
        match self {
            Self::Live => {
                if !fuse::steps(frame, network, true)? {
                    return Ok(Leap::None);
                }
                live::touch_all(frame, network);
                Ok(Leap::Taken)
            }
            Self::Frozen(frozen) => frozen.leap(frame, network),
            Self::Levels(_) | Self::Errors(_) => Ok(Leap::None),
        }
    }

    /// Finds the errors after a step.
    pub(crate) fn evaluate<N: Network<Tensor = T>>(
        &mut self,
        frame: &mut Frame<N>,
        network: &mut N,
    ) -> Result<()> {
        match self {
            Self::Live => live::evaluate(frame, network),
            Self::Levels(levels) => levels.evaluate(frame, network),
            Self::Errors(_) => errors::evaluate(frame, network),
            // They are the states.
            Self::Frozen(_) => Ok(()),
        }
    }

    /// The energy at the current errors.
    pub(crate) fn measure<N: Network<Tensor = T>>(
        &mut self,
        frame: &Frame<N>,
        network: &N,
    ) -> Energy {
        match self {
            Self::Levels(levels) => levels.measure(frame, network),
            _ => {
                let mut energy = frame.point.energy(network.topology());
                energy.internal += frame.point.projection_energy(network);
                energy
            }
        }
    }

    /// Finds the forces on the free states, and the parameter gradients of the same errors where
    /// it `learns`. Errors as coordinates need these forces for the residual alone.
    pub(crate) fn pull<N: Network<Tensor = T>>(
        &mut self,
        frame: &mut Frame<N>,
        network: &mut N,
        learns: bool,
    ) -> Result<()> {
        match self {
            Self::Live | Self::Levels(_) => live::pull(frame, network, learns),
            Self::Errors(_) if frame.schedule.tolerance.is_none() => Ok(()),
            Self::Errors(_) => errors::pull_states(frame, network),
            Self::Frozen(frozen) => frozen.pull(frame, network),
        }
    }

    /// Finds what the next step goes by, where that is something else than the forces.
    pub(crate) fn head_for<N: Network<Tensor = T>>(
        &mut self,
        frame: &mut Frame<N>,
        network: &mut N,
    ) -> Result<()> {
        if let Self::Errors(driven) = self { errors::pull(frame, network, driven) } else { Ok(()) }
    }

    /// One synchronous step, with the evaluations that come within it.
    pub(crate) fn step<N: Network<Tensor = T>>(
        &mut self,
        frame: &mut Frame<N>,
        network: &mut N,
    ) -> Result<()> {
        loop {
            let taken = match self {
                Self::Live => live::step(frame, network)?,
                Self::Errors(_) => errors::step(frame, network)?,
                Self::Levels(levels) => {
                    levels.step(frame, network);
                    return Ok(());
                }
                Self::Frozen(frozen) => {
                    frozen.step(frame, network);
                    return Ok(());
                }
            };
            if taken == Taken::Step {
                return Ok(());
            }
            self.evaluate(frame, network)?;
            match self {
                Self::Errors(driven) => errors::pull(frame, network, driven)?,
                _ => live::pull(frame, network, false)?,
            }
        }
    }

    /// Adds `change` times the direction of the last step.
    pub(crate) fn take_back<N: Network<Tensor = T>>(&self, frame: &mut Frame<N>, change: f64) {
        match self {
            Self::Errors(_) => errors::take_back(frame, change),
            Self::Live | Self::Levels(_) | Self::Frozen(_) => live::take_back(frame, change),
        }
    }
}
