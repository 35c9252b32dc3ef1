//! A tch program that trains: forward, a loss, `backward` by backprop or by predictive coding, an
//! optimiser of tch.

use ::tch::{
    Kind, Tensor,
    nn::{self, Optimizer, OptimizerConfig},
};
use pc_core::{
    Schedule, Status,
    host::{Element, HostTensor},
};
use pc_tch::Pc;

use super::model::{TchNet, failed, from_host, inputs, rows};
use crate::{
    contract::{
        OptimiserKind, OptimiserState, ScheduleKind,
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
    optimiser: Optimizer,
    /// None for backprop.
    pc: Option<Pc>,
}

impl<F: Element> Tch<F> {
    pub(super) fn new(task: &Task) -> Result<Self, CommandError> {
        let layout = task.model::<F>()?;
        let net = TchNet::new(&layout)?;
        let rate = task.learning_rate;
        let optimiser = match task.optimiser {
            OptimiserKind::Adam => nn::Adam::default().build(&net.store, rate),
            OptimiserKind::AdamW => {
                nn::AdamW { wd: 0.01, ..Default::default() }.build(&net.store, rate)
            }
            OptimiserKind::Sgd => {
                nn::Sgd { momentum: 0.9, ..Default::default() }.build(&net.store, rate)
            }
        };
        let pc = match task.rule {
            ScheduleKind::Backprop => None,
            _ => Some(Pc::new(task.schedule.clone()).even_shallow().measured()),
        };
        Ok(Self { layout, net, optimiser: optimiser.map_err(failed)?, pc })
    }

    /// The outputs, and the loss summed over the batch.
    fn forward(&self, batch: &Batch) -> Result<(Vec<Tensor>, Tensor), CommandError> {
        let clamps = self.layout.feed(batch.features())?;
        let outputs = self.net.outputs(&inputs(&self.layout, &clamps)?)?;
        let labels = self.labels(batch)?;
        let logits = rows(&outputs, self.layout.classes as i64)?;
        let loss = logits
            .f_cross_entropy_loss(&labels, None::<Tensor>, ::tch::Reduction::Sum, -100, 0.0)
            .map_err(failed)?;
        Ok((outputs, loss))
    }

    fn labels(&self, batch: &Batch) -> Result<Tensor, CommandError> {
        let wanted = batch.samples * self.layout.labels_per_sample();
        if batch.labels.len() != wanted {
            return Err(CommandError::input(format!(
                "{} labels for a batch that needs {wanted}",
                batch.labels.len()
            )));
        }
        let labels: Vec<i64> = batch.labels.iter().map(|label| *label as i64).collect();
        Tensor::f_from_slice(&labels).map_err(failed)
    }

    /// Divides the gradients of a loss that was summed over the batch.
    fn average(&self, samples: usize) -> Result<(), CommandError> {
        for (_, parameter) in &self.net.parameters {
            let mut gradient = parameter.f_grad().map_err(failed)?;
            if gradient.defined() {
                let _ = gradient.f_div_scalar_(samples as f64).map_err(failed)?;
            }
        }
        Ok(())
    }
}

impl<F: Element> Trainee<F> for Tch<F> {
    fn description(&self) -> String {
        format!("{}, by libtorch", self.layout.description)
    }

    fn learn(&mut self, batch: &Batch) -> Result<f64, CommandError> {
        let (outputs, loss) = self.forward(batch)?;
        self.optimiser.zero_grad();
        let energy = match &self.pc {
            None => {
                loss.f_backward().map_err(failed)?;
                loss.f_double_value(&[]).map_err(failed)?
            }
            Some(pc) => {
                let outputs: Vec<&Tensor> = outputs.iter().collect();
                let outcome = pc.f_backward_from(&loss, &outputs)?;
                if outcome.status == Status::Diverged {
                    return Ok(f64::NAN);
                }
                outcome.energy.map_or(f64::NAN, |energy| energy.total())
            }
        };
        self.average(batch.samples)?;
        self.optimiser.step();
        Ok(energy)
    }

    fn set_learning_rate(&mut self, rate: f64) -> Result<(), CommandError> {
        if !(rate > 0.0 && rate.is_finite()) {
            return Err(CommandError::input(format!(
                "the learning rate must be a positive number, not {rate}"
            )));
        }
        self.optimiser.set_lr(rate);
        Ok(())
    }

    fn score(&mut self, batch: &Batch) -> Result<Score, CommandError> {
        let _off = ::tch::no_grad_guard();
        let (outputs, loss) = self.forward(batch)?;
        let logits = rows(&outputs, self.layout.classes as i64)?;
        let found = logits
            .f_argmax(1, false)
            .and_then(|best| best.f_eq_tensor(&self.labels(batch).unwrap_or_default()))
            .map_err(failed)?;
        // A row with a NaN is right about nothing.
        let numbers =
            logits.f_isfinite().and_then(|finite| finite.f_all_dim(1, false)).map_err(failed)?;
        let correct = found
            .f_logical_and(&numbers)
            .and_then(|right| right.f_sum(Kind::Int64)?.f_int64_value(&[]))
            .map_err(failed)?;
        let loss = loss.f_double_value(&[]).map_err(failed)?;
        Ok(Score {
            loss,
            correct: usize::try_from(correct).unwrap_or(0),
            count: batch.labels.len(),
        })
    }

    fn gradients(&mut self, batch: &Batch, schedule: Schedule) -> Result<Traced, CommandError> {
        let (outputs, loss) = self.forward(batch)?;
        self.optimiser.zero_grad();
        let energy = if schedule.name() == ScheduleKind::Backprop.name() {
            loss.f_backward().map_err(failed)?;
            Vec::new()
        } else {
            let outputs: Vec<&Tensor> = outputs.iter().collect();
            Pc::new(schedule).even_shallow().measured().f_backward_from(&loss, &outputs)?.trace
        };
        self.average(batch.samples)?;
        Ok(Traced { gradients: self.net.take_gradients()?, energy })
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
        Err(CommandError::input("the state of tch's optimisers cannot be read"))
    }

    fn set_optimiser(&mut self, _state: OptimiserState<F>) -> Result<(), String> {
        Err("the state of tch's optimisers cannot be set".to_owned())
    }
}
