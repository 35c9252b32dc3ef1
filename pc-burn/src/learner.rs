//! burn-train's `Learner` by predictive coding: a wrapper around the model, outputs that carry how
//! relaxation went, and metrics for the dashboard.

mod metrics;
mod module;
mod output;

pub use metrics::{AgreementMetric, EnergyMetric, PassesMetric, RelaxationInput, ResidualMetric};
pub use output::{HasLoss, PcOutput, Relaxed};

use std::sync::{Arc, Mutex, PoisonError};

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
    train::{
        InferenceStep, Interrupter, TrainOutput, TrainStep, TrainingError, train::WorkerFailure,
    },
};

use crate::{PredictiveCoding, marked::Program};

/// A model whose training steps are those of predictive coding, for burn-train's `Learner`.
///
/// The model keeps its own [`TrainStep`] and [`InferenceStep`]; the data loaders, the optimiser,
/// the learning-rate schedule, the checkpoints and the strategies for several devices stay as they
/// are. Its training output is the model's, with how the relaxation went beside it ([`PcOutput`]).
///
/// The model's `TrainStep::step` is run as it is, forward and backward, once for every pass of a
/// relaxation.
///
/// Schedules whose weights move during relaxation (incremental PC) need the optimiser, which a
/// `Learner` does not lend to its model: use [`PredictiveCoding::train`] in a loop of your own.
///
/// # Example
/// ```no_run
/// use burn::{module::Module, optim::SgdConfig, train::{Learner, InferenceStep, TrainStep}};
/// use pc_burn::{LossReduction, PcModel, PredictiveCoding};
/// use pc_core::Schedule;
/// # fn learner<M>(model: M) -> Result<(), pc_core::Error>
/// # where
/// #     M: TrainStep<Input = <M as InferenceStep>::Input> + InferenceStep + Module,
/// #     M: burn::module::ModuleDisplay + 'static,
/// #     <M as TrainStep>::Input: Clone,
/// #     <M as TrainStep>::Output: pc_burn::HasLoss,
/// # {
/// let pc = PredictiveCoding::new(Schedule::standard(0.1, 20)?, LossReduction::Mean);
/// // Backprop: Learner::new(model, SgdConfig::new().init(), 0.1)
/// let learner = Learner::new(PcModel::new(model, pc), SgdConfig::new().init(), 0.1);
/// # drop(learner);
/// # Ok(())
/// # }
/// ```
pub struct PcModel<M: Module> {
    /// The model itself.
    pub model: M,
    /// What the copies of a model share: every worker of a strategy for several devices has one.
    pc: Arc<Mutex<PredictiveCoding>>,
    interrupter: Option<Interrupter>,
}

impl<M: Module> PcModel<M> {
    /// Trains `model` by `pc`.
    pub fn new(model: M, pc: PredictiveCoding) -> Self {
        Self { model, pc: Arc::new(Mutex::new(pc)), interrupter: None }
    }

    /// Stops the training by its own interrupter, `SupervisedTraining::interrupter`, where a step
    /// is refused. Without it that is a panic with the message, which ends the program on one
    /// device, and which burn-train catches in the workers of several.
    ///
    /// The step that is refused changes no weight. The training then ends as it does by any error:
    /// `LearningResult::error` says which step and which mark, checkpoints and metrics are kept.
    ///
    /// # Example
    /// ```no_run
    /// # use burn::{module::Module, optim::SgdConfig, train::*};
    /// # use pc_burn::{HasLoss, PcModel, PredictiveCoding};
    /// # fn launch<M>(model: M, pc: PredictiveCoding, training: SupervisedTraining<PcModel<M>>)
    /// # where
    /// #     M: TrainStep<Input = <M as InferenceStep>::Input> + InferenceStep + Module,
    /// #     M: burn::module::ModuleDisplay + 'static,
    /// #     <M as TrainStep>::Input: Clone,
    /// #     <M as TrainStep>::Output: HasLoss,
    /// # {
    /// let model = PcModel::new(model, pc).interrupting(training.interrupter());
    /// let result = training.launch(Learner::new(model, SgdConfig::new().init(), 0.1));
    /// if let Some(error) = result.error {
    ///     println!("stopped: {error}");
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn interrupting(mut self, interrupter: Interrupter) -> Self {
        self.interrupter = Some(interrupter);
        self
    }
}

/// Burn's data-parallel strategy reduces gradients inside of `backward`, and counts the backward
/// passes of all workers together. A worker that relaxes while another already learns would end
/// that reduction before it began, and both would wait for ever.
///
/// # Panics
/// Where the model's parameters are marked for that strategy.
#[allow(clippy::panic)]
fn refuse_distributed<M: Module>(model: &M) {
    struct Find(bool);
    impl ModuleVisitor for Find {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 |= param.is_require_grad() && param.val().is_distributed();
        }
    }
    let mut find = Find(false);
    model.visit(&mut find);
    if find.0 {
        panic!(
            "relaxation has more than one backward pass, and `ExecutionStrategy::ddp` reduces \
             gradients in each: use `ExecutionStrategy::multi`"
        );
    }
}

/// A `TrainStep`, run as it is.
struct Step<I> {
    item: I,
}

impl<M, I: Clone> Program<M> for Step<I>
where
    M: Module + TrainStep<Input = I>,
    M::Output: HasLoss,
{
    type Output = M::Output;

    fn step(&mut self, model: &M) -> (GradientsParams, Tensor<1>, Self::Output) {
        let TrainOutput { grads, item } = TrainStep::step(model, self.item.clone());
        (grads, item.loss(), item)
    }
}

impl<M, I> TrainStep for PcModel<M>
where
    M: Module + TrainStep<Input = I>,
    I: Clone + Send + 'static,
    M::Output: HasLoss,
{
    type Input = I;
    type Output = PcOutput<M::Output>;

    /// One relaxation.
    ///
    /// # Panics
    /// Where the relaxation is refused and there is no interrupter ([`PcModel::interrupting`]), or
    /// the strategy reduces gradients in every backward pass (`ExecutionStrategy::ddp`): burn-train
    /// has no other way for a step to report it, and reports the message in turn.
    #[allow(clippy::panic)]
    fn step(&self, item: I) -> TrainOutput<Self::Output> {
        refuse_distributed(&self.model);
        // Each worker relaxes with its own copy of the settings; what it learnt of the program's
        // shapes comes back.
        let mut pc = self.pc.lock().unwrap_or_else(PoisonError::into_inner).for_one_step();
        let result = pc.step(self.model.clone(), Step { item: item.clone() });
        self.pc.lock().unwrap_or_else(PoisonError::into_inner).learn_from(pc);
        match (result, &self.interrupter) {
            (Ok((learned, output)), _) => {
                let relaxed = Relaxed::of(&learned);
                TrainOutput { grads: learned.gradients, item: PcOutput { output, relaxed } }
            }
            (Err(error), Some(interrupter)) => {
                // Burn has no other error for a training step.
                let failure = WorkerFailure { device_id: 0, message: error.to_string() };
                interrupter.fail(TrainingError::Workers(vec![failure]));
                // An output there must be; no gradient comes of it.
                let TrainOutput { item: output, .. } = self.model.step(item);
                let relaxed = Relaxed::refused();
                TrainOutput { grads: GradientsParams::new(), item: PcOutput { output, relaxed } }
            }
            (Err(error), None) => panic!("{error}"),
        }
    }
}

impl<M: Module + InferenceStep> InferenceStep for PcModel<M> {
    type Input = M::Input;
    type Output = M::Output;

    fn step(&self, item: M::Input) -> M::Output {
        self.model.step(item)
    }
}
