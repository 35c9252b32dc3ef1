//! The method of live states: predictions follow the states, which move.

use crate::{
    Result,
    method::{Frame, Which},
    network::Network,
    point::{Point, VertexPoint},
    rule::Taken,
    tensor::{StateStep, Tensor},
    topology::VertexId,
};

/// Finds the errors at the current states.
pub(crate) fn evaluate<N: Network>(frame: &mut Frame<N>, network: &mut N) -> Result<()> {
    let learns = frame.learns_here();
    frame.linearise(network, learns)
}

/// Finds the forces on the free states and, where `learns`, the parameter gradients from the same
/// errors.
pub(crate) fn pull<N: Network>(frame: &mut Frame<N>, network: &mut N, learns: bool) -> Result<()> {
    if learns {
        frame.renew(network)?;
        frame.gradients.clear();
    }
    frame.pull(network, Which::Active, true, learns)
}

/// One synchronous step of every free vertex.
pub(crate) fn step<N: Network>(frame: &mut Frame<N>, network: &N) -> Result<Taken> {
    if frame.form.is_none() {
        return follow_rule(frame, network);
    }
    for vertex in network.topology().vertices() {
        if frame.point.free[vertex.index()] {
            move_state(frame, network, vertex, frame.rate_of(vertex));
        }
    }
    refresh_active(frame, network);
    Ok(Taken::Step)
}

/// The same by a rule of no form.
fn follow_rule<N: Network>(frame: &mut Frame<N>, network: &N) -> Result<Taken> {
    let topology = network.topology();
    for vertex in topology.vertices() {
        if frame.point.free[vertex.index()] {
            frame.point.compose(topology, vertex, network.force(&frame.at, vertex));
        }
    }
    let taken = frame.follow_rule(network)?;
    let Point { state, free, .. } = &mut frame.point;
    for (index, value) in state.values.iter_mut().enumerate().filter(|(index, _)| free[*index]) {
        value.set_sum(&state.references[index], &state.displacements[index]);
    }
    refresh_active(frame, network);
    Ok(taken)
}

/// One step of one vertex at this rate.
pub(crate) fn move_state<N: Network>(
    frame: &mut Frame<N>,
    network: &N,
    vertex: VertexId,
    rate: f64,
) {
    let topology = network.topology();
    let index = vertex.index();
    let momentum = frame.momentum();
    let force = network.force(&frame.at, vertex);
    let composed = frame.point.compose(topology, vertex, force);
    let Point { state, vertices, errors, active, .. } = &mut frame.point;
    let VertexPoint { velocity, scratch, .. } = &mut vertices[index];
    let (error, precision) = match topology.own(vertex).first() {
        Some(id) if !composed && active[id.index()] => {
            (Some(&errors[id.index()]), topology.at(*id).precision)
        }
        _ => (None, 1.0),
    };
    if !composed && error.is_none() && force.is_none() {
        return;
    }
    N::Tensor::step_state(StateStep {
        displacement: &mut state.displacements[index],
        value: &mut state.values[index],
        reference: &state.references[index],
        error,
        precision,
        force: if composed { scratch.as_ref() } else { force },
        rate,
        velocity: velocity.as_mut().map(|velocity| (velocity, momentum)),
    });
    state.moved[index] = true;
    if frame.add_noise(vertex) {
        let state = &mut frame.point.state;
        state.values[index].set_sum(&state.references[index], &state.displacements[index]);
    }
    if let Some(projection) = network.projection(vertex) {
        frame.point.project(vertex, projection, rate);
    }
}

/// Takes back part of the last step: `change` times its direction is added.
pub(crate) fn take_back<N: Network>(frame: &mut Frame<N>, change: f64) {
    let Point { state, vertices, free, .. } = &mut frame.point;
    for (index, vertex) in vertices.iter().enumerate() {
        if let (true, true, Some(velocity)) = (free[index], state.moved[index], &vertex.velocity) {
            state.displacements[index].axpy(change * frame.factors[index], velocity);
            state.values[index].set_sum(&state.references[index], &state.displacements[index]);
        }
    }
}

/// Which errors may differ from zero, now that states have moved.
pub(crate) fn refresh_active<N: Network>(frame: &mut Frame<N>, network: &N) {
    let edges = network.abilities().edges;
    let settings = frame.settings;
    let Point { active, counts, state, .. } = &mut frame.point;
    for (index, prediction) in network.topology().predictions().iter().enumerate() {
        if counts[index] && !active[index] {
            active[index] = !edges
                || state.moved[prediction.of.index()]
                || settings.may_change(prediction, &state.moved);
        }
    }
}

/// After steps that the engine did not take itself, anything free may have moved.
pub(crate) fn touch_all<N: Network>(frame: &mut Frame<N>, network: &N) {
    for (moved, free) in frame.point.state.moved.iter_mut().zip(&frame.point.free) {
        *moved |= free;
    }
    refresh_active(frame, network);
}
