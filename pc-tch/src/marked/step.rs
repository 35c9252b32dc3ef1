//! A program in one step of training: its forward passes, and the segments that they leave.

use std::rc::Rc;

use pc_core::{Error, ErrorKind, Gradients, ParamId, PredictionId, Result, Tensor as _, VertexId};
use tch::Tensor;

use super::{
    care::Care,
    layout::{Layout, Place},
    pass::{self, Orders, Sight, Value},
};
use crate::{
    sys::{
        self,
        marks::{After, Memo, Reduced, Segments},
    },
    tensor::{TchTensor, reported},
};

/// How often a pass is tried whose random numbers were disturbed.
const ATTEMPTS: usize = 4;

/// A program and what its first pass has shown of it, for one step of training.
pub(crate) struct Marked<'a> {
    program: &'a mut dyn FnMut() -> Tensor,
    pub(super) layout: Rc<Layout>,
    care: Care,
    /// What passes share, where there will be several.
    memo: Option<Memo>,
    /// What the first pass has left, until it is used.
    pub(super) first: Option<Taped>,
    /// `n`, what the loss was divided by.
    samples: f64,
    /// The first pass's loss.
    loss: f64,
    passes: usize,
    /// The norm of the drives at the outputs, in the first pass.
    drive: f64,
}

/// What one forward pass has left.
#[derive(Debug)]
pub(super) struct Taped {
    segments: Segments,
    /// By parameter of the segments: which of the layout's it is.
    ids: Vec<Option<ParamId>>,
    /// By vertex, in the topology's order.
    pub(super) predictions: Vec<TchTensor>,
    /// The loss as the program gave it, whose shape its cotangent has.
    loss: Tensor,
}

/// What one pull has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// By parent of the prediction.
    pub(super) forces: Vec<Option<Tensor>>,
    gradients: Vec<(ParamId, Tensor)>,
}

impl<'a> Marked<'a> {
    /// Runs the first pass, and reads its graph. Where there will be `several`, those that follow
    /// are spared what they share.
    ///
    /// # Errors
    /// A loss that is not one number or needs no gradient; marks that cannot be vertices, or none;
    /// nothing that learns.
    pub(crate) fn new(program: &'a mut dyn FnMut() -> Tensor, several: bool) -> Result<Self> {
        pass::check_free()?;
        let memo = if several { Memo::new() } else { None };
        let first = || pass::run(Orders::default(), memo.as_ref(), program);
        let (care, (loss, sights)) = Care::first(first)?;
        check_loss(&loss)?;
        let segments = segments(&sights, &loss)?;
        let layout = Rc::new(Layout::of(&sights, &segments, &loss)?);
        let first = Taped::new(&layout, segments, &sights, &loss)?;
        let value = first.predictions.get(layout.vertices()).map_or(f64::NAN, number);
        let mut own = Self {
            program,
            layout,
            care,
            memo,
            first: Some(first),
            samples: 1.0,
            loss: value,
            passes: 1,
            drive: 0.0,
        };
        own.drive = own.drive_of_first()?;
        Ok(own)
    }

    /// How the loss was reduced, as its operations tell.
    ///
    /// # Errors
    /// What libtorch reports.
    pub(crate) fn reduced(&mut self) -> Result<Reduced> {
        let (root, samples) = (self.layout.loss(), self.layout.samples());
        match &mut self.first {
            Some(first) => {
                let found = first.segments.reduction(root, samples);
                first.segments.rest();
                found
            }
            None => Ok(Reduced::Not),
        }
    }

    /// Says what the loss was divided by.
    pub(crate) fn divided_by(&mut self, samples: f64) {
        self.samples = samples;
    }

    /// The number of samples: the first dimension of the first mark.
    pub(crate) fn batch(&self) -> usize {
        self.layout.samples()
    }

    /// `n`: what the loss was divided by.
    pub(crate) fn samples(&self) -> f64 {
        self.samples
    }

    /// The number of vertices: marks that lie between data and loss.
    pub(crate) fn vertices(&self) -> usize {
        self.layout.vertices()
    }

    /// The vertex that is the loss.
    pub(crate) fn loss_vertex(&self) -> VertexId {
        VertexId::new(self.layout.vertices())
    }

    /// The first pass's loss.
    pub(crate) fn loss(&self) -> f64 {
        self.loss
    }

    /// How often the program ran forward.
    pub(crate) fn passes(&self) -> usize {
        self.passes
    }

    /// How many operations were not computed again.
    pub(crate) fn spared(&self) -> usize {
        self.memo.as_ref().map_or(0, Memo::spared)
    }

    /// What learns, in the order of the parameters' ids.
    pub(crate) fn parameters(&self) -> &[Tensor] {
        &self.layout.parameters
    }

