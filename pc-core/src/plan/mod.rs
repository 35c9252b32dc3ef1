//! Which method a schedule is on a network, which choices it honours, and which it refuses.

mod answers;
mod choice;
mod clamps;

use crate::{
    Error, Result,
    network::{Abilities, Network},
    paths,
    rule::StepForm,
    schedule::{
        Bound, Coordinates, ErrorStart, Evaluation, Learning, Linearise, Schedule, Start, Steps,
    },
    topology::Topology,
};

pub(crate) use clamps::{Rules, check};

use choice::{Answer, Choice};

/// The method of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// States move, and predictions follow them.
    Live,
    /// The same level by level; `whole` moves every vertex at every step, `unlevelled` waives the
    /// levels.
    Levels { whole: bool, unlevelled: bool },
    /// Errors move, and everything follows them.
    Errors,
    /// Errors move, and predictions stay.
    Frozen(Way),
}

/// How a frozen relaxation is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// One reverse sweep, whatever the clamps: backprop.
    Backprop,
    /// In closed form, and refused where the clamps do not allow it.
    Required,
    /// In closed form where the clamps allow it; else by the front, where the network can be pulled
    /// vertex by vertex, and by simulation where it cannot.
    Preferred { front: bool },
    /// Only what still changes.
    Front,
    /// Every vertex at every step.
    Simulate,
}

impl Plan {
    /// # Errors
    /// A choice that the method cannot honour, or a network that cannot do what it needs.
    pub(crate) fn new<N: Network>(network: &N, schedule: &Schedule) -> Result<Self> {
        let (topology, can) = (network.topology(), network.abilities());
        let name = schedule.name;
        let refuse = |why: &str| Err(Error::schedule(format!("{name}: {why}")));
        let missing = |what: &str| {
            let message = format!("{name} needs a network that can {what}, and this one cannot");
            Err(Error::unsupported(message))
        };
        let backprop = schedule.steps == Steps::Depth;
        let plan = match (schedule.linearisation, schedule.coordinates, schedule.learning) {
            (Linearise::Live, Coordinates::States, Learning::AtLevel) => Self::Levels {
                whole: schedule.unlevelled || schedule.evaluation == Evaluation::Simulate,
                unlevelled: schedule.unlevelled,
            },
            (Linearise::Live, Coordinates::States, _) => Self::Live,
            (Linearise::Live, Coordinates::Errors, Learning::AtEnd) => Self::Errors,
            (Linearise::Frozen, Coordinates::States, Learning::AtEnd) if backprop => {
                Self::Frozen(Way::Backprop)
            }
            (Linearise::Frozen, Coordinates::States, Learning::AtEnd) => {
                Self::Frozen(way(schedule, can)?)
            }
            (Linearise::Frozen, Coordinates::Errors, _) => {
                return refuse("errors as coordinates are live by nature");
            }
            (_, _, Learning::EveryStep | Learning::AtLevel | Learning::FromSamples { .. }) => {
                return refuse("its weights learn at the end");
            }
        };
        if !can.predict && !matches!(plan, Self::Frozen(_)) {
            return missing("predict at values other than the feed-forward ones");
        }
        if !can.plastic && schedule.learning().moves_weights() {
            return missing("let weights move while states relax");
        }
        if let Some(why) = choice::contradiction(schedule) {
            return refuse(why);
        }
        for choice in Choice::of(schedule) {
            if let Answer::Refused(why) = plan.answer(choice, schedule.learning()) {
                return refuse(why);
            }
        }
        let bounded = topology.vertices().find(|vertex| network.projection(*vertex).is_some());
        let bounds = matches!(schedule.rule.form(), Some(StepForm::Plain | StepForm::Momentum(_)));
        if let (false, Some(vertex)) = (bounds, bounded) {
            let why = "its values have to lie somewhere, where only plain steps and momentum stay";
            return Err(Error::schedule(format!("{name}: {why}")).at(topology.label(vertex)));
        }
        let whole = matches!(plan, Self::Errors | Self::Frozen(Way::Backprop));
        if whole && !can.traverse {
            return missing("be traversed whole");
        }
        if let Self::Levels { .. } = plan {
            levelled(schedule, topology, can)?;
        }
        Ok(plan)
    }

