//! What a schedule sees of a model, whichever way in it came by.

use crate::{
    Result,
    clamp::{Clamps, Losses},
    energy::EnergyOf,
    gradients::Gradients,
    projection::Projection,
    tensor::Tensor,
    topology::{Prediction, PredictionId, Topology, VertexId},
};

/// A model as predictive coding sees it: vertices that hold values, predictions of them, pullbacks.
///
/// A network says what it can do in [`Network::abilities`]; the engine checks them against the
/// schedule and refuses what is missing, so an implementation may answer the calls it has not
/// declared with an [`crate::ErrorKind::Unsupported`] error.
///
/// The **linearisation** is what one evaluation leaves behind: caches, saved masks, a framework's
/// autograd graph. It is owned by the caller, made once by [`Network::linearisation`] and refilled,
/// so that a warm relaxation allocates nothing. Errors belong to predictions, not to vertices: a
/// vertex may have several.
///
/// The types of its calls are in [`crate::backend`].
pub trait Network {
    /// The framework's tensor.
    type Tensor: Tensor;
    /// What one evaluation leaves for the pulls that follow.
    type Linearisation;

    /// Vertices and predictions.
    fn topology(&self) -> &Topology;

    /// What this network can do.
    fn abilities(&self) -> Abilities;

    /// Makes `values` hold one tensor for every vertex, shaped for this batch. Returns whether it
    /// had to allocate, which it has at the first batch and when the batch size changes. The
    /// contents do not matter.
    ///
    /// # Errors
    /// Clamps that do not agree with one another, or whose shapes are not their vertices'.
    fn prepare(
        &mut self,
        clamps: &Clamps<Self::Tensor>,
        values: &mut Vec<Self::Tensor>,
    ) -> Result<bool>;

    /// A number that differs between networks of different vertices, wiring or shapes, which one
    /// relaxation cannot serve. It has to be cheap, since every call of a relaxation asks for it.
    fn signature(&self) -> u64 {
        self.topology().signature()
    }

    /// Checks that the network is still what it was built as. Optimisers hold its parameters
    /// between two calls of a relaxation, and may have put others in their place.
    ///
    /// # Errors
    /// A parameter of another shape.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// An empty linearisation. A relaxation asks for a new one when the batch size changes.
    fn linearisation(&self) -> Self::Linearisation;

    /// A feed-forward pass: visits the predictions in [`Topology::forward_order`], sets every
    /// vertex that [`Forward::follows`] selects to its prediction (plus its offset, and moved to
    /// where [`Network::projection`] has it lie), and leaves `into` linearised there, this point
    /// being its reference.
    ///
    /// # Errors
    /// A cycle; what the framework reports.
    fn forward(
        &mut self,
        pass: Forward<'_, Self::Tensor>,
        into: &mut Self::Linearisation,
    ) -> Result<()>;

    /// Evaluates every prediction at `state.values`, which becomes the reference. With
    /// `after_forward` the linearisation stands there already, and only predictions that a forward
    /// pass does not visit are missing.
    ///
    /// # Errors
    /// What the framework reports.
    fn refer(
        &mut self,
        state: &State<Self::Tensor>,
        settings: Settings,
        after_forward: bool,
        into: &mut Self::Linearisation,
    ) -> Result<()>;

