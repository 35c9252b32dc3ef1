//! A model and its program in one step of training: the passes, forward and backward, that the
//! engine's questions come to.

use std::sync::Arc;

use burn::{
    module::{Module, ParamId},
    optim::GradientsParams,
};
use pc_core::{Agreement, Error, ErrorKind, Gradients, Result, Tensor as _, Topology, VertexId};

use super::{
    gradients,
    layout::{Layout, Layouts, apart, parameters_of},
    pass::{self, Links, PassPlan, Values},
    program::Program,
    random::Draws,
};
use crate::BurnTensor;

/// A model and its program, for one step of training.
pub(crate) struct Marked<'a, M: Module, P: Program<M>> {
    model: M,
    program: &'a mut P,
    pub(super) layout: Arc<Layout>,
    pub(super) parameters: Vec<(ParamId, String)>,
    /// `n`, what the loss was divided by.
    samples: Option<f64>,
    /// `lambda`.
    weight: f64,
    draws: Option<Draws>,
    /// For passes without parameter gradients, and for such with them whose running statistics do
    /// not count.
    silent: Option<M>,
    learning: Option<M>,
    /// Whether the model itself has run, which moves its running statistics.
    counted: bool,
    /// The first pass's loss and output.
    first: Option<(f64, P::Output)>,
    passes: usize,
    /// The norm of the loss's derivative at the outputs, in the first pass.
    pub(super) drive: Option<f64>,
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
    pub(super) predictions: Vec<Option<BurnTensor>>,
    pub(super) references: Vec<Option<BurnTensor>>,
    /// How far the loss has moved from its reference.
    pub(super) change: Option<BurnTensor>,
    pub(super) forces: Vec<Option<BurnTensor>>,
    /// Errors that were pulled, by prediction, since pulls were last forgotten.
    pub(super) pulled: Vec<Option<BurnTensor>>,
    pub(super) gradients: Option<GradientsParams>,
    pub(super) fresh: Fresh,
}

/// Whether the last pass's pulls are still to be asked for, and which they were.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Fresh {
    #[default]
    Stale,
    /// The errors at the point of the pass; the flags tell which predictions had one.
    Pull(Vec<bool>),
    /// A sweep with these factors.
    Sweep(Vec<f64>),
}

/// What one pass is to do.
pub(super) struct Request {
    pub(super) values: Values,
    pub(super) links: Links,
    pub(super) learns: bool,
}

