//! Training steps by predictive coding, for tch programs with marks.

use pc_core::{
    Clamps, Error, ErrorKind, Gradients, Learning, Linearise, LossReduction, Network, Outcome,
    Reduction, Relaxation, Result, Schedule, Start, Status, Tensor as _, VertexId,
    backend::loss_strength,
};
use tch::Tensor;

use super::step::{Marked, number};
use crate::{
    SteppingOptimizer,
    sys::marks::{self, Reduced},
    tensor::TchTensor,
};

/// Predictive coding in place of `loss.backward()`, for programs that mark their vertices
/// ([`crate::vertex`]).
///
/// The closure is the program's own forward pass and loss. Its values between two marks are one
/// vertex, and the loss drives the last of them. All of pc-core's schedules are possible; what a
/// schedule asks for and marks cannot have is refused by name. Nothing is remembered of a program
/// from one step to the next, except the states of [`Start::Carried`] and whether the loss was a
/// sum or a mean, for batches too small to tell: marks may change with the batch, parameters may be
/// frozen and thawed.
///
/// The program runs forward once, and once more for each step of a live schedule. In all passes
/// after the first it draws the same random numbers (dropout), and what it writes in place (running
/// statistics) is put back. No pass runs libtorch's backward engine.
///
/// # Example
/// ```
/// use pc_tch::{PredictiveCoding, pc_core::Schedule, vertex};
/// use tch::{Device, Kind, Tensor, nn::{self, Module, OptimizerConfig}};
/// let vs = nn::VarStore::new(Device::Cpu);
/// let hidden = nn::linear(vs.root() / "hidden", 4, 8, Default::default());
/// let output = nn::linear(vs.root() / "output", 8, 3, Default::default());
/// let mut opt = nn::Adam::default().build(&vs, 1e-3).expect("an optimiser");
/// let x = Tensor::randn([16, 4], (Kind::Float, Device::Cpu));
/// let y = Tensor::randint(3, [16], (Kind::Int64, Device::Cpu));
/// let mut pc = PredictiveCoding::new(Schedule::standard(0.1, 20)?);
/// for _ in 0..3 {
///     // By backprop: opt.backward_step(&loss)
///     let learned = pc.learn(&mut opt, || {
///         let h = vertex(&hidden.forward(&x).tanh());
///         vertex(&output.forward(&h)).cross_entropy_for_logits(&y)
///     })?;
///     assert_eq!((learned.vertices, learned.passes), (1, 21));
/// }
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Debug)]
pub struct PredictiveCoding {
    schedule: Schedule,
    reduction: Option<LossReduction>,
    weight: f64,
    steps: u64,
    carried: Option<Carried>,
    /// What the last loss that told was: small batches do not tell.
    told: Option<Reduced>,
}

/// Where the last step of training has left the states.
#[derive(Debug)]
struct Carried {
    signature: u64,
    values: Vec<TchTensor>,
}

/// What one step of training found.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Learned {
    /// The program's own loss in its first, feed-forward pass.
    pub loss: f64,
    /// How the relaxation went.
    pub outcome: Outcome,
    /// How many times the program ran forward.
    pub passes: usize,
    /// The vertices between data and loss: marks that feed the loss alone are part of the loss.
    pub vertices: usize,
    /// The longest way from the loss to a vertex: at rate 1 the last error arrives after so many
    /// steps.
    pub depth: usize,
    /// How many operations were spared in passes after the first: those before the first mark,
    /// whose arguments are the same tensors in every pass.
    pub spared: usize,
    /// What the loss was found, or said, to have been divided by.
    pub divided_by: f64,
}

impl PredictiveCoding {
    /// Predictive coding by a schedule. Whether the loss is a sum or a mean over samples is read
    /// off its operations, so the schedule's own [`pc_core::Reduction`] has no say.
    pub fn new(schedule: Schedule) -> Self {
        Self {
            schedule: schedule.reduced_by(Reduction::Sum),
            reduction: None,
            weight: 1.0,
            steps: 0,
            carried: None,
            told: None,
        }
    }

    /// Says how the loss is reduced, where that cannot be read off its operations. Where it can,
    /// and is something else, learning is refused.
    #[must_use]
    pub fn reduced_by(mut self, reduction: LossReduction) -> Self {
        self.reduction = Some(reduction);
        self
    }

    /// Weighs the loss by `lambda`, in the energy and in the drive: a weak loss nears backprop in
    /// direction, with gradients `lambda` times as large.
    ///
    /// # Errors
    /// A weight that is not a positive number.
    pub fn with_weak_loss(mut self, lambda: f64) -> Result<Self> {
        self.weight = loss_strength(lambda)?;
        Ok(self)
    }

