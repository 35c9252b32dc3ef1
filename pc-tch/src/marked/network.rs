//! A program with marks, as pc-core's engine sees it.

use pc_core::{
    Clamps, Error, ErrorKind, Gradients, Network, PredictionId, Result, Tensor as _, Topology,
    VertexId,
    backend::{Abilities, Drives, Forward, Residuals, Settings, State, Want},
};

use super::{
    pass::Value,
    step::{Found, Marked, Taped},
};
use crate::{sys::marks::After, tensor::TchTensor};

/// What the last forward pass has left, and what pulls of it have.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    taped: Option<Taped>,
    references: Vec<TchTensor>,
    /// How far the loss has moved from its reference.
    change: Option<TchTensor>,
    /// By prediction and parent: what the last pull has sent.
    sent: Vec<Vec<Option<TchTensor>>>,
    /// By vertex: the sum of what was sent to it.
    forces: Vec<Option<TchTensor>>,
}

impl Tape {
    fn refill(&mut self, taped: Taped) {
        let count = taped.predictions.len();
        self.taped = Some(taped);
        self.change = None;
        self.forget(count);
    }

    fn forget(&mut self, count: usize) {
        self.sent = (0..count).map(|_| Vec::new()).collect();
        self.forces = (0..count).map(|_| None).collect();
    }

    fn gather(&mut self, vertex: VertexId, topology: &Topology) {
        let mut sum: Option<TchTensor> = None;
        for (child, slot) in topology.children(vertex).unwrap_or(&[]) {
            let sent = self.sent.get(child.index()).and_then(|sent| sent.get(*slot));
            let Some(Some(sent)) = sent else { continue };
            match &mut sum {
                Some(sum) => sum.axpy(1.0, sent),
                None => sum = Some(sent.clone()),
            }
        }
        if let Some(force) = self.forces.get_mut(vertex.index()) {
            *force = sum;
        }
    }
}

fn sent(found: &mut Found) -> Vec<Option<TchTensor>> {
    let forces = std::mem::take(&mut found.forces);
    forces.into_iter().map(|force| force.map(TchTensor::with_graph)).collect()
}

impl Marked<'_> {
    /// Pulls one prediction, and keeps what it sends where forces are wanted.
    fn pull_into(
        &self,
        prediction: PredictionId,
        cotangent: &TchTensor,
        forces: bool,
        gradients: Option<(&mut Gradients<TchTensor>, f64)>,
        at: &mut Tape,
    ) -> Result<()> {
        let Some(taped) = &mut at.taped else { return Ok(()) };
        let gradients = gradients.filter(|(_, weight)| *weight != 0.0);
        let after = match (forces, gradients.is_some()) {
            (true, true) => After::Both,
            (true, false) => After::Marks,
            (false, true) => After::Parameters,
            (false, false) => return Ok(()),
        };
        let mut found = self.pull(taped, prediction, cotangent, after)?;
        if forces && let Some(slot) = at.sent.get_mut(prediction.index()) {
            *slot = sent(&mut found);
        }
        if let Some((gradients, weight)) = gradients {
            found.hand_out(-weight / self.samples(), gradients);
        }
        Ok(())
    }

    fn given(&self, values: &[TchTensor]) -> Vec<Value> {
        let given = |value: &TchTensor| Value::Given(value.tensor().shallow_clone());
        values.iter().take(self.layout.vertices()).map(given).collect()
    }
}

