//! One pass of a user's program under marks: what every mark is to do, and what it has seen.

use std::{cell::RefCell, sync::Arc};

use burn::{
    backend::{AutodiffBackend, Dispatch, DispatchAutodiffContext, DispatchTensor, TensorMetadata},
    tensor::Tensor,
};
use pc_core::{Error, ErrorKind, Tensor as _};

use super::{
    cut::{Link, Slot, arrived, hosts, link},
    layout::{Layout, Place},
    random::Drawn,
    wiring::{Watch, Wiring},
};
use crate::BurnTensor;

thread_local! {
    /// The pass that marks on this thread belong to.
    static CURRENT: RefCell<Option<Pass>> = const { RefCell::new(None) };
}

/// What a pass does at its marks.
#[derive(Clone, Debug)]
pub(super) enum PassPlan {
    /// Every mark is the identity, forward and backward.
    Survey,
    /// The marks of a known layout.
    Run {
        layout: Arc<Layout>,
        values: Values,
        links: Links,
        /// By vertex: whether the backward pass must get through, to something before it.
        passed: Vec<bool>,
        /// By vertex: its prediction, where that is known to be what it was.
        known: Vec<Option<BurnTensor>>,
        /// By vertex: the autodiff association of what is predicted.
        contexts: Vec<DispatchAutodiffContext>,
        /// The drive's factor, `n lambda`: errors are sent as `-e / unit`, so that the program's
        /// own loss brings parameter gradients to scale.
        unit: f64,
    },
}

/// The value that a vertex takes.
#[derive(Clone, Debug)]
pub(super) enum Values {
    /// Its prediction.
    Predicted,
    /// Its prediction plus this, by vertex.
    Offset(Vec<BurnTensor>),
    /// This, by vertex.
    Given(Vec<BurnTensor>),
}

/// What goes on to the predictions behind the marks, by vertex.
#[derive(Clone, Debug)]
pub(super) enum Links {
    /// These errors; nothing where there is none.
    Errors(Vec<Option<BurnTensor>>),
    /// The errors at the values, `e = v - f`.
    Gaps,
    /// The errors at the values in the form that does not cancel, `e = r + d - (f - f_ref)`;
    /// nothing where nothing has moved.
    Deltas(Vec<Option<Delta>>),
    /// What arrives, times a factor.
    Passing(Vec<f64>),
}

/// The parts of one error.
#[derive(Clone, Debug)]
pub(super) struct Delta {
    pub(super) residual: Option<BurnTensor>,
    pub(super) displacement: Option<BurnTensor>,
    pub(super) reference: BurnTensor,
}

/// One mark as a pass met it.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) name: Option<&'static str>,
    pub(super) shape: Vec<usize>,
    /// What was predicted, without its graph.
    pub(super) predicted: BurnTensor,
    pub(super) context: DispatchAutodiffContext,
    pub(super) error: Option<BurnTensor>,
    slot: Slot,
}

impl Sight {
    /// The cotangent that came by.
    pub(super) fn cotangent(&self) -> Option<BurnTensor> {
        arrived(&self.slot, &self.predicted)
    }
}

/// A pass under way.
#[derive(Debug)]
pub(super) struct Pass {
    plan: PassPlan,
    pub(super) sights: Vec<Sight>,
    /// Where the wiring is seen, if it is wanted.
    watch: Option<Watch>,
    /// What belongs to the step, and how much of it this pass has used.
    drawn: Drawn,
    used: usize,
    /// The first thing that went wrong.
    problem: Option<Error>,
}

