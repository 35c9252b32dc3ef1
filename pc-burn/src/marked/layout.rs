//! What the marks of a program are to one another: found by a survey at the first batch, and
//! checked at every mark of every pass.

use std::sync::Arc;

use burn::{
    backend::{AutodiffBackend, Dispatch},
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Device, GradientCheckpointingStrategy, Tensor},
};
use pc_core::{Error, ErrorKind, Result, Tensor as _, Topology, VertexId, backend::Prediction};

use super::{
    pass::{self, PassPlan, Sight},
    program::Program,
    random::draws,
};
use crate::BurnTensor;

/// What a backward pass leaves, before Burn wraps it for tensors with ranks.
type Tape = <Dispatch as AutodiffBackend>::Gradients;

/// What one mark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A vertex of the network.
    Vertex(usize),
    /// It feeds the loss and nothing else. The loss holds it at its drive, so it is part of how the
    /// loss is predicted.
    Output,
}

/// The marks of one program at one batch size.
#[derive(Debug)]
pub(super) struct Layout {
    names: Vec<Option<&'static str>>,
    shapes: Vec<Vec<usize>>,
    places: Vec<Place>,
    /// The vertices, and the loss as the last of them.
    pub(super) topology: Topology,
    /// Zeros shaped as each vertex, the loss last.
    pub(super) zeros: Vec<BurnTensor>,
    /// Whether the program draws random numbers.
    pub(super) random: bool,
    /// The model's devices, where the zeros lie. The copies of a model on several devices share
    /// what is known of it.
    devices: Vec<Device>,
}

impl Layout {
    /// The number of vertices, the loss not counted.
    pub(super) fn vertices(&self) -> usize {
        self.zeros.len() - 1
    }

