//! A program with marks, as pc-core's engine sees it.

use burn::module::Module;
use pc_core::{
    Clamps, Gradients, Network, PredictionId, Result, Tensor as _, Topology, VertexId,
    backend::{Abilities, Drives, Forward, Residuals, Settings, State, Want},
};

use super::{
    pass::{Delta, Links, Values},
    program::Program,
    step::{Fresh, Marked, Request, Tape},
};
use crate::{BurnTensor, tensor::failure};

impl<M: Module, P: Program<M>> Network for Marked<'_, M, P> {
    type Tensor = BurnTensor;
    type Linearisation = Tape;

    fn topology(&self) -> &Topology {
        &self.layout.topology
    }

    /// All: but every pull is a forward and a backward pass of the whole program.
    fn abilities(&self) -> Abilities {
        Abilities::ALL
    }

    fn prepare(&mut self, _: &Clamps<BurnTensor>, values: &mut Vec<BurnTensor>) -> Result<bool> {
        let zeros = &self.layout.zeros;
        let fits = values.len() == zeros.len()
            && values.iter().zip(zeros).all(|(value, zero)| value.has_shape(&zero.shape()));
        if !fits {
            values.clone_from(zeros);
        }
        Ok(!fits)
    }

    fn linearisation(&self) -> Tape {
        Tape::default()
    }

    fn forward(&mut self, pass: Forward<'_, BurnTensor>, into: &mut Tape) -> Result<()> {
        let count = self.layout.vertices();
        let offsets = (!pass.offsets.is_empty()).then(|| self.values(pass.offsets));
        let (links, fresh) = match (pass.sweep, &offsets) {
            (Some(weights), _) => {
                (Links::Passing(self.factors(weights)), Fresh::Sweep(self.factors(weights)))
            }
            // A pass that only predicts has no errors but the loss's.
            (None, None) => (Links::Errors(vec![None; count]), Fresh::Pull(only_loss(count))),
            (None, Some(offsets)) => (
                Links::Errors(offsets.iter().cloned().map(Some).collect()),
                Fresh::Pull(vec![true; count + 1]),
            ),
        };
        let values = offsets.clone().map_or(Values::Predicted, Values::Offset);
        let learns = pass.settings.learns;
        self.pass(Request { values, links, learns, known: Vec::new() }, into)?;
        for (vertex, prediction) in into.predictions.iter().enumerate() {
            if let (true, Some(prediction)) = (pass.follows[vertex], prediction) {
                pass.values[vertex].copy_from(prediction);
                if let Some(offset) = offsets.as_ref().and_then(|offsets| offsets.get(vertex)) {
                    pass.values[vertex].axpy(1.0, offset);
                }
            }
        }
        into.references.clone_from(&into.predictions);
        into.change = None;
        into.pulled = vec![None; count + 1];
        into.fresh = fresh;
        Ok(())
    }

    fn refer(
        &mut self,
        state: &State<BurnTensor>,
        settings: Settings,
        after_forward: bool,
        into: &mut Tape,
    ) -> Result<()> {
        if after_forward {
            return Ok(());
        }
        let count = self.layout.vertices();
        let values = Values::Given(self.values(&state.values));
        self.pass(
            Request { values, links: Links::Gaps, learns: settings.learns, known: Vec::new() },
            into,
        )?;
        into.references.clone_from(&into.predictions);
        into.change = None;
        into.pulled = vec![None; count + 1];
        into.fresh = Fresh::Pull(vec![true; count + 1]);
        Ok(())
    }

    fn prediction<'a>(&self, at: &'a Tape, prediction: PredictionId) -> Option<&'a BurnTensor> {
        at.predictions.get(prediction.index())?.as_ref()
    }

    /// The loss is the one vertex that a loss drives.
    fn change<'a>(&self, at: &'a Tape, prediction: PredictionId) -> Option<&'a BurnTensor> {
        at.change.as_ref().filter(|_| prediction.index() == self.layout.vertices())
    }

    fn linearise(
        &mut self,
        state: &State<BurnTensor>,
        settings: Settings,
        residuals: Residuals<'_, BurnTensor>,
        errors: &mut [BurnTensor],
        into: &mut Tape,
    ) -> Result<()> {
        let count = self.layout.vertices();
        let mut deltas = Vec::with_capacity(count);
        let mut known = Vec::with_capacity(count);
        for vertex in 0..count {
            let prediction = &self.layout.topology.predictions()[vertex];
            let differs = state.moved[vertex]
                || residuals.nonzero[vertex]
                || settings.may_change(prediction, &state.moved);
            let reference = into.references.get(vertex).and_then(Clone::clone);
            let moves = settings.may_change(prediction, &state.moved);
            known.push(reference.clone().filter(|_| !moves));
            let reference = reference.filter(|_| differs);
            deltas.push(reference.map(|reference| Delta {
                residual: residuals.get(PredictionId::new(vertex)).cloned(),
                displacement: state.moved[vertex].then(|| state.displacements[vertex].clone()),
                reference,
            }));
        }
        let mut seeded: Vec<bool> = deltas.iter().map(Option::is_some).collect();
        seeded.push(true);
        let values = Values::Given(self.values(&state.values));
        let found = self.pass(
            Request { values, links: Links::Deltas(deltas), learns: settings.learns, known },
            into,
        )?;
        for (error, found) in errors.iter_mut().zip(found) {
            if let Some(found) = found {
                *error = found;
            }
        }
        into.change = match (into.predictions.get(count), into.references.get(count)) {
            (Some(Some(loss)), Some(Some(reference))) => {
                let mut change = loss.clone();
                change.axpy(-1.0, reference);
                Some(change)
            }
            _ => None,
        };
        into.pulled = vec![None; count + 1];
        into.fresh = Fresh::Pull(seeded);
        Ok(())
    }

    fn pull(
        &mut self,
        state: &State<BurnTensor>,
        cotangents: &[BurnTensor],
        want: Want<'_>,
        gradients: Option<&mut Gradients<BurnTensor>>,
        at: &mut Tape,
    ) -> Result<()> {
        let count = self.layout.vertices();
        if at.pulled.len() != count + 1 {
            at.pulled = vec![None; count + 1];
        }
        let wanted = |index: usize| want.prediction(PredictionId::new(index));
        for (index, cotangent) in cotangents.iter().enumerate().filter(|(index, _)| wanted(*index))
        {
            at.pulled[index] = Some(cotangent.clone());
        }
        if let Fresh::Pull(seeded) = std::mem::take(&mut at.fresh)
            && seeded.iter().enumerate().all(|(index, seeded)| !seeded || wanted(index))
            && (gradients.is_none() || at.gradients.is_some())
        {
            return self.hand_out(at, gradients);
        }
        // Weights learn from the errors asked for; forces come from all that have been pulled.
        let learns = gradients.is_some();
        let chosen = |index: usize| !learns || wanted(index);
        let errors =
            (0..count).map(|index| at.pulled[index].clone().filter(|_| chosen(index))).collect();
        let forces = if learns && want.forces.is_empty() {
            Some(std::mem::take(&mut at.forces))
        } else {
            None
        };
        let predictions = std::mem::take(&mut at.predictions);
        let values = Values::Given(self.values(&state.values));
        let loss = at.pulled[count].is_some() && chosen(count);
        self.pull_pass(
            Request { values, links: Links::Errors(errors), learns, known: Vec::new() },
            loss,
            at,
        )?;
        at.predictions = predictions;
        if let Some(forces) = forces {
            at.forces = forces;
        }
        self.hand_out(at, gradients)
    }

    fn forget_pulls(&self, at: &mut Tape) {
        at.pulled.fill(None);
        at.forces.fill(None);
        at.fresh = Fresh::Stale;
    }

    fn force<'a>(&self, at: &'a Tape, vertex: VertexId) -> Option<&'a BurnTensor> {
        at.forces.get(vertex.index())?.as_ref()
    }

    fn reverse(
        &mut self,
        state: &State<BurnTensor>,
        drives: Drives<'_, BurnTensor>,
        gradients: Option<&mut Gradients<BurnTensor>>,
        at: &mut Tape,
    ) -> Result<()> {
        let factors = self.factors(drives.weights);
        if std::mem::take(&mut at.fresh) == Fresh::Sweep(factors.clone())
            && (gradients.is_none() || at.gradients.is_some())
        {
            return self.hand_out(at, gradients);
        }
        let values = Values::Given(self.values(&state.values));
        let predictions = std::mem::take(&mut at.predictions);
        self.pass(
            Request {
                values,
                links: Links::Passing(factors),
                learns: gradients.is_some(),
                known: Vec::new(),
            },
            at,
        )?;
        at.predictions = predictions;
        self.hand_out(at, gradients)
    }

    fn failure(&self) -> Result<()> {
        failure::take()
    }

    fn drive_norm(&self) -> Option<f64> {
        self.drive
    }

    fn gradients(&self) -> Gradients<BurnTensor> {
        Gradients::empty(self.parameters.len())
    }
}

