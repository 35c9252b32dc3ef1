//! The method of errors as coordinates: forward with offsets, reverse from the drives.

use crate::{
    Result,
    clamp::Role,
    method::{Frame, Which},
    network::{Drives, Network},
    point::{Point, VertexPoint},
    rule::Taken,
    tensor::Tensor,
    topology::PredictionId,
};

/// Forward with the errors as offsets; then the errors of held and driven vertices follow from
/// where it arrives.
pub(crate) fn evaluate<N: Network>(frame: &mut Frame<N>, network: &mut N) -> Result<()> {
    let learns = frame.learns_here();
    let sweeps = !learns && !frame.is_last() && frame.schedule.tolerance.is_none();
    frame.forward(network, learns, sweeps.then_some(&[]))?;
    if frame.point.order.len() < network.topology().predictions().len() {
        // The forward pass has set vertices by one prediction each; there are others.
        network.refer(&frame.point.state, frame.settings, true, &mut frame.at)?;
    }
    let topology = network.topology();
    for (index, prediction) in topology.predictions().iter().enumerate() {
        let of = prediction.of.index();
        let id = PredictionId::new(index);
        let Some(predicted) = network.prediction(&frame.at, id) else { continue };
        let point = &mut frame.point;
        let sets = point.initial[index];
        let still = sets && point.free[of] && !point.state.moved[of];
        point.active[index] = point.counts[index] && !still;
        let driven = point.roles[of].drive(predicted, &mut point.errors[index]);
        if driven.map_err(|error| error.at(topology.label(prediction.of)))? {
            continue;
        }
        let error = &mut point.errors[index];
        match &point.roles[of] {
            Role::Intervened => error.fill(0.0),
            Role::Free if sets => error.copy_from(&point.state.displacements[of]),
            _ => error.set_difference(&point.state.values[of], predicted),
        }
    }
    frame.point.evaluate_terms(network, &frame.at)?;
    if frame.step == 0 && frame.memory.part == 0 {
        frame.point.find_drive(network);
    }
    Ok(())
}

/// Finds the forces on the states, whose gap to the errors is the residual.
pub(crate) fn pull_states<N: Network>(frame: &mut Frame<N>, network: &mut N) -> Result<()> {
    network.forget_pulls(&mut frame.at);
    frame.pull(network, Which::Active, true, false)
}

/// Finds what the step goes by: one reverse traversal from the errors of held and driven vertices.
pub(crate) fn pull<N: Network>(
    frame: &mut Frame<N>,
    network: &mut N,
    driven: &mut Vec<bool>,
) -> Result<()> {
    frame.renew(network)?;
    let topology = network.topology();
    frame.point.weigh(topology);
    let point = &frame.point;
    driven.clear();
    let each = topology.predictions().iter().enumerate();
    driven.extend(each.map(|(index, p)| {
        let sets = point.initial[index] && point.free[p.of.index()];
        // What is intervened on drives too: by zero.
        !sets
    }));
    let drives = Drives {
        order: &point.order,
        cotangents: point.cotangents(),
        driven,
        forces: &point.free,
        weights: &[],
        arrivals: true,
    };
    frame.pulled = true;
    network.reverse(&point.state, drives, None, &mut frame.at)
}

/// `e_i += gamma (-pi_i e_i + delta_i)` for every free vertex, with `delta` from the traversal.
pub(crate) fn step<N: Network>(frame: &mut Frame<N>, network: &N) -> Result<Taken> {
    let topology = network.topology();
    let momentum = frame.momentum();
    reach(frame, network);
    for vertex in topology.vertices() {
        let index = vertex.index();
        if !frame.point.free[index] {
            continue;
        }
        let rate = frame.rate_of(vertex);
        let force = network.force(&frame.at, vertex);
        let setting = frame.point.setting(topology, vertex);
        let precision = setting.map(|id| topology.at(id).precision);
        let Point { state, vertices, .. } = &mut frame.point;
        let VertexPoint { velocity, scratch, .. } = &mut vertices[index];
        // A rule of no form finds its direction in the scratch.
        let ruled = velocity.is_none();
        let Some(velocity) = velocity.as_mut().or(scratch.as_mut()) else { continue };
        let displacement = &mut state.displacements[index];
        if ruled {
            velocity.fill(0.0);
        } else {
            velocity.scale(momentum);
        }
        velocity.axpy(-precision.unwrap_or(1.0), displacement);
        if let Some(force) = force {
            velocity.axpy(1.0, force);
        }
        if ruled {
            continue;
        }
        displacement.axpy(rate, velocity);
        if frame.add_noise(vertex) {
            frame.point.state.moved[index] = true;
        }
    }
    if frame.form.is_none() { frame.follow_rule(network) } else { Ok(Taken::Step) }
}

/// Marks what the traversal has sent errors to: all that lies above an error, in whatever depth.
fn reach<N: Network>(frame: &mut Frame<N>, network: &N) {
    let topology = network.topology();
    let Point { state, order, active, counts, free, initial, .. } = &mut frame.point;
    let several = order.len() < topology.predictions().len();
    let aside = (0..if several { active.len() } else { 0 }).map(PredictionId::new);
    for id in aside.filter(|id| !initial[id.index()]).chain(order.iter().rev().copied()) {
        if !active[id.index()] {
            continue;
        }
        let of = topology.at(id).of;
        if free[of.index()] && !state.moved[of.index()] {
            // A further prediction moves its own vertex too.
            state.moved[of.index()] = true;
            for own in topology.own(of) {
                active[own.index()] = counts[own.index()];
            }
        }
        for parent in topology.at(id).receivers().filter(|p| free[p.index()]) {
            state.moved[parent.index()] = true;
            for own in topology.own(parent) {
                active[own.index()] = counts[own.index()];
            }
        }
    }
}

/// Takes back part of the last step: `change` times its direction is added.
pub(crate) fn take_back<N: Network>(frame: &mut Frame<N>, change: f64) {
    let Point { state, vertices, free, .. } = &mut frame.point;
    for (index, vertex) in vertices.iter().enumerate().filter(|(index, _)| free[*index]) {
        if let Some(velocity) = &vertex.velocity {
            state.displacements[index].axpy(change * frame.factors[index], velocity);
        }
    }
}
