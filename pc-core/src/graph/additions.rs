//! What a graph says of its predictions, vertices and parameters besides how they are wired:
//! energies, projections, constraints, buffers.

use std::hash::{Hash, Hasher};

use crate::{
    Error, Result,
    constraint::Constraint,
    energy::{EnergyOf, PredictionEnergy},
    gradients::Gradients,
    graph::{Graph, GraphBuilder, GraphTensor},
    projection::Projection,
    tensor::Tensor,
    topology::{
        ParamId, Prediction, PredictionId, Topology, VertexId, foreign_parameter,
        foreign_prediction, foreign_vertex, positive,
    },
};

/// An energy with the parameters that it uses.
type Energised<T> = (Box<dyn PredictionEnergy<T>>, Vec<ParamId>);

/// What was said while a graph was built, in that order, so that a part can be taken back.
pub(super) struct Additions<T> {
    energies: Vec<(PredictionId, Energised<T>)>,
    projections: Vec<(VertexId, Box<dyn Projection<T>>)>,
    constraints: Vec<(ParamId, Box<dyn Constraint<T>>)>,
    buffers: Vec<ParamId>,
    /// The cuts that were made, as (prediction, cuts before).
    cuts: Vec<(usize, Vec<bool>)>,
}

impl<T> Default for Additions<T> {
    fn default() -> Self {
        Self {
            energies: Vec::new(),
            projections: Vec::new(),
            constraints: Vec::new(),
            buffers: Vec::new(),
            cuts: Vec::new(),
        }
    }
}

impl<T> Additions<T> {
    pub(super) fn counts(&self) -> [usize; 5] {
        let Self { energies, projections, constraints, buffers, cuts } = self;
        [energies.len(), projections.len(), constraints.len(), buffers.len(), cuts.len()]
    }

    /// Takes back what was said since it had these counts.
    pub(super) fn truncate(&mut self, counts: [usize; 5], predictions: &mut [Prediction]) {
        self.energies.truncate(counts[0]);
        self.projections.truncate(counts[1]);
        self.constraints.truncate(counts[2]);
        self.buffers.truncate(counts[3]);
        for (index, before) in self.cuts.drain(counts[4].min(self.cuts.len())..).rev() {
            if let Some(prediction) = predictions.get_mut(index) {
                prediction.cut = before;
            }
        }
    }

    /// Sorts what was said by what it is said of; of two energies or projections the later one
    /// counts.
    pub(super) fn settle(self, topology: &Topology, parameters: usize) -> Settled<T> {
        let mut settled = Settled {
            energies: topology.predictions().iter().map(|_| None).collect(),
            projections: topology.vertices().map(|_| None).collect(),
            constraints: (0..parameters).map(|_| Vec::new()).collect(),
            buffers: vec![false; parameters],
            frozen: vec![false; parameters],
        };
        for (prediction, energy) in self.energies {
            settled.energies[prediction.index()] = Some(energy);
        }
        for (vertex, projection) in self.projections {
            settled.projections[vertex.index()] = Some(projection);
        }
        for (parameter, constraint) in self.constraints {
            settled.constraints[parameter.index()].push(constraint);
        }
        for parameter in self.buffers {
            settled.buffers[parameter.index()] = true;
        }
        settled
    }
}

/// The same by prediction, by vertex, and by parameter.
pub(crate) struct Settled<T> {
    energies: Vec<Option<Energised<T>>>,
    projections: Vec<Option<Box<dyn Projection<T>>>>,
    constraints: Vec<Vec<Box<dyn Constraint<T>>>>,
    buffers: Vec<bool>,
    frozen: Vec<bool>,
}

