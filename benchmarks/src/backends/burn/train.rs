//! A Burn module that learns, by Burn's optimisers.

use burn::tensor::{Device, Tensor};
use pc_burn::{LossReduction, PredictiveCoding};
use pc_core::{
    Schedule, Status,
    host::{Element, HostTensor},
};

use super::{
    layers,
    models::{BurnNet, Input, Task as Marked},
    optimiser::Optimiser,
    pass::{backward, devices, gradients, number, without_autodiff},
};
use crate::{
    contract::{
        OptimiserState, ScheduleKind,
        train::{Batch, Task, Traced, Trainee},
    },
    error::CommandError,
    models::{Model, OutputLoss, Score},
};

/// One model of one run.
pub(super) struct Burn<F: Element> {
    /// How inputs are laid out, and what parameters are called.
    model: Model<F>,
    names: Vec<String>,
    net: BurnNet,
    rule: ScheduleKind,
    schedule: Schedule,
    /// One for each size of batch, which is what the mean is over: all but the last of an epoch
    /// have the same.
    relaxations: Vec<(usize, PredictiveCoding)>,
    optimiser: Optimiser,
}

impl<F: Element> Burn<F> {
    pub(super) fn new(task: &Task) -> Result<Self, CommandError> {
        let Task { rule, optimiser, learning_rate, .. } = *task;
        let model = task.model::<F>()?;
        Ok(Self {
            net: BurnNet::new(&model, task.per_step, &devices().1)?,
            names: model.graph.topology().parameter_names().to_vec(),
            model,
            rule,
            schedule: task.schedule.clone(),
            relaxations: Vec::new(),
            optimiser: Optimiser::new(optimiser, learning_rate),
        })
    }

    /// The parameters by name.
    fn slots(&self) -> Vec<(String, layers::Slot)> {
        self.names.iter().cloned().zip(layers::slots(&self.net)).collect()
    }

    fn batch(&self, batch: &Batch, device: &Device) -> Result<Marked, CommandError> {
        let input = Input::new(&self.model.input(batch.features())?, device)?;
        let mut targets = HostTensor::<F>::zeroed(&[batch.labels.len(), self.model.classes])?;
        for (row, label) in
            targets.data_mut().chunks_exact_mut(self.model.classes).zip(&batch.labels)
        {
            let held = row
                .get_mut(*label)
                .ok_or_else(|| CommandError::input(format!("there is no class {label}")))?;
            *held = F::one();
        }
        Ok(Marked {
            input,
            targets: layers::tensor(&targets, device)?,
            loss: OutputLoss::CrossEntropy,
        })
    }
}

impl<F: Element> Trainee<F> for Burn<F> {
    fn description(&self) -> String {
        self.model.description.clone()
    }

    fn learn(&mut self, batch: &Batch) -> Result<f64, CommandError> {
        let batch = self.batch(batch, &devices().1)?;
        let samples = batch.samples();
        if self.rule == ScheduleKind::Backprop {
            let (gradients, loss) = backward(&self.net, &batch);
            self.net = self.optimiser.step(self.net.clone(), gradients);
            return Ok(number(loss) * samples as f64);
        }
        let known = self.relaxations.iter().position(|(size, _)| *size == samples);
        let index = known.unwrap_or_else(|| {
            let pc = PredictiveCoding::new(self.schedule.clone(), LossReduction::MeanOver(samples));
            self.relaxations.push((samples, pc));
            self.relaxations.len() - 1
        });
        let optimiser = &mut self.optimiser;
        let pc = &mut self.relaxations[index].1;
        let learned = pc.train(
            &mut self.net,
            |net: &BurnNet| net.loss(&batch),
            |net, gradients| optimiser.step(net, gradients),
        )?;
        let outcome = learned.outcome;
        Ok(if outcome.status == Status::Diverged { f64::NAN } else { outcome.energy.total() })
    }

    fn set_learning_rate(&mut self, rate: f64) -> Result<(), CommandError> {
        self.optimiser.set_rate(rate);
        Ok(())
    }

    fn score(&mut self, batch: &Batch) -> Result<Score, CommandError> {
        let marked = self.batch(batch, &devices().0)?;
        let logits: Tensor<2> = without_autodiff(&self.net).forward(&marked.input);
        Ok(Score::of_rows(&layers::numbers(logits), &batch.labels, self.model.classes)?)
    }

    fn gradients(&mut self, batch: &Batch, schedule: Schedule) -> Result<Traced, CommandError> {
        let batch = self.batch(batch, &devices().1)?;
        let (gradients, outcome) = gradients(&self.net, &batch, schedule)?;
        Ok(Traced { gradients, energy: outcome.map(|outcome| outcome.trace).unwrap_or_default() })
    }

    fn parameters(&self) -> Result<Vec<(String, HostTensor<F>)>, CommandError> {
        Ok(self.names.iter().cloned().zip(layers::parameters(&self.net)?).collect())
    }

    fn set_parameter(&mut self, name: &str, value: HostTensor<F>) -> Result<(), CommandError> {
        let index = self.names.iter().position(|own| own == name);
        let index =
            index.ok_or_else(|| CommandError::input(format!("there is no parameter `{name}`")))?;
        let (net, put) = layers::with_parameter(self.net.clone(), index, &value);
        put?;
        self.net = net;
        Ok(())
    }

    fn optimiser(&self) -> Result<OptimiserState<F>, CommandError> {
        Ok(self.optimiser.save(&self.slots())?)
    }

    fn set_optimiser(&mut self, state: OptimiserState<F>) -> Result<(), String> {
        let slots = self.slots();
        self.optimiser.restore(&slots, state)
    }
}
