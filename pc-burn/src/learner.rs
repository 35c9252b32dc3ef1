//! burn-train's `Learner` by predictive coding: a wrapper around the model, outputs that carry how
//! relaxation went, and metrics for the dashboard.

mod metrics;
mod output;

pub use metrics::{AgreementMetric, EnergyMetric, PassesMetric, RelaxationInput, ResidualMetric};
pub use output::{HasLoss, PcOutput, Relaxed};

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::Tensor,
    train::{InferenceStep, TrainOutput, TrainStep},
};

use crate::{PredictiveCoding, marked::Program};

/// A model whose training steps are those of predictive coding, for burn-train's `Learner`.
///
/// The model keeps its own [`TrainStep`] and [`InferenceStep`]; the data loaders, the optimiser,
/// the learning-rate schedule, the checkpoints and the strategies for several devices stay as they
/// are. Its training output is the model's, with how the relaxation went beside it ([`PcOutput`]).
///
/// The model's `TrainStep::step` is run as it is, forward and backward, once for every pass of a
/// relaxation. Its `InferenceStep::step` is run on the training model when a batch of a new shape
/// comes, to see which vertices there are: both must mark the same ones.
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
/// #     <M as InferenceStep>::Output: pc_burn::HasLoss,
/// # {
/// let pc = PredictiveCoding::new(Schedule::standard(0.1, 20)?, LossReduction::Mean);
/// // Backprop: Learner::new(model, SgdConfig::new().init(), 0.1)
/// let learner = Learner::new(PcModel::new(model, pc), SgdConfig::new().init(), 0.1);
/// # drop(learner);
/// # Ok(())
/// # }
/// ```
#[derive(Module, Debug)]
pub struct PcModel<M: Module> {
    /// The model itself.
    pub model: M,
    #[module(skip)]
    pc: Shared,
}

/// What the copies of a model share: every worker of a strategy for several devices has one.
#[derive(Clone)]
struct Shared {
    pc: Arc<Mutex<PredictiveCoding>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PredictiveCoding")
    }
}

impl<M: Module> PcModel<M> {
    /// Trains `model` by `pc`.
    pub fn new(model: M, pc: PredictiveCoding) -> Self {
        Self { model, pc: Shared { pc: Arc::new(Mutex::new(pc)) } }
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
    M: Module + TrainStep<Input = I> + InferenceStep<Input = I>,
    <M as TrainStep>::Output: HasLoss,
    <M as InferenceStep>::Output: HasLoss,
{
    type Output = <M as TrainStep>::Output;

    fn forward(&mut self, model: &M) -> Tensor<1> {
        InferenceStep::step(model, self.item.clone()).loss()
    }

    fn step(&mut self, model: &M) -> (GradientsParams, Tensor<1>, Self::Output) {
        let TrainOutput { grads, item } = TrainStep::step(model, self.item.clone());
        (grads, item.loss(), item)
    }
}

impl<M, I> TrainStep for PcModel<M>
where
    M: Module + TrainStep<Input = I> + InferenceStep<Input = I>,
    I: Clone + Send + 'static,
    <M as TrainStep>::Output: HasLoss,
    <M as InferenceStep>::Output: HasLoss,
{
    type Input = I;
    type Output = PcOutput<<M as TrainStep>::Output>;

    /// One relaxation.
    ///
    /// # Panics
    /// Where the relaxation is refused, or the strategy reduces gradients in every backward pass
    /// (`ExecutionStrategy::ddp`): burn-train has no other way for a step to report it, and reports
    /// the message in turn.
    #[allow(clippy::panic)]
    fn step(&self, item: I) -> TrainOutput<Self::Output> {
        refuse_distributed(&self.model);
        // Each worker relaxes with its own copy of the settings; what it learnt of the program's
        // shapes comes back.
        let mut pc = self.pc.pc.lock().unwrap_or_else(PoisonError::into_inner).for_one_step();
        let result = pc.step(self.model.clone(), Step { item });
        self.pc.pc.lock().unwrap_or_else(PoisonError::into_inner).learn_from(pc);
        match result {
            Ok((learned, output)) => {
                let relaxed = Relaxed::of(&learned);
                TrainOutput { grads: learned.gradients, item: PcOutput { output, relaxed } }
            }
            Err(error) => panic!("{error}"),
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
