//! Which way a schedule is computed on a network, and what is refused.

use crate::{
    Error, Result,
    network::Network,
    schedule::{Coordinates, Evaluation, Learning, Linearise, Schedule, Start, StepRule, Steps},
};

/// The way a relaxation is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Plan {
    /// Live states, every vertex at every step.
    Live,
    /// Live states of a levelled graph, the level that learns and the one that moves.
    LiveLevels,
    /// Errors as coordinates.
    Errors,
    /// Frozen, every vertex at every step.
    Simulate,
    /// Frozen, only what still changes.
    Front,
    /// Frozen, in closed form; `sweep` where one reverse sweep does it is decided with the clamps.
    Layers {
        /// Whether the user asked for this, so that not being able to is an error.
        required: bool,
    },
    /// Backprop.
    Sweep,
}

impl Plan {
    pub(super) fn new<N: Network>(network: &N, schedule: &Schedule) -> Result<Self> {
        let can = network.abilities();
        let topology = network.topology();
        let name = schedule.name();
        let missing = |what: &str| {
            Err(Error::unsupported(format!(
                "{name} needs a network that can {what}, and this one cannot"
            )))
        };
        let refuse = |why: &str| Err(Error::schedule(format!("{name}: {why}")));

        if schedule.learning == Learning::EveryStep && !can.plastic {
            return missing("let weights move while states relax");
        }
        if schedule.start == Start::Forward {
            topology.forward_order().map_err(|error| {
                Error::schedule(format!(
                    "{name} starts from a forward pass, but {error}; start it \
                    elsewhere, with `Schedule::starting`"
                ))
            })?;
        }
        match (schedule.linearisation, schedule.coordinates) {
            (Linearise::Live, Coordinates::States) => {
                if !can.predict {
                    return missing("predict at values other than the feed-forward ones");
                }
                if schedule.evaluation == Evaluation::ClosedForm {
                    return refuse("there is no closed form while predictions are live");
                }
                if schedule.learning == Learning::AtLevel {
                    return Self::levels(network, schedule);
                }
                if schedule.evaluation == Evaluation::Front {
                    return refuse(
                        "a front exists only while predictions are frozen, or level by level",
                    );
                }
                if matches!(schedule.rule, StepRule::Adaptive { .. })
                    && schedule.learning == Learning::EveryStep
                {
                    return refuse("an adaptive step needs an energy that only states change");
                }
                Ok(Plan::Live)
            }
            (Linearise::Live, Coordinates::Errors) => {
                if !can.traverse || !can.predict {
                    return missing("traverse the whole net with offsets");
                }
                if !topology.is_acyclic() {
                    return refuse(
                        "errors are coordinates only where the graph has an order, and this one is \
                         cyclic",
                    );
                }
                if schedule.start != Start::Forward {
                    return refuse("it starts with zero errors, which is the forward pass");
                }
                if schedule.learning != Learning::AtEnd {
                    return refuse("its weights learn at the end");
                }
                if let Some(vertex) = topology.vertices().find(|&v| topology.own(v).len() > 1) {
                    return refuse(
                        "errors are coordinates only where each vertex has one prediction",
                    )
                    .map_err(|e: Error| e.at(topology.label(vertex)));
                }
                Ok(Plan::Errors)
            }
            (Linearise::Frozen, Coordinates::Errors) => {
                refuse("errors as coordinates are live by nature")
            }
            (Linearise::Frozen, Coordinates::States) => Self::frozen(network, schedule),
        }
    }