    /// The schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// A whole step of training: zeroes the gradients, relaxes the vertices that `forward` marks,
    /// and lets the optimiser step with the gradients found: once, or at every learning event of
    /// the schedule (incremental PC: at every step). Where the relaxation diverged the optimiser
    /// takes no step.
    ///
    /// # Errors
    /// No vertex between data and loss; no parameter that the optimiser has; a mark that cannot be
    /// a vertex; a program whose passes within the step differ in their marks, shapes or graph; a
    /// loss that is not one number, or of which a live schedule cannot tell whether it is a sum or
    /// a mean; what the schedule refuses; what libtorch reports. Weights have moved then only if
    /// the schedule moves them while it relaxes.
    pub fn learn(
        &mut self,
        optimiser: &mut impl SteppingOptimizer,
        mut forward: impl FnMut() -> Tensor,
    ) -> Result<Learned> {
        self.relax(&mut forward, |parameters, gradients| {
            let own: Vec<usize> = optimiser.moves().iter().map(marks::identity).collect();
            if !parameters.iter().any(|parameter| own.contains(&marks::identity(parameter))) {
                return Err(Error::new(
                    ErrorKind::Misuse,
                    "the optimiser has none of the parameters that the loss depends on: it was \
                     built from another `VarStore`",
                ));
            }
            optimiser.clear()?;
            if let Some(gradients) = gradients {
                accumulate(parameters, gradients)?;
                optimiser.move_once()?;
            }
            Ok(())
        })
    }

    /// Instead of `loss.backward()`: adds to the `.grad` of every leaf that an error has reached.
    /// For what comes between gradients and step: clipping, or several batches for one step.
    ///
    /// # Errors
    /// A schedule that moves weights while states move, which needs [`PredictiveCoding::learn`]; as
    /// there. No `.grad` has been touched then.
    ///
    /// # Example
    /// ```
    /// use pc_tch::{PredictiveCoding, pc_core::Schedule, vertex};
    /// use tch::{Kind, Tensor};
    /// let weight = Tensor::from_slice(&[0.5, -1.5]).set_requires_grad(true);
    /// let mut pc = PredictiveCoding::new(Schedule::backprop());
    /// pc.backward(|| vertex(&vertex(&(&weight * 3.0)).tanh()).sum(Kind::Double))?;
    /// let expected: Tensor = (1.0 - (&weight * 3.0).tanh().square()) * 3.0;
    /// assert!((weight.grad() - expected).abs().max().double_value(&[]) < 1e-15);
    /// # Ok::<(), pc_core::Error>(())
    /// ```
    pub fn backward(&mut self, mut forward: impl FnMut() -> Tensor) -> Result<Learned> {
        if self.schedule.learning().moves_weights() {
            return Err(Error::new(
                ErrorKind::Schedule,
                format!(
                    "{} moves weights while states move, so it needs an optimiser: use \
                     `PredictiveCoding::learn`",
                    self.schedule.name()
                ),
            ));
        }
        self.relax(&mut forward, |parameters, gradients| match gradients {
            Some(gradients) => accumulate(parameters, gradients),
            None => Ok(()),
        })
    }

    /// Relaxes, with `event` at every learning event: with gradients, or none where it diverged.
    fn relax(
        &mut self,
        forward: &mut dyn FnMut() -> Tensor,
        mut event: impl FnMut(&[Tensor], Option<Gradients<TchTensor>>) -> Result<()>,
    ) -> Result<Learned> {
        let every = self.schedule.learning().moves_weights();
        // Weights that move between passes leave nothing to share.
        let mut marked = Marked::new(forward, self.needs_drives() && !every)?;
        let divided_by = self.divisor(&mut marked)?;
        marked.divided_by(divided_by);
        let depth = marked.topology().depth().unwrap_or(0);
        let mut relaxation = match Relaxation::new(&marked, self.schedule.clone()) {
            // Z-IL on marks that are not levelled.
            Err(_)
                if self.schedule.learning() == Learning::AtLevel
                    && marked.topology().unlevelled_edge().is_some() =>
            {
                marked.level()?;
                Relaxation::new(&marked, self.schedule.clone())?
            }
            made => made?,
        };
        // Made anew at every step, it would draw the same numbers at each.
        relaxation.set_draws(self.steps);
        let clamps = self.clamps(&marked);
        self.steps += 1;
        let outcome = if every {
            relaxation.train(&mut marked, &clamps, |marked, gradients| {
                event(marked.parameters(), Some(gradients.clone()))
            })?
        } else {
            relaxation.run(&mut marked, &clamps)?
        };
        let diverged = outcome.status == Status::Diverged;
        self.carried = (self.schedule.start() == Start::Carried && !diverged)
            .then(|| Carried::from(&relaxation, &marked));
        if !every {
            let gradients = (!diverged).then(|| relaxation.into_gradients());
            event(marked.parameters(), gradients)?;
        }
        Ok(Learned {
            loss: marked.loss(),
            passes: marked.passes(),
            spared: marked.spared(),
            vertices: marked.vertices(),
            depth,
            outcome,
            divided_by,
        })
    }

