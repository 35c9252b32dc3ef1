//! A model that learns: a graph, its relaxation and an optimiser.

use pc_core::{
    Graph, Relaxation, Schedule, Status,
    host::{Element, HostTensor},
};

use super::optimiser::Optimiser;
use crate::{
    backends::observe,
    contract::{
        OptimiserState, ScheduleKind,
        train::{Batch, Task, Traced, Trainee, VertexTrace},
    },
    error::CommandError,
    models::{Model, OutputLoss, Predictor, Score},
};

/// One model of one run.
pub(super) struct Host<F: Element> {
    model: Model<F>,
    relaxation: Relaxation<Graph<HostTensor<F>>>,
    optimiser: Optimiser<F>,
    predictor: Predictor<F>,
}

impl<F: Element> Host<F> {
    pub(super) fn new(task: &Task) -> Result<Self, CommandError> {
        let Task { rule, optimiser, learning_rate, .. } = *task;
        let mut model = task.model::<F>()?;
        if rule == ScheduleKind::Zil {
            model = model.levelled()?;
        }
        Ok(Self {
            relaxation: Relaxation::new(&model.graph, task.schedule.clone())?,
            optimiser: Optimiser::new(optimiser, learning_rate)?,
            predictor: Predictor::new(&model.graph),
            model,
        })
    }
}

impl<F: Element> Trainee<F> for Host<F> {
    fn description(&self) -> String {
        self.model.description.clone()
    }

    fn learn(&mut self, batch: &Batch) -> Result<f64, CommandError> {
        let clamps =
            self.model.clamps(batch.features(), &batch.labels, OutputLoss::CrossEntropy)?;
        let optimiser = &mut self.optimiser;
        let outcome =
            self.relaxation.train(&mut self.model.graph, &clamps, |graph, gradients| {
                optimiser.step(graph.parameters_mut(), gradients)
            })?;
        Ok(if outcome.status == Status::Diverged { f64::NAN } else { outcome.energy.total() })
    }

    fn set_learning_rate(&mut self, rate: f64) -> Result<(), CommandError> {
        Ok(self.optimiser.set_rate(rate)?)
    }

    fn score(&mut self, batch: &Batch) -> Result<Score, CommandError> {
        Ok(self.predictor.score(&mut self.model, batch.features(), &batch.labels)?)
    }

    fn gradients(&mut self, batch: &Batch, schedule: Schedule) -> Result<Traced, CommandError> {
        let clamps =
            self.model.clamps(batch.features(), &batch.labels, OutputLoss::CrossEntropy)?;
        let graph = &mut self.model.graph;
        let relaxation = Relaxation::new(graph, schedule)?;
        Ok(observe::gradients(relaxation, graph, &clamps)?)
    }

    fn energies(
        &mut self,
        batch: &Batch,
        schedule: Schedule,
    ) -> Result<Vec<VertexTrace>, CommandError> {
        let clamps =
            self.model.clamps(batch.features(), &batch.labels, OutputLoss::CrossEntropy)?;
        Ok(observe::energies(&mut self.model.graph, &clamps, schedule)?)
    }

    fn parameters(&self) -> Result<Vec<(String, HostTensor<F>)>, CommandError> {
        Ok(self
            .model
            .graph
            .named_parameters()
            .map(|(name, parameter)| (name.to_owned(), parameter.clone()))
            .collect())
    }

    fn set_parameter(&mut self, name: &str, value: HostTensor<F>) -> Result<(), CommandError> {
        let id = self.model.graph.parameter(name)?;
        Ok(self.model.graph.set_parameter(id, value)?)
    }

    fn optimiser(&self) -> Result<OptimiserState<F>, CommandError> {
        Ok(self.optimiser.save(&self.model.graph))
    }

    fn set_optimiser(&mut self, state: OptimiserState<F>) -> Result<(), String> {
        self.optimiser.restore(&self.model.graph, state)
    }
}
