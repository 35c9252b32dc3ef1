//! A typed model behind an interface without types.

use std::marker::PhantomData;

use ::dfdx::{
    nn::{Module, ZeroGrads, tensor_collection::TensorCollection},
    optim::{
        Adam, AdamConfig, Momentum, Optimizer, OptimizerUpdateError, Sgd, SgdConfig, WeightDecay,
    },
    prelude::{Backward, Device},
    shapes::{Axes2, Axis, Const, Dim, HasShape, Rank0, Shape},
    tensor::{
        Cpu, CpuError, Gradients, NoneTape, OwnedTape, Tape, Tensor, TensorFrom, TensorFromVec,
        Trace,
    },
    tensor_ops::{ReshapeTo, SumTo, TryAdd, TryMul, TrySub},
};
use pc_core::{Error, ErrorKind, Outcome, Result, Tensor as _, host::HostTensor};
use pc_dfdx::{
    Granularity, Outputs, PredictiveCoding, Reading, Scalar, Value, Vertices, gradients_of,
    parameters_of, read, set_parameters,
};

use super::failed;
use crate::{contract::OptimiserKind, models::OutputLoss};

/// A batch: inputs, and one row of targets for each label, sample by sample.
#[derive(Clone, Debug)]
pub(super) struct Batch<E> {
    /// In the shape of the model's input.
    pub(super) input: HostTensor<E>,
    /// `[samples, classes]`, or `[samples, steps, classes]`.
    pub(super) targets: HostTensor<E>,
    /// How they drive.
    pub(super) loss: OutputLoss,
}

/// What a step found.
pub(super) struct Found<E> {
    /// By parameter, summed over the batch.
    pub(super) gradients: Vec<HostTensor<E>>,
    /// How the relaxation went; none of backprop.
    pub(super) outcome: Option<Outcome>,
}

/// A model, with what trains it.
pub(super) trait Net<E: Scalar> {
    fn parameters(&self) -> Result<Vec<HostTensor<E>>>;
    fn set_parameters(&mut self, values: &[HostTensor<E>]) -> Result<()>;
    /// The model as a graph, for a batch.
    fn read(&self, batch: &Batch<E>) -> Result<Reading<E>>;
    /// Gradients by dfdx's own `backward()`.
    fn backprop(&mut self, batch: &Batch<E>) -> Result<Found<E>>;
    /// Gradients by a schedule that moves no weights.
    fn relax(&mut self, pc: &mut PredictiveCoding<E>, batch: &Batch<E>) -> Result<Found<E>>;
    /// A whole step with an optimiser; backprop where there is no schedule. The loss or the energy,
    /// summed over the batch.
    fn train(
        &mut self,
        pc: Option<&mut PredictiveCoding<E>>,
        optimiser: OptimiserKind,
        rate: f64,
        batch: &Batch<E>,
    ) -> Result<(f64, Option<Outcome>)>;
    /// Rows of logits, in the order of the targets.
    fn logits(&self, batch: &Batch<E>) -> Result<Vec<f64>>;
    /// dfdx's traced forward and backward pass alone, as a program of its own would run it.
    fn run_backprop(&mut self, batch: &Batch<E>) -> Result<()>;
    /// What stands in its place alone.
    fn run_relaxed(&mut self, pc: &mut PredictiveCoding<E>, batch: &Batch<E>) -> Result<Outcome>;
}

/// Logits as a model of dfdx's ends in them.
pub(super) trait Logits<E: Scalar, T> {
    /// In rows, for each output.
    fn rows(self) -> Result<Vec<Rows<E, T>>, CpuError>;
}

type Rows<E, T> = Tensor<(usize, usize), E, Cpu, T>;

impl<const C: usize, E: Scalar, T: Tape<E, Cpu>> Logits<E, T>
    for Tensor<(usize, Const<C>), E, Cpu, T>
where
    Cpu: Device<E>,
{
    fn rows(self) -> Result<Vec<Rows<E, T>>, CpuError> {
        let samples = self.shape().0;
        Ok(vec![self.try_reshape_like(&(samples, C))?])
    }
}

