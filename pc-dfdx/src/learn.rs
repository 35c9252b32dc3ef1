//! Training steps by predictive coding, for dfdx models.

use std::collections::BTreeMap;

use dfdx::{
    nn::tensor_collection::TensorCollection,
    optim::Optimizer,
    prelude::Device,
    shapes::Rank0,
    tensor::{Cpu, Gradients},
};
use pc_core::{
    Error, ErrorKind, Event, Graph, Learning, LossReduction, Outcome, Reduction, Relaxation,
    Result, Schedule, Status, VertexId, backend::loss_strength, host::HostTensor,
};

use crate::{
    Granularity, Input, Outputs, Reading, Scalar, Vertices,
    loss::drive,
    parameters::{Set, touch},
    reading::read_with,
    taped::Traced,
};

/// What one step of training found.
#[derive(Debug)]
pub struct Learned<E: Scalar> {
    /// The gradients, for any of dfdx's optimisers: zeros for parameters that no error reached; the
    /// last ones, where weights have moved during relaxation. Where the relaxation diverged they
    /// are empty, and an optimiser refuses them (`UnusedParams`).
    pub gradients: Gradients<E, Cpu>,
    /// The loss in the feed-forward pass.
    pub loss: f64,
    /// How the relaxation went. Its energies are sums over the batch.
    pub outcome: Outcome,
}

/// A relaxation, for batches like the last.
struct Kept<E: Scalar> {
    key: String,
    levelled: bool,
    relaxation: Relaxation<Graph<HostTensor<E>>>,
}

/// Predictive coding in place of the traced forward pass and `backward()`.
///
/// # Example
/// A dfdx program changes one line:
/// ```
/// use dfdx::{nn::builders::*, optim::{Sgd, SgdConfig}, prelude::*};
/// use pc_core::Schedule;
/// use pc_dfdx::{LossReduction, PredictiveCoding};
///
/// type Mlp = (Linear<3, 8>, Tanh, Linear<8, 1>);
/// let device = Cpu::default();
/// let mut model = device.build_module::<Mlp, f32>();
/// let mut optimiser = Sgd::new(&model, SgdConfig { lr: 0.1, ..Default::default() });
/// let x: Tensor<Rank2<16, 3>, f32, Cpu> = device.sample_normal();
/// let y: Tensor<Rank2<16, 1>, f32, Cpu> = device.sample_normal();
///
/// let mut pc = PredictiveCoding::new(Schedule::standard(0.1, 20)?, LossReduction::Mean);
/// for _ in 0..3 {
///     let y = y.clone();
///     // By backprop:
///     // let loss = mse_loss(model.forward(x.leaky_trace()), y);
///     // let gradients = loss.backward();
///     let gradients =
///         pc.learn(&mut model, x.clone(), move |found| mse_loss(found, y.clone()))?.gradients;
///     optimiser.update(&mut model, &gradients).unwrap();
/// }
/// # Ok::<(), pc_core::Error>(())
/// ```
///
/// A model in `f32` does not compile with a batch in `f64`:
/// ```compile_fail,E0277
/// # use dfdx::{nn::builders::*, prelude::*};
/// # use pc_core::Schedule;
/// # use pc_dfdx::{LossReduction, PredictiveCoding};
/// # let device = Cpu::default();
/// let mut model = device.build_module::<Linear<3, 1>, f32>();
/// let mut pc = PredictiveCoding::new(Schedule::backprop(), LossReduction::Mean);
/// let x: Tensor<Rank2<16, 3>, f64, Cpu> = device.sample_normal();
/// pc.learn(&mut model, x, |found| found.square().mean());
/// ```
/// nor with one of another width, nor with a loss towards a target of another:
/// ```compile_fail,E0277
/// # use dfdx::{nn::builders::*, prelude::*};
/// # use pc_core::Schedule;
/// # use pc_dfdx::{LossReduction, PredictiveCoding};
/// # let device = Cpu::default();
/// let mut model = device.build_module::<Linear<3, 1>, f32>();
/// let mut pc = PredictiveCoding::new(Schedule::backprop(), LossReduction::Mean);
/// let x: Tensor<Rank2<16, 4>, f32, Cpu> = device.sample_normal();
/// pc.learn(&mut model, x, |found| found.square().mean());
/// ```
/// ```compile_fail,E0308
/// # use dfdx::{nn::builders::*, prelude::*};
/// # use pc_core::Schedule;
/// # use pc_dfdx::{LossReduction, PredictiveCoding};
/// # let device = Cpu::default();
/// let mut model = device.build_module::<Linear<3, 1>, f32>();
/// let mut pc = PredictiveCoding::new(Schedule::backprop(), LossReduction::Mean);
/// let x: Tensor<Rank2<16, 3>, f32, Cpu> = device.sample_normal();
/// let y: Tensor<Rank2<16, 2>, f32, Cpu> = device.sample_normal();
/// pc.learn(&mut model, x, move |found| mse_loss(found, y.clone()));
/// ```
pub struct PredictiveCoding<E: Scalar> {
    schedule: Schedule,
    reduction: LossReduction,
    weight: f64,
    granularity: Granularity,
    kept: Option<Kept<E>>,
    spare: Vec<HostTensor<E>>,
}