impl<T: Tensor> Settled<T> {
    pub(super) fn energy<'a>(
        &'a self,
        prediction: PredictionId,
        parameters: &'a [T],
    ) -> Option<EnergyOf<'a, T>> {
        let (energy, uses) = self.energies.get(prediction.index())?.as_ref()?;
        Some(EnergyOf { energy: &**energy, parameters, uses })
    }

    pub(super) fn projection(&self, vertex: VertexId) -> Option<&dyn Projection<T>> {
        self.projections.get(vertex.index())?.as_deref()
    }

    /// What a relaxation keeps room for, or has been checked against: which energies, projections
    /// and buffers there are.
    pub(super) fn hash(&self, hasher: &mut impl Hasher) {
        for (energy, uses) in self.energies.iter().map(|energised| match energised {
            Some((energy, uses)) => (format!("{energy:?}"), uses.as_slice()),
            None => (String::new(), &[][..]),
        }) {
            (energy, uses).hash(hasher);
        }
        for projection in &self.projections {
            projection.as_ref().map(|own| format!("{own:?}")).hash(hasher);
        }
        self.buffers.hash(hasher);
    }

    /// Moves a parameter to where it keeps its constraints.
    pub(super) fn hold(&self, parameter: ParamId, value: &mut T) {
        for constraint in &self.constraints[parameter.index()] {
            constraint.hold(value);
        }
    }

    /// Drops what must not be learned, and restricts the rest.
    pub(super) fn constrain(&self, gradients: &mut Gradients<T>) {
        if self.frozen.contains(&true) {
            gradients.keep(|parameter| !self.frozen[parameter.index()]);
        }
        for (index, all) in self.constraints.iter().enumerate().filter(|(_, all)| !all.is_empty()) {
            if let Some(gradient) = gradients.defined(ParamId::new(index)) {
                all.iter().for_each(|constraint| constraint.restrict(gradient));
            }
        }
    }

    pub(super) fn gradients(&self, parameters: &[T]) -> Gradients<T> {
        let mut gradients = Gradients::like(parameters);
        for (index, _) in self.buffers.iter().enumerate().filter(|(_, buffer)| **buffer) {
            gradients.forgo(ParamId::new(index));
        }
        gradients
    }

    /// As many vertices and predictions more, about which nothing is said.
    pub(super) fn grow(&mut self, topology: &Topology) {
        self.energies.resize_with(topology.predictions().len(), || None);
        self.projections.resize_with(topology.len(), || None);
    }
}

impl<T: GraphTensor> GraphBuilder<T> {
    /// The first prediction of a vertex, which a forward pass sets it to.
    ///
    /// # Errors
    /// A vertex that is unknown or that nothing predicts.
    pub fn prediction_of(&self, vertex: VertexId) -> Result<PredictionId> {
        let name = self.names.get(vertex.index()).ok_or_else(|| foreign_vertex(vertex))?;
        let first = self.first.get(&vertex);
        first
            .map(|index| PredictionId::new(*index))
            .ok_or_else(|| Error::graph("nothing predicts it").at(name))
    }

    /// Sets the energy of a prediction, which may have parameters of its own. The prediction's
    /// precision, 1 unless set, multiplies it. See [`PredictionEnergy`].
    ///
    /// # Errors
    /// An unknown prediction or parameter; parameters that do not fit; a term of the energy, whose
    /// energy is its value.
    pub fn energy(
        &mut self,
        prediction: PredictionId,
        energy: impl PredictionEnergy<T> + 'static,
        parameters: &[ParamId],
    ) -> Result<()> {
        let of = self.known_prediction(prediction)?;
        let at = |error: Error| error.at(&self.names[of.index()]);
        self.not_a_term(of)?;
        let shapes =
            parameters.iter().map(|id| self.parameter_shape(*id)).collect::<Result<Vec<_>>>();
        let shapes = shapes.map_err(at)?;
        if parameters.len() != energy.parameters() {
            return Err(at(Error::graph(format!(
                "a {} energy takes {} parameters, not {}",
                energy.kind(),
                energy.parameters(),
                parameters.len()
            ))));
        }
        let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
        energy.check(&self.shapes[of.index()], &shapes).map_err(at)?;
        let energised = (Box::new(energy) as Box<dyn PredictionEnergy<T>>, parameters.to_vec());
        self.additions.energies.push((prediction, energised));
        Ok(())
    }