impl<'a, M: Module, P: Program<M>> Marked<'a, M, P> {
    pub(crate) fn new(
        model: M,
        program: &'a mut P,
        layouts: &mut Layouts,
        samples: Option<f64>,
        weight: f64,
    ) -> Result<Self> {
        let parameters = parameters_of(&model);
        let layout = match layouts.last(&model.devices()) {
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
        // `counted` stays: statistics that the first, feed-forward pass has moved have seen this
        // batch.
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
    pub(crate) fn gradients_params(
        &self,
        gradients: &Gradients<BurnTensor>,
    ) -> Result<GradientsParams> {
        gradients::register(&self.model, &self.parameters, gradients)
    }

    /// How gradients agree with backprop's, by parameter; for one more pass.
    pub(crate) fn agreement(
        &mut self,
        gradients: &Gradients<BurnTensor>,
    ) -> Result<Vec<(String, Agreement)>> {
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
    pub(super) fn pass(
        &mut self,
        request: Request,
        at: &mut Tape,
    ) -> Result<Vec<Option<BurnTensor>>> {
        let Request { values, links, learns } = request;
        let factors = match &links {
            Links::Passing(factors) => Some(factors.clone()),
            _ => None,
        };
        let unit = self.unit();
        let passed = self.passed(&links);
        let plan = PassPlan::Run { layout: Arc::clone(&self.layout), values, links, passed, unit };
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
            let message = format!(
                "the loss must be one number, not a tensor shaped {:?}: reduce it by its mean or \
                 sum",
                loss.shape()
            );
            return Err(Error::new(ErrorKind::Shape, message).at("loss"));
        }
        if first {
            let value = loss.to_vec().first().copied().unwrap_or(f64::NAN);
            self.first = Some((value, output));
        }
        let layout = Arc::clone(&self.layout);
        if first {
            let at_outputs: Vec<f64> = layout
                .outputs()
                .filter_map(|mark| pass.sights[mark].cotangent())
                .map(|cotangent| cotangent.norm_squared())
                .collect();
            self.drive =
                (!at_outputs.is_empty()).then(|| unit * at_outputs.iter().sum::<f64>().sqrt());
        }
        let count = layout.vertices();
        at.predictions = Vec::with_capacity(count + 1);
        at.forces = Vec::with_capacity(count + 1);
        let mut errors = Vec::with_capacity(count);
        for (vertex, mark) in layout.marks().enumerate() {
            let sight = &mut pass.sights[mark];
            at.predictions.push(Some(sight.prediction()));
            // A cotangent that came by scaled is what it would have been, times what its children
            // had; where that is 0 nothing came.
            let scale =
                factors.as_ref().map_or(1.0, |factors| arriving(&layout.topology, factors, vertex));
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

    /// By vertex: whether something before it is pulled, so that the backward pass must get there,
    /// also where the vertex itself sends nothing.
    fn passed(&self, links: &Links) -> Vec<bool> {
        let seeded = |vertex: usize| match links {
            Links::Errors(errors) => errors[vertex].is_some(),
            Links::Deltas(deltas) => deltas[vertex].is_some(),
            Links::Gaps | Links::Passing(_) => true,
        };
        let mut passed = vec![false; self.layout.vertices()];
        for vertex in 0..passed.len() {
            let parents = &self.layout.topology.predictions()[vertex].parents;
            passed[vertex] =
                parents.iter().any(|parent| seeded(parent.index()) || passed[parent.index()]);
        }
        passed
    }

    /// Moves the gradients of a pass to the engine's, adding to what is there.
    fn collect(&self, gradients: GradientsParams, out: &mut Gradients<BurnTensor>) -> Result<()> {
        gradients::collect(&self.model, &self.parameters, gradients, self.weight, out)
    }

    pub(super) fn hand_out(
        &self,
        at: &mut Tape,
        gradients: Option<&mut Gradients<BurnTensor>>,
    ) -> Result<()> {
        match (gradients, at.gradients.take()) {
            (Some(out), Some(found)) => self.collect(found, out),
            _ => Ok(()),
        }
    }

    /// A pass that pulls given errors. The program always pulls its loss; where that is not wanted,
    /// its part is taken away again.
    pub(super) fn pull_pass(&mut self, request: Request, loss: bool, at: &mut Tape) -> Result<()> {
        if loss {
            return self.pass(request, at).map(drop);
        }
        let Request { values, links, learns } = request;
        let Values::Given(given) = &values else {
            return Err(Error::new(ErrorKind::Misuse, "pulls are at given values"));
        };
        let alone = Request {
            values: Values::Given(given.clone()),
            links: Links::Errors(vec![None; given.len()]),
            learns,
        };
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

/// The factor of all passings between the loss and a vertex, along any path: they agree.
fn arriving(topology: &Topology, factors: &[f64], vertex: usize) -> f64 {
    let mut product = 1.0;
    let mut at = vertex;
    let next = |at: usize| {
        let (child, _) = topology.children(VertexId::new(at)).ok()?.first()?;
        Some(topology.prediction(*child).ok()?.of.index())
    };
    while let Some(child) = next(at) {
        at = child;
        product *= factors.get(at).copied().unwrap_or(1.0);
    }
    product
}

fn disturbed() -> Error {
    let message = "the program's random numbers (dropout) were not the same in all passes: another \
        thread draws from the device's generator";
    Error::new(ErrorKind::Backend, message)
}