impl<S: Dim, const C: usize, E: Scalar, T: Tape<E, Cpu>> Logits<E, T>
    for Tensor<(usize, S, Const<C>), E, Cpu, T>
where
    Cpu: Device<E>,
{
    fn rows(self) -> Result<Vec<Rows<E, T>>, CpuError> {
        let (samples, steps, _) = *self.shape();
        Ok(vec![self.try_reshape_like(&(samples * steps.size(), C))?])
    }
}

impl<L: Logits<E, T>, E: Scalar, T> Logits<E, T> for Vec<L>
where
    Cpu: Device<E>,
{
    fn rows(self) -> Result<Vec<Rows<E, T>>, CpuError> {
        let all = self.into_iter().map(L::rows).collect::<Result<Vec<_>, _>>()?;
        Ok(all.into_iter().flatten().collect())
    }
}

/// The loss, summed over the batch.
fn summed<E: Scalar>(
    outputs: Vec<Rows<E, OwnedTape<E, Cpu>>>,
    batch: &Batch<E>,
) -> Result<Tensor<Rank0, E, Cpu, OwnedTape<E, Cpu>>>
where
    Cpu: Device<E>,
{
    let classes = batch.targets.dims().last().copied().unwrap_or(1).max(1);
    let rows: Vec<&[E]> = batch.targets.data().chunks_exact(classes).collect();
    // Of several outputs, each is a step of all samples.
    let count = outputs.len().max(1);
    let mut sum: Option<Tensor<Rank0, E, Cpu, OwnedTape<E, Cpu>>> = None;
    for (step, output) in outputs.into_iter().enumerate() {
        let own: Vec<E> =
            rows.iter().skip(step).step_by(count).copied().flatten().copied().collect();
        let targets = output.device().clone().try_tensor_from_vec(own, *output.shape());
        let targets = targets.map_err(failed)?;
        let part = match batch.loss {
            OutputLoss::SquaredError => {
                let distances = output.try_sub(targets).and_then(|d| d.try_square());
                distances
                    .and_then(|d| d.try_sum::<Rank0, Axes2<0, 1>>())
                    .and_then(|sum| sum.try_mul(E::of(0.5)))
            }
            OutputLoss::CrossEntropy => output
                .try_log_softmax::<Axis<1>>()
                .and_then(|logs| logs.try_mul(targets))
                .and_then(|terms| terms.try_sum::<Rank0, Axes2<0, 1>>())
                .and_then(|sum| sum.try_mul(E::of(-1.0))),
        };
        let part = part.map_err(failed)?;
        sum = Some(match sum {
            None => part,
            Some(sum) => sum.try_add(part).map_err(failed)?,
        });
    }
    sum.ok_or_else(|| failed("a model without outputs"))
}

/// An optimiser, once it is known which.
enum Kept<M, E: Scalar> {
    Adam(Adam<M, E, Cpu>),
    Sgd(Sgd<M, E, Cpu>),
}

impl<M: TensorCollection<E, Cpu>, E: Scalar> Kept<M, E>
where
    Cpu: Device<E>,
{
    fn new(model: &M, kind: OptimiserKind) -> Self {
        let decay = match kind {
            OptimiserKind::AdamW => Some(WeightDecay::Decoupled(0.01)),
            OptimiserKind::Adam | OptimiserKind::Sgd => None,
        };
        match kind {
            OptimiserKind::Adam | OptimiserKind::AdamW => Self::Adam(Adam::new(
                model,
                AdamConfig { weight_decay: decay, ..Default::default() },
            )),
            OptimiserKind::Sgd => Self::Sgd(Sgd::new(
                model,
                SgdConfig { momentum: Some(Momentum::Classic(0.9)), ..Default::default() },
            )),
        }
    }

    fn set_rate(&mut self, rate: f64) {
        match self {
            Self::Adam(adam) => adam.cfg.lr = rate,
            Self::Sgd(sgd) => sgd.cfg.lr = rate,
        }
    }
}

