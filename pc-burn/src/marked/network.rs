//! A program with marks, as pc-core's engine sees it.

use std::sync::Arc;

use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    optim::GradientsParams,
    tensor::Tensor,
};
use pc_core::{
    Abilities, Agreement, Clamps, Drives, Error, ErrorKind, Forward, Gradients, Network, Residuals, Result, Settings, State, Tensor as _,
    Topology, VertexId, Want,
};

use super::{
    layout::{Layout, Layouts, apart, parameters_of},
    pass::{self, Delta, Links, Plan, Values},
    program::Program,
    random::Draws,
};
use crate::BurnTensor;

/// A model and its program, for one step of training.
pub(crate) struct Marked<'a, M: Module, P: Program<M>> {
    model: M,
    program: &'a mut P,
    layout: Arc<Layout>,
    parameters: Vec<(ParamId, String)>,
    /// `n`, what the loss was divided by.
    samples: Option<f64>,
    /// `lambda`.
    weight: f64,
    draws: Option<Draws>,
    /// For passes without parameter gradients, and for such with them whose running statistics do not count.
    silent: Option<M>,
    learning: Option<M>,
    /// Whether the model itself has run, which moves its running statistics.
    counted: bool,
    /// The first pass's loss and output.
    first: Option<(f64, P::Output)>,
    passes: usize,
    /// The norm of the loss's derivative at the outputs, in the first pass.
    drive: Option<f64>,
    /// Whether the program's marks were not those of the layout.
    stale: bool,
    /// Whether other random numbers came in another pass.
    disturbed: bool,
}

/// How often a pass is tried whose random numbers were disturbed.
const ATTEMPTS: usize = 4;

/// What the last pass left.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    predictions: Vec<Option<BurnTensor>>,
    references: Vec<Option<BurnTensor>>,
    forces: Vec<Option<BurnTensor>>,
    /// Errors that were pulled, by prediction, since pulls were last forgotten.
    pulled: Vec<Option<BurnTensor>>,
    gradients: Option<GradientsParams>,
    fresh: Fresh,
}

/// Whether the last pass's pulls are still to be asked for, and which they were.
#[derive(Clone, Debug, Default, PartialEq)]
enum Fresh {
    #[default]
    Stale,
    /// The errors at the point of the pass; the flags tell which predictions had one.
    Pull(Vec<bool>),
    /// A sweep with these factors.
    Sweep(Vec<f64>),
}

/// What one pass is to do.
struct Request {
    values: Values,
    links: Links,
    learns: bool,
}

impl<'a, M: Module, P: Program<M>> Marked<'a, M, P> {
    pub(crate) fn new(model: M, program: &'a mut P, layouts: &mut Layouts, samples: Option<f64>, weight: f64) -> Result<Self> {
        let parameters = parameters_of(&model);
        let layout = match layouts.last() {
            Some(layout) => layout,
            None => layouts.find(&model, program)?,
        };
        let draws = layout.random.then(|| Draws::new(&model.devices()));
        Ok(Self {
            model,
            program,
            layout,
            parameters,
            samples,
            weight,
            draws,
            silent: None,
            learning: None,
            counted: false,
            first: None,
            passes: 0,
            drive: None,
            stale: false,
            disturbed: false,
        })
    }