    /// Puts relays on edges that span more than one level.
    ///
    /// # Errors
    /// The program has been run again since.
    pub(crate) fn level(&mut self) -> Result<()> {
        let (Some(layout), Some(first)) = (Rc::get_mut(&mut self.layout), &mut self.first) else {
            return Err(Error::new(ErrorKind::Misuse, "the program has run again meanwhile"));
        };
        layout.level()?;
        for relay in &layout.relays {
            first.predictions.extend(first.predictions.get(*relay).cloned());
        }
        Ok(())
    }

    /// Zeros shaped as each vertex, in the topology's order.
    pub(crate) fn zeros(&self) -> &[TchTensor] {
        &self.layout.zeros
    }

    /// The norm of the loss's drives at the outputs, times `n`.
    pub(super) fn drive(&self) -> f64 {
        self.drive * self.samples
    }

    /// One forward pass after the first. `values` are by vertex.
    ///
    /// # Errors
    /// A program that goes another way than in its first pass.
    pub(super) fn pass(&mut self, mut values: Vec<Value>) -> Result<Taped> {
        let layout = Rc::clone(&self.layout);
        for attempt in 1..=ATTEMPTS {
            let mut orders = Orders { layout: Some(Rc::clone(&layout)), values: Vec::new() };
            for mark in 0..layout.loss() {
                orders.values.push(match layout.place(mark) {
                    Place::Vertex(vertex) => copy(&mut values, vertex),
                    Place::Output | Place::Idle => Value::Predicted,
                });
            }
            let turn = self.care.rewind()?;
            let ran = pass::run(orders, self.memo.as_ref(), self.program);
            let undisturbed = self.care.is_undisturbed()?;
            drop(turn);
            self.passes += 1;
            let (loss, sights) = ran?;
            if !undisturbed && attempt < ATTEMPTS {
                continue;
            }
            if !undisturbed {
                let message = "the program's random numbers (dropout) were not the same in all \
                    passes: another thread draws from the generator";
                return Err(Error::new(ErrorKind::Backend, message));
            }
            check_loss(&loss)?;
            let segments = segments(&sights, &loss)?;
            layout.check(sights.len(), &segments)?;
            return Taped::new(&layout, segments, &sights, &loss);
        }
        Err(Error::new(ErrorKind::Misuse, "no pass was made"))
    }

    /// Pulls a cotangent of a prediction back to its parents and parameters.
    ///
    /// # Errors
    /// What libtorch reports.
    pub(super) fn pull(
        &self,
        taped: &mut Taped,
        prediction: PredictionId,
        cotangent: &TchTensor,
        after: After,
    ) -> Result<Found> {
        let layout = &*self.layout;
        let of = layout.topology.prediction(prediction)?;
        let name = || layout.topology.name(of.of).unwrap_or("?").to_owned();
        let mut found =
            Found { forces: of.parents.iter().map(|_| None).collect(), gradients: Vec::new() };
        let sources = layout.sources.get(prediction.index()).map_or(&[][..], Vec::as_slice);
        if prediction.index() > layout.vertices() {
            // A relay.
            found.forces.fill_with(|| Some(cotangent.tensor().shallow_clone()));
            return Ok(found);
        }
        let mut taker = Taker { layout, sources, found: &mut found };
        let done = match layout.marks.get(prediction.index()) {
            Some(mark) => taker.take(taped, *mark, cotangent.tensor(), after).map(drop),
            None => taker.take_loss(taped, cotangent, after),
        };
        done.map_err(|error| error.at(&name()))?;
        Ok(found)
    }

    fn drive_of_first(&mut self) -> Result<f64> {
        let Some(first) = &mut self.first else { return Ok(0.0) };
        let (root, ones) = (self.layout.loss(), first.loss.f_ones_like().map_err(reported)?);
        let arrived = first.segments.pull(root, &ones, After::Marks)?;
        first.segments.rest();
        let (mut outputs, mut others) = (0.0, 0.0);
        for (mark, arrived) in first.segments.reach(root).iter().zip(&arrived) {
            let Some(arrived) = arrived else { continue };
            let norm = sys::norm_squared(arrived)?;
            match self.layout.place(*mark) {
                Place::Output => outputs += norm,
                Place::Vertex(_) | Place::Idle => others += norm,
            }
        }
        Ok(if outputs > 0.0 { outputs } else { others }.sqrt())
    }
}

impl Taped {
    fn new(layout: &Layout, segments: Segments, sights: &[Sight], loss: &Tensor) -> Result<Self> {
        let ids = layout.ids(&segments);
        let seen = |mark: &usize| sights.get(*mark).map(|sight| TchTensor::new(&sight.predicted));
        let mut predictions: Vec<TchTensor> = layout.marks.iter().filter_map(seen).collect();
        let loss = loss.f_detach().map_err(reported)?;
        predictions.push(TchTensor::new(&loss.f_reshape([1]).map_err(reported)?));
        for relay in &layout.relays {
            predictions.extend(predictions.get(*relay).cloned());
        }
        Ok(Self { segments, ids, predictions, loss })
    }
}