/// Runs `program` with every mark on this thread following `plan`, and looks at its wiring if that
/// is wanted. Marks outside are not disturbed, also where the program panics.
pub(super) fn run<R>(
    plan: PassPlan,
    watched: bool,
    drawn: &Drawn,
    program: impl FnOnce() -> R,
) -> (R, Pass) {
    /// Puts the pass that was interrupted back, whatever happens.
    struct Restore(Option<Pass>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.with(|current| current.replace(self.0.take()));
        }
    }
    let new = |plan, problem| Pass {
        plan,
        sights: Vec::new(),
        watch: watched.then(Watch::default),
        drawn: drawn.clone(),
        used: 0,
        problem,
    };
    let outer = Restore(CURRENT.with(|current| current.replace(Some(new(plan, None)))));
    let result = program();
    let pass = CURRENT.with(|current| current.borrow_mut().take());
    drop(outer);
    (result, pass.unwrap_or_else(|| new(PassPlan::Survey, Some(lost()))))
}

fn lost() -> Error {
    Error::new(ErrorKind::Misuse, "the program ended another pass than its own")
}

/// What the pass under way has drawn at this place of the program, or what `draw` draws now, for
/// the passes to come. Outside of a pass it is what `draw` draws.
pub(super) fn drawn<const D: usize>(draw: impl FnOnce() -> Tensor<D>) -> Tensor<D> {
    let step = CURRENT.with(|current| {
        current.borrow_mut().as_mut().map(|pass| {
            pass.used += 1;
            (pass.drawn.clone(), pass.used - 1)
        })
    });
    let Some((drawn, index)) = step else { return draw() };
    if let Some(known) = drawn.get(index) {
        let rank = known.shape().len();
        if rank == D {
            return Tensor::from_dispatch(known);
        }
        let message = format!(
            "the random tensor of rank {D} that is asked for in place {index} had rank {rank} in \
             an earlier pass: within a step a program must draw in one order"
        );
        complain(Error::new(ErrorKind::Graph, message));
        return draw();
    }
    let new = draw();
    if new.is_tracked() {
        let message = "what is `drawn` belongs to a step, and cannot be made of parameters or \
            vertices: draw the numbers alone, and compute with them outside";
        complain(Error::new(ErrorKind::Misuse, message));
        return new;
    }
    drawn.push(new.clone().into_dispatch());
    new
}

/// A mark of what `predict` gives, which is not asked where its prediction is known.
pub(super) fn mark_of<const D: usize>(
    name: Option<&'static str>,
    predict: impl FnOnce() -> Tensor<D>,
) -> Tensor<D> {
    let count =
        || CURRENT.with(|current| current.borrow().as_ref().map_or(0, |pass| pass.sights.len()));
    let known = CURRENT.with(|current| current.borrow_mut().as_mut()?.mark_known(name, D));
    if let Some(known) = known {
        return Tensor::from_dispatch(known);
    }
    let before = count();
    let x = predict();
    if count() != before {
        let message = "the function of this vertex has marks of its own: where it is not called \
            they would be missing, so mark its result by `vertex` instead";
        let name = name.unwrap_or("vertex_of");
        complain(Error::new(ErrorKind::Graph, message).at(name));
    }
    if !x.is_autodiff() {
        return x;
    }
    let x = x.into_dispatch();
    Tensor::from_dispatch(mark(&x, name).unwrap_or(x))
}

/// Makes the pass under way fail, if nothing has before.
fn complain(error: Error) {
    CURRENT.with(|current| {
        if let Some(pass) = current.borrow_mut().as_mut() {
            pass.problem.get_or_insert(error);
        }
    });
}

/// What a mark gives back for `x`; none outside of a pass.
pub(super) fn mark(x: &DispatchTensor, name: Option<&'static str>) -> Option<DispatchTensor> {
    CURRENT.with(|current| current.borrow_mut().as_mut().map(|pass| pass.mark(x.clone(), name)))
}