    /// A prediction at the reference, after [`Network::forward`] or [`Network::refer`].
    fn prediction<'a>(
        &self,
        at: &'a Self::Linearisation,
        prediction: PredictionId,
    ) -> Option<&'a Self::Tensor>;

    /// How far a prediction has moved from the reference, after [`Network::linearise`]. Returns
    /// `None` if it has not moved. The engine asks this of driven vertices, whose losses are
    /// evaluated there.
    fn change<'a>(
        &self,
        at: &'a Self::Linearisation,
        prediction: PredictionId,
    ) -> Option<&'a Self::Tensor>;

    /// Moves the linearisation to `reference + displacement` and writes every prediction's error
    /// there, which is `e = r + d - [f(v_ref + d) - f(v_ref)]` with `r` the error at the reference.
    /// An error that still is `r` may be left alone. Needs [`Abilities::predict`].
    ///
    /// # Errors
    /// What the framework reports.
    fn linearise(
        &mut self,
        state: &State<Self::Tensor>,
        settings: Settings,
        residuals: Residuals<'_, Self::Tensor>,
        errors: &mut [Self::Tensor],
        into: &mut Self::Linearisation,
    ) -> Result<()>;

    /// Pulls precision-weighted errors back through the predictions that `want` selects: their
    /// contributions to the forces on their parents replace those of earlier pulls (see
    /// [`Network::force`]), and their parameter gradients are added to `gradients`, where given. A
    /// network that can only pull everything may do more than is asked.
    ///
    /// # Errors
    /// What the framework reports.
    fn pull(
        &mut self,
        state: &State<Self::Tensor>,
        cotangents: &[Self::Tensor],
        want: Want<'_>,
        gradients: Option<&mut Gradients<Self::Tensor>>,
        at: &mut Self::Linearisation,
    ) -> Result<()>;

    /// Forgets the contributions of earlier pulls.
    fn forget_pulls(&self, at: &mut Self::Linearisation);

    /// The force on a vertex, `sum over children of J^T pi e`, from the pulls so far. Returns
    /// `None` if nothing has been pulled.
    fn force<'a>(&self, at: &'a Self::Linearisation, vertex: VertexId) -> Option<&'a Self::Tensor>;

    /// A whole-net traversal against the order: cotangents start at the predictions with a drive,
    /// and every other prediction is pulled with what has arrived at its vertex. Leaves that
    /// arrival in [`Network::force`], and adds parameter gradients, each prediction's weighed by
    /// `weights` where given. This is backprop, and the gradient of error-based PC.
    ///
    /// # Errors
    /// A cycle; what the framework reports.
    fn reverse(
        &mut self,
        state: &State<Self::Tensor>,
        drives: Drives<'_, Self::Tensor>,
        gradients: Option<&mut Gradients<Self::Tensor>>,
        at: &mut Self::Linearisation,
    ) -> Result<()>;

    /// The norm of the drive, which tolerances are relative to. Returns `None` if the errors of
    /// driven and held vertices give it, which is the usual case. A network whose loss is a vertex
    /// itself, with a constant as its error, returns the norm it knows.
    fn drive_norm(&self) -> Option<f64> {
        None
    }

    /// Reports a failure in a call that returns no error, such as an operation of a [`Tensor`]. The
    /// engine asks when numbers are not finite, and at the end, so that a lost device is not taken
    /// for a relaxation that diverged.
    ///
    /// # Errors
    /// What failed.
    fn failure(&self) -> Result<()> {
        Ok(())
    }

    /// Says that all of one step has been asked for. The engine calls it in its own loop, once a
    /// step, so that a network whose device can record work knows what may come again.
    ///
    /// # Errors
    /// What the device reports.
    fn step_ends(&self) -> Result<()> {
        Ok(())
    }

    /// The energy of a prediction. Returns `None` if it is the usual `1/2 pi |v - mu|^2`.
    fn energy(&self, _prediction: PredictionId) -> Option<EnergyOf<'_, Self::Tensor>> {
        None
    }

    /// What is done to the value of a vertex after each step. Returns `None` for nothing.
    fn projection(&self, _vertex: VertexId) -> Option<&dyn Projection<Self::Tensor>> {
        None
    }

    /// Drops the gradients of what must not be learned, and restricts others to what their
    /// parameters have to keep. The engine asks it before it hands gradients out.
    fn constrain(&self, _gradients: &mut Gradients<Self::Tensor>) {}

    /// An empty set of gradients for the parameters.
    fn gradients(&self) -> Gradients<Self::Tensor>;

    /// Takes over several plain synchronous steps at once, if the network has something faster than
    /// the engine's loop (a fused kernel). Returns how many steps it took, or `None` if it leaves
    /// them to the engine. After live steps the engine calls [`Network::linearise`] at the same
    /// state. A network that stands there already need not compute it again.
    ///
    /// # Errors
    /// What the framework reports.
    fn take_steps(
        &mut self,
        _steps: FusedSteps<'_, Self::Tensor>,
        _at: &mut Self::Linearisation,
    ) -> Result<Option<usize>> {
        Ok(None)
    }
}

