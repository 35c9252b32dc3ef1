//! Where a relaxation stands: states, errors, and what the clamps make of each vertex.

mod clamped;
mod errors;
mod projected;
mod terms;

pub(crate) use terms::Term;

use std::{cell::RefCell, rc::Rc};

use crate::{
    Result,
    clamp::{Role, SharedLoss},
    loss::Total,
    network::{Network, State},
    outcome::Energy,
    tensor::Tensor,
    topology::{Prediction, PredictionId, Topology, VertexId},
};

/// States and errors of one batch.
pub(crate) struct Point<T> {
    pub(crate) state: State<T>,
    pub(crate) roles: Vec<Role<T>>,
    pub(crate) vertices: Vec<VertexPoint<T>>,
    /// By vertex: which may move, and which take their prediction in a forward pass. A vertex that
    /// follows is free, or driven.
    pub(crate) free: Vec<bool>,
    pub(crate) follows: Vec<bool>,
    /// The predictions of a forward pass, in order, and by vertex what that order was found for.
    pub(crate) order: Vec<PredictionId>,
    pub(crate) known: Vec<bool>,

    /// By prediction, from here on: `e`, and `r` where it is not zero.
    pub(crate) errors: Vec<T>,
    pub(crate) residuals: Vec<T>,
    pub(crate) residual: Vec<bool>,
    /// `pi e`, where some precision is not 1; else empty.
    pub(crate) weighted: Vec<T>,
    /// The energies that are not the usual ones.
    pub(crate) terms: Vec<Option<Term<T>>>,
    /// By vertex: whether its values have to lie somewhere.
    pub(crate) projects: Vec<bool>,
    /// By prediction again: whether the error may differ from zero.
    pub(crate) active: Vec<bool>,
    /// Whether it counts at all: the predictions of an intervened vertex do not.
    pub(crate) counts: Vec<bool>,
    /// Whether the forward pass has set its vertex to it.
    pub(crate) initial: Vec<bool>,
    uniform: bool,
    /// What drives the vertices that are terms of the energy.
    total: SharedLoss<T>,
    /// The norm of the errors that drive the rest at the start.
    pub(crate) drive: f64,
    pub(crate) batch: usize,
}

/// What one batch makes of a vertex.
#[derive(Debug)]
pub(crate) struct VertexPoint<T> {
    /// The running step, where the rule keeps one.
    pub(crate) velocity: Option<T>,
    /// Room for a step that has to be put together: of a masked vertex, of one with several
    /// predictions, of a noisy one, of all that a rule of no form moves.
    pub(crate) scratch: Option<T>,
    /// 1 where a masked vertex is free.
    pub(crate) free_mask: Option<T>,
    /// 1 where the errors of a partly intervened vertex are not cut.
    pub(crate) kept: Option<T>,
    /// Room for where a projection leads.
    pub(crate) projected: Option<T>,
}

impl<T: Tensor> Point<T> {
    pub(crate) fn new(topology: &Topology) -> Self {
        let (vertices, count) = (topology.len(), topology.predictions().len());
        let point = |_| VertexPoint {
            velocity: None,
            scratch: None,
            free_mask: None,
            kept: None,
            projected: None,
        };
        Self {
            state: State {
                values: Vec::new(),
                references: Vec::new(),
                displacements: Vec::new(),
                moved: vec![false; vertices],
            },
            roles: (0..vertices).map(|_| Role::Free).collect(),
            vertices: (0..vertices).map(point).collect(),
            free: vec![false; vertices],
            follows: vec![false; vertices],
            order: Vec::new(),
            known: Vec::new(),
            errors: Vec::new(),
            residuals: Vec::new(),
            residual: vec![false; count],
            weighted: Vec::new(),
            terms: Vec::new(),
            projects: Vec::new(),
            active: vec![false; count],
            counts: vec![true; count],
            initial: vec![false; count],
            uniform: true,
            total: Rc::new(RefCell::new(Total)),
            drive: 0.0,
            batch: 0,
        }
    }