    /// The loss drives itself, and states start where they were left, if they are to.
    fn clamps(&self, marked: &Marked<'_>) -> Clamps<TchTensor> {
        let samples = marked.samples();
        let drive = move |loss: &TchTensor, drive: &mut TchTensor| {
            drive.fill(-samples);
            Ok(number(loss) * samples)
        };
        let mut clamps = Clamps::new().weak_loss(marked.loss_vertex(), drive, self.weight);
        if let Some(carried) = self.carried.as_ref().filter(|carried| carried.fits(marked)) {
            for (vertex, value) in carried.values.iter().enumerate() {
                clamps = clamps.free(VertexId::new(vertex), value.clone());
            }
        }
        clamps
    }

    /// `n`, what the loss was divided by.
    fn divisor(&mut self, marked: &mut Marked<'_>) -> Result<f64> {
        let batch = marked.batch() as f64;
        let found = match (marked.reduced()?, &self.told) {
            // An epoch's last batch may have two samples, and is as those before it.
            (Reduced::Either, Some(told)) => told.clone(),
            (found, _) => found,
        };
        if matches!(found, Reduced::Sum | Reduced::Mean) {
            self.told = Some(found.clone());
        }
        let error = |message: String| Err(Error::new(ErrorKind::Misuse, message).at("loss"));
        match (self.reduction, found) {
            (Some(LossReduction::Sum), Reduced::Mean) if batch > 1.0 => error(
                "it was said to be a sum over samples, and its operations take a mean".to_owned(),
            ),
            (Some(LossReduction::Mean | LossReduction::MeanOver(2..)), Reduced::Sum)
                if batch > 1.0 =>
            {
                error(
                    "it was said to be a mean over samples, and its operations take a sum"
                        .to_owned(),
                )
            }
            (Some(said), _) => said.divisor(marked.batch()).map_err(|error| error.at("loss")),
            (None, Reduced::Sum) => Ok(1.0),
            (None, Reduced::Mean) => Ok(batch),
            // Frozen predictions and levels are linear in the drive: what it is divided by comes
            // out again.
            (None, Reduced::Unclear(_) | Reduced::Either | Reduced::Not)
                if !self.needs_drives() =>
            {
                Ok(1.0)
            }
            (None, Reduced::Not) => Ok(1.0),
            // A sum and a mean of one sample are one.
            (None, _) if batch <= 1.0 => Ok(1.0),
            (None, Reduced::Either) => error(format!(
                "its weight makes it a mean over its two samples, or half a sum, and {} relaxes \
                 to other states for each: say which by `PredictiveCoding::reduced_by`",
                self.schedule.name()
            )),
            (None, Reduced::Unclear(why)) => error(format!(
                "whether it is a sum or a mean over its {batch} samples cannot be read off it \
                 ({why}), and {} relaxes to other states for each: say it by \
                 `PredictiveCoding::reduced_by`",
                self.schedule.name()
            )),
        }
    }

    fn needs_drives(&self) -> bool {
        self.schedule.linearisation() == Linearise::Live
            && self.schedule.learning() != Learning::AtLevel
    }
}

impl Carried {
    fn from<'a>(relaxation: &Relaxation<Marked<'a>>, marked: &Marked<'a>) -> Self {
        let vertices = 0..marked.vertices();
        let value = |vertex| relaxation.value(marked, VertexId::new(vertex));
        Self {
            signature: marked.topology().signature(),
            values: vertices.filter_map(value).collect(),
        }
    }

    fn fits(&self, marked: &Marked<'_>) -> bool {
        let zeros = marked.zeros();
        self.signature == marked.topology().signature()
            && self.values.len() == marked.vertices()
            && self.values.iter().zip(zeros).all(|(value, zero)| value.has_shape(&zero.shape()))
    }
}

/// Adds gradients to the `.grad` of their leaves.
fn accumulate(parameters: &[Tensor], mut gradients: Gradients<TchTensor>) -> Result<()> {
    for (index, parameter) in parameters.iter().enumerate() {
        if let Some(gradient) = gradients.take(pc_core::ParamId::new(index)) {
            marks::accumulate(parameter, gradient.into_tensor())?;
        }
    }
    Ok(())
}
