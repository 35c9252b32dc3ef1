//! A model that learns on the device.

use pc_core::{
    Clamps, Clipping, Gradients, HandOver, Network, Relaxation, Schedule, Status, Tensor,
    host::{Element, HostTensor},
};
use pc_cuda::{AdamW, CrossEntropy, Device, DeviceTensor, OnDevice, Sgd};

use super::transfer::{download, hold, upload};
use crate::{
    backends::{
        asked::{self, Rates, at, driven, with_rates},
        observe,
    },
    contract::{
        OptimiserKind, OptimiserState,
        details::{ClampEntry, Details, Drive, LossEntry, Weights},
        train::{Batch, Task, Traced, Trainee, VertexTrace},
    },
    error::CommandError,
    models::{Model, Predictor, Score},
};

/// The optimisers by name, set as those of the host backend are.
#[derive(Debug)]
enum Stepper {
    Adam(AdamW),
    Sgd(Sgd),
}

/// An optimiser, what it does to gradients before, and how often it applies them.
#[derive(Debug)]
struct Optimiser {
    stepper: Stepper,
    clipping: Option<Clipping>,
    updates: usize,
}

impl Optimiser {
    /// `weights` has every number that the kind takes ([`Weights::usual`]).
    fn new(kind: OptimiserKind, rate: f64, weights: &Weights) -> pc_core::Result<Self> {
        let Weights { momentum, first, second, weight_decay, .. } = *weights;
        let number = |number: Option<f64>| number.unwrap_or_default();
        let stepper = match kind {
            OptimiserKind::Sgd => {
                let sgd = Sgd::new(rate)?.with_momentum(number(momentum))?;
                Stepper::Sgd(sgd.with_decay(number(weight_decay))?)
            }
            OptimiserKind::Adam | OptimiserKind::AdamW => {
                let mut adam = AdamW::new(rate)?;
                if let (Some(first), Some(second)) = (first, second) {
                    adam = adam.with_betas(first, second)?;
                }
                Stepper::Adam(adam.with_decay(number(weight_decay))?)
            }
        };
        Ok(Self { stepper, clipping: weights.clipping()?, updates: weights.updates() })
    }

    fn step(
        &mut self,
        net: &mut impl OnDevice,
        gradients: &Gradients<DeviceTensor>,
        factor: f64,
    ) -> pc_core::Result<()> {
        let mut own = None;
        if factor != 1.0 || self.clipping.is_some() {
            let mut whole = gradients.clone();
            if factor != 1.0 {
                whole.scale(1.0 / factor);
            }
            if let Some(clipping) = self.clipping {
                whole.clip(clipping)?;
            }
            own = Some(whole);
        }
        let gradients = own.as_ref().unwrap_or(gradients);
        for _ in 0..self.updates {
            match &mut self.stepper {
                Stepper::Adam(adam) => adam.step(net, gradients)?,
                Stepper::Sgd(sgd) => sgd.step(net, gradients)?,
            }
        }
        Ok(())
    }
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
    loss: LossEntry,
    clamp: ClampEntry,
    /// What drives the output in this epoch.
    drive: Drive,
    /// Factors of the states' rate.
    rates: Rates,
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
        let Details { loss, clamp, .. } = &task.details;
        let weights = task.details.optimiser.filled(optimiser, 1);
        let rates = asked::rates(task, &model)?;
        let schedule = with_rates(task.schedule.clone(), &rates).map_err(at("states.rates"))?;
        Ok(Self {
            predictor: Predictor::new(&model.graph),
            relaxation: Relaxation::new(&net, schedule).map_err(at("schedule"))?,
            optimiser: Optimiser::new(optimiser, learning_rate, &weights)
                .map_err(at("optimiser"))?,
            current: true,
            model,
            net,
            device: device.clone(),
            drive: clamp.drive(loss, 0),
            loss: *loss,
            clamp: *clamp,
            rates,
        })
    }

    /// What is held for a batch.
    fn clamps(&self, batch: &Batch) -> Result<Clamps<DeviceTensor>, CommandError> {
        let device = &self.device;
        let mut clamps = hold(device, &self.model.feed(batch.features())?)?;
        for (output, vertex) in self.model.outputs.iter().enumerate() {
            let target = self.model.target(batch.features(), output, &batch.labels)?;
            let target = upload(device, &target)?;
            clamps = driven(clamps, *vertex, target, self.drive, CrossEntropy::new);
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
        let (optimiser, factor) = (&mut self.optimiser, self.drive.factor());
        let outcome = self.relaxation.train(&mut self.net, &clamps, |net, gradients| {
            optimiser.step(net, gradients, factor)
        })?;
        Ok(if outcome.status == Status::Diverged { f64::NAN } else { outcome.energy.total() })
    }

    fn begin_epoch(&mut self, epoch: usize) {
        self.drive = self.clamp.drive(&self.loss, epoch);
    }

    fn set_learning_rate(&mut self, rate: f64) -> Result<(), CommandError> {
        match &mut self.optimiser.stepper {
            Stepper::Adam(adam) => adam.set_rate(rate)?,
            Stepper::Sgd(sgd) => sgd.set_rate(rate)?,
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
        let schedule = with_rates(schedule, &self.rates)?;
        let mut relaxation = Relaxation::new(&self.net, schedule)?;
        let outcome = relaxation.train(&mut self.net, &clamps, |_, gradients| {
            for ((_, gradient), sum) in gradients.iter().zip(&mut sums) {
                let numbers = gradient.map(Tensor::to_vec).unwrap_or_default();
                sum.iter_mut().zip(numbers).for_each(|(s, g)| *s += g);
            }
            Ok(())
        })?;
        self.device.synchronize()?;
        let factor = self.drive.factor();
        if factor != 1.0 {
            sums.iter_mut().flatten().for_each(|number| *number /= factor);
        }
        Ok(Traced { gradients: sums, energy: outcome.trace })
    }

    fn energies(
        &mut self,
        batch: &Batch,
        schedule: Schedule,
    ) -> Result<Vec<VertexTrace>, CommandError> {
        let clamps = self.clamps(batch)?;
        let schedule = with_rates(schedule, &self.rates)?;
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
