//! What one batch's clamps make of a point.

use crate::{
    Error, Result,
    clamp::{Clamp, Clamps, Role},
    paths,
    point::Point,
    schedule::{Start, stream},
    tensor::Tensor,
    topology::Topology,
};

impl<T: Tensor> Point<T> {
    /// What this batch's clamps make of every vertex. Where free ones are `given` errors, they
    /// follow their prediction.
    pub(crate) fn set_roles(
        &mut self,
        topology: &Topology,
        clamps: &Clamps<T>,
        composed: bool,
        given: bool,
    ) -> Result<()> {
        let Self { roles, vertices, state, free, follows, counts, terms, total, projects, .. } =
            self;
        for vertex in topology.vertices() {
            let index = vertex.index();
            let clamp = clamps.get(vertex);
            let (value, moving) = (&state.values[index], &mut vertices[index]);
            let role = match topology.term(vertex) {
                Some(weight) => Role::total(total, weight),
                None => Role::of(clamp),
            };
            let own = topology.own(vertex);
            let energised = own.iter().any(|id| terms[id.index()].is_some());
            let projects = role.moves() && projects[index];
            let slow =
                composed || energised || projects || matches!(role, Role::Masked) || own.len() > 1;
            if !projects {
                moving.projected = None;
            } else if moving.projected.is_none() {
                moving.projected = Some(value.zeros(&value.shape()));
            }
            if role.moves() && slow && moving.scratch.is_none() {
                moving.scratch = Some(value.zeros(&value.shape()));
            } else if !(role.moves() && slow) {
                moving.scratch = None;
            }
            let at = |message| Error::clamp(message).at(topology.label(vertex));
            let zeros = || value.zeros(&value.shape());
            match (parts(clamp), &mut moving.scratch) {
                (Some((_, mask, cut)), Some(room)) => {
                    let free = moving.free_mask.get_or_insert_with(zeros);
                    if !set_rest(free, mask, room) {
                        return Err(at(
                            "its mask must be 1 where it is held and 0 where it is free",
                        ));
                    }
                    match cut {
                        Some(cut) => {
                            let kept = moving.kept.get_or_insert_with(zeros);
                            if !set_rest(kept, cut, room) {
                                return Err(at(
                                    "its cut must be 1 where it is intervened on and 0 elsewhere",
                                ));
                            }
                            room.copy_from(mask);
                            room.multiply(cut);
                            if room.norm_squared() != 0.0 {
                                return Err(at(
                                    "a part of it is both held and intervened on: say one",
                                ));
                            }
                            free.multiply(kept);
                        }
                        None => moving.kept = None,
                    }
                }
                _ => (moving.free_mask, moving.kept) = (None, None),
            }
            // A nudged or masked vertex needs its prediction before it is set.
            let held = matches!(clamp, Some(Clamp::Held(_) | Clamp::Intervened(_)));
            let set = held || (!given && matches!(clamp, Some(Clamp::Free(_))));
            follows[index] = !set && !topology.is_root(vertex);
            free[index] = role.moves();
            for id in topology.own(vertex) {
                counts[id.index()] = !matches!(role, Role::Intervened);
            }
            roles[index] = role;
        }
        Ok(())
    }

    /// Sets what is held, and where the schedule does not start from a forward pass, the rest.
    /// `draws` counts the batches, so that each has random numbers of its own.
    pub(crate) fn start_values(
        &mut self,
        topology: &Topology,
        clamps: &Clamps<T>,
        start: Start,
        carried: bool,
        draws: u64,
    ) {
        for vertex in topology.vertices() {
            let value = &mut self.state.values[vertex.index()];
            let clamp = clamps.get(vertex);
            match (clamp, start) {
                (Some(Clamp::Held(held) | Clamp::Intervened(held)), _) => value.copy_from(held),
                _ if carried => {}
                (Some(Clamp::Free(start)), _) => value.copy_from(start),
                (
                    Some(
                        Clamp::Masked { value: held, .. }
                        | Clamp::PartIntervened { value: held, .. },
                    ),
                    _,
                ) if topology.is_root(vertex) => value.copy_from(held),
                (_, Start::Zero) => value.fill(0.0),
                (_, Start::Noise { deviation, seed }) => {
                    value.fill(0.0);
                    value.add_normal(deviation, stream(seed, draws, 0, vertex));
                }
                (_, Start::Forward | Start::Carried) => {}
            }
            hold_parts(value, clamp);
        }
    }