impl<M: Module, P: Program<M>> Marked<'_, M, P> {
    /// The values of vertices, the loss left out.
    fn values(&self, values: &[BurnTensor]) -> Vec<BurnTensor> {
        values[..self.layout.vertices()].to_vec()
    }

    /// What is passed on at each vertex, so that a vertex of this weight sends that many times its
    /// own cotangent.
    fn factors(&self, weights: &[f64]) -> Vec<f64> {
        // Behind vertex i flows w_i delta_i; what arrives at it is w_child delta_i.
        (0..self.layout.vertices())
            .map(|vertex| {
                let own = weights.get(vertex).copied().unwrap_or(1.0);
                let children = arriving_weights(&self.layout.topology, weights, vertex);
                if children == 0.0 { 0.0 } else { own / children }
            })
            .collect()
    }
}

/// The weight with which the children of a vertex send: they agree, or there is no sweep.
fn arriving_weights(topology: &Topology, weights: &[f64], vertex: usize) -> f64 {
    let children = topology.children(VertexId::new(vertex)).unwrap_or(&[]);
    let child = children.first().map(|(prediction, _)| prediction.index());
    child.and_then(|child| weights.get(child)).copied().unwrap_or(1.0)
}

/// Flags for the loss alone.
fn only_loss(vertices: usize) -> Vec<bool> {
    let mut flags = vec![false; vertices + 1];
    flags[vertices] = true;
    flags
}