impl<E: Scalar> std::fmt::Debug for PredictiveCoding<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PredictiveCoding")
            .field("schedule", &self.schedule)
            .field("reduction", &self.reduction)
            .field("weight", &self.weight)
            .field("granularity", &self.granularity)
            .finish_non_exhaustive()
    }
}

impl<E: Scalar> PredictiveCoding<E>
where
    Cpu: Device<E>,
{
    /// Predictive coding by a schedule, for losses that are reduced like this.
    ///
    /// The reduction named here counts, not the schedule's own.
    pub fn new(schedule: Schedule, reduction: LossReduction) -> Self {
        Self {
            schedule: schedule.reduced_by(Reduction::Sum),
            reduction,
            weight: 1.0,
            granularity: Granularity::default(),
            kept: None,
            spare: Vec::new(),
        }
    }

    /// Says what is one vertex.
    #[must_use]
    pub fn of_vertices(mut self, granularity: Granularity) -> Self {
        self.granularity = granularity;
        self
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

    /// The schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Reads the model, relaxes its graph with the output driven by `loss`, and gives the gradients
    /// of the model's parameters. `loss` is handed what the traced forward pass would give it.
    ///
    /// The model is borrowed mutably for its running statistics, which move once in a step. Dropout
    /// is drawn once in a step, from the device of the input. Z-IL inserts identity vertices where
    /// the graph is not level.
    ///
    /// # Errors
    /// A schedule whose weights move during relaxation ([`PredictiveCoding::train`] takes it); an
    /// empty batch; a number of the input, a parameter or the first loss that is not finite; a loss
    /// that couples several outputs; dimensions known only at run time that do not fit.
    pub fn learn<M, X, F>(&mut self, model: &mut M, input: X, loss: F) -> Result<Learned<E>>
    where
        M: TensorCollection<E, Cpu> + Vertices<X::Value, E>,
        M::Output: Outputs<E> + 'static,
        X: Input<E>,
        F: FnMut(<M::Output as Outputs<E>>::Traced) -> Traced<Rank0, E> + 'static,
    {
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
        self.step(model, input, loss, |_, _| Ok(()))
    }

    /// A whole step of training: relaxes, and steps the optimiser at every learning event of the
    /// schedule: once in most, at every step in incremental PC.
    ///
    /// # Errors
    /// As [`PredictiveCoding::learn`]; what the optimiser reports. The model then has made the
    /// steps made so far.
    pub fn train<M, O, X, F>(
        &mut self,
        model: &mut M,
        optimiser: &mut O,
        input: X,
        loss: F,
    ) -> Result<Learned<E>>
    where
        M: TensorCollection<E, Cpu> + Vertices<X::Value, E>,
        M::Output: Outputs<E> + 'static,
        O: Optimizer<M, Cpu, E>,
        X: Input<E>,
        F: FnMut(<M::Output as Outputs<E>>::Traced) -> Traced<Rank0, E> + 'static,
    {
        self.step(model, input, loss, |model, gradients| {
            optimiser
                .update(model, gradients)
                .map_err(|error| Error::new(ErrorKind::Backend, error.to_string()))
        })
    }

    /// Relaxes, with `learn` at every learning event; the gradients of all levels together.
    fn step<M, X, F>(
        &mut self,
        model: &mut M,
        input: X,
        loss: F,
        mut learn: impl FnMut(&mut M, &Gradients<E, Cpu>) -> Result<()>,
    ) -> Result<Learned<E>>
    where
        M: TensorCollection<E, Cpu> + Vertices<X::Value, E>,
        M::Output: Outputs<E> + 'static,
        X: Input<E>,
        F: FnMut(<M::Output as Outputs<E>>::Traced) -> Traced<Rank0, E> + 'static,
    {
        let device = input.device();
        let spare = std::mem::take(&mut self.spare);
        let (reading, form) = read_with(model, input, self.granularity, spare)?;
        let samples = self.reduction.divisor(reading.samples)?;
        let (mut relaxation, mut reading) = self.relaxation::<M>(reading)?;
        let length = |vertex: &VertexId| -> Result<(VertexId, usize)> {
            let shape = reading.graph.shape(*vertex)?;
            Ok((*vertex, reading.samples * shape.iter().product::<usize>()))
        };
        let outputs = reading.outputs.iter().map(length).collect::<Result<Vec<_>>>()?;
        let (clamps, first) = drive::<M::Output, E, F>(
            reading.clamps(),
            &outputs,
            form,
            &device,
            samples,
            self.weight,
            loss,
        );
        let (outcome, gradients) = if self.schedule.learning().moves_weights() {
            let mut last = Gradients::leaky();
            // Not `train`: what learns is the model, and the graph is read off it again.
            relaxation.relaxation.begin(&mut reading.graph, &clamps)?;
            let outcome = loop {
                match relaxation.relaxation.advance(&mut reading.graph)? {
                    Event::Learn => {
                        let from = relaxation.relaxation.gradients();
                        last = reading.gradients(model, from, 1.0 / samples)?;
                        learn(model, &last)?;
                        reading.refresh(model)?;
                    }
                    Event::Step => {}
                    Event::Finished(outcome) => break outcome,
                }
            };
            (outcome, last)
        } else {
            let outcome = relaxation.relaxation.run(&mut reading.graph, &clamps)?;
            if outcome.status == Status::Diverged {
                (outcome, Gradients::leaky())
            } else {
                let from = relaxation.relaxation.gradients();
                let gradients = reading.gradients(model, from, 1.0 / samples)?;
                learn(model, &gradients)?;
                (outcome, gradients)
            }
        };
        let mut moved = BTreeMap::new();
        reading.buffers.iter().for_each(|buffers| buffers.gather(&mut moved));
        if !moved.is_empty() {
            touch(model, &mut Set(&moved))?;
        }
        let loss = first.first().unwrap_or(f64::NAN);
        self.spare = reading.graph.parameters_mut().iter_mut().map(std::mem::take).collect();
        self.kept = Some(relaxation);
        Ok(Learned { gradients, loss, outcome })
    }

    /// The relaxation of the last batch, where this one's graph is the same, or another one; and
    /// the graph, levelled where the relaxation needs it so.
    fn relaxation<M>(&mut self, reading: Reading<E>) -> Result<(Kept<E>, Reading<E>)> {
        let key = key::<M, E>(&reading.graph);
        let level = |reading: Reading<E>| -> Result<Reading<E>> {
            Ok(Reading { graph: reading.graph.levelled()?, ..reading })
        };
        if let Some(kept) = self.kept.take().filter(|kept| kept.key == key) {
            let reading = if kept.levelled { level(reading)? } else { reading };
            return Ok((kept, reading));
        }
        let made = Relaxation::new(&reading.graph, self.schedule.clone());
        let unlevelled = reading.graph.topology().unlevelled_edge().is_some();
        if self.schedule.learning() == Learning::AtLevel && unlevelled && made.is_err() {
            let reading = level(reading)?;
            let relaxation = Relaxation::new(&reading.graph, self.schedule.clone())?;
            return Ok((Kept { key, levelled: true, relaxation }, reading));
        }
        Ok((Kept { key, levelled: false, relaxation: made? }, reading))
    }
}

/// What tells graphs apart whose relaxations keep different things.
fn key<M, E: Scalar>(graph: &Graph<HostTensor<E>>) -> String {
    let signature = pc_core::Network::signature(graph);
    format!("{} {signature} {graph:?}", std::any::type_name::<M>())
}