/// What a [`Network`] can do. A schedule that needs what is missing is refused, or takes the slower
/// way stated here.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Predict at values other than the feed-forward ones. Live schedules need it.
    pub predict: bool,
    /// Be pulled more than once at one linearisation. Without it, every frozen step linearises anew
    /// at the same point.
    pub repull: bool,
    /// Pull some predictions and not others. Front-only evaluation, closed forms off chains and
    /// Z-IL need it.
    pub single: bool,
    /// Know which vertex predicts which. Levels need it, and so does all that rests on them.
    pub edges: bool,
    /// Traverse the whole net from drives ([`Network::reverse`]), and forward with offsets.
    /// Backprop and error-based PC need it.
    pub traverse: bool,
    /// Let parameters move while states relax ([`Settings::plastic`]). Incremental PC needs it.
    pub plastic: bool,
}

impl Abilities {
    /// All of them.
    pub const ALL: Self = Self {
        predict: true,
        repull: true,
        single: true,
        edges: true,
        traverse: true,
        plastic: true,
    };
    /// None of them.
    pub const NONE: Self = Self {
        predict: false,
        repull: false,
        single: false,
        edges: false,
        traverse: false,
        plastic: false,
    };
}

/// How a relaxation will use a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Predictions are re-evaluated at every step.
    pub live: bool,
    /// Parameters may move between the reference and a later linearisation.
    pub plastic: bool,
    /// Parameter gradients will be asked of the linearisation that is being made. A hint, given as
    /// far as it is known: it lets a network whose linearisations differ with and without gradients
    /// (a framework's tape) make the right one at once.
    pub learns: bool,
}

impl Settings {
    /// Whether a prediction may differ from what it was at the reference: a parent has moved, or
    /// its parameters may have.
    pub fn may_change(self, prediction: &Prediction, moved: &[bool]) -> bool {
        (self.plastic && !prediction.parameters.is_empty())
            || prediction.parents.iter().any(|parent| moved[parent.index()])
    }
}

/// The states of a relaxation: `value = reference + displacement`, vertex by vertex.
#[derive(Clone, Debug)]
pub struct State<T> {
    /// `v`.
    pub values: Vec<T>,
    /// `v_ref`, at first the starting value.
    pub references: Vec<T>,
    /// `d = v - v_ref`.
    pub displacements: Vec<T>,
    /// Where `d` may differ from zero.
    pub moved: Vec<bool>,
}

/// The errors at the reference, `r = v_ref - f(v_ref)`, by prediction.
#[derive(Clone, Copy, Debug)]
pub struct Residuals<'a, T> {
    /// `r`, read where it is not zero.
    pub tensors: &'a [T],
    /// Where `r` may differ from zero.
    pub nonzero: &'a [bool],
}

impl<'a, T> Residuals<'a, T> {
    /// The residual of a prediction. Returns `None` if it is zero.
    pub fn get(&self, prediction: PredictionId) -> Option<&'a T> {
        let index = prediction.index();
        self.nonzero[index].then(|| &self.tensors[index])
    }
}