    /// Whether the program's marks were others than expected, and an attempt with new ones may do.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Whether the program's random numbers were disturbed, and a fresh start may do.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.disturbed
    }

    /// Starts again, with random numbers as they now come.
    pub(crate) fn restart(&mut self) {
        if let Some(draws) = &mut self.draws {
            draws.forget();
        }
        self.disturbed = false;
        self.first = None;
    }

    /// Looks at the program's marks again.
    pub(crate) fn survey(&mut self, layouts: &mut Layouts) -> Result<()> {
        self.layout = layouts.find(&self.model, self.program)?;
        if self.layout.random && self.draws.is_none() {
            self.draws = Some(Draws::new(&self.model.devices()));
        }
        self.stale = false;
        // `counted` stays: statistics that the first, feed-forward pass has moved have seen this batch.
        self.first = None;
        Ok(())
    }

    /// `n`: what a mean was taken over.
    pub(crate) fn samples(&self) -> f64 {
        self.samples.unwrap_or_else(|| self.layout.samples() as f64)
    }

    /// The factor between the program's own backward pass and the engine's errors.
    fn unit(&self) -> f64 {
        self.samples() * self.weight
    }

    /// The vertex that is the loss.
    pub(crate) fn loss_vertex(&self) -> VertexId {
        VertexId::new(self.layout.vertices())
    }

    /// Moves the model: what was copied of it is out of date.
    pub(crate) fn replace_model(&mut self, change: impl FnOnce(M) -> M) {
        self.silent = None;
        self.learning = None;
        self.model = change(self.model.clone());
    }

    /// The first pass's output.
    pub(crate) fn into_output(self) -> Option<P::Output> {
        self.first.map(|(_, output)| output)
    }

    /// The first pass's loss.
    pub(crate) fn loss(&self) -> f64 {
        self.first.as_ref().map_or(f64::NAN, |(loss, _)| *loss)
    }

    /// How often the program ran forward and backward.
    pub(crate) fn passes(&self) -> usize {
        self.passes
    }

    /// The gradients as Burn's optimisers take them.
    pub(crate) fn gradients_params(&self, gradients: &Gradients<BurnTensor>) -> Result<GradientsParams> {
        let mut register = Register { parameters: &self.parameters, gradients, out: GradientsParams::new(), problem: None };
        self.model.visit(&mut register);
        register.problem.map_or(Ok(register.out), Err)
    }

    /// How gradients agree with backprop's, by parameter; for one more pass.
    pub(crate) fn agreement(&mut self, gradients: &Gradients<BurnTensor>) -> Result<Vec<(String, Agreement)>> {
        let model = self.learning.get_or_insert_with(|| apart(&self.model));
        let mut attempts = 0;
        let found = loop {
            let turn = self.draws.as_ref().map(Draws::rewind);
            let (found, _, _) = self.program.step(model);
            let undisturbed = self.draws.as_mut().is_none_or(Draws::undisturbed);
            drop(turn);
            self.passes += 1;
            attempts += 1;
            if undisturbed {
                break found;
            }
            if attempts == ATTEMPTS {
                return Err(disturbed());
            }
        };
        let mut backprop = Gradients::empty(self.parameters.len());
        self.collect(found, &mut backprop)?;
        let names = self.parameters.iter().map(|(_, name)| name.clone());
        Ok(names.zip(gradients.agreement(&backprop)).collect())
    }

    /// One forward and one backward pass.
    fn pass(&mut self, request: Request, at: &mut Tape) -> Result<Vec<Option<BurnTensor>>> {
        let Request { values, links, learns } = request;
        let factors = match &links {
            Links::Passing(factors) => Some(factors.clone()),
            _ => None,
        };
        let unit = self.unit();
        let passed = self.passed(&links);
        let plan = Plan::Run { layout: Arc::clone(&self.layout), values, links, passed, unit };
        let first = self.first.is_none();
        let model = if !learns {
            &*self.silent.get_or_insert_with(|| apart(&self.model).no_grad())
        } else if self.counted {
            &*self.learning.get_or_insert_with(|| apart(&self.model))
        } else {
            self.counted = true;
            &self.model
        };
        let program = &mut *self.program;
        let mut attempts = 0;
        let ((gradients, loss, output), mut pass) = loop {
            let turn = self.draws.as_ref().map(Draws::rewind);
            let ran = pass::run(plan.clone(), || program.step(model));
            let undisturbed = self.draws.as_mut().is_none_or(Draws::undisturbed);
            drop(turn);
            self.passes += 1;
            attempts += 1;
            if undisturbed {
                break ran;
            }
            if attempts == ATTEMPTS {
                self.disturbed = true;
                return Err(disturbed());
            }
        };
        if let Err(error) = pass.check() {
            self.stale = true;
            return Err(error);
        }
        let loss = BurnTensor::new(loss)?;
        if loss.shape().iter().product::<usize>() != 1 {
            let message = format!("the loss must be one number, not a tensor shaped {:?}: reduce it by its mean or sum", loss.shape());
            return Err(Error::new(ErrorKind::Shape, message).at("loss"));
        }
        if first {
            let value = loss.to_vec().first().copied().unwrap_or(f64::NAN);
            self.first = Some((value, output));
        }
        let layout = Arc::clone(&self.layout);
        if first {
            let at_outputs: Vec<f64> =
                layout.outputs().filter_map(|mark| pass.sights[mark].cotangent()).map(|cotangent| cotangent.norm_squared()).collect();
            self.drive = (!at_outputs.is_empty()).then(|| unit * at_outputs.iter().sum::<f64>().sqrt());
        }
        let count = layout.vertices();
        at.predictions = Vec::with_capacity(count + 1);
        at.forces = Vec::with_capacity(count + 1);
        let mut errors = Vec::with_capacity(count);
        for (vertex, mark) in layout.marks().enumerate() {
            let sight = &mut pass.sights[mark];
            at.predictions.push(Some(sight.prediction()));
            // A cotangent that came by scaled is what it would have been, times what its children had; where that is 0 nothing came.
            let scale = factors.as_ref().map_or(1.0, |factors| arriving(&layout.topology, factors, vertex));
            let force = sight.cotangent().filter(|_| scale != 0.0).map(|mut cotangent| {
                cotangent.scale(-unit / scale);
                cotangent
            });
            at.forces.push(force);
            errors.push(sight.error.take());
        }
        at.predictions.push(Some(loss));
        at.forces.push(None);
        at.gradients = learns.then_some(gradients);
        Ok(errors)
    }

    /// By vertex: whether something before it is pulled, so that the backward pass must get there, also where the vertex itself sends nothing.
    fn passed(&self, links: &Links) -> Vec<bool> {
        let seeded = |vertex: usize| match links {
            Links::Errors(errors) => errors[vertex].is_some(),
            Links::Deltas(deltas) => deltas[vertex].is_some(),
            Links::Gaps | Links::Passing(_) => true,
        };
        let mut passed = vec![false; self.layout.vertices()];
        for vertex in 0..passed.len() {
            let parents = &self.layout.topology.predictions()[vertex].parents;
            passed[vertex] = parents.iter().any(|parent| seeded(parent.index()) || passed[parent.index()]);
        }
        passed
    }

    /// Moves the gradients of a pass to the engine's, adding to what is there.
    fn collect(&self, gradients: GradientsParams, out: &mut Gradients<BurnTensor>) -> Result<()> {
        let mut collect = Collect { parameters: &self.parameters, gradients, out, weight: self.weight, problem: None };
        self.model.visit(&mut collect);
        collect.problem.map_or(Ok(()), Err)
    }

    fn hand_out(&self, at: &mut Tape, gradients: Option<&mut Gradients<BurnTensor>>) -> Result<()> {
        match (gradients, at.gradients.take()) {
            (Some(out), Some(found)) => self.collect(found, out),
            _ => Ok(()),
        }
    }

    /// The values of vertices, the loss left out.
    fn values(&self, values: &[BurnTensor]) -> Vec<BurnTensor> {
        values[..self.layout.vertices()].to_vec()
    }

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
    let child = topology.children(VertexId::new(vertex)).first().map(|(prediction, _)| prediction.index());
    child.and_then(|child| weights.get(child)).copied().unwrap_or(1.0)
}