    /// The order of a forward pass, which depends on what is known.
    pub(crate) fn find_order(&mut self, topology: &Topology) -> Result<()> {
        let Self { order, known, follows, .. } = self;
        let same = known.len() == follows.len() && known.iter().zip(&*follows).all(|(k, f)| k != f);
        if !same {
            known.clear();
            known.extend(follows.iter().map(|follows| !follows));
            let found = paths::outward(topology, known, order);
            // What was found for what is known now must not be taken for found.
            found.inspect_err(|_| known.clear())?;
        }
        Ok(())
    }

    /// Which predictions a forward pass sets their vertices to, if there is one.
    pub(crate) fn find_initial(&mut self, topology: &Topology, forward: bool) {
        let Self { initial, order, follows, projects, .. } = self;
        initial.fill(false);
        for id in order.iter().filter(|_| forward) {
            // What has to lie somewhere may not lie where it is predicted.
            let of = topology.at(*id).of.index();
            initial[id.index()] = follows[of] && !projects[of];
        }
    }

    /// After a forward pass: nudged vertices go to their nudge, masked ones to what is held of
    /// them, in the order of the pass. True where one was settled whose children have to be
    /// predicted again before the next can be.
    pub(crate) fn settle(&mut self, topology: &Topology, clamps: &Clamps<T>) -> bool {
        let Self { order, follows, state, .. } = self;
        for vertex in order.iter().map(|id| topology.at(*id).of) {
            let (index, value) = (vertex.index(), &mut state.values[vertex.index()]);
            match clamps.get(vertex).filter(|_| follows[index]) {
                Some(Clamp::Nudged { target, beta }) => {
                    value.scale(1.0 - beta);
                    value.axpy(*beta, target);
                }
                clamp @ Some(Clamp::Masked { .. } | Clamp::PartIntervened { .. }) => {
                    hold_parts(value, clamp);
                }
                _ => continue,
            }
            follows[index] = false;
            if !topology.uses(vertex).is_empty() {
                return true;
            }
        }
        false
    }
}

/// The value, the mask and the cut of a vertex that is partly held.
fn parts<T>(clamp: Option<&Clamp<T>>) -> Option<(&T, &T, Option<&T>)> {
    match clamp? {
        Clamp::Masked { value, mask } => Some((value, mask, None)),
        Clamp::PartIntervened { value, mask, cut } => Some((value, mask, Some(cut))),
        _ => None,
    }
}

/// `rest <- 1 - mask`; false where the mask is not of 0 and 1 alone.
fn set_rest<T: Tensor>(rest: &mut T, mask: &T, room: &mut T) -> bool {
    rest.fill(1.0);
    rest.axpy(-1.0, mask);
    // Of 0 and 1 alone is the product with what is left of 1 nothing.
    room.copy_from(mask);
    room.multiply(rest);
    room.norm_squared() == 0.0
}

/// `value <- held` where a clamp holds a part.
fn hold_parts<T: Tensor>(value: &mut T, clamp: Option<&Clamp<T>>) {
    let Some((held, mask, cut)) = parts(clamp) else { return };
    for part in std::iter::once(mask).chain(cut) {
        // By products with 0 and 1, so that what is held is held to the last bit.
        let (mut rest, mut held) = (part.clone(), held.clone());
        rest.fill(1.0);
        rest.axpy(-1.0, part);
        held.multiply(part);
        value.multiply(&rest);
        value.axpy(1.0, &held);
    }
}