/// The arguments of [`Network::forward`].
#[derive(Debug)]
pub struct Forward<'a, T> {
    /// The values: read for roots and held vertices, written for the others.
    pub values: &'a mut [T],
    /// The predictions to visit, in this order: each after all that set its parents.
    pub order: &'a [PredictionId],
    /// Which vertices take their prediction's value.
    pub follows: &'a [bool],
    /// Which following vertices are moved to where [`Network::projection`] has them lie: those that
    /// are states.
    pub projects: &'a [bool],
    /// What is added to a following vertex after its prediction, by vertex (error-based PC). Empty
    /// for nothing.
    pub offsets: &'a [T],
    /// How the linearisation will be used.
    pub settings: Settings,
    /// The weights of the one [`Network::reverse`] that follows, empty for 1. It is `None` if more
    /// than that may follow. This is a hint: a network whose forward and backward passes are one
    /// call of a user's program can then make do with one call.
    pub sweep: Option<&'a [f64]>,
}

/// What [`Network::pull`] is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// Which predictions to pull, by index; empty means all.
    pub predictions: &'a [bool],
    /// Which vertices' forces are of interest, by index; empty means none (parameter gradients
    /// alone).
    pub forces: &'a [bool],
}

impl Want<'_> {
    /// Whether a prediction is to be pulled.
    pub fn prediction(&self, prediction: PredictionId) -> bool {
        self.predictions.get(prediction.index()).copied().unwrap_or(true)
    }

    /// Whether the force on `vertex` is of interest.
    pub fn force(&self, vertex: VertexId) -> bool {
        self.forces.get(vertex.index()).copied().unwrap_or(false)
    }
}

/// The arguments of [`Network::reverse`] that say where cotangents come from and go to.
#[derive(Clone, Copy, Debug)]
pub struct Drives<'a, T> {
    /// The predictions of the forward pass, in its order, against which the traversal goes. Driven
    /// predictions that are not among them are pulled first.
    pub order: &'a [PredictionId],
    /// A cotangent for every prediction, read where `driven`.
    pub cotangents: &'a [T],
    /// Which predictions start with their own cotangent; the others pass on what arrives at their
    /// vertex. From a vertex that has predictions beside the one in `order`, their cotangents are
    /// taken off what arrives there.
    pub driven: &'a [bool],
    /// Which vertices cotangents may arrive at; the others (held ones) end the traversal.
    pub forces: &'a [bool],
    /// Weights on each prediction's parameter gradients; empty for 1.
    pub weights: &'a [f64],
    /// Whether what arrives at the vertices will be read from [`Network::force`] afterwards. If
    /// not, the network may drop it on the way.
    pub arrivals: bool,
}

/// What [`Network::take_steps`] may take over: `steps` plain steps at `rate` from `state`, live or
/// frozen.
///
/// If `gradients` is `Some`, weights learn at every step and `steps` is 1. The weights have moved
/// since the errors were found and pulled. First the states move by what was pulled then. After
/// that, errors are found and pulled at the new states with the new weights, as by
/// [`Network::linearise`] and [`Network::pull`].
#[derive(Debug)]
pub struct FusedSteps<'a, T> {
    /// The states, moved in place. Frozen steps move `errors` alone, and may find no references and
    /// displacements here.
    pub state: &'a mut State<T>,
    /// The errors at `state`, kept up to date.
    pub errors: &'a mut [T],
    /// The errors at the reference, from which live errors are counted.
    pub residuals: Residuals<'a, T>,
    /// Which predictions' errors count. Those of intervened vertices do not, and must not be
    /// pulled.
    pub counts: &'a [bool],
    /// Which vertices move.
    pub free: &'a [bool],
    /// Which vertices losses drive. While predictions are frozen their errors are constant. Live
    /// ones follow their prediction, and their errors are `-lambda dL/dmu` there, of which
    /// precisions are no part. After the last live step the engine calls [`Network::linearise`] at
    /// the same point, asks for [`Network::change`], and evaluates the losses itself.
    pub losses: Losses<'a, T>,
    /// Where to put the parameter gradients of the new point, if weights learn at every step. It
    /// holds no gradients yet.
    pub gradients: Option<&'a mut Gradients<T>>,
    /// The most steps to take.
    pub steps: usize,
    /// `gamma`.
    pub rate: f64,
    /// How the relaxation uses the network.
    pub settings: Settings,
}