/// The factor of all passings between the loss and a vertex, along any path: they agree.
fn arriving(topology: &Topology, factors: &[f64], vertex: usize) -> f64 {
    let mut product = 1.0;
    let mut at = vertex;
    while let Some((child, _)) = topology.children(VertexId::new(at)).first() {
        at = topology.prediction(*child).of.index();
        product *= factors.get(at).copied().unwrap_or(1.0);
    }
    product
}

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
        let fits = values.len() == zeros.len() && values.iter().zip(zeros).all(|(value, zero)| value.has_shape(&zero.shape()));
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
            (Some(weights), _) => (Links::Passing(self.factors(weights)), Fresh::Sweep(self.factors(weights))),
            // A pass that only predicts has no errors but the loss's.
            (None, None) => (Links::Errors(vec![None; count]), Fresh::Pull(only_loss(count))),
            (None, Some(offsets)) => (Links::Errors(offsets.iter().cloned().map(Some).collect()), Fresh::Pull(vec![true; count + 1])),
        };
        let values = offsets.clone().map_or(Values::Predicted, Values::Offset);
        let learns = pass.settings.learns;
        self.pass(Request { values, links, learns }, into)?;
        for (vertex, prediction) in into.predictions.iter().enumerate() {
            if let (true, Some(prediction)) = (pass.follows[vertex], prediction) {
                pass.values[vertex].copy_from(prediction);
                if let Some(offset) = offsets.as_ref().and_then(|offsets| offsets.get(vertex)) {
                    pass.values[vertex].axpy(1.0, offset);
                }
            }
        }
        into.references.clone_from(&into.predictions);
        into.pulled = vec![None; count + 1];
        into.fresh = fresh;
        Ok(())
    }

    fn refer(&mut self, state: &State<BurnTensor>, settings: Settings, after_forward: bool, into: &mut Tape) -> Result<()> {
        if after_forward {
            return Ok(());
        }
        let count = self.layout.vertices();
        let values = Values::Given(self.values(&state.values));
        self.pass(Request { values, links: Links::Gaps, learns: settings.learns }, into)?;
        into.references.clone_from(&into.predictions);
        into.pulled = vec![None; count + 1];
        into.fresh = Fresh::Pull(vec![true; count + 1]);
        Ok(())
    }

    fn prediction<'a>(&self, at: &'a Tape, index: usize) -> Option<&'a BurnTensor> {
        at.predictions.get(index)?.as_ref()
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
        for vertex in 0..count {
            let prediction = &self.layout.topology.predictions()[vertex];
            let differs = state.moved[vertex] || residuals.nonzero[vertex] || settings.may_change(prediction, &state.moved);
            let reference = into.references.get(vertex).and_then(Clone::clone).filter(|_| differs);
            deltas.push(reference.map(|reference| Delta {
                residual: residuals.get(vertex).cloned(),
                displacement: state.moved[vertex].then(|| state.displacements[vertex].clone()),
                reference,
            }));
        }
        let mut seeded: Vec<bool> = deltas.iter().map(Option::is_some).collect();
        seeded.push(true);
        let values = Values::Given(self.values(&state.values));
        let found = self.pass(Request { values, links: Links::Deltas(deltas), learns: settings.learns }, into)?;
        for (error, found) in errors.iter_mut().zip(found) {
            if let Some(found) = found {
                *error = found;
            }
        }
        // The loss moves by its change, which the engine takes for a driven vertex's error.
        if let (Some(Some(loss)), Some(Some(reference)), Some(error)) =
            (into.predictions.get(count), into.references.get(count), errors.get_mut(count))
        {
            error.set_difference(reference, loss);
        }
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
        for (index, cotangent) in cotangents.iter().enumerate().filter(|(index, _)| want.prediction(*index)) {
            at.pulled[index] = Some(cotangent.clone());
        }
        if let Fresh::Pull(seeded) = std::mem::take(&mut at.fresh)
            && seeded.iter().enumerate().all(|(index, seeded)| !seeded || want.prediction(index))
            && (gradients.is_none() || at.gradients.is_some())
        {
            return self.hand_out(at, gradients);
        }
        // Weights learn from the errors asked for; forces come from all that have been pulled.
        let learns = gradients.is_some();
        let chosen = |index: usize| if learns { want.prediction(index) } else { true };
        let errors = (0..count).map(|index| at.pulled[index].clone().filter(|_| chosen(index))).collect();
        let forces = if learns && want.forces.is_empty() { Some(std::mem::take(&mut at.forces)) } else { None };
        let predictions = std::mem::take(&mut at.predictions);
        let values = Values::Given(self.values(&state.values));
        let loss = at.pulled[count].is_some() && chosen(count);
        self.pull_pass(Request { values, links: Links::Errors(errors), learns }, loss, at)?;
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
        if std::mem::take(&mut at.fresh) == Fresh::Sweep(factors.clone()) && (gradients.is_none() || at.gradients.is_some()) {
            return self.hand_out(at, gradients);
        }
        let values = Values::Given(self.values(&state.values));
        let predictions = std::mem::take(&mut at.predictions);
        self.pass(Request { values, links: Links::Passing(factors), learns: gradients.is_some() }, at)?;
        at.predictions = predictions;
        self.hand_out(at, gradients)
    }

    fn drive_norm(&self) -> Option<f64> {
        self.drive
    }

    fn gradients(&self) -> Gradients<BurnTensor> {
        Gradients::empty(self.parameters.len())
    }
}

