//! Training steps by predictive coding, for any Burn program.

use burn::{module::Module, optim::GradientsParams, tensor::Tensor};
use pc_core::{
    Agreement, Clamps, Error, ErrorKind, Gradients, Outcome, Reduction, Relaxation, Result,
    Schedule, Start, Status, Tensor as _, backend::loss_strength,
};

use crate::{
    BurnTensor, LossReduction,
    marked::{Forward, Layouts, Marked, Program},
};

/// How often the layout of a program is renewed in one step: for its marks, and once more for the
/// parameters that they are made of.
const RENEWALS: usize = 2;

/// Predictive coding in place of `loss.backward()`: a schedule, and what is known of the programs
/// it has met.
///
/// # Example
/// A Burn program changes one line:
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig, loss::{MseLoss, Reduction}};
/// use burn::optim::{GradientsParams, SgdConfig};
/// use burn::tensor::{Device, Tensor, activation};
/// use pc_burn::{LossReduction, PredictiveCoding, vertex};
/// use pc_core::Schedule;
///
/// #[derive(Module, Debug)]
/// struct Mlp { hidden: Linear, output: Linear }
///
/// impl Mlp {
///     fn loss(&self, x: Tensor<2>, y: Tensor<2>) -> Tensor<1> {
///         let h = vertex(activation::tanh(self.hidden.forward(x)));
///         MseLoss::new().forward(vertex(self.output.forward(h)), y, Reduction::Mean)
///     }
/// }
///
/// let device = Device::flex().autodiff();
/// let mut model = Mlp {
///     hidden: LinearConfig::new(3, 8).init(&device),
///     output: LinearConfig::new(8, 1).init(&device),
/// };
/// let mut optimiser = SgdConfig::new().init();
/// let (x, y) = (Tensor::<2>::ones([16, 3], &device), Tensor::<2>::zeros([16, 1], &device));
///
/// let mut pc = PredictiveCoding::new(Schedule::standard(0.1, 20)?, LossReduction::Mean);
/// for _ in 0..3 {
///     // By backprop:
///     // let loss = model.loss(x.clone(), y.clone());
///     // let gradients = GradientsParams::from_grads(loss.backward(), &model);
///     let gradients = pc.learn(&model, |model| model.loss(x.clone(), y.clone()))?.gradients;
///     model = optimiser.step(0.1, model, gradients);
/// }
/// # Ok::<(), pc_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct PredictiveCoding {
    schedule: Schedule,
    reduction: LossReduction,
    weight: f64,
    compare_every: Option<usize>,
    steps: usize,
    layouts: Layouts,
}

/// What one step of training found.
#[derive(Debug)]
pub struct Learned {
    /// The gradients, for any of Burn's optimisers: the last ones, where weights have moved during
    /// relaxation. Empty where the relaxation diverged.
    pub gradients: GradientsParams,
    /// The program's own loss in its first, feed-forward pass.
    pub loss: f64,
    /// How the relaxation went.
    pub outcome: Outcome,
    /// How many times the program ran forward and backward, the survey of a new program not
    /// counted.
    pub passes: usize,
    /// How each parameter's gradient agrees with backprop's, by its path in the module, where the
    /// comparison was asked for ([`PredictiveCoding::compared_every`]).
    pub agreement: Option<Vec<(String, Agreement)>>,
}

impl PredictiveCoding {
    /// Predictive coding by a schedule, for programs whose loss is reduced like this.
    ///
    /// The reduction named here counts, not the schedule's own.
    pub fn new(schedule: Schedule, reduction: LossReduction) -> Self {
        Self {
            schedule: schedule.reduced_by(Reduction::Sum),
            reduction,
            weight: 1.0,
            compare_every: None,
            steps: 0,
            layouts: Layouts::default(),
        }
    }

    /// Weighs the loss by `lambda`, in the energy and in the drive: a weak loss nears backprop in
    /// direction.
    ///
    /// # Errors
    /// A weight that is not a positive number.
    pub fn with_weak_loss(mut self, lambda: f64) -> Result<Self> {
        self.weight = loss_strength(lambda)?;
        Ok(self)
    }

    /// Compares the gradients with backprop's at every `steps`-th step, the first among them, at
    /// the cost of one more forward and backward pass there. Zero for never.
    #[must_use]
    pub fn compared_every(mut self, steps: usize) -> Self {
        self.compare_every = (steps > 0).then_some(steps);
        self
    }