impl<M: TensorCollection<E, Cpu>, E: Scalar> Optimizer<M, Cpu, E> for Kept<M, E>
where
    Cpu: Device<E>,
{
    fn update(
        &mut self,
        model: &mut M,
        gradients: &Gradients<E, Cpu>,
    ) -> Result<(), OptimizerUpdateError<CpuError>> {
        match self {
            Self::Adam(adam) => adam.update(model, gradients),
            Self::Sgd(sgd) => sgd.update(model, gradients),
        }
    }
}

/// A model of dfdx's whose input has the shape `X`, with a batch known at run time.
pub(super) struct Typed<M, X, E: Scalar> {
    model: M,
    optimiser: Option<(OptimiserKind, Kept<M, E>)>,
    shape: PhantomData<X>,
}

impl<M, X: Shape, E: Scalar> Typed<M, X, E>
where
    Cpu: Device<E>,
{
    pub(super) fn new(model: M) -> Self {
        Self { model, optimiser: None, shape: PhantomData }
    }

    fn input(&self, batch: &Batch<E>) -> Result<Tensor<X, E, Cpu>> {
        let dims = batch.input.dims();
        let mut concrete = X::Concrete::default();
        let same = dims.len() == X::NUM_DIMS;
        dims.iter().take(X::NUM_DIMS).enumerate().for_each(|(axis, d)| concrete[axis] = *d);
        let shape = X::from_concrete(&concrete).filter(|_| same).ok_or_else(|| {
            Error::new(ErrorKind::Shape, format!("the model takes no input shaped {dims:?}"))
        })?;
        let numbers = batch.input.data().to_vec();
        Cpu::default().try_tensor_from_vec(numbers, shape).map_err(failed)
    }
}

impl<M, X, E> Net<E> for Typed<M, X, E>
where
    E: Scalar,
    Cpu: Device<E>,
    X: Shape,
    M: TensorCollection<E, Cpu> + Vertices<Value<X, E>, E>,
    <M as Vertices<Value<X, E>, E>>::Output: Outputs<E> + 'static,
    <<M as Vertices<Value<X, E>, E>>::Output as Outputs<E>>::Traced: Logits<E, OwnedTape<E, Cpu>>,
    M: Module<Tensor<X, E, Cpu>, Error = CpuError>,
    <M as Module<Tensor<X, E, Cpu>>>::Output: Logits<E, NoneTape>,
    M: Module<Tensor<X, E, Cpu, OwnedTape<E, Cpu>>, Error = CpuError>,
    <M as Module<Tensor<X, E, Cpu, OwnedTape<E, Cpu>>>>::Output: Logits<E, OwnedTape<E, Cpu>>,
{
    fn parameters(&self) -> Result<Vec<HostTensor<E>>> {
        parameters_of(&self.model)
    }

    fn set_parameters(&mut self, values: &[HostTensor<E>]) -> Result<()> {
        set_parameters(&mut self.model, values)
    }

    fn read(&self, batch: &Batch<E>) -> Result<Reading<E>> {
        read(&self.model, self.input(batch)?, Granularity::default())
    }

    fn backprop(&mut self, batch: &Batch<E>) -> Result<Found<E>> {
        let (_, mut gradients) = self.backward(batch, 1.0)?;
        let gradients = gradients_of(&self.model, &mut gradients)?;
        Ok(Found { gradients, outcome: None })
    }

    fn relax(&mut self, pc: &mut PredictiveCoding<E>, batch: &Batch<E>) -> Result<Found<E>> {
        let (input, own, samples) = (self.input(batch)?, batch.clone(), batch.samples());
        let mut learned = pc.learn(&mut self.model, input, move |outputs| mean(outputs, &own))?;
        let mut gradients = gradients_of(&self.model, &mut learned.gradients)?;
        gradients.iter_mut().for_each(|gradient| gradient.scale(samples));
        Ok(Found { gradients, outcome: Some(learned.outcome) })
    }

    fn train(
        &mut self,
        pc: Option<&mut PredictiveCoding<E>>,
        kind: OptimiserKind,
        rate: f64,
        batch: &Batch<E>,
    ) -> Result<(f64, Option<Outcome>)> {
        let held = self.optimiser.take().filter(|(own, _)| *own == kind);
        let (_, mut optimiser) = held.unwrap_or_else(|| (kind, Kept::new(&self.model, kind)));
        optimiser.set_rate(rate);
        let found = match pc {
            None => {
                let (loss, gradients) = self.backward(batch, batch.samples())?;
                optimiser.update(&mut self.model, &gradients).map_err(failed)?;
                (loss, None)
            }
            Some(pc) => {
                let (input, own) = (self.input(batch)?, batch.clone());
                let loss = move |outputs| mean(outputs, &own);
                let learned = pc.train(&mut self.model, &mut optimiser, input, loss)?;
                (learned.outcome.energy.total(), Some(learned.outcome))
            }
        };
        self.optimiser = Some((kind, optimiser));
        Ok(found)
    }

    fn logits(&self, batch: &Batch<E>) -> Result<Vec<f64>> {
        let outputs = self.model.try_forward(self.input(batch)?).map_err(failed)?;
        let outputs = outputs.rows().map_err(failed)?;
        let classes = batch.targets.dims().last().copied().unwrap_or(1).max(1);
        let all: Vec<Vec<E>> = outputs.iter().map(|rows| rows.as_vec()).collect();
        let rows = all.first().map_or(0, |rows| rows.len() / classes);
        // Sample by sample, and in each step by step.
        let row = |k: usize| all.iter().flat_map(move |rows| &rows[k * classes..][..classes]);
        Ok((0..rows).flat_map(row).map(|x| x.value()).collect())
    }

    fn run_backprop(&mut self, batch: &Batch<E>) -> Result<()> {
        self.backward(batch, batch.samples()).map(|_| ())
    }

    fn run_relaxed(&mut self, pc: &mut PredictiveCoding<E>, batch: &Batch<E>) -> Result<Outcome> {
        let (input, own) = (self.input(batch)?, batch.clone());
        let learned = pc.learn(&mut self.model, input, move |outputs| mean(outputs, &own))?;
        Ok(learned.outcome)
    }
}

