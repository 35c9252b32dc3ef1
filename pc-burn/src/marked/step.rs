//! A model and its program in one step of training: the passes, forward and backward, that the
//! engine's questions come to.

use std::sync::Arc;

use burn::{
    backend::DispatchAutodiffContext,
    module::{Module, ParamId},
    optim::GradientsParams,
};
use pc_core::{Agreement, Error, ErrorKind, Gradients, Result, Tensor as _, VertexId};

use super::{
    gradients,
    layout::{Layout, Layouts, Seen, one_number},
    model::{apart, nodes_of, parameters_of, tied},
    pass::{self, Links, Pass, PassPlan, Values},
    program::Program,
    random::Draws,
    reach::arriving,
};
use crate::BurnTensor;

/// A model and its program, for one step of training.
pub(crate) struct Marked<'a, M: Module, P: Program<M>> {
    pub(super) model: M,
    program: &'a mut P,
    pub(super) layout: Arc<Layout>,
    pub(super) parameters: Vec<(ParamId, String)>,
    /// `n`, what the loss was divided by.
    samples: Option<f64>,
    /// `lambda`.
    pub(super) weight: f64,
    draws: Draws,
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
    /// By vertex: the autodiff association of what is predicted.
    contexts: Vec<DispatchAutodiffContext>,
    /// Whether the layout was found in this step, from this program.
    surveyed: bool,
    /// Whether a pass has seen which parameters each vertex is made of.
    uses_known: bool,
    /// What the program is now, where it is not what the layout says.
    stale: Option<Seen>,
    /// Whether the last pass was unlike those before it.
    unlike: bool,
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
    /// By vertex: its prediction, where nothing that it is made of has moved. Empty for none.
    pub(super) known: Vec<Option<BurnTensor>>,
}

