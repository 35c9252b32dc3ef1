//! One pass of a user's program under marks: what every mark is to do, and what it has seen.

use std::{cell::RefCell, sync::Arc};

use burn::backend::{
    AutodiffBackend, Dispatch, DispatchTensor, TensorMetadata, ops::FloatTensorOps,
};
use pc_core::{Error, ErrorKind, Tensor as _};

use super::{
    cut::{Link, Slot, arrived, hosts, link},
    layout::{Layout, Place},
};
use crate::BurnTensor;

thread_local! {
    /// The pass that marks on this thread belong to.
    static CURRENT: RefCell<Option<Pass>> = const { RefCell::new(None) };
}

/// What a pass does at its marks.
#[derive(Clone, Debug)]
pub(super) enum PassPlan {
    /// Every mark is a leaf, so that what depends on it directly can be seen.
    Survey,
    /// The marks of a known layout.
    Run {
        layout: Arc<Layout>,
        values: Values,
        links: Links,
        /// By vertex: whether the backward pass must get through, to something before it.
        passed: Vec<bool>,
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
    /// What was predicted: with its graph in a survey, without it else.
    pub(super) predicted: DispatchTensor,
    /// The leaf that a survey put in its place.
    pub(super) leaf: Option<DispatchTensor>,
    pub(super) error: Option<BurnTensor>,
    pub(super) slot: Option<Slot>,
}

impl Sight {
    /// The prediction, without its graph.
    pub(super) fn prediction(&self) -> BurnTensor {
        BurnTensor::wrap(self.predicted.clone())
    }

    /// The cotangent that came by.
    pub(super) fn cotangent(&self) -> Option<BurnTensor> {
        arrived(self.slot.as_ref()?, &self.prediction())
    }
}

/// A pass under way.
#[derive(Debug)]
pub(super) struct Pass {
    plan: PassPlan,
    pub(super) sights: Vec<Sight>,
    /// The first thing that went wrong.
    problem: Option<Error>,
}

/// Runs `program` with every mark on this thread following `plan`. Marks outside are not disturbed,
/// also where the program panics.
pub(super) fn run<R>(plan: PassPlan, program: impl FnOnce() -> R) -> (R, Pass) {
    /// Puts the pass that was interrupted back, whatever happens.
    struct Restore(Option<Pass>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.with(|current| current.replace(self.0.take()));
        }
    }
    let pass = Pass { plan, sights: Vec::new(), problem: None };
    let outer = Restore(CURRENT.with(|current| current.replace(Some(pass))));
    let result = program();
    let pass = CURRENT.with(|current| current.borrow_mut().take());
    drop(outer);
    (
        result,
        pass.unwrap_or_else(|| Pass {
            plan: PassPlan::Survey,
            sights: Vec::new(),
            problem: Some(lost()),
        }),
    )
}

fn lost() -> Error {
    Error::new(ErrorKind::Misuse, "the program ended another pass than its own")
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
        let sight = |predicted| Sight {
            name,
            shape: shape.clone(),
            predicted,
            leaf: None,
            error: None,
            slot: None,
        };
        let (sight, out) = match &self.plan {
            PassPlan::Survey => {
                let mut inner = Dispatch::from_inner(Dispatch::inner(x.clone()));
                inner.autodiff = x.autodiff;
                let leaf = Dispatch::float_set_require_grad(inner, true);
                (Sight { leaf: Some(leaf.clone()), ..sight(x) }, leaf)
            }
            PassPlan::Run { layout, values, links, passed, unit } => match layout
                .place(index, name, &shape)
            {
                Err(error) => {
                    self.problem.get_or_insert(error);
                    // Tracked like any other, so that a program which runs its own backward pass
                    // gets through it, to where the error is seen.
                    let prediction = BurnTensor::wrap(x.clone());
                    let (out, _) = link(x, &prediction, Link::Passing(1.0));
                    (sight(prediction.into_dispatch()), out)
                }
                Ok(Place::Output) => {
                    let prediction = BurnTensor::wrap(x.clone());
                    let (out, slot) = link(x, &prediction, Link::Passing(1.0));
                    (Sight { slot: Some(slot), ..sight(prediction.into_dispatch()) }, out)
                }
                Ok(Place::Vertex(vertex)) => {
                    let prediction = BurnTensor::wrap(x.clone());
                    let (value, error, how) = at_vertex(vertex, &prediction, values, links, *unit);
                    let how = match how {
                        Link::Severed if passed[vertex] => {
                            Link::Seeded(prediction.zeros(&prediction.shape()))
                        }
                        how => how,
                    };
                    let (out, slot) = link(x, &value, how);
                    (Sight { error, slot: Some(slot), ..sight(prediction.into_dispatch()) }, out)
                }
            },
        };
        self.sights.push(sight);
        out
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