    /// The schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// What the loss was said to be reduced by.
    pub fn reduction(&self) -> LossReduction {
        self.reduction
    }

    /// Relaxes the vertices marked in `forward`, a function from the model to its loss, and gives
    /// the gradients of the model's parameters.
    ///
    /// `forward` runs once for every step of a simulation (exact and closed-form schedules: once in
    /// all), and must use the model that it is given, not one it has captured. A program that is
    /// new is surveyed first, by one more pass. Running statistics move in the one pass that
    /// learns; random numbers (dropout) are the same in all passes.
    ///
    /// # Errors
    /// A schedule whose weights move during relaxation ([`PredictiveCoding::train`] takes it);
    /// vertices that change in number, order or shape from one pass of a step to the next; a loss
    /// that is not one number, or depends on no parameter that learns; a program in which nothing
    /// is left to relax, unless by [`Schedule::backprop`]; clones of a layer that are no longer
    /// one.
    pub fn learn<M: Module>(
        &mut self,
        model: &M,
        forward: impl FnMut(&M) -> Tensor<1>,
    ) -> Result<Learned> {
        self.step(model.clone(), Forward(forward)).map(|(learned, ())| learned)
    }

    /// A whole step of training: relaxes, and calls `optimise` with the model and its gradients at
    /// every learning event of the schedule: once in most, at every step in incremental PC.
    ///
    /// # Errors
    /// As [`PredictiveCoding::learn`]. The model then has made the steps made so far.
    pub fn train<M: Module>(
        &mut self,
        model: &mut M,
        forward: impl FnMut(&M) -> Tensor<1>,
        mut optimise: impl FnMut(M, GradientsParams) -> M,
    ) -> Result<Learned> {
        let mut program = Forward(forward);
        let (marked, learned) = self.relax(model.clone(), &mut program, |marked, gradients| {
            let gradients = marked.gradients_params(gradients)?;
            *model = marked.replace_model(|own| optimise(own, gradients));
            Ok(())
        })?;
        drop(marked);
        Ok(learned)
    }

    /// A copy for one step of one worker, which then counts as made.
    #[cfg(feature = "train")]
    pub(crate) fn for_one_step(&mut self) -> Self {
        let copy = self.clone();
        self.steps += 1;
        copy
    }

    /// Takes over the shapes of programs that a copy has met.
    #[cfg(feature = "train")]
    pub(crate) fn learn_from(&mut self, copy: Self) {
        self.layouts = copy.layouts;
    }

    /// As [`PredictiveCoding::learn`], for a program that brings an output of its own, which is
    /// that of the first, feed-forward pass.
    pub(crate) fn step<M: Module, P: Program<M>>(
        &mut self,
        model: M,
        mut program: P,
    ) -> Result<(Learned, P::Output)> {
        if self.schedule.learning().moves_weights() {
            return Err(Error::new(
                ErrorKind::Schedule,
                format!(
                    "{} moves weights while states move, so it needs an optimiser: use \
                     `PredictiveCoding::train`",
                    self.schedule.name()
                ),
            ));
        }
        let (marked, learned) = self.relax(model, &mut program, |_, _| Ok(()))?;
        let output = marked
            .into_output()
            .ok_or_else(|| Error::new(ErrorKind::Misuse, "the program never ran"))?;
        Ok((learned, output))
    }