impl Network for Marked<'_> {
    type Tensor = TchTensor;
    type Linearisation = Tape;

    fn topology(&self) -> &Topology {
        &self.layout.topology
    }

    /// All: a pass leaves a graph whose segments are pulled one by one, as often as is asked.
    fn abilities(&self) -> Abilities {
        Abilities::ALL
    }

    fn prepare(&mut self, _: &Clamps<TchTensor>, values: &mut Vec<TchTensor>) -> Result<bool> {
        let zeros = self.zeros();
        let fits = values.len() == zeros.len()
            && values.iter().zip(zeros).all(|(value, zero)| value.has_shape(&zero.shape()));
        if !fits {
            *values = zeros.to_vec();
        }
        Ok(!fits)
    }

    fn linearisation(&self) -> Tape {
        Tape::default()
    }

    fn forward(&mut self, pass: Forward<'_, TchTensor>, into: &mut Tape) -> Result<()> {
        let count = self.layout.vertices();
        let follows = |vertex: usize| pass.follows.get(vertex).copied().unwrap_or(false);
        // The first pass is this one, where every vertex takes its prediction as it is.
        let zero = |offset: &TchTensor| offset.norm_squared() == 0.0;
        let plain = self.first.is_some()
            && (0..count).all(follows)
            && pass.offsets.iter().take(count).all(zero);
        let first = if plain { self.first.take() } else { None };
        let taped = match first {
            Some(first) => first,
            None => {
                let value = |vertex: usize| {
                    let own = |tensors: &[TchTensor]| {
                        tensors.get(vertex).map(|tensor| tensor.tensor().shallow_clone())
                    };
                    match (follows(vertex), own(pass.offsets), own(pass.values)) {
                        (true, Some(offset), _) => Value::Offset(offset),
                        (false, _, Some(value)) => Value::Given(value),
                        _ => Value::Predicted,
                    }
                };
                let values = (0..count).map(value).collect();
                // Passes may share nodes, which pulls of the last one have cut.
                into.taped = None;
                self.pass(values)?
            }
        };
        let predictions = taped.predictions.iter().enumerate();
        for ((vertex, prediction), value) in predictions.zip(pass.values.iter_mut()) {
            if follows(vertex) {
                value.copy_from(prediction);
                if let (true, Some(offset)) = (vertex < count, pass.offsets.get(vertex)) {
                    value.axpy(1.0, offset);
                }
            }
        }
        into.references.clone_from(&taped.predictions);
        into.refill(taped);
        Ok(())
    }

    fn refer(
        &mut self,
        state: &State<TchTensor>,
        _: Settings,
        after_forward: bool,
        into: &mut Tape,
    ) -> Result<()> {
        if after_forward {
            return Ok(());
        }
        let values = self.given(&state.values);
        into.taped = None;
        let taped = self.pass(values)?;
        into.references.clone_from(&taped.predictions);
        into.refill(taped);
        Ok(())
    }

    fn prediction<'a>(&self, at: &'a Tape, prediction: PredictionId) -> Option<&'a TchTensor> {
        at.references.get(prediction.index())
    }

    /// The loss is the one vertex that a loss drives.
    fn change<'a>(&self, at: &'a Tape, prediction: PredictionId) -> Option<&'a TchTensor> {
        at.change.as_ref().filter(|_| prediction.index() == self.layout.vertices())
    }

    fn linearise(
        &mut self,
        state: &State<TchTensor>,
        settings: Settings,
        residuals: Residuals<'_, TchTensor>,
        errors: &mut [TchTensor],
        into: &mut Tape,
    ) -> Result<()> {
        if !self.layout.relays.is_empty() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the marks are not levelled, and what passes values on between their levels \
                 cannot move by itself: mark the shorter ways as often as the longer \
                 (`let skip = vertex(&skip)`), or let Z-IL go level by level",
            ));
        }
        let count = self.layout.vertices();
        let values = self.given(&state.values);
        into.taped = None;
        let taped = self.pass(values)?;
        let changed = |index: usize| {
            let (now, before) = (taped.predictions.get(index)?, into.references.get(index)?);
            let mut change = now.clone();
            change.set_difference(now, before);
            Some(change)
        };
        let predictions = self.layout.topology.predictions();
        for (index, error) in errors.iter_mut().enumerate().take(count) {
            let id = PredictionId::new(index);
            let may_change = settings.may_change(&predictions[index], &state.moved);
            if !(state.moved[index] || residuals.nonzero[index] || may_change) {
                continue;
            }
            // e = r + d - [f(v) - f(v_ref)]
            match (state.moved[index], residuals.get(id)) {
                (true, Some(residual)) => error.set_sum(residual, &state.displacements[index]),
                (true, None) => error.copy_from(&state.displacements[index]),
                (false, Some(residual)) => error.copy_from(residual),
                (false, None) => error.fill(0.0),
            }
            if let Some(change) = changed(index).filter(|_| may_change) {
                error.axpy(-1.0, &change);
            }
        }
        let change = changed(count);
        into.refill(taped);
        into.change = change;
        Ok(())
    }

    fn pull(
        &mut self,
        _: &State<TchTensor>,
        cotangents: &[TchTensor],
        want: Want<'_>,
        mut gradients: Option<&mut Gradients<TchTensor>>,
        at: &mut Tape,
    ) -> Result<()> {
        let topology = &self.layout.topology;
        for (index, cotangent) in cotangents.iter().enumerate() {
            let id = PredictionId::new(index);
            if !want.prediction(id) {
                continue;
            }
            let parents = &topology.prediction(id)?.parents;
            let forces = parents.iter().any(|parent| want.force(*parent));
            let gradients = gradients.as_deref_mut().map(|gradients| (gradients, 1.0));
            self.pull_into(id, cotangent, forces, gradients, at)?;
        }
        for vertex in topology.vertices().filter(|vertex| want.force(*vertex)) {
            let children = topology.children(vertex)?;
            if children.iter().any(|(child, _)| want.prediction(*child)) {
                at.gather(vertex, topology);
            }
        }
        Ok(())
    }

    fn forget_pulls(&self, at: &mut Tape) {
        at.forget(self.layout.topology.len());
    }

    fn force<'a>(&self, at: &'a Tape, vertex: VertexId) -> Option<&'a TchTensor> {
        at.forces.get(vertex.index())?.as_ref()
    }

    fn reverse(
        &mut self,
        _: &State<TchTensor>,
        drives: Drives<'_, TchTensor>,
        mut gradients: Option<&mut Gradients<TchTensor>>,
        at: &mut Tape,
    ) -> Result<()> {
        let topology = &self.layout.topology;
        at.forget(self.layout.topology.len());
        let weight = |index: usize| drives.weights.get(index).copied().unwrap_or(1.0);
        let driven = |index: usize| drives.driven.get(index).copied().unwrap_or(false);
        // What no forward pass sets starts by itself, and is pulled first.
        let listed = |id: &PredictionId| drives.order.contains(id);
        let loose = (0..topology.predictions().len())
            .map(PredictionId::new)
            .filter(|id| driven(id.index()) && !listed(id));
        let order: Vec<PredictionId> = loose.chain(drives.order.iter().rev().copied()).collect();
        for id in order {
            let index = id.index();
            let prediction = topology.prediction(id)?;
            let cotangent = if driven(index) {
                drives.cotangents.get(index).cloned()
            } else {
                at.gather(prediction.of, topology);
                at.forces.get(prediction.of.index()).and_then(Clone::clone)
            };
            let Some(cotangent) = cotangent else { continue };
            let wanted =
                |parent: &VertexId| drives.forces.get(parent.index()).copied().unwrap_or(false);
            let forces = prediction.parents.iter().any(wanted);
            let gradients = gradients.as_deref_mut().map(|own| (own, weight(index)));
            self.pull_into(id, &cotangent, forces, gradients, at)?;
        }
        for vertex in topology.vertices() {
            if topology.is_root(vertex) {
                at.gather(vertex, topology);
            }
        }
        Ok(())
    }

    fn drive_norm(&self) -> Option<f64> {
        Some(self.drive())
    }

    fn gradients(&self) -> Gradients<TchTensor> {
        Gradients::empty(self.layout.parameters.len())
    }
}
