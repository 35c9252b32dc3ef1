//! What each method says to each choice.

use crate::{
    plan::choice::{Answer, Choice},
    schedule::{Evaluation, Learning, Start},
};

/// What live states say to each choice.
pub(super) fn live(choice: Choice, learning: Learning) -> Answer {
    let every_step = learning == Learning::EveryStep;
    match choice {
        Choice::Start(_)
        | Choice::Momentum
        | Choice::Tolerance
        | Choice::Bound
        | Choice::Unbounded
        | Choice::Noise
        | Choice::Mean
        | Choice::Trace
        | Choice::Observed
        | Choice::VertexRate
        | Choice::RateByPrecision
        | Choice::Pace
        | Choice::Evaluation(Evaluation::Auto | Evaluation::Simulate) => Answer::Honoured,
        Choice::Adaptive if every_step => {
            Answer::Refused("an adaptive step needs an energy that only states change")
        }
        Choice::Adaptive => Answer::Honoured,
        Choice::Unrelaxed if every_step => {
            Answer::Refused("weights learn at its steps: without any they learn nothing")
        }
        Choice::Unrelaxed => Answer::Honoured,
        Choice::Evaluation(Evaluation::ClosedForm) => {
            Answer::Refused("there is no closed form while predictions are live")
        }
        Choice::Evaluation(Evaluation::Front) => {
            Answer::Refused("a front exists only while predictions are frozen, or level by level")
        }
        Choice::Unlevelled => Answer::Refused("it asks for no levels, so none have to be waived"),
        Choice::Unmeasured => Answer::Refused("its energy is what tells whether it has diverged"),
    }
}

/// What Z-IL says to each choice.
pub(super) fn levels(choice: Choice) -> Answer {
    match choice {
        Choice::Mean
        | Choice::Trace
        | Choice::Observed
        | Choice::Unrelaxed
        | Choice::Unlevelled
        | Choice::Start(Start::Forward)
        | Choice::Evaluation(Evaluation::Auto | Evaluation::Simulate | Evaluation::Front) => {
            Answer::Honoured
        }
        Choice::Start(_)
        | Choice::Momentum
        | Choice::Adaptive
        | Choice::VertexRate
        | Choice::RateByPrecision
        | Choice::Pace
        | Choice::Noise => {
            Answer::Refused("it is exact only from a forward start, with plain steps at rate 1")
        }
        Choice::Evaluation(Evaluation::ClosedForm) => {
            Answer::Refused("there is no closed form while predictions are live")
        }
        Choice::Tolerance => {
            Answer::Refused("it reads each level at its step, and does not wait for an equilibrium")
        }
        Choice::Bound | Choice::Unbounded => Answer::Refused(
            "its energy is that of each level at its step, which is not meant to fall",
        ),
        Choice::Unmeasured => Answer::Refused("its energy is found with the levels"),
    }
}

/// What errors as coordinates say to each choice.
pub(super) fn errors(choice: Choice) -> Answer {
    match choice {
        Choice::Momentum
        | Choice::Adaptive
        | Choice::Tolerance
        | Choice::Bound
        | Choice::Unbounded
        | Choice::Noise
        | Choice::Mean
        | Choice::Trace
        | Choice::Observed
        | Choice::VertexRate
        | Choice::RateByPrecision
        | Choice::Pace
        | Choice::Unrelaxed
        | Choice::Start(Start::Forward)
        | Choice::Evaluation(Evaluation::Auto) => Answer::Honoured,
        Choice::Start(_) => {
            Answer::Refused("it starts with zero errors, which is the forward pass")
        }
        Choice::Evaluation(_) => {
            Answer::Refused("it goes by whole traversals; there is no other evaluation to choose")
        }
        Choice::Unlevelled => Answer::Refused("it asks for no levels, so none have to be waived"),
        Choice::Unmeasured => Answer::Refused("its energy is what tells whether it has diverged"),
    }
}

/// What backprop says to each choice.
pub(super) fn backprop(choice: Choice) -> Answer {
    match choice {
        Choice::Mean
        | Choice::Unmeasured
        | Choice::Start(Start::Forward)
        | Choice::Evaluation(Evaluation::Auto) => Answer::Honoured,
        Choice::Start(_) => Answer::Refused("it is one forward pass and one reverse sweep"),
        Choice::Unrelaxed
        | Choice::Momentum
        | Choice::Adaptive
        | Choice::Tolerance
        | Choice::Bound
        | Choice::Unbounded
        | Choice::Noise
        | Choice::Trace
        | Choice::Observed
        | Choice::VertexRate
        | Choice::RateByPrecision
        | Choice::Pace
        | Choice::Evaluation(_) => Answer::Refused("it takes no steps: it is one reverse sweep"),
        Choice::Unlevelled => Answer::Refused("it asks for no levels, so none have to be waived"),
    }
}

/// What fixed prediction says to each choice.
pub(super) fn frozen(choice: Choice) -> Answer {
    match choice {
        Choice::Start(_)
        | Choice::Evaluation(_)
        | Choice::Momentum
        | Choice::Tolerance
        | Choice::Bound
        | Choice::Mean
        | Choice::Trace
        | Choice::Observed
        | Choice::VertexRate
        | Choice::RateByPrecision
        | Choice::Pace
        | Choice::Unrelaxed
        | Choice::Unmeasured => Answer::Honoured,
        Choice::Adaptive => Answer::Refused(
            "a frozen relaxation does not descend an energy, so its step cannot adapt to one",
        ),
        Choice::Unbounded => Answer::Refused(
            "a frozen relaxation does not descend an energy, so there is no usual bound to lift",
        ),
        Choice::Noise => Answer::Refused("noise needs live predictions"),
        Choice::Unlevelled => Answer::Refused("it asks for no levels, so none have to be waived"),
    }
}
