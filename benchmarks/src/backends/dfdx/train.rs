//! A dfdx model that learns.

use pc_core::{
    Clamps, Relaxation, Schedule, Status,
    host::{CrossEntropy, Element, HostTensor},
};
use pc_dfdx::{PredictiveCoding, Reading};

use super::{
    models::Built,
    net::{Batch as Fed, Net},
};
use crate::{
    backends::observe,
    contract::{
        OptimiserKind, OptimiserState, ScheduleKind,
        check::convert,
        train::{Batch, Task, Traced, Trainee, VertexTrace},
    },
    error::CommandError,
    models::{Model, OutputLoss, Score, Size},
};

/// One model of one run.
pub(super) struct Dfdx<E: Built + Element> {
    /// Says how a batch is laid out; its own weights stay what they were at first.
    layout: Model<E>,
    net: Box<dyn Net<E>>,
    /// None for backprop.
    pc: Option<PredictiveCoding<E>>,
    optimiser: OptimiserKind,
    rate: f64,
}

impl<E: Built + Element> Dfdx<E> {
    pub(super) fn new(task: &Task) -> Result<Self, CommandError> {
        let layout = task.model::<E>()?;
        let mut net = E::net(task.model, task.shape, task.classes, Size::Standard, task.per_step)?;
        net.set_parameters(layout.graph.parameters())?;
        let mut made = Self {
            layout,
            net,
            pc: (task.rule != ScheduleKind::Backprop).then(|| E::learning(task.schedule.clone())),
            optimiser: task.optimiser,
            rate: 0.0,
        };
        made.set_rate(task.learning_rate)?;
        Ok(made)
    }

    fn set_rate(&mut self, rate: f64) -> Result<(), CommandError> {
        if !(rate > 0.0 && rate.is_finite()) {
            return Err(CommandError::input(format!(
                "the learning rate must be a positive number, not {rate}"
            )));
        }
        self.rate = rate;
        Ok(())
    }

    fn feed(&self, batch: &Batch) -> Result<Fed<E>, CommandError> {
        let wanted = batch.samples * self.layout.labels_per_sample();
        if batch.labels.len() != wanted {
            return Err(CommandError::input(format!(
                "{} labels for a batch that needs {wanted}",
                batch.labels.len()
            )));
        }
        let targets = HostTensor::one_hot(&batch.labels, self.layout.classes)?;
        let input = self.layout.input(batch.features())?;
        Ok(Fed { input, targets, loss: OutputLoss::CrossEntropy })
    }

    /// The model as a graph, its outputs driven.
    fn read(&self, batch: &Batch) -> Result<(Reading<E>, Clamps<HostTensor<E>>), CommandError> {
        let fed = self.feed(batch)?;
        let reading = self.net.read(&fed)?;
        // One output: labels are for samples alone, where there are types for models.
        let clamps = reading.outputs.iter().fold(reading.clamps(), |clamps, output| {
            clamps.drive(*output, CrossEntropy::new(fed.targets.clone()))
        });
        Ok((reading, clamps))
    }
}

impl<F: Element, E: Built + Element> Trainee<F> for Dfdx<E> {
    fn description(&self) -> String {
        format!("{}, by dfdx", self.layout.description)
    }

    fn learn(&mut self, batch: &Batch) -> Result<f64, CommandError> {
        let fed = self.feed(batch)?;
        let (energy, outcome) =
            self.net.train(self.pc.as_mut(), self.optimiser, self.rate, &fed)?;
        let diverged = outcome.is_some_and(|outcome| outcome.status == Status::Diverged);
        Ok(if diverged { f64::NAN } else { energy })
    }

    fn set_learning_rate(&mut self, rate: f64) -> Result<(), CommandError> {
        self.set_rate(rate)
    }

    fn score(&mut self, batch: &Batch) -> Result<Score, CommandError> {
        let logits = self.net.logits(&self.feed(batch)?)?;
        Ok(Score::of_rows(&logits, &batch.labels, self.layout.classes)?)
    }

    fn gradients(&mut self, batch: &Batch, schedule: Schedule) -> Result<Traced, CommandError> {
        let samples = batch.samples as f64;
        if schedule.name() == ScheduleKind::Backprop.name() {
            let found = self.net.backprop(&self.feed(batch)?)?;
            let mean = |gradient: &HostTensor<E>| {
                gradient.data().iter().map(|g| g.value() / samples).collect()
            };
            let gradients = found.gradients.iter().map(mean).collect();
            return Ok(Traced { gradients, energy: Vec::new() });
        }
        let (mut reading, clamps) = self.read(batch)?;
        let schedule = schedule.reduced_by(pc_core::Reduction::Mean);
        let mut relaxation = Relaxation::new(&reading.graph, schedule.clone());
        if relaxation.is_err() && schedule.learning() == pc_core::Learning::AtLevel {
            reading.graph = reading.graph.levelled()?;
            relaxation = Relaxation::new(&reading.graph, schedule);
        }
        Ok(observe::gradients(relaxation?, &mut reading.graph, &clamps)?)
    }

    fn energies(
        &mut self,
        batch: &Batch,
        schedule: Schedule,
    ) -> Result<Vec<VertexTrace>, CommandError> {
        let (mut reading, clamps) = self.read(batch)?;
        if schedule.learning() == pc_core::Learning::AtLevel {
            reading.graph = reading.graph.levelled()?;
        }
        Ok(observe::energies(&mut reading.graph, &clamps, schedule)?)
    }

    fn parameters(&self) -> Result<Vec<(String, HostTensor<F>)>, CommandError> {
        let names = self.layout.graph.topology().parameter_names();
        let all = names.iter().zip(self.net.parameters()?);
        all.map(|(name, own)| Ok((name.clone(), convert(&own)?))).collect()
    }

    fn set_parameter(&mut self, name: &str, value: HostTensor<F>) -> Result<(), CommandError> {
        let id = self.layout.graph.parameter(name)?;
        let mut all = self.net.parameters()?;
        if let Some(own) = all.get_mut(id.index()) {
            *own = convert(&value)?;
        }
        Ok(self.net.set_parameters(&all)?)
    }

    fn optimiser(&self) -> Result<OptimiserState<F>, CommandError> {
        Err(CommandError::input("the state of dfdx's optimisers cannot be read"))
    }

    fn set_optimiser(&mut self, _state: OptimiserState<F>) -> Result<(), String> {
        Err("the state of dfdx's optimisers cannot be set".to_owned())
    }
}
