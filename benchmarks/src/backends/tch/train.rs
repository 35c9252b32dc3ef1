//! A marked tch program that trains: forward, a loss, `backward` or predictive coding, an optimiser
//! of libtorch.

use ::tch::{Kind, Tensor};
use pc_core::{
    Schedule, Status,
    host::{Element, HostTensor},
};
use pc_tch::PredictiveCoding;

use super::{
    model::{TchNet, failed, from_host, inputs, rows},
    optimiser::Optimiser,
    pass::{gradients, learned, marked},
};
use crate::{
    contract::{
        OptimiserState, ScheduleKind,
        train::{Batch, Task, Traced, Trainee},
    },
    error::CommandError,
    models::{Model, Score},
};

/// One model of one run.
pub(super) struct Tch<F: Element> {
    /// Says how a batch is laid out; its own weights stay what they were at first.
    layout: Model<F>,
    net: TchNet,
    optimiser: Optimiser,
    /// None for backprop.
    pc: Option<PredictiveCoding>,
}

impl<F: Element> Tch<F> {
    pub(super) fn new(task: &Task) -> Result<Self, CommandError> {
        let layout = task.model::<F>()?;
        let net = TchNet::new(&layout)?;
        let optimiser = Optimiser::new(task.optimiser, &net, task.learning_rate)?;
        let pc = match task.rule {
            ScheduleKind::Backprop => None,
            _ => Some(marked(task.schedule.clone())),
        };
        Ok(Self { layout, net, optimiser, pc })
    }

    /// The inputs and labels of a batch.
    fn batch(&self, batch: &Batch) -> Result<Given, CommandError> {
        let wanted = batch.samples * self.layout.labels_per_sample();
        if batch.labels.len() != wanted {
            return Err(CommandError::input(format!(
                "{} labels for a batch that needs {wanted}",
                batch.labels.len()
            )));
        }
        let clamps = self.layout.feed(batch.features())?;
        let labels: Vec<i64> = batch.labels.iter().map(|label| *label as i64).collect();
        Ok(Given {
            inputs: inputs(&self.layout, &clamps)?,
            labels: Tensor::f_from_slice(&labels).map_err(failed)?,
            classes: self.layout.classes as i64,
            samples: batch.samples,
        })
    }
}

/// A batch as tensors.
struct Given {
    inputs: Vec<Tensor>,
    labels: Tensor,
    classes: i64,
    samples: usize,
}

impl Given {
    /// The loss of these logits, summed over the batch.
    fn sum(&self, logits: &Tensor) -> Result<Tensor, CommandError> {
        logits
            .f_cross_entropy_loss(&self.labels, None::<Tensor>, ::tch::Reduction::Sum, -100, 0.0)
            .map_err(failed)
    }

    fn logits(&self, net: &TchNet) -> Result<Tensor, CommandError> {
        rows(&net.outputs(&self.inputs)?, self.classes)
    }

    /// The program: its loss, the mean over the samples.
    fn loss(&self, net: &TchNet) -> Result<Tensor, CommandError> {
        self.sum(&self.logits(net)?)?.f_div_scalar(self.samples as f64).map_err(failed)
    }
}

impl<F: Element> Trainee<F> for Tch<F> {
    fn description(&self) -> String {
        format!("{}, by libtorch", self.layout.description)
    }

    fn learn(&mut self, batch: &Batch) -> Result<f64, CommandError> {
        let given = self.batch(batch)?;
        let Self { net, optimiser, pc, .. } = self;
        let libtorchs = &mut optimiser.libtorchs;
        let Some(pc) = pc else {
            let loss = given.loss(net)?;
            libtorchs.backward_step(&loss)?;
            return Ok(loss.f_double_value(&[]).map_err(failed)? * given.samples as f64);
        };
        let outcome = learned(pc, libtorchs, || given.loss(net))?.outcome;
        Ok(if outcome.status == Status::Diverged { f64::NAN } else { outcome.energy.total() })
    }

    fn set_learning_rate(&mut self, rate: f64) -> Result<(), CommandError> {
        Ok(self.optimiser.libtorchs.set_lr(rate)?)
    }

    fn score(&mut self, batch: &Batch) -> Result<Score, CommandError> {
        let _off = ::tch::no_grad_guard();
        let given = self.batch(batch)?;
        let logits = given.logits(&self.net)?;
        let found = logits
            .f_argmax(1, false)
            .and_then(|best| best.f_eq_tensor(&given.labels))
            .map_err(failed)?;
        // A row with a NaN is right about nothing.
        let numbers =
            logits.f_isfinite().and_then(|finite| finite.f_all_dim(1, false)).map_err(failed)?;
        let correct = found
            .f_logical_and(&numbers)
            .and_then(|right| right.f_sum(Kind::Int64)?.f_int64_value(&[]))
            .map_err(failed)?;
        let loss = given.sum(&logits)?.f_double_value(&[]).map_err(failed)?;
        Ok(Score {
            loss,
            correct: usize::try_from(correct).unwrap_or(0),
            count: batch.labels.len(),
        })
    }

    fn gradients(&mut self, batch: &Batch, schedule: Schedule) -> Result<Traced, CommandError> {
        let given = self.batch(batch)?;
        gradients(&self.net, marked(schedule), || given.loss(&self.net))
    }

    fn parameters(&self) -> Result<Vec<(String, HostTensor<F>)>, CommandError> {
        self.net
            .parameters
            .iter()
            .map(|(name, parameter)| Ok((name.clone(), super::model::to_host(parameter)?)))
            .collect()
    }

    fn set_parameter(&mut self, name: &str, value: HostTensor<F>) -> Result<(), CommandError> {
        let Some((_, parameter)) = self.net.parameters.iter_mut().find(|(known, _)| known == name)
        else {
            return Err(CommandError::input(format!("no parameter is called {name}")));
        };
        let value = from_host(&value)?;
        if value.size() != parameter.size() {
            return Err(CommandError::input(format!(
                "{name} has shape {:?}, not {:?}",
                parameter.size(),
                value.size()
            )));
        }
        ::tch::no_grad(|| parameter.f_copy_(&value)).map_err(failed)?;
        Ok(())
    }

    fn optimiser(&self) -> Result<OptimiserState<F>, CommandError> {
        self.optimiser.save()
    }

    fn set_optimiser(&mut self, state: OptimiserState<F>) -> Result<(), String> {
        self.optimiser.restore(state)
    }
}
