//! Whether clamps fit their vertices, and the way they are relaxed.

use crate::{
    Error, Result,
    clamp::{Clamp, Clamps, Role},
    network::Network,
    tensor::Tensor,
    topology::{Topology, VertexId},
};

/// What a method asks of clamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rules {
    /// States move by steps: any clamp will do.
    States,
    /// Predictions are frozen.
    Frozen,
    /// Each vertex starts at its prediction and its error is found once: backprop.
    Once,
    /// The same, level by level: Z-IL.
    Levels,
    /// Errors are the coordinates.
    Errors,
}

/// # Errors
/// A clamp that does not fit its vertex, the network or the rules; a vertex that nothing predicts
/// and nothing clamps.
pub(crate) fn check<N: Network>(
    network: &N,
    clamps: &Clamps<N::Tensor>,
    rules: Rules,
    forward: bool,
) -> Result<()> {
    let topology = network.topology();
    let finite = N::Tensor::all_finite(clamps.iter().flat_map(|(_, clamp)| clamp.tensors()));
    for (vertex, clamp) in clamps.iter() {
        if vertex.index() >= topology.len() {
            let message = format!("vertex {} is clamped but not in this network", vertex.index());
            return Err(Error::clamp(message));
        }
        let name = topology.label(vertex);
        if !finite && clamp.tensors().any(|tensor| !tensor.is_finite()) {
            network.failure()?;
            let message = "its clamp holds a number that is not finite";
            return Err(Error::not_finite(message).at(name));
        }
        if let Some(why) = unfit(topology, vertex, clamp, rules, forward) {
            return Err(Error::clamp(why).at(name));
        }
    }
    moving(network, clamps, rules)?;
    let loose = |v: &VertexId| topology.is_root(*v) && clamps.get(*v).is_none();
    match topology.vertices().find(loose) {
        Some(vertex) => Err(Error::clamp(
            "nothing predicts it and nothing clamps it: hold it, or let it start somewhere \
             (`Clamps::free`)",
        )
        .at(topology.label(vertex))),
        None => Ok(()),
    }
}

/// # Errors
/// A vertex that moves and has an energy or a projection that the rules know nothing of; a loss
/// that would take the place of an energy.
fn moving<N: Network>(network: &N, clamps: &Clamps<N::Tensor>, rules: Rules) -> Result<()> {
    let topology = network.topology();
    for vertex in topology.vertices() {
        let clamp = clamps.get(vertex);
        let moves = Role::of(clamp).moves();
        let kind =
            topology.own(vertex).iter().find_map(|id| Some(network.energy(*id)?.energy.kind()));
        let projection = network.projection(vertex);
        let why = match (clamp, kind, projection) {
            (Some(Clamp::Driven { .. }), Some(kind), _) => format!(
                "its prediction has a {kind} energy, whose place a loss would take: hold it instead"
            ),
            (Some(Clamp::PartIntervened { .. }), Some(kind), _) => format!(
                "a part of it is intervened on, and its prediction has a {kind} energy, of which \
                 no part can be cut: intervene on all of it"
            ),
            (_, Some(kind), _) if moves && rules != Rules::States => format!(
                "it moves, and its prediction has a {kind} energy, which only live states follow: \
                 hold it, or relax live states"
            ),
            (_, _, Some(projection)) if moves && rules != Rules::States => format!(
                "it moves, and stays in a {}, which only live states can: hold it, or relax live \
                 states",
                projection.kind()
            ),
            _ => continue,
        };
        return Err(Error::clamp(why).at(topology.label(vertex)));
    }
    Ok(())
}

/// Why a clamp does not fit.
fn unfit<T>(
    topology: &Topology,
    vertex: VertexId,
    clamp: &Clamp<T>,
    rules: Rules,
    forward: bool,
) -> Option<String> {
    let own = topology.own(vertex).len();
    let childless = topology.uses(vertex).is_empty();
    let why = match (clamp, rules) {
        _ if topology.term(vertex).is_some() => {
            "it is a term of the energy, so it is no state to clamp"
        }
        (Clamp::Free(_), Rules::Frozen | Rules::Once | Rules::Levels) if own == 0 => {
            "it is free and nothing predicts it, so only live predictions can infer it: hold it, \
             or relax with live predictions"
        }
        (Clamp::Free(_), Rules::Errors) if own == 0 => {
            "it is free and nothing predicts it, so it has no error to move: relax states instead"
        }
        (Clamp::Masked { .. } | Clamp::PartIntervened { .. }, Rules::Errors) => {
            "it is partly held, so its error is no free coordinate: relax states instead"
        }
        (
            Clamp::Free(_) | Clamp::Masked { .. } | Clamp::PartIntervened { .. },
            Rules::Once | Rules::Levels,
        ) => {
            "it starts elsewhere than at its prediction, so its error cannot be found in one go: \
             relax by fixed prediction or with live states instead"
        }
        (Clamp::Held(_) | Clamp::Nudged { .. }, Rules::Levels) if own > 0 && !childless => {
            "it is held between the levels, so errors would set out from more than one: \
             intervene on it, or relax by another rule"
        }
        (Clamp::Nudged { .. }, _) if !forward => {
            "a nudge counts from the feed-forward prediction, so the schedule must start from a \
             forward pass"
        }
        (Clamp::Nudged { beta, .. }, _) if !beta.is_finite() => {
            return Some(format!("the strength of its nudge is {beta}"));
        }
        (Clamp::Driven { lambda, .. }, _) if !lambda.is_finite() => {
            return Some(format!("the strength of its loss is {lambda}"));
        }
        (Clamp::Nudged { .. } | Clamp::Driven { .. }, _) if own == 0 => {
            "nothing predicts it, so there is no prediction to nudge or to take a loss of"
        }
        (Clamp::Driven { .. }, _) if !childless => {
            "a loss drives it, but it has children: give it an identity output of its own \
             (`GraphBuilder::output`)"
        }
        (Clamp::Driven { .. }, _) if own > 1 => "a loss drives it, but it has several predictions",
        _ => return None,
    };
    Some(why.to_owned())
}