impl<'a, M: Module, P: Program<M>> Marked<'a, M, P> {
    pub(crate) fn new(
        model: M,
        program: &'a mut P,
        layouts: &mut Layouts,
        samples: Option<f64>,
        weight: f64,
    ) -> Result<Self> {
        let parameters = parameters_of(&model)?;
        let devices = model.devices();
        let mut draws = Draws::new(&devices);
        let known = layouts.last(&parameters, &devices);
        let surveyed = known.is_none();
        let layout = match known {
            Some(layout) => layout,
            None => layouts.survey(&model, &parameters, program, &draws)?,
        };
        draws.set_active(layout.random);
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
            contexts: Vec::new(),
            surveyed,
            uses_known: false,
            stale: None,
            unlike: false,
            disturbed: false,
        })
    }

    /// Whether the program may be another than the layout says, so that an attempt with the right
    /// one may do: it was seen to be, or no pass has yet seen that it is not.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale.is_some() || (self.first.is_none() && !self.surveyed)
    }

    /// Whether the last pass was unlike those before it, and so the reason of an error.
    pub(crate) fn is_unlike(&self) -> bool {
        self.unlike
    }

    /// Whether the program's random numbers were disturbed, and a fresh start may do.
    pub(crate) fn is_disturbed(&self) -> bool {
        self.disturbed
    }

    /// Starts again, with random numbers as they now come.
    pub(crate) fn restart(&mut self) {
        self.draws.forget();
        self.disturbed = false;
        self.first = None;
    }

    /// Takes the layout of the program as it now is, by a survey if it is a new one.
    pub(crate) fn renew(&mut self, layouts: &mut Layouts) -> Result<()> {
        self.unlike = false;
        let seen = self.stale.take();
        let devices = self.model.devices();
        let known = seen.and_then(|seen| layouts.known(&seen, &self.parameters, &devices));
        self.surveyed = known.is_none();
        self.layout = match known {
            Some(layout) => layout,
            None => layouts.survey(&self.model, &self.parameters, self.program, &self.draws)?,
        };
        self.draws.set_active(self.layout.random);
        self.draws.forget();
        // `counted` stays: statistics that the first, feed-forward pass has moved have seen this
        // batch.
        self.first = None;
        self.uses_known = false;
        Ok(())
    }

    /// How many marks the program has, and how many of them are left to relax.
    pub(crate) fn marks(&self) -> (usize, usize) {
        (self.layout.count(), self.layout.vertices())
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

    /// Moves the model: what was copied of it is out of date. Burn's optimisers move the first of
    /// parameters that are one, so that the others follow it here.
    pub(crate) fn replace_model(&mut self, change: impl FnOnce(M) -> M) -> M {
        self.silent = None;
        self.learning = None;
        self.model = tied(change(self.model.clone()));
        self.model.clone()
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
        let mut found = None;
        self.undisturbed(|marked| {
            let model = marked.learning.get_or_insert_with(|| apart(&marked.model));
            let program = &mut *marked.program;
            let drawn = &marked.draws.drawn;
            let ((gradients, loss, _), pass) =
                pass::run(PassPlan::Survey, false, drawn, || program.step(model));
            found = Some(gradients);
            Ok((BurnTensor::new(loss)?, pass))
        })?;
        let mut backprop = Gradients::empty(self.parameters.len());
        if let Some(found) = found {
            self.collect(found, &mut backprop)?;
        }
        let names = self.parameters.iter().map(|(_, name)| name.clone());
        Ok(names.zip(gradients.agreement(&backprop)).collect())
    }

    /// Runs a pass until its random numbers are those of the step.
    fn undisturbed(
        &mut self,
        mut run: impl FnMut(&mut Self) -> Result<(BurnTensor, Pass)>,
    ) -> Result<(BurnTensor, Pass)> {
        let mut attempts = 0;
        let mut before: Option<Vec<Vec<f64>>> = None;
        loop {
            let known = self.draws.drawn.count();
            // Every second attempt asks whether the generator matters at all, by another seed.
            let asks = before.is_some() && self.draws.drawn.count() > 0;
            let turn = self.draws.rewind(u64::from(asks));
            let ran = run(self)?;
            let same = self.draws.is_active() && self.draws.drawn.count() > known;
            // What is drawn for the step moves the generator in this pass and in no other.
            let undisturbed = !same && !asks && self.draws.undisturbed();
            drop(turn);
            self.passes += 1;
            if undisturbed {
                return Ok(ran);
            }
            if same {
                continue;
            }
            // Another thread drew. A program that draws for the step is not concerned, if another
            // seed changes no number.
            let (loss, pass) = &ran;
            let numbers: Vec<Vec<f64>> = std::iter::once(loss.to_vec())
                .chain(pass.sights.iter().map(|sight| sight.predicted.to_vec()))
                .collect();
            let bits = |numbers: &[Vec<f64>]| {
                numbers.iter().flatten().map(|number| number.to_bits()).collect::<Vec<_>>()
            };
            if asks && before.as_ref().is_some_and(|before| bits(before) == bits(&numbers)) {
                return Ok(ran);
            }
            before = (!asks).then_some(numbers);
            attempts += 1;
            if attempts == ATTEMPTS {
                self.disturbed = true;
                return Err(disturbed());
            }
        }
    }

    /// One forward and one backward pass.
    pub(super) fn pass(
        &mut self,
        request: Request,
        at: &mut Tape,
    ) -> Result<Vec<Option<BurnTensor>>> {
        let Request { values, links, learns, mut known } = request;
        let factors = match &links {
            Links::Passing(factors) => Some(factors.clone()),
            _ => None,
        };
        let unit = self.unit();
        let first = self.first.is_none();
        // The first pass sees how the vertices are wired, and the first that learns which
        // parameters they are made of.
        let watched = first || (learns && !self.uses_known);
        let seeded = self.seeded(&links);
        let passed = if watched { vec![true; seeded.len()] } else { self.passed(&seeded) };
        // A pass that learns needs every operation, and what draws must draw in one order.
        if learns || watched || self.draws.is_active() || self.draws.drawn.count() > 0 {
            known.clear();
        }
        for (vertex, known) in known.iter_mut().enumerate() {
            let parents = &self.layout.topology.predictions()[vertex].parents;
            if !parents.is_empty() && (seeded[vertex] || passed[vertex]) {
                *known = None;
            }
        }
        let plan = PassPlan::Run {
            layout: Arc::clone(&self.layout),
            values,
            links,
            passed,
            known,
            contexts: self.contexts.clone(),
            unit,
        };
        let mut found = None;
        let (loss, mut pass) = self.undisturbed(|marked| {
            let model = if !learns {
                &*marked.silent.get_or_insert_with(|| apart(&marked.model).no_grad())
            } else if marked.counted {
                &*marked.learning.get_or_insert_with(|| apart(&marked.model))
            } else {
                marked.counted = true;
                &marked.model
            };
            let nodes = (watched && learns).then(|| nodes_of(model, &marked.parameters));
            let program = &mut *marked.program;
            let drawn = &marked.draws.drawn;
            let ((gradients, loss, output), pass) =
                pass::run(plan.clone(), watched, drawn, || program.step(model));
            found = Some((gradients, output, nodes));
            Ok((one_number(loss)?, pass))
        })?;
        let Some((gradients, output, nodes)) = found else {
            return Err(Error::new(ErrorKind::Misuse, "the program never ran"));
        };
        let mut checked = pass.check();
        if watched {
            let wiring = pass.wiring(nodes.as_deref())?;
            checked = checked.and_then(|()| self.layout.check_wiring(&wiring));
            self.stale = checked.is_err().then(|| Seen::new(&pass, wiring));
            self.uses_known |= learns;
        }
        self.unlike = checked.is_err();
        checked?;
        if first {
            let value = loss.to_vec().first().copied().unwrap_or(f64::NAN);
            self.first = Some((value, output));
        }
        let layout = Arc::clone(&self.layout);
        if first {
            self.contexts = layout.marks().map(|mark| pass.sights[mark].context).collect();
            let at_outputs: Vec<f64> = layout
                .outputs()
                .filter_map(|mark| pass.sights.get(mark)?.cotangent())
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
            at.predictions.push(Some(sight.predicted.clone()));
            // A cotangent that came by scaled is what it would have been, times what its children
            // had; where that is 0 nothing came.
            let scale =
                factors.as_ref().map_or(1.0, |factors| arriving(&layout.topology, factors, vertex));
            let pulled = scale != 0.0 && self.is_pulled(vertex, &seeded);
            let force = sight.cotangent().filter(|_| pulled).map(|mut cotangent| {
                cotangent.scale(-unit / scale);
                cotangent
            });
            at.forces.push(force);
            errors.push(sight.error.take());
        }
        at.predictions.push(Some(loss));
        at.forces.push(None);
        at.gradients = learns.then(|| self.without_unpulled(gradients, &seeded));
        Ok(errors)
    }

    /// Moves the gradients of a pass to the engine's, adding to what is there.
    pub(super) fn collect(
        &self,
        gradients: GradientsParams,
        out: &mut Gradients<BurnTensor>,
    ) -> Result<()> {
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
}

fn disturbed() -> Error {
    let message = "the program's random numbers (dropout) were not the same in all passes: another \
        thread (a loader's worker?) draws from the device's generator, which belongs to the \
        process. Let the numbers belong to the step: `pc_burn::dropout(&self.dropout, x)` for \
        `self.dropout.forward(x)`, and `pc_burn::drawn(|| ..)` around any other random tensor";
    Error::new(ErrorKind::Backend, message)
}