    /// Makes room for a batch of this size, whose values are there.
    pub(crate) fn allocate(&mut self, topology: &Topology, wants: Wants) {
        let values = &self.state.values;
        let zeros = |value: &T| value.zeros(&value.shape());
        let all =
            |wanted: bool| if wanted { values.iter().map(zeros).collect() } else { Vec::new() };
        let of = topology.predictions().iter().map(|p| &values[p.of.index()]);
        self.errors = of.clone().map(zeros).collect();
        self.residuals = of.clone().map(zeros).collect();
        self.weighted.clear();
        self.state.references = all(wants.references);
        self.state.displacements = all(wants.displacements);
        for (vertex, value) in self.vertices.iter_mut().zip(values) {
            vertex.velocity = wants.velocities.then(|| zeros(value));
            vertex.scratch = None;
            vertex.free_mask = None;
            vertex.kept = None;
            vertex.projected = None;
        }
    }

    /// Notes whether errors have to be weighed, now that energies and precisions are known, and
    /// makes room for that. Precisions may have been set anew since the last batch.
    pub(crate) fn allocate_weights(&mut self, topology: &Topology) {
        let plain = topology.precisions().all(|precision| precision == 1.0);
        self.uniform = plain && self.is_gaussian();
        if self.uniform {
            self.weighted.clear();
        } else if self.weighted.len() != self.errors.len() {
            self.weighted = self.errors.iter().map(|error| error.zeros(&error.shape())).collect();
        }
    }

    /// `pi e`, which is what is pulled back; [`Point::weigh`] has brought it up to date.
    pub(crate) fn cotangents(&self) -> &[T] {
        if self.uniform { &self.errors } else { &self.weighted }
    }

    /// Brings `weighted = pi e`, or `-dE/dmu`, up to date where energies are not all the usual ones
    /// with a precision of 1. Drives are weighted already.
    pub(crate) fn weigh(&mut self, topology: &Topology) {
        for (index, weighted) in self.weighted.iter_mut().enumerate() {
            if self.active[index] {
                let prediction = &topology.predictions()[index];
                let driven = self.roles[prediction.of.index()].is_driven();
                if let (false, Some(term)) = (driven, &self.terms[index]) {
                    weighted.copy_from(&term.on_prediction);
                    continue;
                }
                weighted.copy_from(&self.errors[index]);
                if !driven {
                    weighted.scale(prediction.precision);
                }
            }
        }
    }

    /// Forgets what an earlier batch left of the weighted error of a prediction.
    pub(crate) fn clear_weighted(&mut self, index: usize) {
        if let Some(weighted) = self.weighted.get_mut(index) {
            weighted.fill(0.0);
        }
    }

    /// Finds the norm of the errors that drive the rest, unless the network knows it better.
    pub(crate) fn find_drive<N: Network<Tensor = T>>(&mut self, network: &N) {
        let terms = network
            .topology()
            .predictions()
            .iter()
            .enumerate()
            .filter(|(index, p)| self.counts[*index] && self.roles[p.of.index()].drives());
        let squares = terms.map(|(index, p)| match self.term(index, p) {
            Some(term) => term.on_prediction.norm_squared(),
            None => p.precision.powi(2) * self.errors[index].norm_squared(),
        });
        let norm = network.drive_norm().unwrap_or_else(|| squares.sum::<f64>().sqrt());
        self.drive = norm;
    }

    /// The energy at the current errors.
    pub(crate) fn energy(&self, topology: &Topology) -> Energy {
        let all = 0..topology.predictions().len();
        let usual = all.clone().filter_map(|index| self.usual_term(topology, index));
        let others: f64 = all.filter_map(|index| Some(self.other_term(index)?.energy)).sum();
        let internal = T::weighted_norms(usual) + others;
        Energy { internal, loss: self.loss_energy() }
    }

    /// The energy of a prediction where it is not the usual one, and no loss stands in its place.
    fn term(&self, index: usize, prediction: &Prediction) -> Option<&Term<T>> {
        let driven = self.roles[prediction.of.index()].is_driven();
        self.other_term(index).filter(|_| !driven)
    }

    /// The energy of one prediction, without losses.
    pub(crate) fn energy_of(&self, topology: &Topology, index: usize) -> f64 {
        match self.other_term(index) {
            Some(term) => term.energy,
            None => T::weighted_norms(self.usual_term(topology, index).into_iter()),
        }
    }

    /// The weight of a prediction's squared error, and the error, where that is its energy and
    /// counts.
    fn usual_term(&self, topology: &Topology, index: usize) -> Option<(f64, &T)> {
        let prediction = &topology.predictions()[index];
        let counts = self.counts[index] && self.active[index] && self.other_term(index).is_none();
        let driven = self.roles[prediction.of.index()].is_driven();
        (counts && !driven).then(|| (0.5 * prediction.precision, &self.errors[index]))
    }