impl<M, X, E> Typed<M, X, E>
where
    E: Scalar,
    Cpu: Device<E>,
    X: Shape,
    M: TensorCollection<E, Cpu>,
    M: Module<Tensor<X, E, Cpu, OwnedTape<E, Cpu>>, Error = CpuError>,
    <M as Module<Tensor<X, E, Cpu, OwnedTape<E, Cpu>>>>::Output: Logits<E, OwnedTape<E, Cpu>>,
{
    /// The summed loss, and dfdx's gradients of it over `samples`.
    fn backward(&self, batch: &Batch<E>, samples: f64) -> Result<(f64, Gradients<E, Cpu>)> {
        let zeros = self.model.try_alloc_grads().map_err(failed)?;
        let traced = self.input(batch)?.traced(zeros);
        let outputs = self.model.try_forward(traced).and_then(Logits::rows).map_err(failed)?;
        let loss = summed(outputs, batch)?;
        let value = loss.as_vec().first().map_or(f64::NAN, |loss| loss.value());
        let loss = loss.try_mul(E::of(1.0 / samples)).map_err(failed)?;
        Ok((value, loss.try_backward().map_err(failed)?))
    }
}

/// The loss as a mean over samples, as dfdx's own losses are. What cannot be computed is no number,
/// which the relaxation reports.
fn mean<L: Logits<E, OwnedTape<E, Cpu>>, E: Scalar>(
    outputs: L,
    batch: &Batch<E>,
) -> Tensor<Rank0, E, Cpu, OwnedTape<E, Cpu>>
where
    Cpu: Device<E>,
{
    let over = E::of(1.0 / batch.samples());
    let loss = outputs.rows().map_err(failed).and_then(|outputs| summed(outputs, batch));
    let loss = loss.and_then(|loss| loss.try_mul(over).map_err(failed));
    loss.unwrap_or_else(|_| Cpu::default().tensor(E::of(f64::NAN)).leaky_traced())
}

impl<E> Batch<E>
where
    E: Scalar,
{
    fn samples(&self) -> f64 {
        self.input.batch() as f64
    }
}
