//! A model that learns: a graph, its relaxation and an optimiser.

use pc_core::{
    Clamps, Graph, Relaxation, Schedule, Status,
    host::{CrossEntropy, Element, HostTensor},
};

use super::optimiser::Optimiser;
use crate::{
    backends::{
        asked::{self, Rates, at, driven, with_rates},
        observe,
    },
    contract::{
        OptimiserState,
        details::{ClampEntry, Details, Drive, LossEntry},
        train::{Batch, Task, Traced, Trainee, VertexTrace},
    },
    error::CommandError,
    models::{Model, Predictor, Score},
};

/// One model of one run.
pub(super) struct Host<F: Element> {
    model: Model<F>,
    relaxation: Relaxation<Graph<HostTensor<F>>>,
    optimiser: Optimiser<F>,
    predictor: Predictor<F>,
    loss: LossEntry,
    clamp: ClampEntry,
    /// How a latent is found of what is only judged.
    asking: Schedule,
    /// What drives the output in this epoch.
    drive: Drive,
    /// Factors of the states' rate.
    rates: Rates,
}

impl<F: Element> Host<F> {
    pub(super) fn new(task: &Task) -> Result<Self, CommandError> {
        let Task { optimiser, learning_rate, .. } = *task;
        let model = asked::model::<F>(task)?;
        let Details { loss, clamp, .. } = &task.details;
        let rates = asked::rates(task, &model)?;
        let weights = task.details.optimiser.filled(optimiser, 1);
        let whole = with_rates(task.schedule.clone(), &rates).map_err(at("states.rates"))?;
        Ok(Self {
            asking: whole.clone(),
            relaxation: Relaxation::new(&model.graph, whole).map_err(at("schedule"))?,
            optimiser: Optimiser::new(optimiser, learning_rate, &weights)
                .map_err(at("optimiser"))?,
            predictor: Predictor::new(&model.graph),
            model,
            drive: clamp.drive(loss, 0),
            loss: *loss,
            clamp: *clamp,
            rates,
        })
    }

    /// What is held for a batch.
    fn clamps(&self, batch: &Batch) -> pc_core::Result<Clamps<HostTensor<F>>> {
        self.model.clamps_with(batch.features(), &batch.labels, |clamps, vertex, target| {
            driven(clamps, vertex, target, self.drive, CrossEntropy::new)
        })
    }
}

impl<F: Element> Trainee<F> for Host<F> {
    fn description(&self) -> String {
        self.model.description.clone()
    }

    fn learn(&mut self, batch: &Batch) -> Result<f64, CommandError> {
        let clamps = self.clamps(batch)?;
        let (optimiser, factor) = (&mut self.optimiser, self.drive.factor());
        let outcome =
            self.relaxation.train(&mut self.model.graph, &clamps, |graph, gradients| {
                if factor == 1.0 {
                    return optimiser.step(graph.parameters_mut(), gradients);
                }
                let mut whole = gradients.clone();
                whole.scale(1.0 / factor);
                optimiser.step(graph.parameters_mut(), &whole)
            })?;
        Ok(if outcome.status == Status::Diverged { f64::NAN } else { outcome.energy.total() })
    }

    fn begin_epoch(&mut self, epoch: usize) {
        self.drive = self.clamp.drive(&self.loss, epoch);
    }

    fn set_learning_rate(&mut self, rate: f64) -> Result<(), CommandError> {
        Ok(self.optimiser.set_rate(rate)?)
    }

    fn score(&mut self, batch: &Batch) -> Result<Score, CommandError> {
        let Some(latent) = self.model.latent else {
            return Ok(self.predictor.score(&mut self.model, batch.features(), &batch.labels)?);
        };
        let clamps = self.clamps(batch)?;
        let graph = &mut self.model.graph;
        // Of its own, so that what it leaves and draws is nothing to what learns.
        let mut relaxation = Relaxation::new(graph, self.asking.clone())?;
        let outcome = relaxation.infer(graph, &clamps)?;
        let found = relaxation.value(graph, latent);
        match found.filter(|_| outcome.status != Status::Diverged) {
            Some(found) => {
                let latent = Some((latent, &found));
                Ok(self.predictor.score_again(&mut self.model, batch.features(), latent)?)
            }
            None => Ok(Score { loss: f64::NAN, correct: 0, count: batch.samples }),
        }
    }

    fn recall(
        &mut self,
        batch: &Batch,
        known: Option<&[f32]>,
        schedule: Schedule,
    ) -> Result<Option<Vec<f32>>, CommandError> {
        let Some(&output) = self.model.outputs.first() else { return Ok(None) };
        let mut mask = None;
        if let Some(known) = known {
            let dims = [&[batch.samples], self.model.graph.shape(output)?].concat();
            let numbers = known.iter().map(|x| F::of(f64::from(*x))).collect();
            mask = Some(HostTensor::new(&dims, numbers)?);
        }
        let clamps =
            self.model.clamps_with(batch.features(), &batch.labels, |clamps, vertex, left| {
                match &mask {
                    None => clamps.free(vertex, left),
                    Some(mask) => clamps.mask(vertex, left, mask.clone()),
                }
            })?;
        let schedule = with_rates(schedule, &self.rates)?;
        let graph = &mut self.model.graph;
        let mut relaxation = Relaxation::new(graph, schedule)?;
        let outcome = relaxation.infer(graph, &clamps)?;
        let found = relaxation.value(graph, output);
        let found = found.filter(|_| outcome.status != Status::Diverged);
        Ok(found.map(|found| found.data().iter().map(|x| x.value() as f32).collect()))
    }

    fn gradients(&mut self, batch: &Batch, schedule: Schedule) -> Result<Traced, CommandError> {
        let clamps = self.clamps(batch)?;
        let schedule = with_rates(schedule, &self.rates)?;
        let graph = &mut self.model.graph;
        let relaxation = Relaxation::new(graph, schedule)?;
        let mut found = observe::gradients(relaxation, graph, &clamps)?;
        let factor = self.drive.factor();
        if factor != 1.0 {
            found.gradients.iter_mut().flatten().for_each(|number| *number /= factor);
        }
        Ok(found)
    }

    fn energies(
        &mut self,
        batch: &Batch,
        schedule: Schedule,
    ) -> Result<Vec<VertexTrace>, CommandError> {
        let clamps = self.clamps(batch)?;
        let schedule = with_rates(schedule, &self.rates)?;
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
