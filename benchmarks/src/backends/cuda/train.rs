//! A model that learns on the device.

use pc_core::{
    Clamps, HandOver, Network, Relaxation, Schedule, Status, Tensor,
    host::{Element, HostTensor},
};
use pc_cuda::{AdamW, CrossEntropy, Device, DeviceTensor, OnDevice, Sgd};

use super::transfer::{download, hold, upload};
use crate::{
    backends::observe,
    contract::{
        OptimiserKind, OptimiserState,
        train::{Batch, Task, Traced, Trainee, VertexTrace},
    },
    error::CommandError,
    models::{Model, Predictor, Score},
};

/// The optimisers by name, set as those of the host backend are.
#[derive(Debug)]
enum Optimiser {
    Adam(AdamW),
    Sgd(Sgd),
}

/// One model of one run, as a fused net or a graph.
pub(super) struct Learner<F: Element, N: Network<Tensor = DeviceTensor>> {
    /// The model on the host: names, layout, and weights for forward passes.
    model: Model<F>,
    predictor: Predictor<F>,
    net: N,
    device: Device,
    relaxation: Relaxation<N>,
    optimiser: Optimiser,
    /// Whether the host's weights are those of the device.
    current: bool,
}

impl<F: Element, N: Network<Tensor = DeviceTensor> + HandOver<Tensor = DeviceTensor> + OnDevice>
    Learner<F, N>
{
    /// With this model's graph on a device.
    pub(super) fn new(
        task: &Task,
        model: Model<F>,
        net: N,
        device: &Device,
    ) -> Result<Self, CommandError> {
        let Task { optimiser, learning_rate, .. } = *task;
        let optimiser = match optimiser {
            OptimiserKind::Adam => Optimiser::Adam(AdamW::new(learning_rate)?),
            OptimiserKind::AdamW => Optimiser::Adam(AdamW::new(learning_rate)?.with_decay(0.01)?),
            OptimiserKind::Sgd => Optimiser::Sgd(Sgd::new(learning_rate)?.with_momentum(0.9)?),
        };
        Ok(Self {
            predictor: Predictor::new(&model.graph),
            relaxation: Relaxation::new(&net, task.schedule.clone())?,
            optimiser,
            current: true,
            model,
            net,
            device: device.clone(),
        })
    }

    fn clamps(&self, batch: &Batch) -> Result<Clamps<DeviceTensor>, CommandError> {
        let device = &self.device;
        let mut clamps = hold(device, &self.model.feed(batch.features())?)?;
        for (output, vertex) in self.model.outputs.iter().enumerate() {
            let target = self.model.target(batch.features(), output, &batch.labels)?;
            clamps = clamps.drive(*vertex, CrossEntropy::new(upload(device, &target)?));
        }
        Ok(clamps)
    }
}

impl<F, N> Trainee<F> for Learner<F, N>
where
    F: Element,
    N: Network<Tensor = DeviceTensor> + HandOver<Tensor = DeviceTensor> + OnDevice,
{
    fn description(&self) -> String {
        self.model.description.clone()
    }

    fn learn(&mut self, batch: &Batch) -> Result<f64, CommandError> {
        let clamps = self.clamps(batch)?;
        self.current = false;
        let optimiser = &mut self.optimiser;
        let outcome =
            self.relaxation.train(&mut self.net, &clamps, |net, gradients| match optimiser {
                Optimiser::Adam(adam) => adam.step(net, gradients),
                Optimiser::Sgd(sgd) => sgd.step(net, gradients),
            })?;
        Ok(if outcome.status == Status::Diverged { f64::NAN } else { outcome.energy.total() })
    }

    fn set_learning_rate(&mut self, rate: f64) -> Result<(), CommandError> {
        match &mut self.optimiser {
            Optimiser::Adam(adam) => adam.set_rate(rate)?,
            Optimiser::Sgd(sgd) => sgd.set_rate(rate)?,
        }
        Ok(())
    }

    fn score(&mut self, batch: &Batch) -> Result<Score, CommandError> {
        if !self.current {
            self.model.graph.copy_parameters_from(&self.net)?;
            self.current = true;
        }
        Ok(self.predictor.score(&mut self.model, batch.features(), &batch.labels)?)
    }

    fn gradients(&mut self, batch: &Batch, schedule: Schedule) -> Result<Traced, CommandError> {
        let clamps = self.clamps(batch)?;
        let mut sums: Vec<Vec<f64>> =
            self.net.on_device().iter().map(|parameter| vec![0.0; parameter.count()]).collect();
        let mut relaxation = Relaxation::new(&self.net, schedule)?;
        let outcome = relaxation.train(&mut self.net, &clamps, |_, gradients| {
            for ((_, gradient), sum) in gradients.iter().zip(&mut sums) {
                let numbers = gradient.map(Tensor::to_vec).unwrap_or_default();
                sum.iter_mut().zip(numbers).for_each(|(s, g)| *s += g);
            }
            Ok(())
        })?;
        self.device.synchronize()?;
        Ok(Traced { gradients: sums, energy: outcome.trace })
    }

    fn energies(
        &mut self,
        batch: &Batch,
        schedule: Schedule,
    ) -> Result<Vec<VertexTrace>, CommandError> {
        let clamps = self.clamps(batch)?;
        let energies = observe::energies(&mut self.net, &clamps, schedule)?;
        self.device.synchronize()?;
        Ok(energies)
    }

    fn parameters(&self) -> Result<Vec<(String, HostTensor<F>)>, CommandError> {
        let names = self.model.graph.topology().parameter_names().iter().cloned();
        names
            .zip(self.net.on_device())
            .map(|(name, parameter)| Ok((name, download(parameter)?)))
            .collect()
    }

    fn set_parameter(&mut self, name: &str, value: HostTensor<F>) -> Result<(), CommandError> {
        let id = self.model.graph.parameter(name)?;
        let numbers: Vec<f32> = value.data().iter().map(|x| x.value() as f32).collect();
        // The graph checks the shape and the numbers.
        self.model.graph.set_parameter(id, value)?;
        Ok(self.net.on_device_mut()[id.index()].set_numbers(&numbers)?)
    }

    fn optimiser(&self) -> Result<OptimiserState<F>, CommandError> {
        Err(CommandError::input("the backend cuda does not save its optimiser"))
    }

    fn set_optimiser(&mut self, _state: OptimiserState<F>) -> Result<(), String> {
        Err("the backend cuda does not save its optimiser".to_owned())
    }
}