    fn levels<N: Network>(network: &N, schedule: &Schedule) -> Result<Self> {
        let (topology, can, name) = (network.topology(), network.abilities(), schedule.name());
        if !can.edges || !can.single || !can.repull {
            return Err(Error::unsupported(format!(
                "{name} needs a network that knows its edges and can be pulled vertex by vertex, \
                 again and again"
            )));
        }
        if !topology.is_acyclic() {
            return Err(Error::schedule(format!("{name}: a cyclic graph has no levels")));
        }
        if schedule.start != Start::Forward
            || schedule.rule != StepRule::Plain
            || schedule.rate != 1.0
        {
            return Err(Error::schedule(format!(
                "{name}: it is exact only from a forward start, with plain steps at rate 1"
            )));
        }
        if schedule.unlevelled {
            return Ok(Plan::Live);
        }
        if let Some((parent, child)) = topology.unlevelled_edge() {
            let (parent, child) = (topology.label(parent), topology.label(child));
            return Err(Error::schedule(format!(
                "{name} is exact only on a levelled graph, and the edge from `{parent}` to \
                 `{child}` spans more than one level: relax `graph.levelled()` instead"
            ))
            .at(parent));
        }
        Ok(if schedule.evaluation == Evaluation::Simulate { Plan::Live } else { Plan::LiveLevels })
    }

    fn frozen<N: Network>(network: &N, schedule: &Schedule) -> Result<Self> {
        let (topology, can, name) = (network.topology(), network.abilities(), schedule.name());
        let refuse = |why: &str| Err(Error::schedule(format!("{name}: {why}")));
        if schedule.learning != Learning::AtEnd {
            return refuse("with frozen predictions weights learn at the end");
        }
        if schedule.temperature.is_some() {
            return refuse("noise needs live predictions");
        }
        if matches!(schedule.rule, StepRule::Adaptive { .. }) {
            return refuse(
                "a frozen relaxation does not descend an energy, so its step cannot adapt to one",
            );
        }
        if schedule.steps == Steps::Depth {
            if !can.traverse {
                return Err(Error::unsupported(format!(
                    "{name} needs a network that can be traversed whole, and this one cannot"
                )));
            }
            if !topology.is_acyclic() {
                return refuse("a cyclic graph has no reverse sweep");
            }
            return Ok(Plan::Sweep);
        }
        let forward = schedule.start == Start::Forward;
        let watched = schedule.trace
            || schedule.stop.tolerance.is_some()
            || schedule.stop.divergence.is_some();
        let obstacle = if !topology.is_acyclic() {
            Some("the graph is cyclic")
        } else if !forward {
            Some("it does not start from a forward pass, with zero errors")
        } else if schedule.rule != StepRule::Plain {
            Some("its steps are not plain")
        } else if !(schedule.rate <= 1.0) {
            Some("its rate is above 1")
        } else if watched {
            Some("it is watched step by step")
        } else if topology.vertices().any(|v| topology.own(v).len() > 1) {
            Some("a vertex has several predictions")
        } else if !can.edges || !(can.single || can.traverse) {
            Some("the network does not know its edges")
        } else {
            None
        };
        match (schedule.evaluation, obstacle) {
            (Evaluation::ClosedForm, Some(why)) => {
                refuse(&format!("the closed form does not hold here: {why}"))
            }
            (Evaluation::ClosedForm, None) => Ok(Plan::Layers { required: true }),
            (Evaluation::Auto, None) => Ok(Plan::Layers { required: false }),
            (Evaluation::Front, _) if !can.single || !can.edges || !can.repull => {
                Err(Error::unsupported(format!(
                    "{name} by the front needs a network that can be pulled vertex by vertex, \
                     again and again"
                )))
            }
            (Evaluation::Front, _) => Ok(Plan::Front),
            (Evaluation::Auto, Some(_)) if can.single && can.edges && can.repull => Ok(Plan::Front),
            (Evaluation::Auto | Evaluation::Simulate, _) => Ok(Plan::Simulate),
        }
    }

    pub(super) fn is_frozen(self) -> bool {
        matches!(self, Plan::Simulate | Plan::Front | Plan::Layers { .. } | Plan::Sweep)
    }

    pub(super) fn describe(self) -> &'static str {
        match self {
            Plan::Live => "live simulation",
            Plan::LiveLevels => "live, level by level",
            Plan::Errors => "forward and reverse traversals",
            Plan::Simulate => "frozen simulation",
            Plan::Front => "frozen front",
            Plan::Layers { .. } => "closed form",
            Plan::Sweep => "reverse sweep",
        }
    }
}