    /// The mark of each vertex, in order.
    pub(super) fn marks(&self) -> impl Iterator<Item = usize> + '_ {
        self.places
            .iter()
            .enumerate()
            .filter(|(_, place)| matches!(place, Place::Vertex(_)))
            .map(|(mark, _)| mark)
    }

    /// The marks that feed the loss and nothing else.
    pub(super) fn outputs(&self) -> impl Iterator<Item = usize> + '_ {
        self.places
            .iter()
            .enumerate()
            .filter(|(_, place)| matches!(place, Place::Output))
            .map(|(mark, _)| mark)
    }

    /// The number of samples: the first dimension of the first mark.
    pub(super) fn samples(&self) -> usize {
        self.shapes.first().and_then(|shape| shape.first()).copied().unwrap_or(1).max(1)
    }

    /// What mark `index` is.
    ///
    /// # Errors
    /// A mark that was not there before, or has another name or shape.
    pub(super) fn place(
        &self,
        index: usize,
        name: Option<&'static str>,
        shape: &[usize],
    ) -> Result<Place> {
        let Some(place) = self.places.get(index) else {
            return Err(changed(format!(
                "the program marks more vertices than before, which were {}",
                self.places.len()
            ))
            .at(&label(index, name)));
        };
        if self.names[index] != name {
            let before = label(index, self.names[index]);
            return Err(changed(format!(
                "the program marked `{before}` in its place before: vertices must come in one order"
            ))
            .at(&label(index, name)));
        }
        if self.shapes[index] != shape {
            return Err(changed(format!(
                "its shape is {shape:?}, and was {:?} before",
                self.shapes[index]
            ))
            .at(&label(index, name)));
        }
        Ok(*place)
    }

    /// # Errors
    /// Fewer marks than before.
    pub(super) fn check_count(&self, count: usize) -> Result<()> {
        if count < self.places.len() {
            return Err(changed(format!(
                "the program marked {count} vertices, and {} before",
                self.places.len()
            )));
        }
        Ok(())
    }

    fn is_of(&self, sights: &[Sight]) -> bool {
        self.places.len() == sights.len()
            && sights
                .iter()
                .enumerate()
                .all(|(index, sight)| self.place(index, sight.name, &sight.shape).is_ok())
    }

    /// Finds what depends on what: one forward pass for the loss, and one for every mark, each
    /// pulled back to the marks before it.
    fn find<M: Module, P: Program<M>>(model: &M, program: &mut P) -> Result<Self> {
        // A copy of its own running statistics, so that a survey leaves no trace.
        let copy = apart(model);
        let parameters = parameters_of(&copy);
        let (loss, mut random, sights) = survey(&copy, program)?;
        let feeds = if loss.is_tracked() {
            let grads = Dispatch::backward(loss.clone().into_dispatch());
            let mut uses = Uses { grads: &grads, parameters: &parameters, found: Vec::new() };
            copy.visit(&mut uses);
            (parents(&sights, &grads, sights.len()), uses.found)
        } else {
            (Vec::new(), Vec::new())
        };
        let mut depends = Vec::with_capacity(sights.len());
        for index in 0..sights.len() {
            // A tape is gone after one backward pass, and segments may share parts of it: each has
            // its own.
            let (_loss, drawn, again) = survey(&copy, program)?;
            // A program that draws does so in every pass. Once alone it was another thread.
            random &= drawn;
            let Some(sight) = again.get(index) else {
                return Err(changed(format!(
                    "the program marked {} vertices, and {} before",
                    again.len(),
                    sights.len()
                )));
            };
            if !Dispatch::is_tracked(&sight.predicted) {
                depends.push((Vec::new(), Vec::new()));
                continue;
            }
            let grads = Dispatch::backward(sight.predicted.clone());
            let mut uses = Uses { grads: &grads, parameters: &parameters, found: Vec::new() };
            copy.visit(&mut uses);
            depends.push((parents(&again, &grads, index), uses.found));
        }
        let layout =
            Self::of(&sights, &feeds, &depends, &parameters, BurnTensor::new(loss)?, random)?;
        Ok(Self { devices: model.devices().to_vec(), ..layout })
    }

    fn of(
        sights: &[Sight],
        feeds: &(Vec<usize>, Vec<usize>),
        depends: &[(Vec<usize>, Vec<usize>)],
        parameters: &[(ParamId, String)],
        loss: BurnTensor,
        random: bool,
    ) -> Result<Self> {
        let has_children = |mark: usize| depends.iter().any(|(parents, _)| parents.contains(&mark));
        let mut places = Vec::with_capacity(sights.len());
        let mut count = 0;
        for mark in 0..sights.len() {
            places.push(if feeds.0.contains(&mark) && !has_children(mark) {
                Place::Output
            } else {
                count += 1;
                Place::Vertex(count - 1)
            });
        }
        // What an output depends on, the loss depends on through it.
        let mut names = Vec::new();
        let mut predictions = Vec::new();
        let mut zeros = Vec::new();
        let mut of_loss: (Vec<VertexId>, Vec<usize>) = (Vec::new(), feeds.1.clone());
        let vertex = |mark: &usize| match places[*mark] {
            Place::Vertex(vertex) => Some(VertexId::new(vertex)),
            Place::Output => None,
        };
        let ids = |found: &[usize]| {
            found.iter().map(|&parameter| pc_core::ParamId::new(parameter)).collect()
        };
        of_loss.0.extend(feeds.0.iter().filter_map(vertex));
        for (mark, sight) in sights.iter().enumerate() {
            let (parents, uses) = &depends[mark];
            match vertex(&mark) {
                Some(of) => {
                    names.push(label(mark, sight.name));
                    let parents = parents.iter().filter_map(vertex).collect();
                    predictions.push(Prediction::new(of, parents, ids(uses)));
                    let mut zero = sight.prediction();
                    zero.fill(0.0);
                    zeros.push(zero);
                }
                None => {
                    of_loss.0.extend(parents.iter().filter_map(vertex));
                    of_loss.1.extend(uses);
                }
            }
        }
        of_loss.0.sort();
        of_loss.0.dedup();
        of_loss.1.sort_unstable();
        of_loss.1.dedup();
        names.push("loss".to_owned());
        let uses = ids(&of_loss.1);
        predictions.push(Prediction::new(VertexId::new(count), of_loss.0, uses));
        let mut zero = loss;
        zero.fill(0.0);
        zeros.push(zero);
        let parameter_names = parameters.iter().map(|(_, name)| name.clone()).collect();
        Ok(Self {
            names: sights.iter().map(|sight| sight.name).collect(),
            shapes: sights.iter().map(|sight| sight.shape.clone()).collect(),
            places,
            topology: Topology::new(names, parameter_names, predictions)?,
            zeros,
            random,
            devices: Vec::new(),
        })
    }
}

/// The layouts met so far, the last used first: one for every batch size and length of sequence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layouts(Vec<Arc<Layout>>);

impl Layouts {
    /// More than this many are not kept; the longest unused goes first.
    const KEPT: usize = 64;