    /// Sets the scalar precision of any prediction; [`GraphBuilder::precision`] is for the first
    /// one of a vertex.
    ///
    /// # Errors
    /// An unknown prediction; a precision that is not a positive number.
    pub fn precision_of(&mut self, prediction: PredictionId, precision: f64) -> Result<()> {
        let of = self.known_prediction(prediction)?;
        self.not_a_term(of)?;
        let precision = positive(precision).map_err(|e| e.at(&self.names[of.index()]))?;
        let index = prediction.index();
        self.precisions.push((index, self.predictions[index].precision));
        self.predictions[index].precision = precision;
        Ok(())
    }

    /// Says what is done to the value of a vertex after each step. See [`Projection`].
    ///
    /// # Errors
    /// An unknown vertex; a projection that does not fit its shape.
    pub fn project(
        &mut self,
        vertex: VertexId,
        projection: impl Projection<T> + 'static,
    ) -> Result<()> {
        let shape = self.shape(vertex)?;
        self.not_a_term(vertex)?;
        projection.check(shape).map_err(|error| error.at(&self.names[vertex.index()]))?;
        self.additions.projections.push((vertex, Box::new(projection)));
        Ok(())
    }

    /// Says what a parameter has to keep; several constraints are applied in order. When the graph
    /// is built, the parameter is moved to where it keeps them. See [`Constraint`].
    ///
    /// # Errors
    /// An unknown parameter; a constraint that does not fit its shape.
    pub fn constrain(
        &mut self,
        parameter: ParamId,
        constraint: impl Constraint<T> + 'static,
    ) -> Result<()> {
        let shape = self.parameter_shape(parameter)?;
        let index = parameter.index();
        constraint
            .check(&shape)
            .map_err(|error| error.at(&format!("parameter {}", self.parameter_names[index])))?;
        self.additions.constraints.push((parameter, Box::new(constraint)));
        Ok(())
    }

    /// Adds a buffer: a named tensor that vertices and energies may use as a parameter, that is
    /// saved with the graph, and that has no gradient, so that no optimiser moves it. Set it with
    /// [`Graph::set_parameter`].
    ///
    /// # Errors
    /// As [`GraphBuilder::parameter`].
    pub fn buffer(&mut self, name: &str, value: T) -> Result<ParamId> {
        let id = self.parameter(name, value)?;
        self.additions.buffers.push(id);
        Ok(id)
    }

    /// Cuts the way back from a prediction to some of its parents: it goes on predicting from their
    /// values, and sends them no force. In backprop this is what frameworks call a stopped
    /// gradient.
    ///
    /// # Errors
    /// An unknown prediction; a vertex that is no parent of it.
    pub fn cut(&mut self, prediction: PredictionId, parents: &[VertexId]) -> Result<()> {
        let of = self.known_prediction(prediction)?;
        let own = &self.predictions[prediction.index()].parents;
        if let Some(other) = parents.iter().find(|parent| !own.contains(parent)) {
            let label = self.names.get(other.index()).map_or("?", String::as_str);
            let message = format!("`{label}` is no parent of its prediction");
            return Err(Error::graph(message).at(&self.names[of.index()]));
        }
        let before = &self.predictions[prediction.index()].cut;
        let cut = own.iter().enumerate().map(|(slot, parent)| {
            parents.contains(parent) || before.get(slot).copied().unwrap_or(false)
        });
        let cut: Vec<bool> = cut.collect();
        let before = std::mem::replace(&mut self.predictions[prediction.index()].cut, cut);
        self.additions.cuts.push((prediction.index(), before));
        Ok(())
    }