    /// Relaxes, with `event` at every learning event.
    fn relax<'a, M: Module, P: Program<M>>(
        &mut self,
        model: M,
        program: &'a mut P,
        mut event: impl FnMut(&mut Marked<'a, M, P>, &Gradients<BurnTensor>) -> Result<()>,
    ) -> Result<(Marked<'a, M, P>, Learned)> {
        if self.schedule.start() == Start::Carried {
            return Err(Error::new(
                ErrorKind::Schedule,
                format!(
                    "{}: a marked program starts anew at every step, so nothing can be carried \
                     over; build the graph by hand (`explicit::ModuleGraph`) for that",
                    self.schedule.name()
                ),
            ));
        }
        let samples = match self.reduction {
            // That of the batch, which the program's first pass shows.
            LossReduction::Mean => None,
            said => Some(said.divisor(0)?),
        };
        let mut marked = Marked::new(model, program, &mut self.layouts, samples, self.weight)?;
        let (mut attempts, mut renewals) = (0, 0);
        let (outcome, mut gradients) = loop {
            match self.run(&mut marked, &mut event) {
                // The program is another than last time: another batch size, most likely.
                Err(_) if marked.is_stale() && renewals < RENEWALS => {
                    renewals += 1;
                    marked.renew(&mut self.layouts)?;
                }
                // Weights that have moved cannot be moved back.
                Err(_)
                    if marked.is_disturbed()
                        && !self.schedule.learning().moves_weights()
                        && attempts < 3 =>
                {
                    attempts += 1;
                    marked.restart();
                }
                ran => break ran.map_err(|error| self.in_step(error, &marked))?,
            }
        };
        let diverged = outcome.status == Status::Diverged;
        if diverged {
            gradients = Gradients::empty(0);
        }
        let every = self.schedule.learning().moves_weights();
        let compare =
            self.compare_every.is_some_and(|every| self.steps.is_multiple_of(every)) && !diverged;
        self.steps += 1;
        let agreement = if compare { Some(marked.agreement(&gradients)?) } else { None };
        if !every && !diverged {
            event(&mut marked, &gradients)?;
        }
        let gradients = marked.gradients_params(&gradients)?;
        let learned =
            Learned { gradients, loss: marked.loss(), outcome, passes: marked.passes(), agreement };
        Ok((marked, learned))
    }

    /// An error of a program, with the step and the pass that it was seen in.
    fn in_step<M: Module, P: Program<M>>(&self, error: Error, marked: &Marked<'_, M, P>) -> Error {
        if !marked.is_unlike() {
            return error;
        }
        let message = format!("step {}, pass {}: {error}", self.steps, marked.passes());
        Error::new(error.kind(), message)
    }

    /// Relaxes once, and gives all gradients: the last, where weights have moved meanwhile.
    fn run<'a, M: Module, P: Program<M>>(
        &mut self,
        marked: &mut Marked<'a, M, P>,
        event: &mut impl FnMut(&mut Marked<'a, M, P>, &Gradients<BurnTensor>) -> Result<()>,
    ) -> Result<(Outcome, Gradients<BurnTensor>)> {
        let (mut relaxation, clamps) = (self.relaxation(marked)?, self.clamps(marked));
        if !self.schedule.learning().moves_weights() {
            let outcome = relaxation.run(marked, &clamps)?;
            return Ok((outcome, relaxation.into_gradients()));
        }
        let mut last = Gradients::empty(0);
        let outcome = relaxation.train(marked, &clamps, |marked, gradients| {
            last = gradients.clone();
            event(marked, gradients)
        })?;
        Ok((outcome, last))
    }

    fn relaxation<'a, M: Module, P: Program<M>>(
        &self,
        marked: &Marked<'a, M, P>,
    ) -> Result<Relaxation<Marked<'a, M, P>>> {
        let (marks, vertices) = marked.marks();
        if vertices == 0 && self.schedule.name() != Schedule::backprop().name() {
            return Err(nothing_to_relax(self.schedule.name(), marks));
        }
        let mut relaxation = Relaxation::new(marked, self.schedule.clone())?;
        // Made anew at every step, it would draw the same numbers at each.
        relaxation.set_draws(self.steps as u64);
        Ok(relaxation)
    }

    /// The loss drives itself.
    fn clamps<M: Module, P: Program<M>>(&self, marked: &Marked<'_, M, P>) -> Clamps<BurnTensor> {
        let samples = marked.samples();
        let drive = move |loss: &BurnTensor, drive: &mut BurnTensor| {
            drive.fill(-samples);
            Ok(loss.to_vec().first().copied().unwrap_or(f64::NAN) * samples)
        };
        Clamps::new().weak_loss(marked.loss_vertex(), drive, self.weight)
    }
}

fn nothing_to_relax(schedule: &str, marks: usize) -> Error {
    let found = match marks {
        0 => "the program has no mark".to_owned(),
        1 => "the program has one mark, which no other vertex depends on".to_owned(),
        _ => format!("no other vertex depends on any of the program's {marks} marks"),
    };
    let message = format!(
        "{schedule}: {found}, so that nothing is left to relax and the gradients would be \
         backprop's: put `vertex(..)` around the values between the layers (`Schedule::backprop` \
         needs no marks)"
    );
    Error::new(ErrorKind::Graph, message)
}