    /// The layout last used by a model on these devices, which is likely the next.
    pub(super) fn last(&self, devices: &[Device]) -> Option<Arc<Layout>> {
        self.0.iter().find(|layout| layout.devices == devices).cloned()
    }

    /// The layout of the program as it now is.
    ///
    /// # Errors
    /// Marks that change from one forward pass to the next.
    pub(super) fn find<M: Module, P: Program<M>>(
        &mut self,
        model: &M,
        program: &mut P,
    ) -> Result<Arc<Layout>> {
        let known = if self.0.is_empty() {
            None
        } else {
            let (_loss, _, sights) = survey(&apart(model), program)?;
            let devices = model.devices();
            self.0.iter().position(|layout| layout.devices == *devices && layout.is_of(&sights))
        };
        let layout = match known {
            Some(index) => self.0.remove(index),
            None => Arc::new(Layout::find(model, program)?),
        };
        self.0.insert(0, Arc::clone(&layout));
        self.0.truncate(Self::KEPT);
        Ok(layout)
    }
}

/// A forward pass whose marks are leaves.
fn survey<M: Module, P: Program<M>>(
    model: &M,
    program: &mut P,
) -> Result<(Tensor<1>, bool, Vec<Sight>)> {
    let mut forward = || pass::run(PassPlan::Survey, || program.forward(model));
    let ((loss, mut pass), random) = draws(&model.devices(), &mut forward);
    pass.check()?;
    Ok((loss, random, pass.sights))
}

/// Which of the marks before `end` a backward pass has reached.
fn parents(sights: &[Sight], grads: &Tape, end: usize) -> Vec<usize> {
    let reached = |sight: &Sight| {
        sight.leaf.as_ref().is_some_and(|leaf| Dispatch::grad(leaf, grads).is_some())
    };
    (0..end).filter(|&index| reached(&sights[index])).collect()
}

/// A training copy of a model with running statistics of its own, and the model's gradient
/// checkpointing.
pub(super) fn apart<M: Module>(model: &M) -> M {
    struct Kept(Vec<(ParamId, GradientCheckpointingStrategy)>);
    impl ModuleVisitor for Kept {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(strategy) = param.val().gradient_checkpointing_strategy() {
                self.0.push((param.id, strategy));
            }
        }
    }
    impl ModuleMapper for Kept {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            match self.0.iter().find(|(id, _)| *id == param.id) {
                Some((_, strategy)) => {
                    param.map(|tensor| tensor.with_gradient_checkpointing_strategy(*strategy))
                }
                None => param,
            }
        }
    }
    let mut kept = Kept(Vec::new());
    model.visit(&mut kept);
    // Going to validation and back leaves the strategy behind.
    let copy = model.valid().train();
    if kept.0.iter().all(|(_, strategy)| *strategy == GradientCheckpointingStrategy::default()) {
        copy
    } else {
        copy.map(&mut kept)
    }
}

/// The parameters that learn, with their paths in the module.
pub(super) fn parameters_of<M: Module>(model: &M) -> Vec<(ParamId, String)> {
    #[derive(Default)]
    struct Names {
        path: Vec<String>,
        found: Vec<(ParamId, String)>,
    }
    impl ModuleVisitor for Names {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            // Reading a lazily initialised parameter makes it; before that no copy of it would have
            // the same numbers.
            let _made = param.val();
            if param.is_require_grad() && self.found.iter().all(|(id, _)| *id != param.id) {
                self.found.push((param.id, self.path.join(".")));
            }
        }
    }
    let mut names = Names::default();
    model.visit(&mut names);
    names.found
}

/// Which parameters a backward pass has reached.
struct Uses<'a> {
    grads: &'a Tape,
    parameters: &'a [(ParamId, String)],
    found: Vec<usize>,
}

impl ModuleVisitor for Uses<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad()
            && Dispatch::grad(&param.val().into_dispatch(), self.grads).is_some()
            && let Some(index) = self.parameters.iter().position(|(id, _)| *id == param.id)
            && !self.found.contains(&index)
        {
            self.found.push(index);
        }
    }
}

fn label(index: usize, name: Option<&'static str>) -> String {
    // Two marks may have one name (a layer in a loop): the number tells them apart.
    name.map_or_else(|| format!("vertex {index}"), |name| format!("{name} ({index})"))
}

fn changed(message: String) -> Error {
    Error::new(ErrorKind::Graph, message)
}