impl Found {
    /// Moves the gradients to the engine's, adding `scale` times each to what is there.
    pub(super) fn hand_out(self, scale: f64, out: &mut Gradients<TchTensor>) {
        for (id, gradient) in self.gradients {
            let mut gradient = TchTensor::with_graph(gradient);
            match out.slot(id) {
                Some((sum, false)) => sum.axpy(scale, &gradient),
                _ => {
                    gradient.scale(scale);
                    out.set(id, gradient);
                }
            }
        }
    }
}

/// Collects what arrives at the leaves of segments.
struct Taker<'a> {
    layout: &'a Layout,
    sources: &'a [usize],
    found: &'a mut Found,
}

impl Taker<'_> {
    /// Pulls one segment, and returns what has arrived at outputs.
    fn take(
        &mut self,
        taped: &mut Taped,
        root: usize,
        cotangent: &Tensor,
        after: After,
    ) -> Result<Vec<(usize, Tensor)>> {
        let mut outputs = Vec::new();
        let arrived = taped.segments.pull(root, cotangent, after)?;
        let leaves = taped.segments.reach(root);
        for (leaf, arrived) in leaves.iter().zip(arrived) {
            let Some(arrived) = arrived else { continue };
            match leaf.checked_sub(self.layout.loss()) {
                Some(parameter) => {
                    if let Some(Some(id)) = taped.ids.get(parameter) {
                        self.gradient(*id, arrived)?;
                    }
                }
                None => match self.layout.place(*leaf) {
                    Place::Output => outputs.push((*leaf, arrived)),
                    Place::Vertex(vertex) => self.force(vertex, &arrived)?,
                    Place::Idle => {}
                },
            }
        }
        Ok(outputs)
    }

    /// Pulls the loss, through the outputs that it holds.
    fn take_loss(&mut self, taped: &mut Taped, cotangent: &TchTensor, after: After) -> Result<()> {
        let cotangent = cotangent.tensor().f_reshape(taped.loss.size()).map_err(reported)?;
        // What arrives at outputs is wanted in any case.
        let tail = if after == After::Marks { After::Marks } else { After::Both };
        let root = self.layout.loss();
        let before = self.found.forces.iter().map(|_| None).collect();
        let outputs = self.take(taped, root, &cotangent, tail)?;
        if after == After::Parameters {
            self.found.forces = before;
        }
        for (output, arrived) in outputs {
            // An output feeds no other.
            self.take(taped, output, &arrived, after)?;
        }
        Ok(())
    }

    fn force(&mut self, vertex: usize, arrived: &Tensor) -> Result<()> {
        let slot = self.sources.iter().position(|source| *source == vertex);
        match slot.and_then(|slot| self.found.forces.get_mut(slot)) {
            Some(force) => sys::add(force, arrived),
            None => Ok(()),
        }
    }

    fn gradient(&mut self, id: ParamId, arrived: Tensor) -> Result<()> {
        // The engine's arithmetic is that of dense tensors.
        let arrived = if arrived.is_sparse() {
            arrived.f_to_dense(None::<tch::Kind>, false).map_err(reported)?
        } else {
            arrived
        };
        match self.found.gradients.iter_mut().find(|(own, _)| *own == id) {
            Some((_, sum)) => *sum = sum.f_add(&arrived).map_err(reported)?,
            None => self.found.gradients.push((id, arrived)),
        }
        Ok(())
    }
}

fn segments(sights: &[Sight], loss: &Tensor) -> Result<Segments> {
    let mut roots: Vec<&Tensor> = sights.iter().map(|sight| &sight.predicted).collect();
    roots.push(loss);
    let leaves: Vec<&Tensor> = sights.iter().map(|sight| &sight.leaf).collect();
    Segments::new(&roots, &leaves)
}

fn check_loss(loss: &Tensor) -> Result<()> {
    let shape = if loss.defined() { loss.size() } else { Vec::new() };
    let problem = if !loss.defined() {
        "the loss is undefined".to_owned()
    } else if shape.iter().product::<i64>() != 1 {
        format!(
            "the loss must be one number, not a tensor shaped {shape:?}: reduce it by its mean or \
             sum"
        )
    } else if loss.is_complex() {
        "the loss is a complex number, which cannot fall".to_owned()
    } else if !loss.requires_grad() {
        "the loss depends on nothing that requires a gradient: all parameters are frozen, or the \
         forward pass is cut off from them"
            .to_owned()
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Shape, problem).at("loss"))
}

/// The value of a vertex for one attempt.
fn copy(values: &mut [Value], vertex: usize) -> Value {
    match values.get(vertex) {
        Some(Value::Given(value)) => Value::Given(value.shallow_clone()),
        Some(Value::Offset(value)) => Value::Offset(value.shallow_clone()),
        Some(Value::Predicted) | None => Value::Predicted,
    }
}

pub(super) fn number(tensor: &TchTensor) -> f64 {
    tensor.to_vec().first().copied().unwrap_or(f64::NAN)
}