    /// Adds a term of the energy: `weight` times the sum of the numbers that `vertex` computes from
    /// its parents and parameters. It is counted in [`crate::Energy::loss`], and pulls at its
    /// parents as a loss would. The vertex made for it holds the numbers; it is no state, and the
    /// levels of the graph stay what they are. Its errors come along ways too, so the depth counts
    /// it.
    ///
    /// # Errors
    /// As [`GraphBuilder::vertex`]; a weight that is not finite.
    pub fn term(
        &mut self,
        name: &str,
        weight: f64,
        vertex: T::Vertex,
        parents: &[VertexId],
        parameters: &[ParamId],
    ) -> Result<VertexId> {
        if !weight.is_finite() {
            let message = format!("the weight of a term must be a number, not {weight}");
            return Err(Error::graph(message).at(name));
        }
        let id = self.vertex(name, vertex, parents, parameters)?;
        let prediction = self.prediction_of(id)?;
        self.predictions[prediction.index()].term = Some(weight);
        Ok(id)
    }

    /// # Errors
    /// A vertex that is a term of the energy: it is no state, and nothing else can be said of it.
    pub(super) fn not_a_term(&self, vertex: VertexId) -> Result<()> {
        let first = self.first.get(&vertex).and_then(|index| self.predictions.get(*index));
        match first.and_then(|prediction| prediction.term) {
            None => Ok(()),
            Some(_) => Err(Error::graph(
                "it is a term of the energy: it has a weight, and is no state that could predict, \
                 be predicted again, or have an energy, a precision or a projection",
            )
            .at(self.names.get(vertex.index()).map_or("?", String::as_str))),
        }
    }

    fn known_prediction(&self, prediction: PredictionId) -> Result<VertexId> {
        let own = self.predictions.get(prediction.index());
        own.map(|own| own.of).ok_or_else(|| foreign_prediction(prediction))
    }
}

impl<T: GraphTensor> Graph<T> {
    /// Sets the scalar precision of a prediction.
    ///
    /// # Errors
    /// A prediction that is not in this graph; a precision that is not a positive number.
    pub fn set_precision(&mut self, prediction: PredictionId, precision: f64) -> Result<()> {
        self.topology.set_precision(prediction, precision)
    }

    /// Freezes a parameter, or (with `false`) frees it again: no gradient of a frozen parameter is
    /// handed out.
    ///
    /// # Errors
    /// A parameter that is not in this graph.
    pub fn freeze(&mut self, parameter: ParamId, frozen: bool) -> Result<()> {
        let own = self.additions.frozen.get_mut(parameter.index());
        *own.ok_or_else(|| foreign_parameter(parameter))? = frozen;
        Ok(())
    }

    /// Whether a parameter is a buffer, which no optimiser moves.
    pub fn is_buffer(&self, parameter: ParamId) -> bool {
        self.additions.buffers.get(parameter.index()).copied().unwrap_or(false)
    }

    /// What this graph has beside vertices, predictions, parameters and scalar precisions: the
    /// first energy, projection, constraint, buffer, frozen parameter, cut or term, in words. It is
    /// for backends that take whole graphs over, and have to refuse what they do not know.
    pub fn addition(&self) -> Option<String> {
        let Settled { energies, projections, constraints, buffers, frozen } = &self.additions;
        let parameter = |index: usize| &self.topology.parameter_names()[index];
        for (index, prediction) in self.topology.predictions().iter().enumerate() {
            let name = self.topology.label(prediction.of);
            if let Some((energy, _)) = &energies[index] {
                return Some(format!("a {} energy of `{name}`", energy.kind()));
            }
            if prediction.term.is_some() {
                return Some(format!("the term `{name}` of the energy"));
            }
            if prediction.cut.contains(&true) {
                return Some(format!("a cut behind `{name}`"));
            }
        }
        for (index, projection) in projections.iter().enumerate() {
            if let Some(projection) = projection {
                let name = self.topology.label(VertexId::new(index));
                return Some(format!("the {} that `{name}` stays in", projection.kind()));
            }
        }
        for (index, all) in constraints.iter().enumerate() {
            if let Some(constraint) = all.first() {
                return Some(format!("a {} of `{}`", constraint.kind(), parameter(index)));
            }
        }
        let position = |flags: &[bool]| flags.iter().position(|flag| *flag);
        position(buffers)
            .map(|index| format!("the buffer `{}`", parameter(index)))
            .or_else(|| position(frozen).map(|i| format!("the frozen `{}`", parameter(i))))
    }
}