impl Pass {
    fn mark(&mut self, x: DispatchTensor, name: Option<&'static str>) -> DispatchTensor {
        if let Err(error) = hosts(&x) {
            self.problem.get_or_insert(error);
            return x;
        }
        let index = self.sights.len();
        let shape = x.shape().to_vec();
        let prediction = BurnTensor::wrap(x.clone());
        let place = match &self.plan {
            PassPlan::Survey => Place::Output,
            PassPlan::Run { layout, .. } => {
                layout.place(index, name, &shape).unwrap_or_else(|error| {
                    self.problem.get_or_insert(error);
                    // Tracked like any other, so that a program which runs its own backward pass
                    // gets through it, to where the error is seen.
                    Place::Output
                })
            }
        };
        let (value, error, how) = match (&self.plan, place) {
            (PassPlan::Run { values, links, passed, unit, .. }, Place::Vertex(vertex)) => {
                let (value, error, how) = at_vertex(vertex, &prediction, values, links, *unit);
                let how = match how {
                    Link::Severed if passed[vertex] => {
                        Link::Seeded(prediction.zeros(&prediction.shape()))
                    }
                    how => how,
                };
                (value, error, how)
            }
            _ => (prediction.clone(), None, Link::Passing(1.0)),
        };
        let context = x.autodiff;
        let (out, slot) = link(x, &value, how, self.watch.as_ref());
        self.sights.push(Sight { name, shape, predicted: prediction, context, error, slot });
        out
    }

    /// What the next mark gives back, where its prediction is known and has this rank.
    fn mark_known(&mut self, name: Option<&'static str>, rank: usize) -> Option<DispatchTensor> {
        let PassPlan::Run { layout, known, contexts, .. } = &self.plan else { return None };
        let index = self.sights.len();
        let shape = layout.shape(index).filter(|shape| shape.len() == rank)?;
        let Ok(Place::Vertex(vertex)) = layout.place(index, name, shape) else { return None };
        let prediction = known.get(vertex)?.as_ref()?;
        let mut x = Dispatch::from_inner(prediction.as_dispatch().clone());
        x.autodiff = *contexts.get(vertex)?;
        Some(self.mark(x, name))
    }

    /// The wiring that the backward pass has seen, with what parameters there are to it, by the
    /// autodiff nodes of each.
    ///
    /// # Errors
    /// A graph that Burn does not show.
    pub(super) fn wiring(&self, parameters: Option<&[Vec<u64>]>) -> pc_core::Result<Wiring> {
        let marks: Vec<_> = self.sights.iter().map(|sight| sight.slot.nodes()).collect();
        Wiring::new(self.watch.as_ref().and_then(Watch::take), &marks, parameters)
    }

    /// Whether every mark came, in order.
    ///
    /// # Errors
    /// The first that did not.
    pub(super) fn check(&mut self) -> pc_core::Result<()> {
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        match &self.plan {
            PassPlan::Run { layout, .. } => layout.check_count(self.sights.len()),
            PassPlan::Survey => Ok(()),
        }
    }
}

/// The value that a vertex takes, its error where the pass finds it, and what its mark does.
fn at_vertex(
    vertex: usize,
    prediction: &BurnTensor,
    values: &Values,
    links: &Links,
    unit: f64,
) -> (BurnTensor, Option<BurnTensor>, Link) {
    let value = match values {
        Values::Predicted => prediction.clone(),
        Values::Offset(offsets) => {
            let mut value = prediction.clone();
            value.axpy(1.0, &offsets[vertex]);
            value
        }
        Values::Given(values) => values[vertex].clone(),
    };
    let seed = |error: &BurnTensor| {
        let mut seed = error.clone();
        seed.scale(-1.0 / unit);
        Link::Seeded(seed)
    };
    match links {
        Links::Errors(errors) => {
            let how = errors[vertex].as_ref().map_or(Link::Severed, seed);
            (value, None, how)
        }
        Links::Gaps => {
            let mut error = value.clone();
            error.axpy(-1.0, prediction);
            let how = seed(&error);
            (value, Some(error), how)
        }
        Links::Deltas(deltas) => match &deltas[vertex] {
            Some(Delta { residual, displacement, reference }) => {
                let mut change = prediction.clone();
                change.axpy(-1.0, reference);
                let mut error = prediction.clone();
                error.set_error(residual.as_ref(), displacement.as_ref(), Some(&change));
                let how = seed(&error);
                (value, Some(error), how)
            }
            None => (value, None, Link::Severed),
        },
        Links::Passing(factors) => (value, None, Link::Passing(factors[vertex])),
    }
}