impl<M: Module, P: Program<M>> Marked<'_, M, P> {
    /// A pass that pulls given errors. The program always pulls its loss; where that is not wanted, its part is taken away again.
    fn pull_pass(&mut self, request: Request, loss: bool, at: &mut Tape) -> Result<()> {
        if loss {
            return self.pass(request, at).map(drop);
        }
        let Request { values, links, learns } = request;
        let Values::Given(given) = &values else { return Err(Error::new(ErrorKind::Misuse, "pulls are at given values")) };
        let alone = Request { values: Values::Given(given.clone()), links: Links::Errors(vec![None; given.len()]), learns };
        self.pass(alone, at)?;
        let of_loss = std::mem::take(&mut at.forces);
        let mut without = Gradients::empty(self.parameters.len());
        self.hand_out(at, Some(&mut without))?;
        self.pass(Request { values, links, learns }, at)?;
        for (force, of_loss) in at.forces.iter_mut().zip(of_loss) {
            if let (Some(force), Some(of_loss)) = (force, of_loss) {
                force.axpy(-1.0, &of_loss);
            }
        }
        if let Some(found) = at.gradients.take() {
            let mut all = Gradients::empty(self.parameters.len());
            self.collect(found, &mut all)?;
            let mut left = Gradients::empty(self.parameters.len());
            for (id, gradient) in all.iter() {
                if let Some(gradient) = gradient {
                    let mut gradient = gradient.clone();
                    if let Some(of_loss) = without.get(id) {
                        gradient.axpy(-1.0, of_loss);
                    }
                    gradient.scale(1.0 / self.weight);
                    left.set(id, gradient);
                }
            }
            at.gradients = Some(self.gradients_params(&left)?);
        }
        Ok(())
    }
}