    fn other_term(&self, index: usize) -> Option<&Term<T>> {
        self.terms.get(index)?.as_ref()
    }

    /// The part of the energy that driven vertices add.
    pub(crate) fn loss_energy(&self) -> f64 {
        self.roles.iter().map(Role::loss).sum()
    }

    /// Cuts the errors of vertices, or parts of them, that are intervened on.
    pub(crate) fn cut_errors(&mut self, topology: &Topology) {
        let each = self.errors.iter_mut().zip(&self.counts);
        each.filter(|(_, counts)| !**counts).for_each(|(error, _)| error.fill(0.0));
        for (index, vertex) in self.vertices.iter().enumerate() {
            let Some(kept) = &vertex.kept else { continue };
            for id in topology.own(VertexId::new(index)) {
                self.errors[id.index()].multiply(kept);
            }
        }
    }

    /// Driven vertices follow their live prediction, and take their error from the loss there.
    pub(crate) fn drive_losses<N: Network<Tensor = T>>(
        &mut self,
        network: &N,
        at: &N::Linearisation,
    ) -> Result<()> {
        let topology = network.topology();
        for (index, prediction) in topology.predictions().iter().enumerate() {
            let of = prediction.of.index();
            let role = &mut self.roles[of];
            let change = network.change(at, PredictionId::new(index));
            if let (true, Some(change)) = (role.is_driven(), change) {
                let predicted = &mut self.state.values[of];
                predicted.set_sum(&self.state.references[of], change);
                role.drive(predicted, &mut self.errors[index])
                    .map_err(|error| error.at(topology.label(prediction.of)))?;
            }
        }
        Ok(())
    }

    /// The prediction that a forward pass sets a vertex to.
    pub(crate) fn setting(&self, topology: &Topology, vertex: VertexId) -> Option<PredictionId> {
        topology.own(vertex).iter().copied().find(|id| self.initial[id.index()])
    }

    /// The one error of a vertex, and its precision, where it may differ from zero.
    pub(crate) fn own_error(&self, topology: &Topology, vertex: VertexId) -> (Option<&T>, f64) {
        match topology.own(vertex).first() {
            Some(id) if self.active[id.index()] => {
                (Some(&self.errors[id.index()]), topology.at(*id).precision)
            }
            _ => (None, 1.0),
        }
    }

    /// Puts `force - sum pi e` together in the vertex's scratch, where it has one. False where it
    /// has none, and the step can be taken in one pass.
    pub(crate) fn compose(
        &mut self,
        topology: &Topology,
        vertex: VertexId,
        force: Option<&T>,
    ) -> bool {
        let VertexPoint { scratch, free_mask, .. } = &mut self.vertices[vertex.index()];
        let Some(step) = scratch else { return false };
        match force {
            Some(force) => step.copy_from(force),
            None => step.fill(0.0),
        }
        for id in topology.own(vertex).iter().filter(|id| self.active[id.index()]) {
            match &self.terms[id.index()] {
                Some(term) => step.axpy(1.0, &term.on_value),
                None => step.axpy(-topology.at(*id).precision, &self.errors[id.index()]),
            }
        }
        if let (Role::Masked, Some(mask)) = (&self.roles[vertex.index()], free_mask) {
            step.multiply(mask);
        }
        true
    }

    /// `|force - sum pi e|` over the free states. Where a projection follows a step at `rate`, it
    /// is what the two together move, over the rate.
    pub(crate) fn gap<N: Network<Tensor = T>>(
        &mut self,
        network: &N,
        at: &N::Linearisation,
        rate: f64,
    ) -> f64 {
        let topology = network.topology();
        let mut sum = 0.0;
        for vertex in topology.vertices() {
            if !self.free[vertex.index()] {
                continue;
            }
            let force = network.force(at, vertex);
            if self.compose(topology, vertex, force) {
                if let Some(projection) = network.projection(vertex) {
                    self.aim(vertex, projection, rate);
                }
                let step = &self.vertices[vertex.index()].scratch;
                sum += step.as_ref().map_or(0.0, T::norm_squared);
            } else {
                let (error, precision) = self.own_error(topology, vertex);
                sum += T::gap_squared(error, precision, force);
            }
        }
        sum.sqrt()
    }
}

/// What a method needs room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wants {
    pub(crate) references: bool,
    pub(crate) displacements: bool,
    pub(crate) velocities: bool,
}