    fn answer(self, choice: Choice, learning: Learning) -> Answer {
        match self {
            Self::Live => answers::live(choice, learning),
            Self::Levels { .. } => answers::levels(choice),
            Self::Errors => answers::errors(choice),
            Self::Frozen(Way::Backprop) => answers::backprop(choice),
            Self::Frozen(_) => answers::frozen(choice),
        }
    }
}

/// How fixed prediction is computed, as far as that is known before the clamps.
fn way(schedule: &Schedule, can: Abilities) -> Result<Way> {
    let name = schedule.name;
    let looked_at = schedule.trace || schedule.observed;
    let watched = looked_at || schedule.tolerance.is_some() || schedule.bound != Bound::Usual;
    let obstacle = if schedule.start != Start::Forward || schedule.errors != ErrorStart::Zero {
        Some("it does not start from a forward pass, with zero errors")
    } else if schedule.rule.form() != Some(StepForm::Plain) {
        Some("its steps are not plain")
    } else if !schedule.rates.are_plain() {
        Some("its rate is not the same for every vertex at every step")
    } else if !(schedule.rate <= 1.0) {
        Some("its rate is above 1")
    } else if watched {
        Some("it is watched step by step")
    } else if !can.edges || !(can.single || can.traverse) {
        Some("the network does not know its edges")
    } else {
        None
    };
    let front = can.single && can.edges && can.repull;
    match (schedule.evaluation, obstacle) {
        (Evaluation::ClosedForm, Some(why)) => {
            Err(Error::schedule(format!("{name}: the closed form does not hold here: {why}")))
        }
        (Evaluation::ClosedForm, None) => Ok(Way::Required),
        (Evaluation::Auto, None) => Ok(Way::Preferred { front }),
        (Evaluation::Front, _) if !front => Err(Error::unsupported(format!(
            "{name} by the front needs a network that can be pulled vertex by vertex, again and \
             again"
        ))),
        (Evaluation::Front, _) => Ok(Way::Front),
        (Evaluation::Auto, Some(_)) if front => Ok(Way::Front),
        (Evaluation::Auto | Evaluation::Simulate, _) => Ok(Way::Simulate),
    }
}

/// What Z-IL needs of a graph.
fn levelled(schedule: &Schedule, topology: &Topology, can: Abilities) -> Result<()> {
    let name = schedule.name;
    if !can.edges || !can.single || !can.repull {
        return Err(Error::unsupported(format!(
            "{name} needs a network that knows its edges and can be pulled vertex by vertex, again \
             and again"
        )));
    }
    if !topology.is_acyclic() {
        return Err(Error::schedule(format!("{name}: a cyclic graph has no levels")));
    }
    if let Some(term) = topology.vertices().find(|vertex| topology.term(*vertex).is_some()) {
        let why = "a term of the energy pulls at vertices of any level, at any step";
        return Err(Error::schedule(format!("{name}: {why}")).at(topology.label(term)));
    }
    if schedule.unlevelled {
        return Ok(());
    }
    if let Some(several) = topology.vertices().find(|vertex| topology.own(*vertex).len() > 1) {
        let why = "a level is read by one prediction of each vertex, and this one has several";
        return Err(Error::schedule(format!("{name}: {why}")).at(topology.label(several)));
    }
    if let Some((parent, child)) = paths::early_cut(topology) {
        let (parent, child) = (topology.label(parent), topology.label(child));
        let why = format!(
            "the way from `{parent}` to `{child}` is cut, so `{parent}` may move before `{child}` \
             is \
             read"
        );
        return Err(Error::schedule(format!("{name}: {why}")).at(parent));
    }
    if let Some((parent, child)) = topology.unlevelled_edge() {
        let (parent, child) = (topology.label(parent), topology.label(child));
        return Err(Error::schedule(format!(
            "{name} is exact only on a levelled graph, and the edge from `{parent}` to `{child}` \
             spans more than one level: relax `graph.levelled()` instead"
        ))
        .at(parent));
    }
    Ok(())
}