fn disturbed() -> Error {
    let message =
        "the program's random numbers (dropout) were not the same in all passes: another thread draws from the device's generator";
    Error::new(ErrorKind::Backend, message)
}

/// Flags for the loss alone.
fn only_loss(vertices: usize) -> Vec<bool> {
    let mut flags = vec![false; vertices + 1];
    flags[vertices] = true;
    flags
}

/// Takes Burn's gradients over into the engine's.
struct Collect<'a> {
    parameters: &'a [(ParamId, String)],
    gradients: GradientsParams,
    out: &'a mut Gradients<BurnTensor>,
    weight: f64,
    problem: Option<Error>,
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(index) = self.parameters.iter().position(|(id, _)| *id == param.id) else { return };
        let Some(gradient) = self.gradients.remove::<D>(param.id) else { return };
        let id = pc_core::ParamId::new(index);
        match BurnTensor::new(gradient) {
            Ok(mut gradient) => {
                if self.weight != 1.0 {
                    gradient.scale(self.weight);
                }
                if let Some(before) = self.out.get(id) {
                    gradient.axpy(1.0, before);
                }
                self.out.set(id, gradient);
            }
            Err(error) => {
                self.problem.get_or_insert(error);
            }
        }
    }
}

/// Puts the engine's gradients where Burn's optimisers look for them.
struct Register<'a> {
    parameters: &'a [(ParamId, String)],
    gradients: &'a Gradients<BurnTensor>,
    out: GradientsParams,
    problem: Option<Error>,
}

impl ModuleVisitor for Register<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(index) = self.parameters.iter().position(|(id, _)| *id == param.id) else { return };
        let Some(gradient) = self.gradients.get(pc_core::ParamId::new(index)) else { return };
        match gradient.to_tensor::<D>() {
            Ok(tensor) => self.out.register(param.id, tensor),
            Err(error) => {
                self.problem.get_or_insert(error);
            }
        }
    }
}
